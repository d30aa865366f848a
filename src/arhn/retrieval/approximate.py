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
from arhn.retrieval.search import Hits, Scores, compute_cosines, merge_hits

if TYPE_CHECKING:
    from arhn.retrieval.vectors import Vectors

#: How many of the inverted lists are searched for each query.
PROBES = 64
#: Bytes of vectors that are held in memory while the index is built.
SHARD_BYTES = 512 * 2**20

_TRAINING_VECTORS = 40  # for each list; FAISS warns below 39


class ApproximateIndex:
    """IVF-Flat: n vectors in 4 * sqrt(n) lists around centroids, of which a query searches the nearest `PROBES`.

    Scores are exact and equal those of `Dense`; passages in the other lists are missed. Memory holds the centroids
    and, while the index is built, `SHARD_BYTES` of vectors or 40 vectors for each list, whichever is more. The lists
    are memory-mapped from temporary files, which together are as large as the vectors.
    """

    def __init__(self, vectors: Vectors) -> None:
        """Build the index.

        Args:
            vectors: the unit vectors of a corpus.

        Raises:
            MissingDependency: FAISS isn't installed.
            DiskFull, OutputNotWritable: the folder for temporary files can't hold the lists.
        """
        faiss = library("faiss", "mine")
        size, dimensions = vectors.shape
        self._vectors = vectors
        lists = max(1, min(int(4 * math.sqrt(size)), size // _TRAINING_VECTORS))
        self._centroids = faiss.IndexFlatIP(dimensions)
        trained = faiss.IndexIVFFlat(self._centroids, dimensions, lists, faiss.METRIC_INNER_PRODUCT)
        trained.nprobe = self._probes = min(PROBES, lists)
        trained.train(_sample_vectors(vectors, lists * _TRAINING_VECTORS))
        root = Path(tempfile.gettempdir())
        with output_errors(root / "faiss"):
            folder = Path(tempfile.mkdtemp(prefix="arhn-faiss-", dir=root))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        step = max(1, SHARD_BYTES // (dimensions * np.dtype(np.float32).itemsize))
        self._shards = [
            (start, _make_shard(faiss, trained, vectors.read_range(start, start + step), folder / str(start)))
            for start in range(0, size, step)
        ]

    def search(self, queries: Scores, k: int) -> list[Hits]:
        """The best `k` passages found for each query.

        Args:
            queries: unit vectors of the queries, float32, shape (queries, dimensions).
        """
        nearness, lists = self._centroids.search(queries, self._probes)
        found = [Hits.none()] * len(queries)
        for first, shard in self._shards:
            _, positions = shard.search_preassigned(queries, k, lists, nearness)
            for row, query in enumerate(queries):
                places = positions[row][positions[row] >= 0] + first  # FAISS fills up with -1
                found[row] = merge_hits(
                    found[row], places, compute_cosines(self._vectors.read_at(places.tolist()), query), k
                )
        return found


def _make_shard(faiss: Any, trained: Any, vectors: Scores, path: Path) -> Any:
    """Write an index of some vectors to `path` and map it into memory; its positions count from 0."""
    index = faiss.clone_index(trained)
    index.add(vectors)
    with output_errors(path):
        try:
            faiss.write_index(index, str(path))
        except RuntimeError as error:  # FAISS raises it for any failure to write
            raise OSError(str(error)) from error
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP)


def _sample_vectors(vectors: Vectors, count: int) -> Scores:
    """Draw vectors from the whole corpus, the same ones in every run."""
    size = vectors.shape[0]
    if count >= size:
        return vectors.read_range(0, size)
    chosen = np.sort(np.random.default_rng(0).choice(size, count, replace=False))
    return vectors.read_at(chosen.tolist())
