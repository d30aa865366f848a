"""`arhn inspect`: one cleaned group on the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import make_console, make_count_option
from arhn.errors import UsageError


def show(
    output: Annotated[str, typer.Argument(help="The output of 'arhn clean'.", show_default=False)],
    query_id: Annotated[
        str | None, typer.Option("--query-id", metavar="ID", help="The group of this query_id.")
    ] = None,
    group: Annotated[int | None, make_count_option("--group", "The N-th group.")] = None,
    words: Annotated[
        str | None, typer.Option("--words", metavar="TEXT", help="The first group whose query holds these words.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Of the random group, without an option above.")
    ] = None,
) -> None:
    """Show one cleaned group with its snippets and decisions."""
    from arhn.cleaning.run import inspect
    from arhn.cleaning.run.view import group_view

    others: list[inspect.Inspected] = []
    given = {"--query-id": query_id, "--group": group, "--words": words, "--seed": seed}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)}: each names a group. Keep one of them")
    if query_id is not None:
        found, *others = inspect.inspect_all(output, query_id)
    elif group is not None:
        found = inspect.inspect_number(output, group)
    elif words is not None:
        found = inspect.inspect_words(output, words)
    else:
        found = inspect.inspect_random(output, seed)
    out = make_console()
    if others:
        ids = ", ".join(each.group.query_id for each in (found, *others))
        out.print(f"This query stands in {len(others) + 1} groups: {ids}")
    for each in (found, *others):
        out.print(group_view(each.group, each.decisions))
    if found.number:
        more = f"; {found.others:,} more hold these words" if found.others else ""
        out.print(f"Group {found.number:,} (--group {found.number} shows it again){more}", soft_wrap=True)


command = make_command(show)
