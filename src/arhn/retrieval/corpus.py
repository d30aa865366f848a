"""A corpus on disk: passages by file position or doc_id, in about 20 bytes of memory a passage.

In memory are, per passage, where its row starts (8 bytes), a hash of its doc_id (8) and where that hash belongs
(4, or 8 beyond four thousand million passages). Plain JSON lines are read where they lie. Everything else
(compressed, Parquet, tab-separated) has no cheap random access and is first written as JSON lines to a temporary
file without a name, in the folder that `TMPDIR` says; that takes the disk space of the plain texts.
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
from arhn.files.records import located
from arhn.retrieval import readers
from arhn.types import Passage

#: Passages read from disk at once when all are wanted.
BLOCK = 1024
_BOM = b"\xef\xbb\xbf"


class Corpus:
    """Passages in the order of their file. Made by `Corpus.open`; may be read from several threads and forks."""

    def __init__(self, path: Path, read: Callable[[int, int], bytes], index: _Index) -> None:
        """For `Corpus.open`. `read(start, stop)` gives the bytes of the file of JSON lines that `index` is of."""
        self.path = path
        self._read = read
        self._starts = np.frombuffer(index.starts, dtype=np.int64)
        hashes = np.frombuffer(index.hashes, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._order = order.astype(np.uint32) if len(order) < 2**32 else order
        #: Hexadecimal; equal for equal passages in equal order, whatever file they came from.
        self.digest = index.digest.hexdigest()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Corpus:
        """Read a corpus once, checking every row.

        Args:
            path: JSON lines, Parquet or tab-separated; see `readers.passages`.

        Raises:
            FileMissing, UnknownFormat, NotUtf8, BadJson, BadRow: see `readers.passages`.
            EmptyCorpus: there is no passage in it.
            DuplicateId: a doc_id comes twice.
            DiskFull, OutputNotWritable: the folder for temporary files can't hold the texts.
        """
        place = Path(path)
        index = _Index()
        try:
            handle = _scan(place, index) if _is_plain(place) else _spool(place, index)
        except UnknownFormat as error:
            if error.message == readers.EMPTY:
                raise EmptyCorpus("holds no passage", path=str(place)) from None
            raise
        read = reader(handle)
        corpus = cls(place, read, index)
        weakref.finalize(corpus, os.close, handle)
        corpus._require_distinct()
        return corpus

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Passage]:
        for start in range(0, len(self), BLOCK):
            yield from self.between(start, start + BLOCK)

    def between(self, start: int, stop: int) -> list[Passage]:
        """The passages at `start` to before `stop`, with one read; fewer where the corpus ends before."""
        bounds = self._starts[start : min(stop, len(self)) + 1].tolist()
        if len(bounds) < 2:
            return []
        data, first = self._read(bounds[0], bounds[-1]), bounds[0]
        return [self._passage(data[a - first : b - first]) for a, b in pairwise(bounds)]

    def at(self, positions: Sequence[int]) -> list[Passage]:
        """The passages at these file positions, in this order."""
        starts, stops = (self._starts[np.asarray(positions, dtype=np.int64) + i].tolist() for i in (0, 1))
        return [self._passage(self._read(a, b)) for a, b in zip(starts, stops, strict=True)]

    def ids(self, positions: Sequence[int]) -> list[str]:
        """The doc_ids at these file positions, in this order."""
        return [passage.doc_id for passage in self.at(positions)]

    @property
    def doc_ids(self) -> Sequence[str]:
        """All doc_ids in the order of the file; each is read from disk when it is asked for."""
        return _DocIds(self)

    def positions(self, doc_ids: Iterable[str]) -> dict[str, int]:
        """Where these passages are, by doc_id; those that the corpus lacks are left out."""
        found = ((doc_id, self._position(doc_id)) for doc_id in doc_ids)
        return {doc_id: position for doc_id, position in found if position is not None}

    def _position(self, doc_id: str) -> int | None:
        wanted = np.uint64(_hash(doc_id))
        for place in range(int(np.searchsorted(self._hashes, wanted)), len(self)):
            if self._hashes[place] != wanted:
                return None
            position = int(self._order[place])
            if self.ids([position]) == [doc_id]:
                return position
        return None

    def _passage(self, row: bytes) -> Passage:
        try:
            return readers.passage_of(jsonl.parse(row))
        except DataError as error:
            changed = f"was changed while it was in use ({error.message}); leave it alone until the run ends"
            raise BadJson(changed, path=str(self.path)) from error

    def _require_distinct(self) -> None:
        """Two of one hash are nearly always two of one id, but only the ids themselves say."""
        for place in np.flatnonzero(self._hashes[1:] == self._hashes[:-1]).tolist():
            pair = sorted(self._order[place : place + 2].tolist())
            first, again = self.ids(pair)
            if first == again:
                lines = [line for i, (line, _) in enumerate(readers.passages(self.path)) if i in pair]
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
        return self._corpus.ids(places) if isinstance(places, range) else self._corpus.ids([places])[0]


class _Index:
    """What is kept of each row while a corpus is read."""

    def __init__(self) -> None:
        self.starts = array("q")
        self.hashes = array("Q")
        self.digest = blake2b(digest_size=16)

    def add(self, start: int, passage: Passage) -> bytes:
        """Takes the passage whose row starts at byte `start`; gives it as a row of its own."""
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
    """Whether a file starts like JSON lines as they are; anything else is looked at again by the readers."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(4096).removeprefix(_BOM).lstrip().startswith(b"{")
    return False


def _scan(path: Path, index: _Index) -> int:
    """Reads plain JSON lines into `index`; a handle of the file."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise FileMissing(f"can't be read: {error.strerror}", path=str(path)) from error
    with file:
        start = len(_BOM) if file.peek(len(_BOM)).startswith(_BOM) else 0
        file.seek(start)
        for number, line in enumerate(file, start=1):
            if line.strip():
                index.add(start, _parsed(line, path, number))
            start += len(line)
        index.close(start)
        return os.dup(file.fileno())


def _parsed(line: bytes, path: Path, number: int) -> Passage:
    try:
        return readers.passage_of(jsonl.parse(line))
    except DataError as error:
        raise located(error, str(path), number, readers.ADVICE) from None


def _spool(path: Path, index: _Index) -> int:
    """Writes the passages of any other file to a temporary one and into `index`; a handle of it."""
    start = 0
    with _temporary() as file:
        for _, passage in readers.passages(path):
            row = index.add(start, passage)
            start += len(row)
            with output_errors(Path(tempfile.gettempdir()) / "corpus"):
                file.write(row)
        index.close(start)
        with output_errors(Path(tempfile.gettempdir()) / "corpus"):
            file.flush()
        return os.dup(file.fileno())


def _temporary() -> BinaryIO:
    with output_errors(Path(tempfile.gettempdir()) / "corpus"):
        return tempfile.TemporaryFile(prefix="arhn-corpus-")


def reader(handle: int) -> Callable[[int, int], bytes]:
    """What gives the bytes `start` to before `stop` of an open file; fewer where it ends before."""
    if hasattr(os, "pread"):
        return lambda start, stop: _all(lambda at, count: os.pread(handle, count, at), start, stop)
    lock = Lock()  # Windows has no call that seeks and reads at once

    def read(at: int, count: int) -> bytes:
        with lock:
            os.lseek(handle, at, os.SEEK_SET)
            return os.read(handle, count)

    return lambda start, stop: _all(read, start, stop)


def _all(read: Callable[[int, int], bytes], start: int, stop: int) -> bytes:
    """One read may give less than was asked for."""
    data = read(start, stop - start)
    while start + len(data) < stop and (more := read(start + len(data), stop - start - len(data))):
        data += more
    return data
