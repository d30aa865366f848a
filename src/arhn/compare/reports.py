"""A comparison with its files: JSON and a plot, whose places are checked before anything is computed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from arhn.compare import compare as comparing
from arhn.compare import plot
from arhn.compare.compare import Comparison
from arhn.compare.contenders import Contender
from arhn.files.atomic import AtomicFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Where the files go; None for none."""

    json: Path | None = None
    plot: Path | None = None
    overwrite: bool = False


def compare(contenders: tuple[Contender, ...], files: Files, **settings: Any) -> Comparison:
    """`compare.compare` with these settings, written to `files`, which appear together when all is done.

    Raises:
        UsageError: the plot's suffix isn't one of `plot.FORMATS`.
        MissingDependency: a plot is asked for and matplotlib isn't installed.
        OutputExists, OutputNotWritable, DiskFull: see `AtomicFile`.
        and what `compare.compare` raises.
    """
    if files.plot is not None:
        plot.require(files.plot)
    with ExitStack() as stack:
        json, drawing = (
            None if path is None else stack.enter_context(AtomicFile(path, overwrite=files.overwrite))
            for path in (files.json, files.plot)
        )
        comparison = comparing.compare(contenders, **settings)
        if json is not None:
            json.write(orjson.dumps(comparison.as_dict(), option=orjson.OPT_INDENT_2) + b"\n")
        if drawing is not None:
            drawing.write(plot.drawn(comparison, drawing.path.suffix))
    return comparison
