"""`arhn inspect`: one cleaned group on the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import make_console


def show(
    output: Annotated[str, typer.Argument(help="The output of 'arhn clean'.", show_default=False)],
    query_id: Annotated[str, typer.Option("--query-id", metavar="ID", help="Of the group.")],
) -> None:
    """Show one cleaned group with its snippets and decisions."""
    from arhn.cleaning.run.inspect import inspect
    from arhn.cleaning.run.view import group_view

    found = inspect(output, query_id)
    make_console().print(group_view(found.group, found.decisions))


command = make_command(show)
