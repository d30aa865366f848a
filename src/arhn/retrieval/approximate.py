"""An approximate dense index (FAISS, inverted lists of whole vectors) whose vectors stay on disk."""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arhn.files.atomic import output_errors
from arhn.libraries import library
from arhn.retrieval.search import Hits, Scores, cosines, joined, none_found

if TYPE_CHECKING:
    from arhn.retrieval.vectors import Vectors

#: Lists that a query looks into.
PROBES = 64
#: Bytes of vectors that are in memory while the index is made.
SHARD_BYTES = 512 * 2**20

_TRAINED_ON = 40  # vectors a list; FAISS warns below 39


class Approximate:
    """IVF-Flat: vectors in 4 * sqrt(n) lists around centroids, of which a query looks into `PROBES`.

    Scores are exact, and those of `Dense`; passages in lists that weren't looked into are missed. Memory holds the
    centroids, and while the index is made `SHARD_BYTES` of vectors or 40 vectors a list, whichever is more. The
    lists are mapped from temporary files that together are as large as the vectors.
    """

    def __init__(self, vectors: Vectors) -> None:
        """Raises DiskFull, OutputNotWritable: the folder for temporary files can't hold the lists."""
        faiss = library("faiss", "mine")
        size, dimensions = vectors.shape
        self._vectors = vectors
        lists = max(1, min(int(4 * math.sqrt(size)), size // _TRAINED_ON))
        self._centroids = faiss.IndexFlatIP(dimensions)
        trained = faiss.IndexIVFFlat(self._centroids, dimensions, lists, faiss.METRIC_INNER_PRODUCT)
        trained.nprobe = self._probes = min(PROBES, lists)
        trained.train(_sample(vectors, lists * _TRAINED_ON))
        root = Path(tempfile.gettempdir())
        with output_errors(root / "faiss"):
            folder = Path(tempfile.mkdtemp(prefix="arhn-faiss-", dir=root))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        step = max(1, SHARD_BYTES // (dimensions * np.dtype(np.float32).itemsize))
        self._shards = [
            (start, _shard(faiss, trained, vectors.between(start, start + step), folder / str(start)))
            for start in range(0, size, step)
        ]

    def search(self, queries: Scores, k: int) -> list[Hits]:
        """The best passages found for unit vectors of queries, shape (queries, dimensions)."""
        nearness, lists = self._centroids.search(queries, self._probes)
        found = [none_found()] * len(queries)
        for first, shard in self._shards:
            _, positions = shard.search_preassigned(queries, k, lists, nearness)
            for row, query in enumerate(queries):
                places = positions[row][positions[row] >= 0] + first  # FAISS fills up with -1
                found[row] = joined(found[row], places, cosines(self._vectors.at(places.tolist()), query), k)
        return found


def _shard(faiss: Any, trained: Any, vectors: Scores, path: Path) -> Any:
    """An index of some vectors, mapped from a file; positions count from 0."""
    index = faiss.clone_index(trained)
    index.add(vectors)
    with output_errors(path):
        try:
            faiss.write_index(index, str(path))
        except RuntimeError as error:  # what FAISS makes of any failure to write
            raise OSError(str(error)) from error
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP)


def _sample(vectors: Vectors, count: int) -> Scores:
    """Vectors from all over the corpus, the same in every run."""
    size = vectors.shape[0]
    if count >= size:
        return vectors.between(0, size)
    chosen = np.sort(np.random.default_rng(0).choice(size, count, replace=False))
    return vectors.at(chosen.tolist())
