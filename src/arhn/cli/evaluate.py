"""`arhn evaluate`: nDCG@10, recall@100 and MRR@10 of a retriever."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from arhn.cli.app import ANSWERS_STORED, make_command
from arhn.cli.flags.common import make_console, make_count_option
from arhn.errors import UsageError
from arhn.libraries import require

if TYPE_CHECKING:
    from arhn.evaluate.retrievers import Retriever
    from arhn.evaluate.sources import Source

_MODEL, _DATA, _OUT = "Model", "Data", "Output"
Misfits = Literal["fail", "drop", "keep"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a retriever is measured on."""

    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            metavar="[NAME=]FOLDER",
            help="A BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv. May be repeated.",
            rich_help_panel=_DATA,
        ),
    ] = None
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="The folders' split.", rich_help_panel=_DATA)
    ] = "test"
    tasks: Annotated[
        str | None,
        typer.Option(
            "--tasks",
            metavar="NAME,...",
            help="Sets of BEIR through mteb, or beir16, beir12 for the sets of the paper.",
            rich_help_panel=_DATA,
        ),
    ] = None
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            metavar="[NAME=]FILE",
            help="Measure this run file instead of a model. May be repeated.",
            rich_help_panel=_DATA,
        ),
    ] = None
    missing_qrels: Annotated[
        Misfits,
        typer.Option("--missing-qrels", help="Judged passages and queries that a folder lacks.", rich_help_panel=_DATA),
    ] = "fail"
    no_positives: Annotated[
        Misfits,
        typer.Option("--no-positives", help="A folder's queries without a relevant passage.", rich_help_panel=_DATA),
    ] = "fail"
    depth: Annotated[
        int | None, make_count_option("--depth", "Passages a query in a run file. Default: 1000.", panel=_DATA)
    ] = None
    keep_identical_ids: Annotated[
        bool,
        typer.Option(
            "--keep-identical-ids", help="Count passages with the query's own id; BEIR doesn't.", rich_help_panel=_DATA
        ),
    ] = False

    @property
    def sources(self) -> list[Source]:
        """The data sets. Raises as `arhn.evaluate.sources.find_sources`."""
        from arhn.evaluate.sources import find_sources

        return list(
            find_sources(
                _split_names(self.tasks),
                self.data or [],
                split=self.split,
                missing=self.missing_qrels,
                without_positives=self.no_positives,
            )
        )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is measured, besides its texts."""

    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What tables call the model; its folder's name unless given.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    trained_on: Annotated[
        str | None,
        typer.Option(
            "--trained-on",
            metavar="NAME,...",
            help="Data sets the model was trained on, or 'none'; what its manifest says unless given.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    batch_size: Annotated[int, make_count_option("--batch-size", "Texts encoded at once.", panel=_MODEL)] = 32
    threads: Annotated[int | None, make_count_option("--threads", "CPU threads.", panel=_MODEL)] = None


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What says nothing to BM25 and run files."""

    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", metavar="NAME", help="Take prompts and length from a training recipe.", rich_help_panel=_MODEL
        ),
    ] = None
    query_prompt: Annotated[
        str | None,
        typer.Option(
            "--query-prompt",
            metavar="TEXT",
            help="Text put before queries; the model's own unless given.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    document_prompt: Annotated[
        str | None,
        typer.Option(
            "--document-prompt",
            metavar="TEXT",
            help="Text put before passages; the model's own unless given.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    max_length: Annotated[
        int | None,
        make_count_option(
            "--max-length", "Cut texts there; where the model does unless given.", metavar="TOKENS", panel=_MODEL
        ),
    ] = None
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings",
            metavar="FOLDER",
            help="Keep passage vectors there for the next time.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            "--device", metavar="NAME", help="cpu, cuda, ...; the best there is unless given.", rich_help_panel=_MODEL
        ),
    ] = None
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="NAME",
            help="Type of the weights, such as bfloat16; as they are stored unless given.",
            rich_help_panel=_MODEL,
        ),
    ] = None

    @property
    def given(self) -> str:
        """The options that were given."""
        found = [f.name for f in fields(self) if getattr(self, f.name) is not None]
        return ", ".join(f"--{name.replace('_', '-')}" for name in found)

    @property
    def resolved(self) -> Texts:
        """Prompts and length: those given, else the recipe's, else None for the model's own."""
        if self.recipe is None:
            return self
        from arhn.train.recipe import load

        recipe = load(self.recipe)
        own = {
            "query_prompt": recipe.query_prompt if self.query_prompt is None else self.query_prompt,
            "document_prompt": recipe.document_prompt if self.document_prompt is None else self.document_prompt,
            "max_length": self.max_length or recipe.max_length,
        }
        return Texts(**{**asdict(self), **own})


def evaluate(
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="Run files and results.json go there.", rich_help_panel=_OUT
        ),
    ],
    measured: Measured,
    texts: Texts,
    data: Data,
    model: Annotated[
        str | None, typer.Argument(help="A sentence-transformers folder, its name on the hub, or bm25.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace what FOLDER holds of another model or other data.", rich_help_panel=_OUT
        ),
    ] = False,
) -> None:
    """Measure a retriever on test collections."""
    require("numpy", "numpy", "evaluate")
    from arhn.evaluate import job
    from arhn.evaluate.results import RESULTS
    from arhn.evaluate.view import results_view

    _require_one(model, data, texts)
    sources = data.sources
    results = job.evaluate(
        _make_retriever(model, measured, texts, data, [source.name for source in sources]),
        sources,
        output,
        depth=data.depth or job.DEPTH,
        skip_identical=not data.keep_identical_ids,
        training_sets=None if measured.trained_on is None else _split_names(measured.trained_on, none="none"),
        overwrite=overwrite,
    )
    out = make_console()
    out.print(results_view(results))
    out.print(str(output / RESULTS), soft_wrap=True)


def _make_retriever(model: str | None, measured: Measured, texts: Texts, data: Data, names: list[str]) -> Retriever:
    from arhn.evaluate.retrievers import BM25, Bm25Retriever, DenseRetriever, RunFiles

    if data.runs:
        return RunFiles(data.runs, names, name=measured.name)
    assert model is not None  # nosec B101 - narrows a type
    if model == BM25:
        return Bm25Retriever(name=measured.name)
    size, threads = measured.batch_size, measured.threads
    return DenseRetriever(model, name=measured.name, threads=threads, batch_size=size, **asdict(texts.resolved))


def _require_one(model: str | None, data: Data, texts: Texts) -> None:
    """Raises UsageError: not exactly one thing to evaluate, or options of a model without one."""
    if (model is None) == (not data.runs):
        raise UsageError("give either a model or run files (--run).")
    if texts.given and (data.runs or model == "bm25"):
        raise UsageError(f"{texts.given}: for embedding models only. Leave it out.")


def _split_names(text: str | None, none: str = "") -> list[str]:
    """Names between commas; `none` stands for no name."""
    names = [name.strip() for name in (text or "").split(",")]
    return [name for name in names if name and name != none]


command = make_command(evaluate, resumes=ANSWERS_STORED)
