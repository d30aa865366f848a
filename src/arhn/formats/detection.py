"""Which format and container a file is in, by its content."""

from __future__ import annotations

import os
import re
import stat
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from arhn.errors import BadJson, BadRow, DataError, FileMissing, MixedFormats, NotUtf8, UnknownFormat, UsageError
from arhn.files import datasets as hub
from arhn.files import jsonl, parquet, remote
from arhn.files.jsonl import read_row
from arhn.files.record import locate
from arhn.files.rows import SHOWN, list_names
from arhn.formats import FORMATS
from arhn.formats.negative_list import holds_lists

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from arhn.files.record import Record
    from arhn.files.rows import Row

_HOLDS_IDS = re.compile(r"(doc(ument)?|passage|p|neg(ative)?s?|pos(itive)?s?)_?ids$")
_TRIES = 1000  # rows that may be bad before detection gives up

#: What to do about a bad row, and about a file that starts with too many.
CORRECT_OR_SKIP = "Correct the row, or set bad rows aside with --on-bad-row skip"
_ALL_BAD = f"None of the first rows is good (up to {_TRIES} were tried)"


class Container(StrEnum):
    """What rows are stored in. An unknown one raises UsageError."""

    JSONL = "jsonl"
    PARQUET = "parquet"
    DATASETS = "datasets"

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise UsageError(f"{value!r} is no container. There are: {', '.join(cls)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file of training groups: its format by name, and the `fields` of its first row in their order."""

    path: str
    format: str
    container: Container
    fields: tuple[str, ...]
    split: str | None = None

    def records(self) -> Iterator[Record]:
        """The rows, unchecked."""
        return _read_records(self.path, self.container, self.split)


def detect(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    format: str | None = None,  # noqa: A002  # the users' word
    skip_bad_rows: bool = False,
) -> Source:
    """The format and container of a file, here or in an object store, a folder saved by `datasets` or a data set
    `hf://org/name[:split]`.

    Args:
        path: where the groups are.
        split: the split of a data set that has several.
        format: the format to take it for, instead of the one that the first row's fields show.
        skip_bad_rows: go by the first row that is good rather than by the very first.

    Raises:
        FileMissing: there is no such file, or it can't be read.
        UnknownFormat: the file is empty or its rows fit no format.
        UsageError: a split of a plain file, an unknown one, or none of several; a format that there isn't.
        NotUtf8, BadJson, BadRow: the first row is no JSON object in UTF-8.
    """
    name = os.fspath(path)
    if format is not None:
        FORMATS.get(format)
    container = _detect_container(name)
    if split is not None and container is not Container.DATASETS:
        raise UsageError(f"{name}: is one file and has no split {split!r}. Leave --split out")
    with closing(_read_records(name, container, split)) as records:
        row, line = _first_row(records, name, _TRIES if skip_bad_rows else 1)
    known = format or find_format(row)
    if known is None:
        raise UnknownFormat(_describe_unknown(row), path=name, line=line)
    return Source(path=name, format=known, container=container, fields=tuple(row), split=split)


def find_format(row: Row) -> str | None:
    """The name of the first format that a row is of, by its fields; None if it is of none.

    Where columns hold lists of texts, as mteb's reranking sets do, the row is no triplet.
    """
    names = [name for name in FORMATS.names() if FORMATS.get(name).fits(row.keys())]
    if "negative_list" in names and holds_lists(row):
        return "negative_list"
    return names[0] if names else None


def _read_records(path: str, container: Container, split: str | None) -> Generator[Record]:
    if container is Container.DATASETS:
        return hub.read(path, split)
    place = remote.Remote(path) if remote.is_url(path) else Path(path)
    return parquet.read(place) if container is Container.PARQUET else jsonl.read(place)


def _detect_container(path: str) -> Container:
    if path.startswith(hub.SCHEME):
        return Container.DATASETS
    if remote.is_url(path):
        there = remote.Remote(path)
        there.check()
        with there.open() as file:
            return _detect_in_file(file)
    place = Path(path)
    try:
        mode = place.stat().st_mode
        if stat.S_ISDIR(mode):
            return _require_saved(place, path)
        if not stat.S_ISREG(mode):  # a pipe would be used up here
            raise FileMissing("isn't a regular file; save the groups to one, for they are read twice", path=path)
        with place.open("rb") as file:
            return _detect_in_file(file)
    except OSError as error:
        raise FileMissing(f"can't be read: {error.strerror}; check the path", path=path) from error


def _detect_in_file(file: BinaryIO) -> Container:
    return Container.PARQUET if file.read(len(parquet.MAGIC)) == parquet.MAGIC else Container.JSONL


def _require_saved(folder: Path, path: str) -> Container:
    if hub.is_saved(folder):
        return Container.DATASETS
    raise UnknownFormat("is a folder, but not one that datasets.save_to_disk made; name a file", path=path)


def _first_row(records: Iterator[Record], path: str, tries: int) -> tuple[Row, int]:
    """The first good row among `tries`, and its line."""
    failure: DataError = UnknownFormat("is empty; expected one training group a row", path=path)
    for record in islice(records, tries):
        try:
            row = read_row(record)
        except DataError as error:
            failure = locate(_explain_first_row(error, record), path, record.line)
            if not isinstance(failure, UnknownFormat):
                failure.advice = CORRECT_OR_SKIP if tries == 1 else _ALL_BAD
        else:
            if tries == 1 or find_format(row) is not None:
                return row, record.line
            failure = UnknownFormat(_describe_unknown(row), path=path, line=record.line)
    raise failure


def _explain_first_row(error: DataError, record: Record) -> DataError:
    """What a bad first row says about the whole file."""
    line = record.raw
    if not isinstance(line, bytes):
        return error
    if line.lstrip().startswith(b"["):  # a common mistake, on one line or on many
        return UnknownFormat("is a JSON array; expected one object a line (jq -c '.[]' makes it so)")
    if _is_no_json(error, line):
        return UnknownFormat(f"expected one JSON object a line, or Parquet, found {line[:SHOWN]!r}")
    return error


def _is_no_json(error: DataError, line: bytes) -> bool:
    """Whether a line isn't even broken JSON: a table, prose, an archive."""
    if isinstance(error, NotUtf8):
        return b"\0" in line and not line.startswith(jsonl.UTF16_BOMS)
    return isinstance(error, BadJson) and not line.lstrip().startswith(b"{")


def _describe_unknown(row: Row) -> str:
    ids = [name for name, value in row.items() if _HOLDS_IDS.search(name) or _is_list_of_ids(name, value)]
    if ids:
        return (
            f"{list_names(ids)} hold ids, and the texts are missing. Look them up first: arhn needs the texts of the "
            "query and its passages in the row"
        )
    allowed = "; ".join(f"{FORMATS.get(name).COLUMNS} ({name})" for name in FORMATS.names())
    return f"the fields {list_names(row)} fit no format; known are {allowed}. Rename them"


def _is_list_of_ids(name: str, value: object) -> bool:
    passages = name.startswith(("pos", "neg")) and isinstance(value, list) and bool(value)
    return passages and all(type(each) is int for each in value)  # type: ignore[attr-defined]


def explain_misfit(row: Row, expected: str, error: BadRow) -> DataError:
    """What is wrong with a bad row: it may be a good one of another format."""
    other = find_format(row)
    if other is None or other == expected or FORMATS.get(expected).fits(row.keys()):
        return error
    return MixedFormats(f"this row is {other}, but the file is {expected}; split it into one file a format")
