"""The files of one run, published together."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import orjson

from arhn.cleaning.run.files import Files
from arhn.cleaning.run.records import make_decision_rows
from arhn.cleaning.run.teacher_scores import Scored, require_scores, set_scores
from arhn.files.atomic import AtomicFile, Output, publish_together
from arhn.files.claims import Claim
from arhn.files.jsonl import JsonlFile, JsonlIfAny
from arhn.formats import GroupWriter, Source
from arhn.types import CleanedGroup


class Outputs:
    """The files of one run, all aborted at the end of `stack` unless published.

    Args:
        to: the format of the groups.
        like: see `GroupWriter`.
        scores: what is written as each passage's score, if anything.

    Raises:
        UsageError: scores in a format that has no place for them.
        OutputExists, OutputLocked, OutputNotWritable, DiskFull: see `AtomicFile`.
    """

    def __init__(
        self, files: Files, to: str, like: Source, stack: ExitStack, *, overwrite: bool, scores: Scored | None = None
    ) -> None:
        if scores is not None:
            require_scores(to)
        self._scores = scores
        written = (files.output, files.decisions, files.summary, files.rejects, files.failures)
        self._claim = claim = stack.enter_context(Claim(*written, overwrite=overwrite))
        self.groups = GroupWriter(files.output, to, like=like, overwrite=claim)
        stack.callback(self.groups.abort)
        self._decisions = JsonlFile(files.decisions, overwrite=claim)
        stack.callback(self._decisions.abort)
        self._summary = AtomicFile(files.summary, overwrite=claim)
        stack.callback(self._summary.abort)
        self.rejects = JsonlIfAny(files.rejects, overwrite=claim)
        stack.callback(self.rejects.abort)
        self.failures = JsonlIfAny(files.failures, overwrite=claim)
        stack.callback(self.failures.abort)

    def write(self, cleaned: CleanedGroup) -> None:
        """Write a group and its decisions; raises DiskFull."""
        for row in make_decision_rows(cleaned):
            self._decisions.write(row)
        if not cleaned.dropped:
            scores = self._scores
            self.groups.write(set_scores(cleaned, scores, self.groups.losses) if scores else cleaned.cleaned)

    def publish(self, content: dict[str, Any]) -> None:
        """Put every file in its place, the cleaned groups last: they are there only when all of it is."""
        self._summary.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        outputs: list[Output] = [self.rejects, self.failures, self._decisions, self._summary, self.groups]
        publish_together(outputs, self._claim)
