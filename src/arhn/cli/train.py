"""`arhn train`: groups in, a retriever or reranker out."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from arhn.cli import refreshing
from arhn.cli.shared import FORMATS, Tasks, console, positive, task

if TYPE_CHECKING:
    from arhn.train.preparation import Prepared


def add(tasks: Tasks) -> None:
    again = "The same command with --resume goes on from the last checkpoint"
    parser = task(tasks, "train", _run, "train a retriever or reranker on groups", resume_with=again)
    add = parser.add_argument
    add("input", help="a file of groups, a folder saved by datasets, or hf://org/name[:split]")
    add("-o", "--output", required=True, help="the folder of the model")
    add("--recipe", required=True, metavar="NAME", help="such as e5-base or tiny (docs/training.md), or a .toml file")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="in place of the recipe's")
    add("--model", help="a folder or hub name to start from, in place of the recipe's")
    add("--seed", type=int, metavar="N", help="in place of the recipe's")
    add(
        "--decisions", type=Path, help="what cleaning filtered, never a query's negative; beside the input unless given"
    )
    add("--no-decisions", action="store_true", help="don't look for decisions")
    add("--from", dest="from_format", choices=FORMATS, help="the input's format; detected unless given")
    add("--split", help="the split of a data set that has several")
    add("--limit", type=positive, metavar="N", help="train on the first N groups only")
    add("--on-bad-row", choices=("fail", "skip"), default="fail", help="default: %(default)s")
    add("--device", choices=("cpu", "cuda", "mps"), help="the best there is, unless given")
    add("--threads", type=positive, metavar="N", help="CPU threads; PyTorch's choice unless given")
    add("--resume", action="store_true", help="go on with a run that was stopped; do nothing where it is done")
    add("--overwrite", action="store_true", help="replace a model that is there already")
    add("--dry-run", action="store_true", help="check everything, show the plan, and train nothing")
    refreshing.add_refreshing(parser)


def _run(a: argparse.Namespace) -> None:
    from arhn.train.job import train
    from arhn.train.preparation import Training, prepare

    refresh = refreshing.refreshing_of(a)
    training = Training(
        groups=a.input,
        recipe=a.recipe,
        output=a.output,
        settings=(*a.settings, *([] if a.seed is None else [f"seed={a.seed}"])),
        model=a.model,
        decisions=a.decisions,
        use_decisions=not a.no_decisions,
        format=a.from_format,
        split=a.split,
        limit=a.limit,
        on_bad_row=a.on_bad_row,
        device=a.device,
        threads=a.threads,
        overwrite=a.overwrite,
        resume=a.resume,
    )
    prepared = prepare(training)
    negatives = None if refresh is None else refresh.negatives(training, prepared)
    first = os.environ.get("RANK", "0") == "0"
    if first:
        _show(prepared)
    if first and refresh and negatives:
        checked = refresh.checked(negatives)
        refreshing.show(console(), negatives, checked)
        prepared = replace(prepared, refreshing=checked)
    if a.dry_run:
        return
    from arhn.train.callbacks import ProgressLog

    record = train(training, prepared=prepared, on_epoch=negatives, on_log=ProgressLog(prepared))
    if first:
        console().print(f"{record.steps} steps in {record.seconds:,.0f} s: {a.output}", soft_wrap=True)


def _show(run: Prepared) -> None:
    """What a run is about to do, in a few lines."""
    counts, schedule, out = run.store.counts, run.schedule, console()
    left_out = {
        "with too few negatives": counts.no_negatives,
        "bad rows": run.rejected,
    }
    said = "".join(f", {number:,} {what}" for what, number in left_out.items() if number)
    out.print(f"{counts.used:,} groups{said}; {counts.positives:,} positives, {counts.negatives:,} negatives")
    if counts.contradicted or counts.filtered:
        out.print(
            f"{counts.filtered:,} passages were filtered by cleaning; {counts.contradicted:,} negatives are left out "
            "because they are positives of their query, or were filtered from it"
        )
    if counts.sets:
        out.print(f"data sets: {', '.join(f'{name} ({n:,})' for name, n in counts.sets.most_common())}", soft_wrap=True)
    out.print(
        f"recipe {run.recipe.name}: {run.recipe.model} on {run.device}; {run.recipe.epochs} epochs of "
        f"{schedule.steps:,} steps, up to {run.recipe.batch:,} queries a step; groups take "
        f"{run.store.bytes / 2**20:,.1f} MiB",
        soft_wrap=True,
    )
