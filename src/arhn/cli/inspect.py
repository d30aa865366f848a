"""`arhn inspect`: one cleaned group on the terminal."""

from __future__ import annotations

import argparse

from arhn.cli.shared import Tasks, console, task


def add(tasks: Tasks) -> None:
    inspect = task(tasks, "inspect", _run, "show one cleaned group with its snippets and decisions")
    inspect.add_argument("output", help="the output of 'arhn clean'")
    inspect.add_argument("--query-id", required=True)


def _run(a: argparse.Namespace) -> None:
    from arhn.cleaning.run.inspect import inspect
    from arhn.cleaning.run.view import group_view

    found = inspect(a.output, a.query_id)
    console().print(group_view(found.group, found.decisions))
