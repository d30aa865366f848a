"""From a group to the plain fields of formats that hold less; everything left out is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arhn.formats import ids

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterable

    from arhn.files.rows import Row
    from arhn.types import Extra, Group, Passage

NO_NEGATIVES = "groups without negatives"


def reduce_query(group: Group, losses: Counter[str]) -> str:
    """The query for a format without query ids; an id of the user's own is counted as lost."""
    if not ids.is_made_from(group.query_id, ids.make_query_id(group.query)):
        losses["query_id"] += 1
    return group.query


def reduce_passages(passages: Iterable[Passage], losses: Counter[str]) -> list[str]:
    """The texts for a format without ids and titles.

    A title goes in front of its text, joined by a space, as trainers of formats with titles do it.
    """
    return [_reduce_passage(passage, losses) for passage in passages]


def carry_fields(extra: Extra, taken: Collection[str], losses: Counter[str], what: str) -> Row:
    """The unknown fields that the format can take over; those whose name it uses itself are counted as lost."""
    fields: Row = {}
    for name, value in extra.items():
        if name in taken:
            losses[f"{what} {name}"] += 1
        else:
            fields[name] = value
    return fields


def count_dropped(extra: Extra, losses: Counter[str], what: str, but: Collection[str] = ()) -> None:
    """Count the unknown fields that are left out: all `but` those named."""
    losses.update(f"{what} {name}" for name in extra if name not in but)


def is_from_format(passage: Passage, name: str) -> bool:
    """Whether the passage was read from the format `name`, so that its unknown fields were columns there."""
    return getattr(getattr(passage.extra, "origin", None), "format", None) == name


def spread_columns(columns: dict[str, list[Any]], count: int) -> list[Row]:
    """Lists parallel to `count` passages as one set of fields a passage."""
    return [{name: values[index] for name, values in columns.items()} for index in range(count)]


def gather_field(passages: Collection[Passage], name: str) -> list[Any] | None:
    """The field `name` of all passages; None if one of them lacks it."""
    values = [passage.extra[name] for passage in passages if name in passage.extra]
    return values if len(values) == len(passages) else None


def _reduce_passage(passage: Passage, losses: Counter[str]) -> str:
    if not ids.is_made_from(passage.doc_id, ids.make_doc_id(passage.text)):
        losses["doc_id"] += 1
    if not passage.title:
        return passage.text
    losses["title"] += 1
    return f"{passage.title} {passage.text}"
