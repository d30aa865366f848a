"""What a data set format is: from a row to a `Draft` of a group, and from a group to rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from arhn.formats import ids
from arhn.types import Group, Passage

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Set

    from arhn.files.rows import Row
    from arhn.formats.origin import Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A group as one row gives it, before rows are joined and ids made unique.

    `line` is the row's, from 1; `query_id` is None where the format has none.
    """

    line: int
    query_id: str | None = None
    query: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]
    extra: Kept


class Format(Protocol):
    """What the module (or object) of a format has.

    `COLUMNS` are its fields, for a message. `POSITIVES` and `NEGATIVES` are the fields that an error names when a group
    has none. `HOLDS` is what of a group the format can hold besides its texts: of `query_id`, `doc_id`, `title`,
    `label`, `score`, `group fields`, `passage fields`, `groups without negatives`. `ROW_IS_GROUP`: no two rows are ever
    joined to one group. One may have `ROW_IS_PASSAGE`, true where a row holds one passage: then the rows of a group
    together must have a positive.
    """

    COLUMNS: str
    POSITIVES: str
    NEGATIVES: str
    HOLDS: frozenset[str]
    ROW_IS_GROUP: bool

    def fits(self, fields: Set[str]) -> bool:
        """Whether a row with these fields is of this format."""
        ...

    def parse(self, row: Row, line: int) -> Draft:
        """The draft of one row. Raises BadRow."""
        ...

    def join(self, drafts: Iterator[Draft]) -> Iterator[Draft]:
        """The drafts with those joined that are one group, reading ahead by one group at most."""
        ...

    def encode(self, group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[Row]:
        """The rows of `group`, none if the format can't hold it; what is left out is counted in `losses`.

        `like` are the fields of the file to resemble; () for the format's own.
        """
        ...


def keep_rows(drafts: Iterator[Draft]) -> Iterator[Draft]:
    """The `join` of a format with one row a group."""
    return drafts


def make_passage(text: str, extra: Kept) -> Passage:
    """A passage of a format without ids: its id is made from its text."""
    return Passage(doc_id=ids.make_doc_id(text), text=text, extra=extra)


__all__ = ["Draft", "Format", "keep_rows", "make_passage"]
