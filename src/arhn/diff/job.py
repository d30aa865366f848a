"""`arhn diff` from file to file: changes as Markdown, JSON lines or CSV."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from arhn.cleaning.run.finished import FinishedRun
from arhn.diff.changes import Change, Wanted
from arhn.diff.rendering import WRITERS
from arhn.files.apart import require_apart
from arhn.files.atomic import AtomicFile


def count_wanted(run: FinishedRun, wanted: Wanted) -> int | None:
    """How many decisions of a run are wanted, where its summary says it; else None."""
    if wanted.confidence is not None or wanted.subset is not None or wanted.sample is not None:
        return None
    labels = [run.summary.get(label, {}) for label in ("positives", "negatives")]
    if wanted.reasons and wanted.actions:
        return None
    what, names = ("reason", wanted.reasons) if wanted.reasons else ("action", wanted.actions or {"relabel", "filter"})
    return sum(int(counts.get(what, {}).get(name, 0)) for counts in labels for name in names)


def write(run: FinishedRun, changes: Iterable[Change], name: str, output: Path | None, *, overwrite: bool) -> None:
    """Write changes to a file, whole or not at all, or to standard output.

    Args:
        name: of the format, one of `WRITERS`.

    Raises:
        ArhnError: as `find_changes`; the file can't be written, or would replace what is read.
    """
    pieces = WRITERS[name](changes)
    if output is None:
        for piece in pieces:
            sys.stdout.write(piece)
        return
    require_apart(run.inputs, {"--output": output})
    with AtomicFile(output, overwrite=overwrite) as file:
        for piece in pieces:
            file.write(piece.encode(errors="backslashreplace"))
