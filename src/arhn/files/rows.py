"""Checks on the fields of one row. Each raises `BadRow` naming the field, what is expected and what arrived.

Hand-written because a reader checks tens of passages a row; paths such as `neg[3]` are only made on failure.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any

from arhn.errors import BadRow

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

Row = dict[str, Any]

SHOWN = 60  # characters of a value that an error message shows
_NAMES = 20  # of fields that a message lists
_BITS = 1024  # of an integer whose digits are worth showing

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
    return f"{_KINDS.get(type(value), type(value).__name__)} {shorten(value)}"


def shorten(value: object, length: int = SHOWN) -> str:
    """The first `length` characters of `repr(value)`, and "…" if there are more.

    Only these are made: a value from outside may be of any size, and nested deeper than `repr` can go.
    """
    shown = ""
    for piece in _show(value, length + 1):
        shown += piece
        if len(shown) > length:
            return f"{shown[:length]}…"
    return shown


def _show(value: object, room: int) -> Iterator[str]:
    """`repr(value)` in pieces. Every level yields a character first, so that none is entered after the last shown."""
    if isinstance(value, str | bytes):
        yield repr(value[:room])[:-1]  # without its quotation mark at the end: there may be more
        if len(value) <= room:
            yield repr(value)[-1]
    elif isinstance(value, dict):
        yield "{"
        for index, (name, item) in enumerate(value.items()):
            yield ", " if index else ""
            yield from _show(name, room)
            yield ": "
            yield from _show(item, room)
        yield "}"
    elif isinstance(value, list):
        yield "["
        for index, item in enumerate(value):
            yield ", " if index else ""
            yield from _show(item, room)
        yield "]"
    elif type(value) is int and value.bit_length() > _BITS:
        yield f"of {value.bit_length():,} bits"
    else:
        yield repr(value)


def cut(text: str, length: int = 2 * SHOWN) -> str:
    """A text from outside that a message shows whole unless it is very long."""
    return text if len(text) <= length else f"{text[:length]}…"


def list_names(names: Collection[str]) -> str:
    """The names of fields, for a message: the first twenty, none at any length."""
    listed = ", ".join(cut(name, SHOWN) for name in islice(names, _NAMES))
    return (f"{listed}, …" if len(names) > _NAMES else listed) or "(none)"


def measure_depth(value: object) -> int:
    """How many lists and objects stand within each other; without recursion, since that is what has bounds."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth


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


def read_strings(row: Mapping[str, Any], field: str) -> list[str]:
    """The list of strings in `field`; blank ones are no mistake."""
    values = read_list(row, field)
    for index, value in enumerate(values):
        if type(value) is not str:
            raise BadRow(f"{field}[{index}]", "a string", describe_value(value))
    return values


def read_string(row: Mapping[str, Any], field: str) -> str:
    """The string in `field`, which may be blank."""
    value = row.get(field)
    if type(value) is not str:
        raise make_error(row, field, "a string")
    return value


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
