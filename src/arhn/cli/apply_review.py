"""`arhn apply-review`: what people answered overrides a run's decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import FILES, Output, Overwrite, ToFormat, make_console


def apply(
    cleaned: Annotated[str, typer.Argument(help="The output of 'arhn clean' that was reviewed.", show_default=False)],
    output: Output,
    file: Annotated[
        Path | None,
        typer.Option("--file", help="The answers; beside the run's output unless given.", rich_help_panel=FILES),
    ] = None,
    to: ToFormat = None,
    overwrite: Overwrite = False,
) -> None:
    """Override decisions with the answers of a review."""
    from arhn.review.applying import apply_review
    from arhn.review.job import Review

    review = Review(output=cleaned, file=file).place
    done = apply_review(cleaned, review, output, format=to, overwrite=overwrite)
    out = make_console()
    changed = sum(n for (before, after), n in done.counts.items() if before != after)
    out.print(f"{sum(done.counts.values()):,} reviewed decisions, {changed:,} of them changed:")
    for (before, after), n in sorted(done.counts.items()):
        if before != after:
            out.print(f"  {n:,} from {before} to {after}")
    if done.disputed:
        out.print(f"{done.disputed:,} are in dispute and stay: settle them with 'arhn review' (key d)", soft_wrap=True)
    if done.unsure:
        out.print(f"{done.unsure:,} nobody could tell, and stay")
    for path in (output, done.files.decisions, done.files.summary):
        out.print(str(path), soft_wrap=True)


command = make_command(apply)
