"""A comparison written to files: JSON and a plot, both opened before anything is computed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from arhn.compare import comparison as comparing
from arhn.compare import plot
from arhn.compare.comparison import Comparison
from arhn.compare.contenders import Contender
from arhn.files.apart import Named, require_apart
from arhn.files.atomic import AtomicFile, publish_together
from arhn.files.claims import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files to write; None for a file that isn't wanted. `inputs` are read: no output may replace one."""

    json: Path | None = None
    plot: Path | None = None
    overwrite: bool = False
    inputs: Named = field(default_factory=dict)


def compare(contenders: tuple[Contender, ...], files: Files, **settings: Any) -> Comparison:
    """Compare as `comparison.compare` does with these settings, and write `files`, which appear together at the end.

    Raises:
        UsageError: the plot's suffix isn't one of `plot.FORMATS`, or a file would replace results or the other.
        MissingDependency: a plot is wanted and matplotlib isn't installed.
        OutputExists, OutputNotWritable, DiskFull: see `AtomicFile`.
        what `comparison.compare` raises.
    """
    if files.plot is not None:
        plot.require(files.plot)
    require_apart(files.inputs, {"--json": files.json, "--plot": files.plot})
    written = [path for path in (files.json, files.plot) if path is not None]
    with ExitStack() as stack:
        claim = stack.enter_context(Claim(*written, overwrite=files.overwrite)) if written else False
        json, drawing = (
            None if path is None else stack.enter_context(AtomicFile(path, overwrite=claim))
            for path in (files.json, files.plot)
        )
        found = comparing.compare(contenders, **settings)
        if json is not None:
            json.write(orjson.dumps(found.as_dict(), option=orjson.OPT_INDENT_2) + b"\n")
        if drawing is not None:
            drawing.write(plot.draw(found, drawing.path.suffix))
        if isinstance(claim, Claim):
            publish_together([output for output in (drawing, json) if output is not None], claim)
    return found
