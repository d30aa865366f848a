"""`arhn diff`: what a run changed, or where two runs differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import FILES, Overwrite, make_console, make_count_option
from arhn.errors import UsageError

if TYPE_CHECKING:
    from arhn.diff.changes import Change

Format = Literal["text", "md", "jsonl", "csv"]


def _option(name: str, metavar: str, help_: str) -> Any:
    return typer.Option(name, metavar=metavar, help=help_, rich_help_panel="Which")


@dataclass(frozen=True)
class Which:
    """Options that say which decisions are shown."""

    reasons: Annotated[list[str] | None, _option("--reason", "REASON", "Only this one. May be repeated.")] = None
    actions: Annotated[
        list[str] | None, _option("--action", "relabel|filter|keep", "Only this one. May be repeated.")
    ] = None
    confidence: Annotated[str | None, _option("--confidence", "LOW:HIGH", "Only in this range.")] = None
    subset: Annotated[str | None, _option("--subset", "NAME", "Only groups of this subset.")] = None
    sample: Annotated[int | None, make_count_option("--sample", "So many at random.", panel="Which")] = None
    seed: Annotated[int, _option("--seed", "N", "Of the sample.")] = 0


def show(
    output: Annotated[str, typer.Argument(help="The output of 'arhn clean'.", show_default=False)],
    which: Which,
    other: Annotated[
        str | None, typer.Argument(help="Another run's: show where the two differ.", show_default=False)
    ] = None,
    page: Annotated[int, make_count_option("--page", "Which page. Default: 1.")] = 1,
    per_page: Annotated[int, make_count_option("--per-page", "Changes a page. Default: 10.")] = 10,
    as_: Annotated[Format, typer.Option("--format", help="Any but text holds all pages.")] = "text",
    to: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there.", rich_help_panel=FILES)
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show what a run changed, or where two runs differ."""
    from arhn.cleaning.run.finished import open_run
    from arhn.diff import changes, job

    if to is not None and as_ == "text":
        raise UsageError("--output: text is for the terminal. Give --format md, jsonl or csv, too")
    run, against = open_run(output, "diff"), open_run(other, "diff") if other is not None else None
    wanted = changes.Wanted(
        reasons=frozenset(which.reasons or ()),
        actions=frozenset(which.actions or ()),
        confidence=_read_range(which.confidence),
        subset=which.subset,
        sample=which.sample,
        seed=which.seed,
    )
    count = changes.Count()
    found = changes.find_changes(run, wanted, other=against, count=count)
    if as_ != "text":
        job.write(run, found, as_, to, overwrite=overwrite)
        return
    shown, more = changes.take_page(found, page, per_page)
    total, drawn = count.total, ""
    if which.sample is not None:
        total, drawn = None, f", drawn from {count.total:,} with --seed {which.seed}" if count.total else ""
    elif total is None and other is None:
        total = job.count_wanted(run, wanted)
    _show_page(shown, more, page, per_page, total, drawn)


def _show_page(changes: Sequence[Change], more: bool, page: int, size: int, total: int | None, drawn: str) -> None:
    from arhn.diff.view import changes_view

    first = (page - 1) * size + 1
    out = make_console()
    of = "" if total is None else f" of {total:,}"
    if not changes:
        out.print("No decision is like that" if page == 1 else f"No page {page}: there are fewer", soft_wrap=True)
        return
    out.print(changes_view(changes, first))
    following = f"; --page {page + 1} shows the next" if more else ""
    out.print(f"{first:,} to {first + len(changes) - 1:,}{of}{drawn}{following}", soft_wrap=True)


def _read_range(text: str | None) -> tuple[float, float] | None:
    """LOW:HIGH; either may be left out."""
    if text is None:
        return None
    low, colon, high = text.partition(":")
    try:
        found = float(low or 0), float(high or 1)
    except ValueError:
        found = (1.0, 0.0)
    if not colon or not 0 <= found[0] <= found[1] <= 1:
        raise UsageError(f"--confidence: expected LOW:HIGH, two numbers from 0 to 1 such as 0.4:0.6, found {text!r}")
    return found


command = make_command(show)
