"""`arhn evaluate`: nDCG@10, recall@100 and MRR@10 of a retriever."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from arhn.cli.shared import Tasks, console, flag_of, positive, task
from arhn.errors import UsageError

if TYPE_CHECKING:
    from arhn.evaluate.retrievers import Retriever

_MISFITS = ("fail", "drop", "keep")
#: Flags that say nothing to BM25 and run files.
_OF_MODELS = ("recipe", "query_prompt", "document_prompt", "max_length", "embeddings", "device", "dtype")


def add(tasks: Tasks) -> None:
    parser = task(tasks, "evaluate", _run, "measure a retriever on test collections", resumes=True)
    add = parser.add_argument
    add("model", nargs="?", help="a sentence-transformers folder, its name on the hub, or bm25")
    add("-o", "--output", type=Path, required=True, metavar="FOLDER", help="run files and results.json go there")
    add(
        "--data",
        action="append",
        default=[],
        metavar="[NAME=]FOLDER",
        help="a BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv",
    )
    add("--split", default="test", help="of the folders; default: %(default)s")
    add("--tasks", metavar="NAME,...", help="sets of BEIR through mteb, or beir16, beir12 for the sets of the paper")
    add(
        "--run",
        dest="runs",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="measure this run file instead of a model",
    )
    add("--name", help="what tables call the model; its folder's name unless given")
    add("--recipe", metavar="NAME", help="take prompts and length from a training recipe")
    add("--query-prompt", metavar="TEXT", help="put before queries; the model's own unless given")
    add("--document-prompt", metavar="TEXT", help="put before passages; the model's own unless given")
    add("--max-length", type=positive, metavar="TOKENS", help="cut texts there; where the model does unless given")
    add(
        "--trained-on",
        metavar="NAME,...",
        help="data sets the model was trained on, or 'none'; what its manifest says unless given",
    )
    add("--depth", type=positive, metavar="N", help="passages a query in a run file; default: 1000")
    add("--keep-identical-ids", action="store_true", help="count passages with the query's own id; BEIR doesn't")
    add("--missing-qrels", choices=_MISFITS, default="fail", help="judged passages that a folder's corpus lacks")
    add("--no-positives", choices=_MISFITS, default="fail", help="a folder's queries without a relevant passage")
    add("--embeddings", type=Path, metavar="FOLDER", help="keep passage vectors there for the next time")
    add("--device", help="cpu, cuda, ...; the best there is unless given")
    add("--dtype", help="of the weights, such as bfloat16; as they are stored unless given")
    add("--batch-size", type=positive, default=32, metavar="N", help="texts encoded at once; default: %(default)s")
    add("--threads", type=positive, metavar="N", help="CPU threads")
    add("--overwrite", action="store_true", help="replace what FOLDER holds of another model or other data")


def _run(a: argparse.Namespace) -> None:
    from arhn.evaluate import job
    from arhn.evaluate.results import RESULTS
    from arhn.evaluate.sources import find_sources
    from arhn.evaluate.view import results_view

    _require_one(a)
    found = find_sources(
        _listed(a.tasks), a.data, split=a.split, missing=a.missing_qrels, without_positives=a.no_positives
    )
    results = job.evaluate(
        _retriever(a, [source.name for source in found]),
        found,
        a.output,
        depth=a.depth or job.DEPTH,
        skip_identical=not a.keep_identical_ids,
        training_sets=None if a.trained_on is None else _listed(a.trained_on, none="none"),
        overwrite=a.overwrite,
    )
    out = console()
    out.print(results_view(results))
    out.print(str(a.output / RESULTS), soft_wrap=True)


def _retriever(a: argparse.Namespace, names: list[str]) -> Retriever:
    from arhn.evaluate.retrievers import BM25, Bm25Retriever, DenseRetriever, RunFiles

    if a.runs:
        return RunFiles(a.runs, names, name=a.name)
    if a.model == BM25:
        return Bm25Retriever(name=a.name)
    query_prompt, document_prompt, max_length = _texts(a)
    return DenseRetriever(
        a.model,
        name=a.name,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        max_length=max_length,
        recipe=a.recipe,
        device=a.device,
        threads=a.threads,
        batch_size=a.batch_size,
        dtype=a.dtype,
        embeddings=a.embeddings,
    )


def _texts(a: argparse.Namespace) -> tuple[str | None, str | None, int | None]:
    """Prompts and length: those given, else the recipe's, else None for the model's own."""
    if a.recipe is None:
        return a.query_prompt, a.document_prompt, a.max_length
    from arhn.train.recipe import load

    recipe = load(a.recipe)
    return (
        recipe.query_prompt if a.query_prompt is None else a.query_prompt,
        recipe.document_prompt if a.document_prompt is None else a.document_prompt,
        a.max_length or recipe.max_length,
    )


def _require_one(a: argparse.Namespace) -> None:
    """Raises UsageError: not exactly one thing to evaluate, or flags of a model without one."""
    if (a.model is None) == (not a.runs):
        raise UsageError("give either a model or run files (--run).")
    given = [flag for flag in _OF_MODELS if getattr(a, flag) is not None]
    if given and (a.runs or a.model == "bm25"):
        flags = ", ".join(map(flag_of, given))
        raise UsageError(f"{flags}: for embedding models only. Leave it out.")


def _listed(text: str | None, none: str = "") -> list[str]:
    """Names between commas; `none` stands for no name."""
    names = [name.strip() for name in (text or "").split(",")]
    return [name for name in names if name and name != none]
