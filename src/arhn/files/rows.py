"""Checks on the fields of one row. Each raises `BadRow` naming the field, what is expected and what arrived.

Hand-written because a reader checks tens of passages a row; paths such as `neg[3]` are only made on failure.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from arhn.errors import BadRow

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = dict[str, Any]

SHOWN = 60  # characters of a value that an error message shows

_KINDS: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def describe_value(value: object) -> str:
    """How an error message shows `value`: its type and a shortened repr."""
    if value is None:
        return "null"
    shown = repr(value)
    if len(shown) > SHOWN:
        shown = f"{shown[:SHOWN]}…"
    return f"{_KINDS.get(type(value), type(value).__name__)} {shown}"


def make_error(row: Mapping[str, Any], field: str, expected: str) -> BadRow:
    """The error for a field that is missing or isn't what is expected."""
    return BadRow(field, expected, describe_value(row[field]) if field in row else "no such field")


def prefix_error(error: BadRow, prefix: str) -> BadRow:
    """`error`, found in the part `prefix` of the row."""
    field = f"{prefix}.{error.field}" if error.field else prefix
    return BadRow(field, error.expected, error.arrived)


def read_text(row: Mapping[str, Any], field: str) -> str:
    """The non-blank string in `field`."""
    value = row.get(field)
    if type(value) is not str or not value.strip():
        raise make_error(row, field, "a non-empty string")
    return value


def read_list(row: Mapping[str, Any], field: str) -> list[Any]:
    """The list in `field`."""
    value = row.get(field)
    if type(value) is not list:
        raise make_error(row, field, "a list")
    return value


def read_texts(row: Mapping[str, Any], field: str) -> list[str]:
    """The list of non-blank strings in `field`."""
    values = read_list(row, field)
    for index, value in enumerate(values):
        if type(value) is not str or not value.strip():
            raise BadRow(f"{field}[{index}]", "a non-empty string", describe_value(value))
    return values


def read_numbers(row: Mapping[str, Any], field: str, count: int) -> list[float]:
    """The list of `count` finite numbers in `field`."""
    values = read_list(row, field)
    for index, value in enumerate(values):
        if not is_number(value):
            raise BadRow(f"{field}[{index}]", "a finite number", describe_value(value))
    if len(values) != count:
        raise BadRow(field, f"{count} numbers, one a passage", f"{len(values)}")
    return values


def read_id(row: Mapping[str, Any], field: str) -> str:
    """The id in `field`; an integer is taken as its decimal digits."""
    value = row.get(field)
    if type(value) is int:
        return str(value)
    if type(value) is not str or not value:
        raise make_error(row, field, "a non-empty string or an integer")
    return value


def is_number(value: object) -> bool:
    """Whether `value` is a finite number (a boolean isn't one)."""
    return type(value) is int or (type(value) is float and math.isfinite(value))


def are_numbers(values: object, count: int) -> bool:
    """Whether `values` is a list of `count` finite numbers."""
    return isinstance(values, list) and len(values) == count and all(map(is_number, values))


def drop_known(row: Row, known: frozenset[str]) -> Row:
    """The fields of `row` that aren't `known`."""
    if len(row) == len(known) and row.keys() == known:
        return {}
    return {name: value for name, value in row.items() if name not in known}
