"""`arhn mine`: groups with hard negatives, from queries, a corpus and qrels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import FILES, FORMAT_NAMES, Output, Overwrite, check_format, make_console, make_error_console
from arhn.cli.flags.settings import MINE, read_settings
from arhn.config.values import Values
from arhn.libraries import require

if TYPE_CHECKING:
    from arhn.mine.job import Retrievers
    from arhn.mine.settings import MiningSettings
    from arhn.retrieval.collection import Collection

Misfits = Literal["fail", "drop"]


def _make_file_option(what: str) -> Any:
    help_ = f"The {what}, instead of the folder's: JSON lines, Parquet, TSV."
    return typer.Option(f"--{what}", metavar="FILE", help=help_, rich_help_panel=FILES)


@dataclass(frozen=True, kw_only=True)
class Files:
    """Queries, corpus and qrels."""

    folder: Annotated[
        str | None, typer.Argument(help="A BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv.")
    ] = None
    queries: Annotated[str | None, _make_file_option("queries")] = None
    corpus: Annotated[str | None, _make_file_option("corpus")] = None
    qrels: Annotated[str | None, _make_file_option("qrels")] = None
    split: Annotated[
        str, typer.Option("--split", metavar="NAME", help="Which qrels of the folder.", rich_help_panel=FILES)
    ] = "train"
    missing_qrels: Annotated[
        Misfits,
        typer.Option("--missing-qrels", help="Judged passages and queries that aren't there.", rich_help_panel=FILES),
    ] = "fail"
    no_positives: Annotated[
        Misfits, typer.Option("--no-positives", help="Queries without a relevant passage.", rich_help_panel=FILES)
    ] = "fail"

    def find(self) -> dict[str, Path]:
        """The files that are read, by the options that name them; empty where some are missing."""
        from arhn.errors import FileMissing
        from arhn.retrieval.collection import find_files

        given = {"queries": self.queries, "corpus": self.corpus, "qrels": self.qrels}
        try:
            _, found = find_files(self.folder, given, self.split)
        except FileMissing:  # opening them says so, in its turn
            return {}
        return {f"--{what}": path for what, path in found.items()}

    def open(self) -> Collection:
        """The collection that they make. Raises as `arhn.retrieval.collection.open_collection`."""
        from arhn.retrieval.collection import open_collection

        return open_collection(
            folder=self.folder,
            queries=self.queries,
            corpus=self.corpus,
            qrels=self.qrels,
            split=self.split,
            missing=self.missing_qrels,
            without_positives=self.no_positives,
        )


def mine(
    output: Output,
    files: Files,
    values: Values,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            parser=check_format,
            metavar="FORMAT",
            help=f"The output's format: {FORMAT_NAMES}.",
            rich_help_panel=FILES,
        ),
    ] = "tevatron",
    summary: Annotated[
        Path | None,
        typer.Option(
            "--summary",
            metavar="FILE",
            help="Counts of the run; beside the output unless given.",
            rich_help_panel=FILES,
        ),
    ] = None,
    candidates: Annotated[
        Path | None,
        typer.Option(
            "--candidates",
            metavar="FILE",
            help="What became of each candidate, a line a passage.",
            rich_help_panel=FILES,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Mine hard negatives: queries, a corpus and qrels to groups."""
    require("numpy", "numpy", "mine")
    from arhn.cleaning.run.bars import group_bars
    from arhn.mine import job, view

    places = job.Files.beside(output, summary=summary, candidates=candidates)
    settings = read_settings("mine", values).mine
    with group_bars(make_error_console()) as bars:
        bar = bars.add_task("groups", total=None, state="")
        content = job.run(
            places,
            lambda: _open(settings, files),
            settings.rules,
            to=to,
            inputs={**files.find(), **values.files},
            overwrite=overwrite,
            on_query=lambda done, total: bars.update(bar, completed=done, total=total),
        )
    out = make_console()
    view.show(out, content)
    for path in (places.output, places.summary, places.candidates):
        if path is not None:
            out.print(str(path), soft_wrap=True)


def _open(settings: MiningSettings, files: Files) -> tuple[Collection, Retrievers]:
    """What can be seen of the retrievers is checked before the corpus is read."""
    from arhn.mine.job import Retrievers
    from arhn.mine.openers import opener

    openers = {name: opener(settings, name) for name in settings.names}
    collection = files.open()
    searchers = {name: open_one(collection.corpus) for name, open_one in openers.items()}
    return collection, Retrievers(searchers=list(searchers.values()), scorer=searchers[settings.scorer])


command = make_command(mine, flags=MINE)
