"""`arhn agree`: two sets of judgements of the same groups."""

from __future__ import annotations

import argparse
from pathlib import Path

from arhn.cli.shared import Tasks, console, positive, task


def add(tasks: Tasks) -> None:
    parser = task(tasks, "agree", _run, "compare decisions with others, with gold labels or with verdicts")
    files = "decisions of 'arhn clean' or its output, gold labels, or an LLM's verdicts"
    parser.add_argument("a", help=files)
    parser.add_argument("b", help="the same; precision and recall are A's against gold labels or verdicts here")
    parser.add_argument("--show", type=positive, default=20, metavar="N", help="groups shown; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, all differing groups too")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there already")


def _run(a: argparse.Namespace) -> None:
    from arhn.agree.agreement import agree
    from arhn.agree.view import agreement_view

    found = agree(a.a, a.b, json=a.json, overwrite=a.overwrite)
    out = console()
    out.print(agreement_view(found, show=a.show))
    if a.json:
        out.print(str(a.json), soft_wrap=True)
