"""`arhn mine`: groups with hard negatives, from queries, a corpus and qrels."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console

from arhn.cli.shared import FORMATS, Tasks, console, flag_of, positive, task, unfit
from arhn.errors import UsageError
from arhn.libraries import require

if TYPE_CHECKING:
    from arhn.mine.job import Retrievers
    from arhn.mine.rules import Settings
    from arhn.retrieval.collection import Collection
    from arhn.retrieval.corpus import Corpus
    from arhn.retrieval.search import Searcher

BM25 = "bm25"
OF_BM25 = ("k1", "b", "stemmer", "stopwords")
#: Of models that are loaded, and of how any model is used.
OF_LOADED = ("query_prompt", "document_prompt", "max_length", "dtype", "device", "threads", "embeddings")
OF_MODELS = (*OF_LOADED, "batch_size", "faiss_above")
_OF_EMBEDDER = tuple(name for name in OF_MODELS if name not in ("embeddings", "faiss_above"))


def add(tasks: Tasks) -> None:
    parser = task(tasks, "mine", _run, "mine hard negatives: queries, a corpus and qrels to groups")
    add_collection(parser, split="train")
    add = parser.add_argument
    add("-o", "--output", required=True, help="where the groups go")
    add("--to", choices=FORMATS, default="tevatron", help="the output's format; default: %(default)s")
    add("--summary", type=Path, help="counts of the run; beside the output unless given")
    add("--candidates", type=Path, metavar="FILE", help="what became of each candidate, a line a passage")
    add("--overwrite", action="store_true", help="replace outputs that are there already")
    add_rules(parser)
    add_retrievers(parser)


def add_collection(parser: argparse.ArgumentParser, *, split: str) -> None:
    """The flags that name queries, corpus and qrels."""
    add_files(parser, ("queries", "corpus", "qrels"))
    add = parser.add_argument
    add("--split", default=split, help="which qrels of the folder; default: %(default)s")
    choices = ("fail", "drop")
    add("--missing-qrels", choices=choices, default="fail", help="judged passages that the corpus lacks")
    add("--no-positives", choices=choices, default="fail", help="queries without a relevant passage")


def add_files(parser: argparse.ArgumentParser, files: Sequence[str]) -> None:
    """A BEIR folder, and a flag for each of some files instead of its own."""
    parser.add_argument("folder", nargs="?", help="a BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv")
    for what in files:
        help_ = f"the {what}, instead of the folder's: JSON lines, Parquet, TSV"
        parser.add_argument(f"--{what}", metavar="FILE", help=help_)


def collection_of(a: argparse.Namespace) -> Collection:
    """The collection that the flags of `add_collection` name."""
    from arhn.retrieval.collection import open_collection

    return open_collection(
        folder=a.folder,
        queries=a.queries,
        corpus=a.corpus,
        qrels=a.qrels,
        split=a.split,
        missing=a.missing_qrels,
        without_positives=a.no_positives,
    )


def add_rules(parser: argparse.ArgumentParser) -> None:
    """The flags of `settings_of`, and --score-by."""
    add = parser.add_argument_group("which passages become negatives").add_argument
    add("--negatives", type=positive, default=7, metavar="N", help="at most, a query; default: %(default)s")
    add("--range", default="0:100", metavar="A:B", help="skip the first A passages, look no further than the B-th")
    add("--sampling", choices=("top", "random"), default="top", help="default: %(default)s")
    add("--seed", type=int, default=0, help="of --sampling random")
    add("--max-score", type=float, metavar="X", help="take out what scores above X")
    add("--min-score", type=float, metavar="X", help="take out what scores below X")
    add("--absolute-margin", type=float, metavar="X", help="take out what isn't X below the positive")
    add("--relative-margin", type=float, metavar="X", help="take out what isn't the share X below the positive")
    add("--margin-to", choices=("lowest", "best"), default="lowest", help="which positive; default: %(default)s")
    add("--score-by", metavar="RETRIEVER", help="whose scores; the first model unless given, bm25 without one")


def add_retrievers(parser: argparse.ArgumentParser) -> None:
    """The flags of `opener`."""
    add = parser.add_argument_group("retrievers").add_argument
    add(
        "--retriever",
        action="append",
        metavar="bm25|MODEL",
        help="bm25, or a folder or hub name of a sentence-transformers model; several take turns; default: bm25",
    )
    add("--k1", type=float, metavar="X", help="of bm25; default: 1.5")
    add("--b", type=float, metavar="X", help="of bm25; default: 0.75")
    add("--stemmer", metavar="LANGUAGE", help="of bm25, or none; default: english")
    add("--stopwords", metavar="LANGUAGE", help="of bm25, or none; default: english")
    add("--query-prompt", metavar="TEXT", help="put before queries instead of the model's own prompt")
    add("--document-prompt", metavar="TEXT", help="put before passages instead of the model's own prompt")
    add("--max-length", type=positive, metavar="TOKENS", help="where texts are cut; the model's own unless given")
    add("--dtype", help="of the model's weights, such as bfloat16")
    add("--device", help="as PyTorch names it, such as cpu or cuda:1; the best there is unless given")
    add("--threads", type=positive, metavar="N", help="CPU threads of the model")
    add("--batch-size", type=positive, metavar="N", help="texts encoded at once; default: 32")
    add("--embeddings", type=Path, metavar="FOLDER", help="keep the embeddings of the corpus for the next time")
    add(
        "--faiss-above",
        type=int,
        metavar="N",
        help="passages above which a model's search is approximate; default: 1000000",
    )


def _run(a: argparse.Namespace) -> None:
    require("numpy", "numpy", "mine")
    from arhn.cleaning.run.bars import group_bars
    from arhn.mine import job, view

    files = job.Files.beside(a.output, summary=a.summary, candidates=a.candidates)
    settings = settings_of(a)
    with group_bars(Console(stderr=True)) as bars:
        bar = bars.add_task("groups", total=None, state="")
        content = job.run(
            files,
            lambda: _opened(a),
            settings,
            to=a.to,
            overwrite=a.overwrite,
            on_query=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    out = console()
    view.show(out, content)
    for path in (files.output, files.summary, files.candidates):
        if path is not None:
            out.print(str(path), soft_wrap=True)


def settings_of(a: argparse.Namespace) -> Settings:
    """How negatives are chosen.

    Raises:
        UsageError
    """
    from arhn.mine.rules import Settings

    first, _, last = a.range.partition(":")
    if not (first.isdecimal() and last.isdecimal()):
        raise UsageError(f"--range: expected A:B, such as 10:100, found {a.range!r}.")
    names = (
        "negatives",
        "sampling",
        "seed",
        "max_score",
        "min_score",
        "absolute_margin",
        "relative_margin",
        "margin_to",
    )
    try:
        return Settings(range_min=int(first), range_max=int(last), **{name: getattr(a, name) for name in names})
    except ValidationError as error:
        raise unfit(error, {"range_min": "--range", "range_max": "--range"}) from error


def _opened(a: argparse.Namespace) -> tuple[Collection, Retrievers]:
    """What can be seen of the retrievers is checked before the corpus is read."""
    from arhn.mine.job import Retrievers

    names, by = retrievers_of(a, BM25)
    openers = {name: opener(a, name) for name in names}
    collection = collection_of(a)
    searchers = {name: open_one(collection.corpus) for name, open_one in openers.items()}
    return collection, Retrievers(searchers=list(searchers.values()), scorer=searchers[by])


def retrievers_of(a: argparse.Namespace, usual: str) -> tuple[list[str], str]:
    """The names of the retrievers, and of the one whose scores count.

    Args:
        usual: the retriever unless others are given.

    Raises:
        UsageError: that is none of them, or flags are given of a kind of retriever that isn't used.
    """
    names = list(dict.fromkeys(a.retriever or [usual]))
    by = a.score_by or next((name for name in names if name != BM25), BM25)
    if by not in names:
        raise UsageError(f"--score-by {by!r}: is none of the retrievers {', '.join(names)}.")
    for useless, flags, what in ((BM25 not in names, OF_BM25, BM25), ({*names} == {BM25}, OF_MODELS, "a model")):
        given = [name for name in flags if getattr(a, name) is not None]
        if useless and given:
            listed = ", ".join(names)
            raise UsageError(f"{flag_of(given[0])}: does nothing without {what} among the retrievers ({listed}).")
    return names, by


def opener(a: argparse.Namespace, name: str) -> Callable[[Corpus], Searcher]:
    """What makes a retriever over a corpus. All that can be seen of it before is checked.

    Raises:
        MissingDependency, ModelMissing, DeviceMissing, UsageError
    """
    if name == BM25:
        require("bm25s", "bm25s", "mine")
        from arhn.retrieval.bm25 import Bm25

        given = {flag: value for flag in OF_BM25 if (value := getattr(a, flag)) is not None}
        options: dict[str, Any] = {flag: None if value == "none" else value for flag, value in given.items()}
        Bm25.make_tokenizer(**options)
        return partial(Bm25, **options)
    from arhn.retrieval.dense import FAISS_ABOVE, Dense, require_faiss_above
    from arhn.retrieval.embedder import Embedder

    given = {flag: value for flag in _OF_EMBEDDER if (value := getattr(a, flag)) is not None}
    embedder = Embedder(name, **given)
    embedder.require_device()
    above = FAISS_ABOVE if a.faiss_above is None else a.faiss_above
    require_faiss_above(above)
    return partial(Dense, embedder=embedder, cache=a.embeddings, faiss_above=above)
