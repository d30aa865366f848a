"""`arhn card`: the card of a cleaned data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import FILES, Overwrite, make_console


@dataclass(frozen=True)
class About:
    """Options of a card."""

    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Of the data set.")] = None
    license: Annotated[
        str | None, typer.Option("--license", metavar="NAME", help="Of the source, such as cc-by-4.0.")
    ] = None
    languages: Annotated[
        list[str] | None, typer.Option("--language", metavar="CODE", help="Such as en. May be repeated.")
    ] = None
    review: Annotated[
        Path | None,
        typer.Option("--review", help="Answers to show; those beside the output unless given.", rich_help_panel=FILES),
    ] = None


def write(
    output: Annotated[str, typer.Argument(help="The output of 'arhn clean'.", show_default=False)],
    about: About,
    to: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="README.md beside it unless given.", rich_help_panel=FILES),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write the card of a cleaned data set, as the hub reads it."""
    from arhn.card.job import Card, write_card

    place = to or Path(output).with_name("README.md")
    card = Card(
        output=output,
        title=about.title,
        license=about.license,
        languages=tuple(about.languages or ()),
        review=about.review,
    )
    write_card(card, place, overwrite=overwrite)
    make_console().print(str(place), soft_wrap=True)


command = make_command(write)
