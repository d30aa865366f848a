"""Requests that failed for good: a file of them, and a limit on their share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from arhn.asking import Failure
from arhn.errors import TooManyFailures
from arhn.formats import AtomicFile, JsonlFile, Output
from arhn.formats.atomic import output_errors

#: Share of a run's requests that may get no answer.
USUAL_LIMIT = 0.01


class Failures(Output):
    """A file of failures, JSON lines, that appears only if there is one."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        self._path = path
        self._overwrite = overwrite
        self._file: JsonlFile | None = None
        self.count = 0
        # What is wrong with the place is found now rather than at the first failure, hours later.
        AtomicFile(path, overwrite=overwrite).abort()

    def add(self, failure: Failure) -> None:
        self.count += 1
        if self._file is None:
            self._file = JsonlFile(self._path, overwrite=self._overwrite)
        self._file.write(asdict(failure))

    def _prepare(self) -> None:
        if self._file is not None:
            self._file.prepare()

    def _publish(self) -> None:
        if self._file is not None:
            self._file.publish()
        elif self._overwrite:
            # An earlier run's failures aren't this one's.
            with output_errors(self._path):
                self._path.unlink(missing_ok=True)

    def _abort(self) -> None:
        if self._file is not None:
            self._file.abort()


def require_few(content: Mapping[str, Any], limit: float) -> None:
    """Refuse a run of which too many requests got no answer.

    Args:
        content: of summary.json.
        limit: their share of all requests, in [0, 1].

    Raises:
        TooManyFailures: there are more.
    """
    stages = content["llm"].values()
    failed, requests = (sum(stage[what] for stage in stages) for what in ("failed", "requests"))
    if not failed or failed <= limit * requests:
        return
    raise TooManyFailures(
        f"{failed} of {requests} requests got no answer ({failed / requests:.1%}, allowed are {limit:.1%}): "
        f"{content['files']['failures']}. The outputs are written, and the labels that hung on them are as they were. "
        "The same command with --overwrite asks only these again; --max-failures allows more"
    )


__all__ = ["USUAL_LIMIT", "Failures", "require_few"]
