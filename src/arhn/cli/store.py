"""`arhn store`: what a response store holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import make_console
from arhn.errors import UsageError, describe_count


def look(
    store: Annotated[Path, typer.Argument(help="A .responses.sqlite file.", show_default=False)],
    prune: Annotated[
        Literal["unused", "all"] | None,
        typer.Option("--prune", help="Delete answers: those not used since the last finished run, or all."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Prune this model's answers only.")
    ] = None,
    forget: Annotated[
        Literal["unreadable"] | None,
        typer.Option("--forget", help="Delete answers that nothing could be made of: the next run asks again."),
    ] = None,
) -> None:
    """Show what a response store holds, or prune it."""
    from arhn import store as stores
    from arhn.store.view import store_view

    if model and not prune:
        raise UsageError("--model: chooses what --prune deletes. Give --prune too, or leave --model out")
    if prune and forget:
        raise UsageError("--forget: can't be had with --prune. Give one after the other")
    out = make_console()
    if forget:
        out.print(f"{describe_count(stores.forget_unreadable(store), 'unreadable answer')} deleted")
    if prune:
        deleted = stores.prune(store, prune, model=model)
        out.print(f"{describe_count(deleted, 'answer')} deleted")
    out.print(store_view(stores.info(store)))


command = make_command(look)
