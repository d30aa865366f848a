"""JSON lines: strict when read, and written as Python's `json` does it, like most public data sets."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import orjson

from arhn.errors import (
    ArhnError,
    BadJson,
    BadRow,
    CannotHold,
    NotUtf8,
)
from arhn.files import rows
from arhn.files.atomic import AtomicFile, Output, output_errors
from arhn.files.claims import Claim, Mark, real_place
from arhn.files.compression import BrokenStream, open_compressor, read_chunks
from arhn.files.record import Record

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from _typeshed import DataclassInstance

    from arhn.files.remote import Remote
    from arhn.files.rows import Row

_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
# orjson reads integers beyond 64 bits as floats; no shorter one can be beyond.
_LONG_INTEGER = re.compile(rb"[0-9]{19}")
_DIGITS = 100  # of an integer; the longest that any library takes for a number have about 40
#: Lists and objects within each other, at most; whatever walks a row can go deeper.
DEEPEST = 100
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def read(path: Path | Remote) -> Generator[Record]:
    """The lines of a file that aren't blank, numbered from 1 with the blank ones.

    Raises:
        FileMissing: the file can't be opened or read.
        BadJson: the compressed file is damaged or ends early; whole lines before that have been yielded.
    """
    number = 0
    try:
        for number, line in enumerate(_lines(read_chunks(path)), start=1):
            content = line.removeprefix(_BOM) if number == 1 else line
            if content.strip():
                yield Record(number, content)
    except BrokenStream as error:
        raise BadJson(f"{error}; what comes after is lost", path=str(path), line=number + 1) from error


def parse(line: bytes) -> Row:
    """The object that a line holds.

    Raises:
        NotUtf8, BadJson: the line isn't UTF-8 or isn't JSON (NaN and Infinity aren't), or has an integer of more than
            100 digits.
        BadRow: it is something else than an object, is nested too deep, or has half of a surrogate pair in a string.
    """
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        _explain(line, error)
    if _LONG_INTEGER.search(line):
        row = _parse_long_integers(line)
    # Most rows have far fewer of these characters than may be within each other.
    if line.count(b"[") + line.count(b"{") > DEEPEST and (depth := rows.measure_depth(row)) > DEEPEST:
        raise BadRow("row", f"at most {DEEPEST} lists and objects within each other", f"{depth:,}")
    if type(row) is not dict:
        raise BadRow("row", "a JSON object", rows.describe_value(row))
    return cast("Row", row)


def _parse_long_integers(line: bytes) -> Any:
    try:
        return json.loads(line, parse_int=_parse_integer)
    except RecursionError:
        raise BadJson("lists and objects within each other are too many") from None


def _parse_integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise BadJson(f"an integer of {len(digits):,} digits; expected at most {_DIGITS}")
    return int(digits)


class JsonlFile(Output):
    """Rows as JSON lines, compressed as the suffix of the path says. Raises as `AtomicFile` does."""

    def __init__(self, path: str | Path, *, overwrite: bool | Claim = False) -> None:
        self._file = AtomicFile(path, overwrite=overwrite)
        self._compressor = ExitStack()
        self._stream = self._compressor.enter_context(open_compressor(self._file.path, self._file.raw))

    def write(self, row: Row) -> None:
        """Raises CannotHold: a value that JSON doesn't have, such as a date or NaN."""
        line = encode(row)
        with output_errors(self._file.path):
            self._stream.write(line)

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """See `Output`."""
        return self._file.marks

    def _prepare(self) -> None:
        with output_errors(self._file.path):
            self._compressor.close()
        self._file.prepare()

    def _publish(self) -> None:
        self._file.publish()

    def _abort(self) -> None:
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self._compressor.close()
        self._file.abort()


class JsonlIfAny(Output):
    """A file of records (dataclasses), JSON lines, that appears only if there is one. `count`: how many there are."""

    def __init__(self, path: str | Path, *, overwrite: bool | Claim = False) -> None:
        self._path = Path(path)
        self._overwrite = overwrite
        self._file: JsonlFile | None = None
        self.count = 0
        # What is wrong with the place is found now rather than at the first record, hours later.
        AtomicFile(path, overwrite=overwrite).abort()

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """See `Output`."""
        return self._file.marks if self._file is not None else {}

    def add(self, record: DataclassInstance) -> None:
        """Write one record. Raises as `JsonlFile.write` does."""
        self.count += 1
        if self._file is None:
            self._file = JsonlFile(self._path, overwrite=self._overwrite)
        self._file.write(asdict(record))

    def _prepare(self) -> None:
        if self._file is not None:
            self._file.prepare()

    def _publish(self) -> None:
        if self._file is not None:
            self._file.publish()
        elif self._may_replace():
            # An earlier run's records aren't this one's.
            with output_errors(self._path):
                self._path.unlink(missing_ok=True)

    def _may_replace(self) -> bool:
        claim = self._overwrite
        return claim.may_replace(real_place(self._path)) if isinstance(claim, Claim) else claim

    def _abort(self) -> None:
        if self._file is not None:
            self._file.abort()


def encode(row: Row) -> bytes:
    """`row` as a line.

    Raises:
        CannotHold: a value that JSON doesn't have.
    """
    try:
        return _encode(row).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise CannotHold(f"JSON can't hold this row: {error}; write Parquet instead") from error


def _lines(pieces: Iterator[bytes]) -> Generator[bytes]:
    begun: list[bytes] = []  # of the line that isn't whole yet: adding to it would copy it for every piece
    for piece in pieces:
        first, *others = piece.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun = [others[-1]]
    yield b"".join(begun)


def _explain(line: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    """Why orjson refused: it gives the same error for several causes."""
    raise _not_utf8(line) or _lone_surrogate(line) or BadJson(f"column {error.colno}: {error.msg}") from None


def _not_utf8(line: bytes) -> ArhnError | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        what = "the file seems to be UTF-16" if line.startswith(UTF16_BOMS) else "save the file as UTF-8"
        return NotUtf8(f"byte 0x{line[error.start]:02x}, number {error.start + 1} of the line, isn't UTF-8; {what}")
    return None


def _lone_surrogate(line: bytes) -> ArhnError | None:
    try:
        row = json.loads(line, parse_int=float)  # of thousands of digits, it would be no number to Python
        if rows.measure_depth(row) > DEEPEST:
            return None
    except (ValueError, RecursionError):
        return None
    field = next(_surrogates(row, ""), None)
    return field and BadRow(field, "Unicode text", "half of a surrogate pair")  # type: ignore[return-value]


def _surrogates(value: object, field: str) -> Iterator[str]:
    """The paths of strings that hold half of a surrogate pair."""
    if isinstance(value, str):
        if not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value):
            yield field
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _surrogates(item, f"{field}[{index}]")
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _surrogates(item, f"{field}.{name}" if field else name)
            yield from _surrogates(name, f"the name {name!r}")


def read_row(record: Record) -> Row:
    """The fields of a record. Raises NotUtf8, BadJson, BadRow."""
    return record.raw if isinstance(record.raw, dict) else parse(record.raw)
