"""`arhn compare`: several evaluated models in one table."""

from __future__ import annotations

import argparse
from pathlib import Path

from arhn.cli.shared import Tasks, console, positive, task


def add(tasks: Tasks) -> None:
    parser = task(tasks, "compare", _run, "compare evaluated models, with paired significance")
    add = parser.add_argument
    add("results", nargs="*", metavar="[NAME=]RESULTS", help="a folder of 'arhn evaluate', or its results.json")
    add(
        "--group",
        dest="groups",
        action="append",
        default=[],
        metavar="NAME=RESULTS,...",
        help="several seeds of one method: their mean, and its spread",
    )
    add("--by-seed", action="store_true", help="group models whose training differs in nothing but the seed")
    add("--baseline", metavar="NAME", help="what the others are held against; the first unless given")
    add("--measure", default="nDCG@10", help="nDCG@10, recall@100 or MRR@10; default: %(default)s")
    add("--resamples", type=positive, default=10_000, metavar="N", help="of the test; default: %(default)s")
    add("--seed", type=int, default=0, help="of the test; default: %(default)s")
    add("--plot", type=Path, metavar="FILE", help="draw it there: .png, .svg or .pdf")
    add("--json", type=Path, metavar="FILE", help="write everything there")
    add("--overwrite", action="store_true", help="replace FILEs that are there already")


def _run(a: argparse.Namespace) -> None:
    from arhn.compare import reports
    from arhn.compare.contenders import read_contenders
    from arhn.compare.view import comparison_view

    comparison = reports.compare(
        read_contenders(a.results, a.groups, by_seed=a.by_seed),
        reports.Files(json=a.json, plot=a.plot, overwrite=a.overwrite),
        baseline=a.baseline,
        measure=a.measure,
        resamples=a.resamples,
        seed=a.seed,
    )
    out = console()
    out.print(comparison_view(comparison))
    for path in filter(None, (a.json, a.plot)):
        out.print(str(path), soft_wrap=True)
