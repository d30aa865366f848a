"""Queries, passages and qrels from files: JSON lines, Parquet, tab-separated and TREC; plain, gzip or Zstandard.

Containers are told apart by their content. Each reader yields the line (from 1; a row number for Parquet) with
what it read, so that whoever finds something wrong can say where.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from arhn.errors import BadJson, BadRow, DataError, FileMissing, NotUtf8, UnknownFormat
from arhn.files import jsonl, parquet, rows
from arhn.files.compression import BrokenStream, chunks
from arhn.files.jsonl import row_of
from arhn.files.records import Record, located
from arhn.files.rows import Row
from arhn.types import Passage

#: Names of columns, as BEIR, MTEB on the hub, Tevatron, Pyserini and DPR have them; the first that a row has counts.
DOC_IDS = ("_id", "doc_id", "docid", "id", "corpus-id", "pid")
QUERY_IDS = ("_id", "query_id", "query-id", "qid", "id")
TEXTS = ("text", "contents", "passage", "body")
QUERIES = ("text", "query", "question")
GRADES = ("score", "relevance", "label", "rel", "grade")

#: What to do about a bad row, and what is said of a file without any.
ADVICE = "Correct the row"
EMPTY = "is empty"


class Judgement(NamedTuple):
    """A line of qrels: above 0 is relevant, 0 and below is judged and not."""

    line: int
    query_id: str
    doc_id: str
    grade: int


def passages(path: Path) -> Iterator[tuple[int, Passage]]:
    """The passages of a corpus. A text may be empty; a missing title is empty.

    JSON lines and Parquet need an id and a text (`DOC_IDS`, `TEXTS`), and may have `title`. Tab-separated files
    have a line with such names, or two columns, id and text.

    Raises:
        FileMissing: the file can't be read.
        UnknownFormat: it is empty or isn't one of these containers.
        NotUtf8, BadJson, BadRow: a row isn't well-formed, or a compressed or Parquet file ends early.
    """
    for line, row in _rows(path, (DOC_IDS[0], TEXTS[0])):
        with _at(path, line):
            yield line, passage_of(row)


def passage_of(row: Row) -> Passage:
    """The passage of one row. Raises BadRow."""
    title = row.get("title")
    if title is not None and type(title) is not str:
        raise rows.bad(row, "title", "a string")
    return Passage(doc_id=_identifier(row, DOC_IDS), text=_string(row, TEXTS), title=title or "")


def queries(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, query_id and text of each query. Containers and errors as for `passages` (`QUERY_IDS`, `QUERIES`)."""
    for line, row in _rows(path, (QUERY_IDS[0], QUERIES[0])):
        with _at(path, line):
            yield line, _identifier(row, QUERY_IDS), _string(row, QUERIES)


def qrels(path: Path) -> Iterator[Judgement]:
    """The judgements of a file.

    Tab-separated with BEIR's three columns (a line of names first, or none), TREC's four columns between blanks
    (query_id, unused, doc_id, grade), or JSON lines or Parquet with `query-id`, `corpus-id` and `score`.

    Raises: as `passages`; BadRow also where a grade isn't a whole number.
    """
    if _container(path) == "text":
        yield from _judgement_lines(path)
        return
    for line, row in _rows(path, ()):
        with _at(path, line):
            query_id = _identifier(row, QUERY_IDS[1:])  # `_id` would be that of the row
            yield Judgement(line, query_id, _identifier(row, DOC_IDS[1:]), _grade(row))


# --- Rows of any container ------------------------------------------------------------------------


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    """Rows with their lines; `columns` are those of a tab-separated file that doesn't name them."""
    container = _container(path)
    if container == "text":
        yield from _tsv(path, columns)
        return
    records: Iterator[Record] = parquet.read(path) if container == "parquet" else jsonl.read(path)
    for record in records:
        with _at(path, record.line):
            yield record.line, row_of(record)


