"""`arhn convert`: groups in another format."""

from __future__ import annotations

import argparse

from arhn.cli.shared import FORMATS, Tasks, add_input, console, task
from arhn.formats import detect


def add(tasks: Tasks) -> None:
    convert = task(tasks, "convert", _run, "write groups in another format")
    add_input(convert)
    convert.add_argument("--to", choices=FORMATS, help="the format to write; the input's unless given")


def _run(a: argparse.Namespace) -> None:
    from arhn.cleaning import run as job

    source = detect(a.input, split=a.split, format=a.from_format, skip_bad_rows=a.on_bad_row == "skip")
    target = a.to or source.format
    done = job.convert(source, a.output, target, rejects=a.rejects, on_bad_row=a.on_bad_row, overwrite=a.overwrite)
    out = console()
    out.print(f"{done.written} groups: {source.format} to {target}")
    for what, count in sorted(done.losses.items()):
        out.print(f"  {target} can't hold: {what} ({count})", soft_wrap=True)
    if done.rejected:
        out.print(f"  {done.rejected} rows rejected: {done.rejects}", soft_wrap=True)
