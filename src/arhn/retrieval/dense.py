"""Dense retrieval by one model: exact, a piece of the corpus at a time; through FAISS above a size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from arhn.errors import UsageError
from arhn.libraries import library, require
from arhn.retrieval.approximate import Approximate
from arhn.retrieval.corpus import Corpus
from arhn.retrieval.embedder import Embedder
from arhn.retrieval.search import Hits, Scores, cosines, joined, none_found, slices
from arhn.retrieval.vectors import Vectors

#: Queries and passages that are compared at once: a matrix of 8 MiB.
BATCH, CHUNK = 512, 4096
FAISS_ABOVE = 1_000_000

#: More than two ways to sum up a product in float32 differ by, for vectors of length 1.
_SLACK = 1e-5


class Dense:
    """Cosine similarity over one corpus. Every passage is a hit, the best `k` of them are given.

    The corpus is encoded on the first search, and the vectors are kept on disk. Texts are cut where the model cuts
    them. Scores have 6 digits.
    """

    def __init__(
        self,
        corpus: Corpus,
        embedder: Embedder,
        *,
        cache: str | os.PathLike[str] | None = None,
        faiss_above: int = FAISS_ABOVE,
    ) -> None:
        """Args:
            cache: a folder that keeps the vectors for the next time, by model and content of the corpus.
            faiss_above: passages above which an approximate index is made, see `Approximate`.

        Raises:
            MissingDependency: FAISS is needed and isn't installed.
            UsageError: `faiss_above` below 0.
        """
        require_above(faiss_above)
        self._corpus = corpus
        self._embedder = embedder
        self._cache = None if cache is None else Path(cache)
        self._approximate = len(corpus) > faiss_above
        if self._approximate:
            require("faiss", "faiss-cpu", "mine")

    @property
    def name(self) -> str:
        """The model's identity."""
        return self._embedder.identity

    def search(self, queries: Sequence[str], k: int) -> Iterator[Hits]:
        """See `Searcher`. Raises as `Vectors.of` does."""
        k = min(k, len(self._corpus))
        for batch in slices(queries, BATCH):
            vectors = self._embedder.queries(batch)
            yield from self._index.search(vectors, k) if self._approximate else self._exact(vectors, k)

    def score(self, queries: Sequence[str], positions: Sequence[Sequence[int]]) -> Iterator[Scores]:
        """See `Searcher`. Raises as `Vectors.of` does."""
        for batch, wanted in zip(slices(queries, BATCH), slices(positions, BATCH), strict=True):
            for query, places in zip(self._embedder.queries(batch), wanted, strict=True):
                yield cosines(self._vectors.at(places), query)

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors.of(self._corpus, self._embedder, self._cache)

    @cached_property
    def _index(self) -> Approximate:
        return Approximate(self._vectors)

    def _exact(self, queries: Scores, k: int) -> list[Hits]:
        compare = _Comparison(queries, min(CHUNK, len(self._corpus)), self._embedder.device)
        found = [none_found()] * len(queries)
        for start in range(0, len(self._corpus), CHUNK):
            chunk = self._vectors.between(start, start + CHUNK)
            for row, columns in compare.candidates(chunk, _floors(found, k), k):
                found[row] = joined(found[row], columns + start, cosines(chunk[columns], queries[row]), k)
        return found


def require_above(faiss_above: int) -> None:
    """Raises UsageError: no number of passages."""
    if faiss_above < 0:
        raise UsageError(f"faiss_above: expected 0 or more, found {faiss_above}.")


def _floors(found: list[Hits], k: int) -> Scores:
    """What a later passage has to exceed to be among the best."""
    return np.array([hits.scores[-1] if len(hits.scores) == k else -np.inf for hits in found], np.float32)


class _Comparison:
    """Queries against one piece of the corpus after the other, in matrices that are made once."""

    def __init__(self, queries: Scores, width: int, device: str) -> None:
        self._torch = library("torch", "mine")
        self._queries = self._torch.from_numpy(queries).to(device)
        self._scores = self._torch.empty(len(queries), width, device=device)
        self._hits = self._torch.empty(len(queries), width, dtype=self._torch.bool, device=device)

    def candidates(self, chunk: Scores, floors: Scores, k: int) -> Iterator[tuple[int, Any]]:
        """Row and columns of all that may be among the best `k` of a row, by scores that aren't exact."""
        torch, device = self._torch, self._queries.device
        scores, hits = (matrix[:, : len(chunk)] for matrix in (self._scores, self._hits))
        documents = torch.from_numpy(chunk.copy()).to(device)  # PyTorch wants to be able to write
        torch.mm(self._queries, documents.T, out=scores)
        bar = torch.from_numpy(floors).to(device)
        if np.isinf(floors).any():
            bar = torch.maximum(bar, scores.topk(min(k, len(chunk)), dim=1).values[:, -1])
        torch.ge(scores, bar[:, None] - _SLACK, out=hits)
        rows, columns = (found.cpu().numpy() for found in hits.nonzero(as_tuple=True))
        which, starts = np.unique(rows, return_index=True)
        return zip(which.tolist(), np.split(columns, starts[1:]) if len(starts) else [], strict=True)
