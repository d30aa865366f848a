"""`arhn calibrate`: confidences and thresholds, fitted on labelled groups."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from arhn.cli.judging import add_judging, config_of, models_of
from arhn.cli.shared import FORMATS, Tasks, console, positive, task


def add(tasks: Tasks) -> None:
    summary = "fit a model's confidences and thresholds on labelled groups"
    parser = task(tasks, "calibrate", _run, summary, resumes=True)
    add = parser.add_argument
    add("gold", type=Path, help="labels of negatives: a gold file, an LLM's verdicts, or decisions you trust")
    add("groups", help="the groups that they are of, in any format that 'arhn clean' reads")
    add("-o", "--output", type=Path, required=True, help="the calibration, JSON; give it to clean with --calibration")
    add("--from", dest="from_format", choices=FORMATS, help="the groups' format; detected unless given")
    add("--split", help="the split of a data set that has several")
    add("--limit", type=positive, metavar="N", help="use the first N labelled groups only")
    add("--negatives", type=positive, metavar="N", help="use the first N negatives of a group; all unless given")
    add("--store", type=Path, help="the response store; beside the output unless given")
    add("--overwrite", action="store_true", help="replace the output if it is there already")
    add_judging(parser)
    # What 'arhn clean' has beside these doesn't touch a confidence.
    unset = (
        "precision",
        "triage",
        "calibration",
        "ranker",
        "rank_by",
        "shuffles",
        "stable",
        "fullness",
        "margin",
        "mode",
    )
    parser.set_defaults(method="arhn", floor=None, floor_policy=None, **dict.fromkeys(unset))


def _run(a: argparse.Namespace) -> None:
    from arhn.calibrate import job as labelled
    from arhn.calibrate import view as calibration_view

    fitting = labelled.Fitting(
        gold=a.gold,
        groups=a.groups,
        output=a.output,
        store=a.store,
        format=a.from_format,
        split=a.split,
        limit=a.limit,
        overwrite=a.overwrite,
    )
    config = config_of(a, fitting=True)
    with calibration_view.live(Console(stderr=True)) as on_group:
        done = labelled.calibrate(fitting, config, lambda stack: models_of(a, stack), on_group=on_group)
    out = console()
    for fit in done.fits.values():
        out.print(calibration_view.fit_view(fit))
    for family, why in done.skipped.items():
        out.print(f"{family}: not calibrated, {why}", soft_wrap=True)
    out.print(str(a.output), soft_wrap=True)
