"""`arhn store`: what a response store holds."""

from __future__ import annotations

import argparse
from pathlib import Path

from arhn.cli.shared import Tasks, console, task
from arhn.errors import UsageError


def add(tasks: Tasks) -> None:
    store = task(tasks, "store", _run, "show what a response store holds, or prune it")
    store.add_argument("store", type=Path, help="a .responses.sqlite file")
    store.add_argument(
        "--prune", choices=("unused", "all"), help="delete answers: those not used since the last finished run, or all"
    )
    store.add_argument("--model", help="prune this model's answers only")


def _run(a: argparse.Namespace) -> None:
    from arhn import store
    from arhn.store.view import store_view

    if a.model and not a.prune:
        raise UsageError("--model: chooses what --prune deletes. Give --prune too, or leave --model out")
    out = console()
    if a.prune:
        deleted = store.prune(a.store, a.prune, model=a.model)
        out.print(f"{deleted} answers deleted")
    out.print(store_view(store.info(a.store)))
