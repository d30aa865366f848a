"""`arhn report`: one HTML file about one or several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import FILES, Overwrite, make_console


def show(
    outputs: Annotated[
        list[str], typer.Argument(metavar="CLEANED...", help="Outputs of 'arhn clean'.", show_default=False)
    ],
    to: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The page; beside the first output unless given.",
            rich_help_panel=FILES,
        ),
    ] = None,
    gold: Annotated[
        str | None,
        typer.Option("--gold", metavar="FILE", help="Labels to show beside the decisions.", rich_help_panel=FILES),
    ] = None,
    results: Annotated[
        list[str] | None,
        typer.Option(
            "--results", metavar="[NAME=]FOLDER", help="Of 'arhn evaluate'. May be repeated.", rich_help_panel=FILES
        ),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Of the page.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML file that shows what runs changed."""
    from arhn.report.job import Report, write_report

    place = write_report(
        Report(
            outputs=tuple(outputs),
            output=to,
            gold=gold,
            results=tuple(results or ()),
            title=title,
            overwrite=overwrite,
        )
    )
    make_console().print(str(place), soft_wrap=True)


command = make_command(show)
