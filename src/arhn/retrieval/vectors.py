"""The embeddings of a corpus on disk: encoded once, a piece at a time, and read the same way."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from arhn.files.atomic import output_errors
from arhn.retrieval.corpus import BLOCK, Corpus, reader
from arhn.retrieval.embedder import Embedder, as_text
from arhn.retrieval.search import Scores, told

_ITEM = np.dtype("<f4")


class Vectors:
    """Unit vectors of all passages, float32, in the order of the corpus. `shape` is (passages, dimensions)."""

    def __init__(self, handle: int, size: int) -> None:
        """For `Vectors.of`. `handle` is an open file in NumPy's .npy form, of `size` passages."""
        weakref.finalize(self, os.close, handle)
        self._read: Callable[[int, int], bytes] = reader(handle)
        with os.fdopen(os.dup(handle), "rb") as file:
            file.seek(0)
            np.lib.format.read_magic(file)
            self.shape, _, _ = np.lib.format.read_array_header_1_0(file)
            self._start = file.tell()
            end = file.seek(0, os.SEEK_END)
        if self.shape[0] != size or end < self._start + size * self.shape[1] * _ITEM.itemsize:
            raise ValueError(f"{self.shape} vectors in {end} bytes for {size} passages")

    @classmethod
    def of(cls, corpus: Corpus, embedder: Embedder, cache: Path | None = None) -> Self:
        """The embeddings of a corpus, taken from `cache` where they are there.

        Args:
            cache: a folder in which they are kept, by the identity of the model and the content of the corpus;
                unless given, they go to a temporary file. 4 bytes a dimension and passage either way.

        Raises:
            ModelMissing, ModelUnavailable, ModelCorrupt, UsageError: see `Embedder`.
            DiskFull, OutputNotWritable: the folder can't hold them.
        """
        place = None if cache is None else cache / f"{_key(corpus, embedder)}.npy"
        if place is not None:
            with suppress(OSError, ValueError):  # absent, or what a killed machine left of it
                return cls(os.open(place, os.O_RDONLY), len(corpus))
        with _target(place) as file:
            _write(file, corpus, embedder)
            return cls(os.dup(file.fileno()), len(corpus))

    def between(self, start: int, stop: int) -> Scores:
        """The vectors of the passages at `start` to before `stop`, shape (up to stop - start, dimensions)."""
        width = self.shape[1] * _ITEM.itemsize
        data = self._read(self._start + start * width, self._start + min(stop, self.shape[0]) * width)
        return np.frombuffer(data, dtype=_ITEM).reshape(-1, self.shape[1])

    def at(self, positions: Sequence[int]) -> Scores:
        """The vectors at these positions, shape (len(positions), dimensions)."""
        if not positions:
            return np.zeros((0, self.shape[1]), np.float32)
        return np.concatenate([self.between(position, position + 1) for position in positions])


def _key(corpus: Corpus, embedder: Embedder) -> str:
    return blake2b(f"{embedder.identity}\n{corpus.digest}".encode(), digest_size=16).hexdigest()


@contextmanager
def _target(place: Path | None) -> Iterator[BinaryIO]:
    """A temporary file, which gets the name `place` when it is whole."""
    folder = Path(tempfile.gettempdir()) if place is None else place.parent
    with output_errors(folder / "embeddings"):
        folder.mkdir(parents=True, exist_ok=True)
        if place is None:
            with tempfile.TemporaryFile(dir=folder) as file:
                yield file
            return
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".partial", delete=False) as named:
            partial = Path(named.name)
            try:
                yield named  # type: ignore[misc]  # a wrapper that behaves like the file
                partial.replace(place)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise


def _write(file: BinaryIO, corpus: Corpus, embedder: Embedder) -> None:
    for start in told(range(0, len(corpus), BLOCK), "encoded"):
        texts = [as_text(passage) for passage in corpus.between(start, start + BLOCK)]
        vectors = embedder.documents(texts).astype(_ITEM)
        if start == 0:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(corpus), vectors.shape[1])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(vectors.tobytes())
    file.flush()
