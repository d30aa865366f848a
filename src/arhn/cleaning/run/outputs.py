"""The files of one run, published together."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from arhn.cleaning.run.files import Files
from arhn.cleaning.run.records import make_decision_rows
from arhn.files.atomic import AtomicFile, Output
from arhn.files.jsonl import JsonlFile, JsonlIfAny
from arhn.formats import Format, GroupWriter, Source
from arhn.types import CleanedGroup


class Outputs:
    """The files of one run, all aborted at the end of `stack` unless published.

    Args:
        to: the format of the groups.
        like: see `GroupWriter`.

    Raises:
        OutputExists, OutputNotWritable, DiskFull: see `AtomicFile`.
    """

    def __init__(self, files: Files, to: Format, like: Source, stack: ExitStack, *, overwrite: bool) -> None:
        self._files = files
        # What a run that was killed while publishing left under its own name is replaced.
        self._replaceable = _journalled(files.journal) if not overwrite else None
        self.groups = GroupWriter(files.output, to, like=like, overwrite=self._may_replace(files.output))
        stack.callback(self.groups.abort)
        self._decisions = JsonlFile(files.decisions, overwrite=self._may_replace(files.decisions))
        stack.callback(self._decisions.abort)
        self._summary = AtomicFile(files.summary, overwrite=self._may_replace(files.summary))
        stack.callback(self._summary.abort)
        self.rejects = JsonlIfAny(files.rejects, overwrite=self._may_replace(files.rejects))
        stack.callback(self.rejects.abort)
        self.failures = JsonlIfAny(files.failures, overwrite=self._may_replace(files.failures))
        stack.callback(self.failures.abort)

    def write(self, cleaned: CleanedGroup) -> None:
        """Write a group and its decisions; raises DiskFull."""
        for row in make_decision_rows(cleaned):
            self._decisions.write(row)
        if not cleaned.dropped:
            self.groups.write(cleaned.cleaned)

    def publish(self, content: dict[str, Any]) -> None:
        """Put every file in its place, the cleaned groups last: they are there only when all of it is."""
        self._summary.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        outputs: list[Output] = [self.rejects, self.failures, self._decisions, self._summary, self.groups]
        for output in outputs:
            output.prepare()
        files = self._files
        with AtomicFile(files.journal, overwrite=True) as journal:
            published = (files.rejects, files.failures, files.decisions, files.summary, files.output)
            journal.write(orjson.dumps([_real(p) for p in published]))
        try:
            for output in outputs:
                output.publish()
        except Exception:
            # The journal is for a process that was stopped. A failure in a living one is reported, and then nothing is
            # to be replaced that the user didn't ask for.
            files.journal.unlink(missing_ok=True)
            raise
        files.journal.unlink(missing_ok=True)

    def _may_replace(self, path: str | Path) -> bool:
        return self._replaceable is None or _real(path) in self._replaceable


def _real(path: str | Path) -> str:
    return os.path.realpath(path)


def _journalled(path: Path) -> frozenset[str]:
    try:
        return frozenset(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # none, or not what a run wrote
        return frozenset()
