"""`arhn config`: all settings, and where each value came from; their reference."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from arhn.cli.app import make_command, make_group
from arhn.cli.flags.settings import CLEAN, read_settings
from arhn.config.values import Values


def show(values: Values) -> None:
    """Print all settings as a file that can be used again: value, unit, and where it came from."""
    from arhn.config.reference import show as shown

    sys.stdout.write(shown(read_settings("config show", values), values))


def docs(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there already.")] = False,
) -> None:
    """Write the reference of all settings, in Markdown."""
    from arhn.config.reference import make_page

    if output is None:
        sys.stdout.write(make_page())
        return
    from arhn.files.atomic import AtomicFile

    with AtomicFile(output, overwrite=overwrite) as file:
        file.write(make_page().encode())


command = make_group("config", show=make_command(show, flags=CLEAN), docs=docs)