def _container(path: Path) -> str:
    """`parquet`, `jsonl` or `text`, by the first bytes that aren't blank."""
    if not path.is_file():
        why = "is a folder; name a file" if path.is_dir() else "there is no such file; check the path"
        raise FileMissing(why, path=str(path))
    try:
        with closing(chunks(path)) as pieces:
            start = b"".join(islice(pieces, 2)).removeprefix(b"\xef\xbb\xbf").lstrip()
    except BrokenStream as error:
        raise BadJson(f"{error}", path=str(path), line=1) from error
    if not start:
        raise UnknownFormat(EMPTY, path=str(path))
    if start.startswith(parquet.MAGIC):
        return "parquet"
    if start.startswith(b"["):
        raise UnknownFormat("is a JSON array; expected one object a line (jq -c '.[]' makes it so)", path=str(path))
    return "jsonl" if start.startswith(b"{") else "text"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file that aren't blank."""
    for record in jsonl.read(path):
        try:
            yield record.line, record.raw.decode().rstrip("\r\n")  # type: ignore[union-attr]  # always bytes
        except UnicodeDecodeError as error:
            raise NotUtf8("isn't UTF-8; save the file as UTF-8", path=str(path), line=record.line) from error


def _tsv(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, Row]]:
    lines = _lines(path)
    first = next(lines)
    names = first[1].split("\t")
    if not _are_names(names):
        names, lines = list(columns), chain([first], lines)
    for line, text in lines:
        fields = text.split("\t")
        if len(fields) != len(names):
            arrived = f"{len(fields)} in {text[: rows.SHOWN]!r}"
            raise BadRow(
                "row", f"{len(names)} fields between tabs ({', '.join(names)})", arrived, path=str(path), line=line
            )
        yield line, dict(zip(names, fields, strict=True))


def _are_names(fields: list[str]) -> bool:
    """Whether a first line names columns rather than holding a row."""
    return bool({*DOC_IDS, *QUERY_IDS} & {*fields}) and bool({*TEXTS, *QUERIES, *GRADES} & {*fields})


# --- Qrels as text --------------------------------------------------------------------------------


def _judgement_lines(path: Path) -> Iterator[Judgement]:
    for number, (line, text) in enumerate(_lines(path)):
        fields = text.split("\t") if text.count("\t") == 2 else text.split()
        if number == 0 and len(fields) == 3 and not _is_whole(fields[2]):
            continue  # BEIR's line of names
        if len(fields) not in (3, 4):
            expected = "query_id, doc_id and grade between tabs, or TREC's four columns"
            raise BadRow("row", expected, repr(text[: rows.SHOWN]), path=str(path), line=line)
        if not _is_whole(fields[-1]):
            raise BadRow("grade", "a whole number", repr(fields[-1]), path=str(path), line=line)
        yield Judgement(line, fields[0], fields[-2], int(fields[-1]))


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


# --- Fields ---------------------------------------------------------------------------------------


def _identifier(row: Row, names: tuple[str, ...]) -> str:
    return rows.identifier(row, _first(row, names))


def _string(row: Row, names: tuple[str, ...]) -> str:
    name = _first(row, names)
    value = row.get(name)
    if type(value) is not str:
        raise rows.bad(row, name, "a string")
    return value


def _grade(row: Row) -> int:
    name = _first(row, GRADES)
    value = row.get(name)
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str and _is_whole(value):
        return int(value)
    if type(value) is not int:
        raise rows.bad(row, name, "a whole number")
    return value


def _first(row: Mapping[str, object], names: tuple[str, ...]) -> str:
    """The first of `names` that the row has. Raises BadRow naming all of them and the fields that are there."""
    for name in names:
        if name in row:
            return name
    raise BadRow(names[0], f"a field named {' or '.join(names)}", f"the fields {', '.join(row) or '(none)'}")


class _at:  # noqa: N801  # a context manager used like a function; a generator would be slow for each row
    """Adds file and line to an error."""

    __slots__ = ("_line", "_path")

    def __init__(self, path: Path, line: int) -> None:
        self._path, self._line = path, line

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, DataError) and error.path is None:
            located(error, str(self._path), self._line, ADVICE)
