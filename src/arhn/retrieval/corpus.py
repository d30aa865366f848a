"""A corpus on disk: passages by position or doc_id, in about 20 bytes of memory for each.

A position is a passage's place in the file, from 0. Memory holds for each passage the byte at which its row starts
(8 bytes), a hash of its doc_id (8) and the position that the hash belongs to (4, or 8 for more than 2**32 passages).
Plain JSON lines are read in place. Anything else (compressed, Parquet, tab-separated) has no cheap random access: it is
first written as JSON lines to an unnamed temporary file in the folder `TMPDIR`, which needs the disk space of the
plain texts.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import BinaryIO, overload

import numpy as np
import orjson

from arhn.errors import BadJson, DataError, DuplicateId, EmptyCorpus, FileMissing, UnknownFormat
from arhn.files import jsonl
from arhn.files.atomic import output_errors
from arhn.files.record import locate
from arhn.retrieval import collection_files
from arhn.types import Passage

#: Passages read from disk at once when the whole corpus is read.
BLOCK = 1024
_BOM = b"\xef\xbb\xbf"


class Corpus:
    """Passages in the order of their file. `Corpus.open` makes one; threads and forked processes may share it."""

    def __init__(self, path: Path, read: Callable[[int, int], bytes], index: _Index) -> None:
        """Only `Corpus.open` calls this.

        Args:
            path: the file that was opened, for messages.
            read: returns the bytes from `start` to before `stop` of the JSON lines that `index` describes.
        """
        self.path = path
        self._read = read
        self._starts = np.frombuffer(index.starts, dtype=np.int64)
        hashes = np.frombuffer(index.hashes, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._order = order.astype(np.uint32) if len(order) < 2**32 else order
        #: Hexadecimal hash over all passages: equal for equal passages in equal order, whatever the file's format.
        self.digest = index.digest.hexdigest()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Corpus:
        """Read a corpus once, checking every row.

        Args:
            path: JSON lines, Parquet or tab-separated: see `collection_files.read_passages`.

        Raises:
            FileMissing, UnknownFormat, NotUtf8, BadJson, BadRow: see `collection_files.read_passages`.
            EmptyCorpus: the file holds no passage.
            DuplicateId: a doc_id occurs twice.
            DiskFull, OutputNotWritable: the folder for temporary files can't hold the texts.
        """
        place = Path(path)
        index = _Index()
        try:
            handle = _scan(place, index) if _is_plain(place) else _spool(place, index)
        except UnknownFormat as error:
            if error.message == collection_files.EMPTY:
                raise EmptyCorpus("holds no passage", path=str(place)) from None
            raise
        read = open_reader(handle)
        corpus = cls(place, read, index)
        weakref.finalize(corpus, os.close, handle)
        corpus._require_distinct()
        return corpus

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Passage]:
        for start in range(0, len(self), BLOCK):
            yield from self.read_range(start, start + BLOCK)

    def read_range(self, start: int, stop: int) -> list[Passage]:
        """The passages from position `start` to before `stop`, in one read; fewer where the corpus ends before."""
        bounds = self._starts[start : min(stop, len(self)) + 1].tolist()
        if len(bounds) < 2:
            return []
        data, first = self._read(bounds[0], bounds[-1]), bounds[0]
        return [self._parse_unchanged(data[a - first : b - first]) for a, b in pairwise(bounds)]

    def read_at(self, positions: Sequence[int]) -> list[Passage]:
        """The passages at these positions, in this order."""
        starts, stops = (self._starts[np.asarray(positions, dtype=np.int64) + i].tolist() for i in (0, 1))
        return [self._parse_unchanged(self._read(a, b)) for a, b in zip(starts, stops, strict=True)]

    def read_ids(self, positions: Sequence[int]) -> list[str]:
        """The doc_ids at these positions, in this order."""
        return [passage.doc_id for passage in self.read_at(positions)]

    @property
    def doc_ids(self) -> Sequence[str]:
        """All doc_ids in the order of the file; each is read from disk when it is accessed."""
        return _DocIds(self)

    def find_positions(self, doc_ids: Iterable[str]) -> dict[str, int]:
        """The positions of passages by doc_id; ids that the corpus lacks are left out."""
        found = ((doc_id, self._find_position(doc_id)) for doc_id in doc_ids)
        return {doc_id: position for doc_id, position in found if position is not None}

    def _find_position(self, doc_id: str) -> int | None:
        wanted = np.uint64(_hash(doc_id))
        for place in range(int(np.searchsorted(self._hashes, wanted)), len(self)):
            if self._hashes[place] != wanted:
                return None
            position = int(self._order[place])
            if self.read_ids([position]) == [doc_id]:
                return position
        return None

    def _parse_unchanged(self, row: bytes) -> Passage:
        try:
            return collection_files.parse_passage(jsonl.parse(row))
        except DataError as error:
            message = f"was changed while it was in use ({error.message}); leave it alone until the run ends"
            raise BadJson(message, path=str(self.path)) from error

    def _require_distinct(self) -> None:
        """Raise DuplicateId where two passages have one doc_id: the ids behind equal hashes are compared."""
        for place in np.flatnonzero(self._hashes[1:] == self._hashes[:-1]).tolist():
            pair = sorted(self._order[place : place + 2].tolist())
            first, again = self.read_ids(pair)
            if first == again:
                lines = [line for i, (line, _) in enumerate(collection_files.read_passages(self.path)) if i in pair]
                raise DuplicateId(
                    f"doc_id {again!r} occurs again; it was first in line {lines[0]}",
                    path=str(self.path),
                    line=lines[1],
                )


class _DocIds(Sequence[str]):
    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    def __len__(self) -> int:
        return len(self._corpus)

    def __iter__(self) -> Iterator[str]:
        return (passage.doc_id for passage in self._corpus)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        places = range(len(self))[key]
        return self._corpus.read_ids(places) if isinstance(places, range) else self._corpus.read_ids([places])[0]


class _Index:
    """What is recorded of each row while a corpus is read."""

    def __init__(self) -> None:
        self.starts = array("q")
        self.hashes = array("Q")
        self.digest = blake2b(digest_size=16)

    def add(self, start: int, passage: Passage) -> bytes:
        """Record the passage whose row starts at byte `start`, and return it as a row of JSON."""
        row = orjson.dumps({"_id": passage.doc_id, "title": passage.title, "text": passage.text}) + b"\n"
        self.starts.append(start)
        self.hashes.append(_hash(passage.doc_id))
        self.digest.update(row)
        return row

    def close(self, end: int) -> None:
        self.starts.append(end)


def _hash(doc_id: str) -> int:
    return int.from_bytes(blake2b(doc_id.encode(), digest_size=8).digest(), "little")


def _is_plain(path: Path) -> bool:
    """Whether a file starts like uncompressed JSON lines. `collection_files` checks any other file again."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(4096).removeprefix(_BOM).lstrip().startswith(b"{")
    return False


def _scan(path: Path, index: _Index) -> int:
    """Read plain JSON lines into `index`; returns a handle of the file."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise FileMissing(f"can't be read: {error.strerror}", path=str(path)) from error
    with file:
        start = len(_BOM) if file.peek(len(_BOM)).startswith(_BOM) else 0
        file.seek(start)
        for number, line in enumerate(file, start=1):
            if line.strip():
                index.add(start, _parse(line, path, number))
            start += len(line)
        index.close(start)
        return os.dup(file.fileno())


def _parse(line: bytes, path: Path, number: int) -> Passage:
    try:
        return collection_files.parse_passage(jsonl.parse(line))
    except DataError as error:
        raise locate(error, str(path), number, collection_files.ADVICE) from None


def _spool(path: Path, index: _Index) -> int:
    """Write the passages of any other file to a temporary one and into `index`; returns a handle of it."""
    start = 0
    with _open_temporary() as file:
        for _, passage in collection_files.read_passages(path):
            row = index.add(start, passage)
            start += len(row)
            with output_errors(Path(tempfile.gettempdir()) / "corpus"):
                file.write(row)
        index.close(start)
        with output_errors(Path(tempfile.gettempdir()) / "corpus"):
            file.flush()
        return os.dup(file.fileno())


def _open_temporary() -> BinaryIO:
    with output_errors(Path(tempfile.gettempdir()) / "corpus"):
        return tempfile.TemporaryFile(prefix="arhn-corpus-")


def open_reader(handle: int) -> Callable[[int, int], bytes]:
    """A function that returns the bytes from `start` to before `stop` of an open file; fewer where it ends before.

    Several threads may call it.
    """
    if hasattr(os, "pread"):
        return lambda start, stop: _read_all(lambda at, count: os.pread(handle, count, at), start, stop)
    lock = Lock()  # Windows has no call that seeks and reads in one step

    def read(at: int, count: int) -> bytes:
        with lock:
            os.lseek(handle, at, os.SEEK_SET)
            return os.read(handle, count)

    return lambda start, stop: _read_all(read, start, stop)


def _read_all(read: Callable[[int, int], bytes], start: int, stop: int) -> bytes:
    """Read until `stop`: one call may return less than it was asked for."""
    data = read(start, stop - start)
    while start + len(data) < stop and (more := read(start + len(data), stop - start - len(data))):
        data += more
    return data
