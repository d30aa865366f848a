"""What a reader remembers of a record so that its writer can restore it.

That is the `extra` of groups and passages, a `Kept`: a read-only mapping of the unknown fields. How the record looked
(the order of its fields, an id that was an integer, a title that was absent) is in its `origin`, where no other
format's writer can take it for a field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from arhn.types import Extra


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record came from.

    `fields` are its field names in their order. `raw` holds the values of fields that the object holds in
    another form (an id that was an integer, say).
    """

    format: str
    fields: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        # Partitions of a cluster's work are found by a hash of it: as it was when formats were an enumeration.
        name = f"<Format.{self.format.upper()}: {self.format!r}>"
        return f"Origin(format={name}, fields={self.fields!r}, raw={self.raw!r})"


class Kept(Mapping[str, Any]):
    """Unknown fields of a record, with their origin. Immutable; `kept | fields` keeps the origin."""

    __slots__ = ("_fields", "origin")

    def __init__(self, fields: Mapping[str, Any], origin: Origin) -> None:
        self._fields = dict(fields)
        self.origin = origin

    def __getitem__(self, key: str) -> Any:
        return self._fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __or__(self, fields: Mapping[str, Any]) -> Kept:
        return Kept({**self._fields, **fields}, self.origin)

    def __repr__(self) -> str:
        return f"Kept({self._fields!r}, {self.origin!r})"


def keep(name: str, fields: tuple[str, ...], extra: Mapping[str, Any], raw: Mapping[str, Any] | None = None) -> Kept:
    """The unknown fields `extra` of a record of the format `name` that had `fields`."""
    if extra or raw:
        return Kept(extra, Origin(name, fields, raw or {}))
    return _share_empty(name, fields)


def find_origin(extra: Extra, name: str) -> Origin:
    """The origin if the record came from the format `name`, else one that remembers nothing."""
    if isinstance(extra, Kept) and extra.origin.format == name:
        return extra.origin
    return Origin(name)


def order_fields(row: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    """`row` with its fields in the order of `fields`; those not named there come last."""
    if tuple(row) == fields:
        return row
    return {name: row[name] for name in fields if name in row} | row


@lru_cache(maxsize=1024)
def _share_empty(name: str, fields: tuple[str, ...]) -> Kept:
    """One shared object for the millions of passages that have no unknown fields."""
    return Kept({}, Origin(name, fields))
