"""Rows as a container gives them, before they are checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from arhn.errors import DataError


class Record(NamedTuple):
    """One row: the line of a JSON file, or the fields of a Parquet or Arrow row (nulls left out).

    `line` counts from 1.
    """

    line: int
    raw: bytes | dict[str, Any]


def drop_nulls(value: Any) -> Any:
    """`value` with the fields of objects that are null left out: Arrow can't tell these from absent ones."""
    if type(value) is dict:
        return {name: drop_nulls(item) for name, item in value.items() if item is not None}
    if type(value) is list:
        return [drop_nulls(item) for item in value]
    return value


def locate(error: DataError, path: str, line: int, advice: str = "") -> DataError:
    """`error` with the place it occurred in, and what to do about it."""
    error.path, error.line, error.advice = path, line, advice
    return error
