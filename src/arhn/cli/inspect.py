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
    from arhn.cleaning.run.inspect import inspect_all
    from arhn.cleaning.run.view import group_view

    groups = inspect_all(output, query_id)
    out = make_console()
    if len(groups) > 1:
        out.print(f"This query stands in {len(groups)} groups: {', '.join(each.group.query_id for each in groups)}")
    for found in groups:
        out.print(group_view(found.group, found.decisions))


command = make_command(show)
