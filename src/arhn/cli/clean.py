"""`arhn clean`: groups in, cleaned groups out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from rich.console import Console

from arhn.cli.judging import add_judging, config_of, models_of
from arhn.cli.serving import add_limit
from arhn.cli.shared import FORMATS, Tasks, add_input, console, positive, task
from arhn.config import CleanConfig, FloorPolicy, Method
from arhn.rank import RankBy, Ranker
from arhn.types import Mode


def add(tasks: Tasks) -> None:
    parser = task(tasks, "clean", _run, "clean groups: relabel and filter their false negatives", resumes=True)
    add_input(parser)
    add = parser.add_argument
    add("--to", choices=FORMATS, help="the output's format; the input's unless given")
    add(
        "--mode",
        choices=[mode.value for mode in Mode],
        default=Mode.RF.value,
        help="R relabels, F filters; default: %(default)s",
    )
    add("--limit", type=positive, metavar="N", help="clean the first N groups only")
    add(
        "--negatives",
        type=positive,
        metavar="N",
        help="use the first N negatives of a group; all unless given",
    )
    add(
        "--floor",
        type=int,
        default=1,
        metavar="N",
        help="negatives a group should keep; default: %(default)s",
    )
    policies = get_args(FloorPolicy)
    add("--floor-policy", choices=policies, default="keep", help="for groups with fewer; default: %(default)s")
    add("--method", choices=[m.value for m in Method], default=Method.ARHN.value, help="default: %(default)s")
    add(
        "--precision",
        type=float,
        metavar="P",
        help="act only where the calibration gives this precision, such as 0.9; below it the label stays",
    )
    add(
        "--ranker",
        choices=[r.value for r in Ranker],
        help="listwise: as in the paper; consistent: several shuffled orders vote; "
        f"pivot: each negative against the positive; default: {_default('ranker')}",
    )
    add("--rank-by", choices=[r.value for r in RankBy], help=f"what is compared; default: {_default('rank_by')}")
    add("--shuffles", type=positive, metavar="N", help=f"orders of 'consistent'; default: {_default('shuffles')}")
    add(
        "--stable",
        type=float,
        metavar="SHARE",
        help=f"share of the orders that must agree for a relabel; default: {_default('stable')}",
    )
    add(
        "--partial-positives",
        dest="fullness",
        action="store_false",
        default=None,
        help="also relabel negatives that answer a part of a query which the positive answers fully",
    )
    add("--decisions", type=Path, help="one line per passage; beside the output unless given")
    add("--summary", type=Path, help="counts of the run; beside the output unless given")
    add("--store", type=Path, help="the response store; beside the output unless given")
    add(
        "--calibration",
        type=Path,
        action="append",
        metavar="FILE",
        help="made by 'arhn calibrate'; looked up before the shipped ones",
    )
    add("--flag-model", metavar="MODEL", help="method rlhn: the cheaper model that is asked first")
    add("--margin", metavar="RULE[=X]", help="method margin: absolute, relative or perc, such as perc=0.95")
    add_limit(parser)
    add_judging(parser)


def _run(a: argparse.Namespace) -> None:
    from arhn import display, failures, job, records

    files = job.Files.beside(
        a.output, decisions=a.decisions, summary=a.summary, rejects=a.rejects, failures=a.failures, store=a.store
    )
    progress = records.Progress()
    cleaning = job.Job(
        input=a.input,
        files=files,
        config=config_of(a),
        format=a.from_format,
        to=a.to,
        split=a.split,
        limit=a.limit,
        on_bad_row=a.on_bad_row,
        overwrite=a.overwrite,
    )
    total = job.count(cleaning)
    with display.live(Console(stderr=True), progress, total) as on_group:
        content = job.run(cleaning, lambda stack: models_of(a, stack), progress=progress, on_group=on_group)
    out = console()
    display.closing_tables(out, content)
    # What there is only if it holds something.
    others = [Path(name) for what in ("rejects", "failures") if (name := content["files"][what])]
    for path in (files.output, files.decisions, files.summary, *others):
        out.print(str(path), soft_wrap=True)
    failures.require_few(content, a.max_failures)


def _default(setting: str) -> object:
    return CleanConfig.model_fields[setting].default
