"""A comparison written to files: JSON and a plot, both opened before anything is computed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from arhn.compare import comparison as comparing
from arhn.compare import plot
from arhn.compare.comparison import Comparison
from arhn.compare.contenders import Contender
from arhn.files.atomic import AtomicFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files to write; None for a file that isn't wanted."""

    json: Path | None = None
    plot: Path | None = None
    overwrite: bool = False


def compare(contenders: tuple[Contender, ...], files: Files, **settings: Any) -> Comparison:
    """Compare as `comparison.compare` does with these settings, and write `files`, which appear together at the end.

    Raises:
        UsageError: the plot's suffix isn't one of `plot.FORMATS`.
        MissingDependency: a plot is wanted and matplotlib isn't installed.
        OutputExists, OutputNotWritable, DiskFull: see `AtomicFile`.
        what `comparison.compare` raises.
    """
    if files.plot is not None:
        plot.require(files.plot)
    with ExitStack() as stack:
        json, drawing = (
            None if path is None else stack.enter_context(AtomicFile(path, overwrite=files.overwrite))
            for path in (files.json, files.plot)
        )
        found = comparing.compare(contenders, **settings)
        if json is not None:
            json.write(orjson.dumps(found.as_dict(), option=orjson.OPT_INDENT_2) + b"\n")
        if drawing is not None:
            drawing.write(plot.draw(found, drawing.path.suffix))
    return found
