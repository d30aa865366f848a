"""The files of a collection: queries, passages and qrels as JSON lines, Parquet, tab-separated or TREC.

They may be plain or compressed with gzip or Zstandard. The container is detected from a file's content. Each reader
yields the line number (from 1; for Parquet the row number) with what it read, so that an error can name the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from arhn.errors import BadJson, BadRow, DataError, FileMissing, NotUtf8, UnknownFormat
from arhn.files import jsonl, parquet, rows
from arhn.files.compression import BrokenStream, read_chunks
from arhn.files.jsonl import read_row
from arhn.files.record import Record, locate
from arhn.files.rows import Row
from arhn.types import Passage

#: Names of columns in BEIR, MTEB on the hub, Tevatron, Pyserini and DPR; the first of them that a row has is used.
DOC_IDS = ("_id", "doc_id", "docid", "id", "corpus-id", "pid")
QUERY_IDS = ("_id", "query_id", "query-id", "qid", "id")
TEXTS = ("text", "contents", "passage", "body")
QUERIES = ("text", "query", "question")
GRADES = ("score", "relevance", "label", "rel", "grade")

_HIGHEST = 2**31 - 1
_GRADE = f"a whole number up to {_HIGHEST:,}"
_LONGEST = 400
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?")

#: The advice beside an error in a row, and the message for a file without rows.
ADVICE = "Correct the row"
EMPTY = "is empty"


class Judgement(NamedTuple):
    """A line of qrels. A grade above 0 means relevant, 0 or below means judged and not relevant."""

    line: int
    query_id: str
    doc_id: str
    grade: int


def read_passages(path: Path) -> Iterator[tuple[int, Passage]]:
    """Read the passages of a corpus, each with its line. A text may be empty; a missing title becomes "".

    JSON lines and Parquet need an id and a text (`DOC_IDS`, `TEXTS`) and may have a `title`. Tab-separated files have
    a header line with such names, or two columns: id and text.

    Raises:
        FileMissing: the file can't be read.
        UnknownFormat: it is empty, or isn't one of these containers.
        NotUtf8, BadJson, BadRow: a row is malformed, or a compressed or Parquet file is cut off.
    """
    for line, row in _read_rows(path, (DOC_IDS[0], TEXTS[0])):
        with _naming_line(path, line):
            yield line, parse_passage(row)


def parse_passage(row: Row) -> Passage:
    """The passage in one row. Raises BadRow: a field is missing, or isn't a string."""
    title = row.get("title")
    if title is not None and type(title) is not str:
        raise rows.make_error(row, "title", "a string")
    return Passage(doc_id=_parse_identifier(row, DOC_IDS), text=_parse_string(row, TEXTS), title=title or "")


def read_queries(path: Path) -> Iterator[tuple[int, str, str]]:
    """Read queries: line, query_id and text of each. Columns are `QUERY_IDS` and `QUERIES`.

    Containers and errors are those of `read_passages`.
    """
    for line, row in _read_rows(path, (QUERY_IDS[0], QUERIES[0])):
        with _naming_line(path, line):
            yield line, _parse_identifier(row, QUERY_IDS), _parse_string(row, QUERIES)


def read_qrels(path: Path) -> Iterator[Judgement]:
    """Read the judgements in a file.

    The file is one of: tab-separated with BEIR's three columns, with or without a header; TREC's four columns
    separated by blanks (query_id, unused, doc_id, grade); JSON lines or Parquet with `query-id`, `corpus-id`, `score`.

    Raises:
        as `read_passages`; BadRow also where a grade isn't a whole number.
    """
    if _detect_container(path) == "text":
        yield from _read_text_qrels(path)
        return
    for line, row in _read_rows(path, ()):
        with _naming_line(path, line):
            query_id = _parse_identifier(row, QUERY_IDS[1:])  # `_id` would be the row's own id
            yield Judgement(line, query_id, _parse_identifier(row, DOC_IDS[1:]), _parse_grade(row))


# --- Rows of any container ------------------------------------------------------------------------


def _read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    """Rows with their lines. `columns` are the names to use for a tab-separated file without a header."""
    container = _detect_container(path)
    if container == "text":
        yield from _read_tsv(path, columns)
        return
    records: Iterator[Record] = parquet.read(path) if container == "parquet" else jsonl.read(path)
    for record in records:
        with _naming_line(path, record.line):
            yield record.line, read_row(record)


