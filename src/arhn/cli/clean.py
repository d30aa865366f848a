"""`arhn clean`: groups in, cleaned groups out."""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel
from rich.console import Console

from arhn.cleaning.config import CleanConfig, FloorPolicy, Method, RankBy, Ranker, RankerSettings
from arhn.cli.clustering import add_cluster, cluster_of
from arhn.cli.judging import add_judging, config_of, models_of
from arhn.cli.serving import add_limit
from arhn.cli.shared import FORMATS, Tasks, add_input, console, positive, task
from arhn.errors import UsageError
from arhn.types import Mode

if TYPE_CHECKING:
    from arhn.cleaning.run import Files
    from arhn.cluster.run import Cluster


def add(tasks: Tasks) -> None:
    parser = task(tasks, "clean", _run, "clean groups: relabel and filter their false negatives", resumes=True)
    add_input(parser)
    add = parser.add_argument
    add("--to", choices=FORMATS, help="the output's format; the input's unless given")
    add("--limit", type=positive, metavar="N", help="clean the first N groups only")
    add("--decisions", type=Path, help="one line per passage; beside the output unless given")
    add("--summary", type=Path, help="counts of the run; beside the output unless given")
    add("--store", type=Path, help="the response store; beside the output unless given")
    add_limit(parser)
    add_method(parser)
    add_judging(parser)
    add_cluster(parser)


def add_method(parser: argparse.ArgumentParser) -> None:
    """How decisions are made, beside what an answer's confidence hangs on (judging.py)."""
    add = parser.add_argument
    add(
        "--mode",
        choices=[mode.value for mode in Mode],
        default=Mode.RF.value,
        help="R relabels, F filters; default: %(default)s",
    )
    add(
        "--negatives",
        type=positive,
        metavar="N",
        help="use the first N negatives of a group; all unless given",
    )
    add(
        "--floor",
        type=int,
        metavar="N",
        help=f"negatives a group should keep; default: {_default('floor')}",
    )
    policies = get_args(FloorPolicy)
    add("--floor-policy", choices=policies, help=f"for groups with fewer; default: {_default('floor_policy')}")
    add("--method", choices=[m.value for m in Method], default=Method.ARHN.value, help="default: %(default)s")
    add(
        "--precision",
        type=float,
        metavar="P",
        help="act only where the calibration gives this precision, such as 0.9; below it the label stays",
    )
    add(
        "--triage",
        type=float,
        metavar="A",
        help="ask only about the likeliest negatives, by --flag-model or else by --similarity: as few as agree with "
        "asking about all on the share A of the negatives it was calibrated on, such as 0.98",
    )
    _add_ranker(parser)
    add(
        "--partial-positives",
        dest="fullness",
        action="store_false",
        default=None,
        help="also relabel negatives that answer a part of a query which the positive answers fully",
    )
    add(
        "--calibration",
        type=Path,
        action="append",
        metavar="FILE",
        help="made by 'arhn calibrate'; looked up before the shipped ones",
    )
    add("--margin", metavar="RULE[=X]", help="method margin: absolute, relative or perc, such as perc=0.95")


def _add_ranker(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--ranker",
        choices=[r.value for r in Ranker],
        help="listwise: as in the paper; consistent: several shuffled orders vote; "
        f"pivot: each negative against the positive; default: {_default('name', RankerSettings)}",
    )
    add(
        "--rank-by",
        choices=[r.value for r in RankBy],
        help=f"what is compared; default: {_default('by', RankerSettings)}",
    )
    add(
        "--shuffles",
        type=positive,
        metavar="N",
        help=f"orders of 'consistent'; default: {_default('shuffles', RankerSettings)}",
    )
    add(
        "--stable",
        type=float,
        metavar="SHARE",
        help=f"share of the orders that must agree for a relabel; default: {_default('stable', RankerSettings)}",
    )


def _run(a: argparse.Namespace) -> None:
    from arhn.cleaning import run as job
    from arhn.cleaning.run import failures
    from arhn.cleaning.run import view as display
    from arhn.files import remote

    given = {what: getattr(a, what) for what in ("decisions", "summary", "rejects", "failures", "store")}
    if remote.is_url(a.output) and a.ray is None and a.store is None:
        raise UsageError("--store: where do the LLM's answers go? Give a file on this machine")
    where = cluster_of(a)
    with job.placed(a.output, overwrite=a.overwrite, **given) as files:
        content = _cleaned(a, files, where)
    out = console()
    display.closing_tables(out, content)
    # What there is only if it holds something.
    others = [name for what in ("rejects", "failures") if (name := content["files"][what])]
    made = [files.urls.get(what) or str(getattr(files, what)) for what in ("output", "decisions", "summary")]
    for path in (*made, *others):
        out.print(path, soft_wrap=True)
    failures.require_few(content, a.max_failures)


def _cleaned(a: argparse.Namespace, files: Files, where: Cluster | None) -> dict[str, Any]:
    from arhn.cleaning import run as job
    from arhn.cleaning.run import tally
    from arhn.cleaning.run import view as display
    from arhn.cluster import run as on_cluster
    from arhn.files import remote

    progress = tally.Progress()
    cleaning = job.Job(
        input=remote.local_path(a.input),
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
    models = partial(models_of, a)
    with display.live(Console(stderr=True), progress, total) as on_group:
        if where is None:
            return job.run(cleaning, models, progress=progress, on_group=on_group)
        a.resumes = "Every finished partition is kept; the same command goes on from there"
        # Ray prints what befalls workers, whatever it is told about its logs.
        with redirect_stdout(sys.stderr):
            return on_cluster.run(cleaning, where, models, progress=progress, on_group=on_group)


def _default(setting: str, of: type[BaseModel] = CleanConfig) -> object:
    return of.model_fields[setting].default
