"""Options and arguments that mean the same in several commands, and standard output."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arhn.formats import FORMATS

if TYPE_CHECKING:
    from rich.console import Console

_MOST = 2**31 - 1
FILES = "Files"


def make_count_option(name: str, help_: str, *, metavar: str = "N", panel: str | None = None) -> Any:
    """An option that takes a whole number from 1."""
    return typer.Option(name, min=1, max=_MOST, metavar=metavar, help=help_, show_default=False, rich_help_panel=panel)


def make_amount_option(name: str, help_: str, *, panel: str | None = None) -> Any:
    """An option that takes a number above 0."""
    return typer.Option(name, parser=_read_amount, metavar="X", help=help_, show_default=False, rich_help_panel=panel)


def _read_amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"expected a number above 0, found {text!r}")
    return value


def check_format(name: str) -> str:
    """The name of a format. Raises typer.BadParameter where there is none of that name."""
    if name not in FORMATS.names():
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(map(repr, FORMATS.names()))}.")
    return name


FORMAT_NAMES = ", ".join(FORMATS.built_in)

Groups = Annotated[
    str,
    typer.Argument(
        metavar="INPUT",
        help="A file of groups, also at s3:// or gs://, a folder saved by datasets, or hf://org/name[:split].",
        show_default=False,
    ),
]
Output = Annotated[
    str, typer.Option("-o", "--output", metavar="FILE", help="Where the groups go.", rich_help_panel=FILES)
]
FromFormat = Annotated[
    str | None,
    typer.Option(
        "--from",
        parser=check_format,
        metavar="FORMAT",
        help=f"The input's format; detected unless given. One of: {FORMAT_NAMES}.",
        rich_help_panel=FILES,
    ),
]
ToFormat = Annotated[
    str | None,
    typer.Option(
        "--to",
        parser=check_format,
        metavar="FORMAT",
        help="The format to write; the input's unless given.",
        rich_help_panel=FILES,
    ),
]
Split = Annotated[
    str | None,
    typer.Option("--split", metavar="NAME", help="The split of a data set that has several.", rich_help_panel=FILES),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace outputs that are there already.", rich_help_panel=FILES)
]
Rejects = Annotated[
    Path | None,
    typer.Option(
        "--rejects",
        metavar="FILE",
        help="Where skipped rows go; beside the output unless given.",
        rich_help_panel=FILES,
    ),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write everything there.", rich_help_panel=FILES)
]


# rich is loaded when something is shown, for help doesn't need it.


def make_console() -> Console:
    """Standard output."""
    from arhn.texts.console import SafeConsole

    return SafeConsole()


def make_error_console() -> Console:
    """Standard error, for what shows how far a run is."""
    from arhn.texts.console import SafeConsole

    return SafeConsole(stderr=True)
