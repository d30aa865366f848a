"""A group as one row gives it, before rows are joined and ids made unique; and what a format has to offer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn, Protocol

from arhn.errors import UsageError
from arhn.formats import ids
from arhn.types import Group, Passage

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Set

    from arhn.files.rows import Row
    from arhn.formats.kept import Kept


class Choice(StrEnum):
    """Names that a user can choose from. An unknown one raises UsageError."""

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise UsageError(f"{value!r} is no {cls.__name__.lower()}; known are {', '.join(cls)}")


class Format(Choice):
    """The formats of training groups that arhn reads and writes."""

    TEVATRON = "tevatron"
    FLAGEMBEDDING = "flagembedding"
    LABELED_LIST = "labeled_list"
    NTUPLE = "ntuple"
    TRIPLET = "triplet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A group in the making. `query_id` is None where the format has none."""

    line: int
    query_id: str | None = None
    query: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]
    extra: Kept


class Codec(Protocol):
    """What the module of a format offers.

    `POSITIVES` and `NEGATIVES` are the fields that an error names when a group has none. `HOLDS` is what of
    a group the format can hold besides its texts. `COLUMNS` are its fields, for a message.
    """

    NAME: Format
    COLUMNS: str
    POSITIVES: str
    NEGATIVES: str
    HOLDS: frozenset[str]

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


def each_row(drafts: Iterator[Draft]) -> Iterator[Draft]:
    """The `join` of a format with one row a group."""
    return drafts


def passage(text: str, extra: Kept) -> Passage:
    """A passage of a format without ids: its id is made from its text."""
    return Passage(doc_id=ids.doc_id(text), text=text, extra=extra)