def _detect_container(path: Path) -> str:
    """`parquet`, `jsonl` or `text`, from the first bytes that aren't blank."""
    if not path.is_file():
        reason = "is a folder; name a file" if path.is_dir() else "there is no such file; check the path"
        raise FileMissing(reason, path=str(path))
    try:
        with closing(read_chunks(path)) as pieces:
            start = b"".join(islice(pieces, 2)).removeprefix(b"\xef\xbb\xbf").lstrip()
    except BrokenStream as error:
        raise BadJson(f"{error}", path=str(path), line=1) from error
    if not start:
        raise UnknownFormat(EMPTY, path=str(path))
    if start.startswith(parquet.MAGIC):
        return "parquet"
    if start.startswith(b"["):
        raise UnknownFormat("is a JSON array; expected one object a line (jq -c '.[]' converts it)", path=str(path))
    return "jsonl" if start.startswith(b"{") else "text"


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that aren't blank."""
    for record in jsonl.read(path):
        try:
            yield record.line, record.raw.decode().rstrip("\r\n")  # type: ignore[union-attr]  # always bytes
        except UnicodeDecodeError as error:
            raise NotUtf8("isn't UTF-8; save the file as UTF-8", path=str(path), line=record.line) from error


def _read_tsv(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    lines = _read_lines(path)
    first = next(lines)
    names = first[1].split("\t")
    if not _is_header(names):
        names, lines = list(columns), chain([first], lines)
    for line, text in lines:
        fields = text.split("\t")
        if len(fields) != len(names):
            found = f"{len(fields)} in {text[: rows.SHOWN]!r}"
            raise BadRow(
                "row", f"{len(names)} fields between tabs ({', '.join(names)})", found, path=str(path), line=line
            )
        yield line, dict(zip(names, fields, strict=True))


def _is_header(fields: list[str]) -> bool:
    """Whether a first line holds names of columns, and not a row."""
    return bool({*DOC_IDS, *QUERY_IDS} & {*fields}) and bool({*TEXTS, *QUERIES, *GRADES} & {*fields})


# --- Qrels as text --------------------------------------------------------------------------------


def _read_text_qrels(path: Path) -> Iterator[Judgement]:
    for number, (line, text) in enumerate(_read_lines(path)):
        fields = text.split("\t") if text.count("\t") == 2 else text.split()
        if number == 0 and len(fields) == 3 and _read_grade(fields[2]) is None and not _NUMBER.fullmatch(fields[2]):
            continue  # BEIR's header
        if len(fields) not in (3, 4):
            expected = "query_id, doc_id and grade between tabs, or TREC's four columns"
            raise BadRow("row", expected, repr(text[: rows.SHOWN]), path=str(path), line=line)
        grade = _read_grade(fields[-1])
        if grade is None:
            raise BadRow("grade", _GRADE, rows.shorten(fields[-1]), path=str(path), line=line)
        yield Judgement(line, fields[0], fields[-2], grade)


def _read_grade(value: object) -> int | None:
    """A whole number in any form, within bounds; None where it is anything else."""
    if type(value) is str and len(value) < _LONGEST and _NUMBER.fullmatch(value):
        value = float(value)
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and abs(value) <= _HIGHEST else None


# --- Fields ---------------------------------------------------------------------------------------


def _parse_identifier(row: Row, names: tuple[str, ...]) -> str:
    return rows.read_id(row, _find_column(row, names))


def _parse_string(row: Row, names: tuple[str, ...]) -> str:
    name = _find_column(row, names)
    value = row.get(name)
    if type(value) is not str:
        raise rows.make_error(row, name, "a string")
    return value


def _parse_grade(row: Row) -> int:
    name = _find_column(row, GRADES)
    grade = _read_grade(row.get(name))
    if grade is None:
        raise rows.make_error(row, name, _GRADE)
    return grade


def _find_column(row: Row, names: tuple[str, ...]) -> str:
    """The first of `names` that the row has. Raises BadRow, which lists `names` and the fields of the row."""
    for name in names:
        if name in row:
            return name
    raise BadRow(names[0], f"a field named {' or '.join(names)}", f"the fields {rows.list_names(row)}")


class _naming_line:  # noqa: N801  # a context manager used like a function; a generator would be slow for each row
    """Adds the file and the line to an error raised in the block."""

    __slots__ = ("_line", "_path")

    def __init__(self, path: Path, line: int) -> None:
        self._path, self._line = path, line

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, DataError) and error.path is None:
            locate(error, str(self._path), self._line, ADVICE)
