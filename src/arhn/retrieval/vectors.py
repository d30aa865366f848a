"""The embeddings of a corpus on disk: encoded once, and read a piece at a time."""

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
from arhn.retrieval.corpus import BLOCK, Corpus, open_reader
from arhn.retrieval.embedder import Embedder, as_text
from arhn.retrieval.search import Scores, log_progress

_ITEM = np.dtype("<f4")


class Vectors:
    """Unit vectors of all passages, float32, in the order of the corpus. `shape` is (passages, dimensions)."""

    def __init__(self, handle: int, size: int) -> None:
        """Only `Vectors.load_or_encode` calls this.

        Args:
            handle: an open file in NumPy's .npy format; it is closed with the object.
            size: the number of passages it must hold.

        Raises:
            ValueError: it holds another number, or is cut off.
        """
        weakref.finalize(self, os.close, handle)
        self._read: Callable[[int, int], bytes] = open_reader(handle)
        with os.fdopen(os.dup(handle), "rb") as file:
            file.seek(0)
            np.lib.format.read_magic(file)
            self.shape, _, _ = np.lib.format.read_array_header_1_0(file)
            self._start = file.tell()
            end = file.seek(0, os.SEEK_END)
        if self.shape[0] != size or end < self._start + size * self.shape[1] * _ITEM.itemsize:
            raise ValueError(f"{self.shape} vectors in {end} bytes for {size} passages")

    @classmethod
    def load_or_encode(cls, corpus: Corpus, embedder: Embedder, cache: Path | None = None) -> Self:
        """The embeddings of a corpus: read from `cache`, or encoded and stored there.

        Args:
            cache: a folder that stores them by the model's identity and the corpus's content; None for a temporary
                file. They take 4 bytes for each passage and dimension.

        Raises:
            ModelMissing, ModelUnavailable, ModelCorrupt, UsageError: see `Embedder`.
            DiskFull, OutputNotWritable: the folder can't hold them.
        """
        place = None if cache is None else cache / f"{_cache_key(corpus, embedder)}.npy"
        if place is not None:
            with suppress(OSError, ValueError):  # there is none, or a crash left a part of it
                return cls(os.open(place, os.O_RDONLY), len(corpus))
        with _open_target(place) as file:
            _encode_corpus(file, corpus, embedder)
            return cls(os.dup(file.fileno()), len(corpus))

    def read_range(self, start: int, stop: int) -> Scores:
        """The vectors of the passages from position `start` to before `stop`, shape (passages, dimensions)."""
        width = self.shape[1] * _ITEM.itemsize
        data = self._read(self._start + start * width, self._start + min(stop, self.shape[0]) * width)
        return np.frombuffer(data, dtype=_ITEM).reshape(-1, self.shape[1])

    def read_at(self, positions: Sequence[int]) -> Scores:
        """The vectors of the passages at these positions, shape (len(positions), dimensions)."""
        if not positions:
            return np.zeros((0, self.shape[1]), np.float32)
        return np.concatenate([self.read_range(position, position + 1) for position in positions])


def _cache_key(corpus: Corpus, embedder: Embedder) -> str:
    return blake2b(f"{embedder.identity}\n{corpus.digest}".encode(), digest_size=16).hexdigest()


@contextmanager
def _open_target(place: Path | None) -> Iterator[BinaryIO]:
    """Open a temporary file, which is renamed to `place`, if that is given, once it is complete."""
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


def _encode_corpus(file: BinaryIO, corpus: Corpus, embedder: Embedder) -> None:
    for start in log_progress(range(0, len(corpus), BLOCK), "encoded"):
        texts = [as_text(passage) for passage in corpus.read_range(start, start + BLOCK)]
        vectors = embedder.encode_documents(texts).astype(_ITEM)
        if start == 0:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(corpus), vectors.shape[1])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(vectors.tobytes())
    file.flush()
