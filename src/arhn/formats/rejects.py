"""Rows that were left out, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

OnReject = Callable[["Reject"], None]


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was left out. `row` is the line as it stood; what isn't UTF-8 in it is shown as `\\xff`."""

    path: str
    line: int
    error: str
    row: str
