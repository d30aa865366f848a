"""Dense retrieval by one model: exact, a piece of the corpus at a time, or by FAISS for large corpora."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from arhn.errors import UsageError
from arhn.libraries import library, require
from arhn.retrieval.approximate import ApproximateIndex
from arhn.retrieval.corpus import Corpus
from arhn.retrieval.embedder import Embedder
from arhn.retrieval.search import Hits, Scores, batched, compute_cosines, merge_hits
from arhn.retrieval.vectors import Vectors

#: Queries and passages that are compared at once: a matrix of 8 MiB.
BATCH, CHUNK = 512, 4096
#: Passages above which the approximate index takes over.
FAISS_ABOVE = 1_000_000

#: More than the float32 dot products of two unit vectors can differ by, whatever the order of summation.
_SLACK = 1e-5


class Dense:
    """Ranks a corpus by cosine similarity.

    The corpus is encoded on the first search, and its vectors are stored on disk. Texts longer than the model's
    maximal length are cut. Scores are in [-1, 1] and have 6 digits.
    """

    def __init__(
        self,
        corpus: Corpus,
        embedder: Embedder,
        *,
        cache: str | os.PathLike[str] | None = None,
        faiss_above: int = FAISS_ABOVE,
    ) -> None:
        """Check the settings; nothing is encoded yet.

        Args:
            cache: a folder that stores the vectors for later searches, by model and content of the corpus.
            faiss_above: passages above which the index is approximate: see `ApproximateIndex`.

        Raises:
            MissingDependency: FAISS is needed and isn't installed.
            UsageError: `faiss_above` is below 0.
        """
        require_faiss_above(faiss_above)
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
        """See `Searcher`. Raises as `Vectors.load_or_encode` does."""
        k = min(k, len(self._corpus))
        for batch in batched(queries, BATCH):
            vectors = self._embedder.encode_queries(batch)
            yield from self._index.search(vectors, k) if self._approximate else self._search_exactly(vectors, k)

    def score(self, queries: Sequence[str], positions: Sequence[Sequence[int]]) -> Iterator[Scores]:
        """See `Searcher`. Raises as `Vectors.load_or_encode` does."""
        for batch, wanted in zip(batched(queries, BATCH), batched(positions, BATCH), strict=True):
            for query, places in zip(self._embedder.encode_queries(batch), wanted, strict=True):
                yield compute_cosines(self._vectors.read_at(places), query)

    @cached_property
    def _vectors(self) -> Vectors:
        return Vectors.load_or_encode(self._corpus, self._embedder, self._cache)

    @cached_property
    def _index(self) -> ApproximateIndex:
        return ApproximateIndex(self._vectors)

    def _search_exactly(self, queries: Scores, k: int) -> list[Hits]:
        compare = _Comparison(queries, min(CHUNK, len(self._corpus)), self._embedder.device)
        found = [Hits.none()] * len(queries)
        for start in range(0, len(self._corpus), CHUNK):
            chunk = self._vectors.read_range(start, start + CHUNK)
            for row, columns in compare.find_candidates(chunk, _lowest_scores(found, k), k):
                found[row] = merge_hits(found[row], columns + start, compute_cosines(chunk[columns], queries[row]), k)
        return found


def require_faiss_above(faiss_above: int) -> None:
    """Raise UsageError where `faiss_above`, a number of passages, is below 0."""
    if faiss_above < 0:
        raise UsageError(f"faiss_above: expected 0 or more, found {faiss_above}.")


def _lowest_scores(found: list[Hits], k: int) -> Scores:
    """For each query, the score that a later passage must exceed to be among the best `k`."""
    return np.array([hits.scores[-1] if len(hits.scores) == k else -np.inf for hits in found], np.float32)


class _Comparison:
    """Compares queries with one piece of the corpus after the other, in matrices that are allocated once."""

    def __init__(self, queries: Scores, width: int, device: str) -> None:
        self._torch = library("torch", "mine")
        self._queries = self._torch.from_numpy(queries).to(device)
        self._scores = self._torch.empty(len(queries), width, device=device)
        self._hits = self._torch.empty(len(queries), width, dtype=self._torch.bool, device=device)

    def find_candidates(self, chunk: Scores, lowest: Scores, k: int) -> Iterator[tuple[int, Any]]:
        """For each query (row), the passages (columns) that may be among its best `k`, by inexact scores."""
        torch, device = self._torch, self._queries.device
        scores, hits = (matrix[:, : len(chunk)] for matrix in (self._scores, self._hits))
        documents = torch.from_numpy(chunk.copy()).to(device)  # PyTorch requires writable memory
        torch.mm(self._queries, documents.T, out=scores)
        bar = torch.from_numpy(lowest).to(device)
        if np.isinf(lowest).any():
            bar = torch.maximum(bar, scores.topk(min(k, len(chunk)), dim=1).values[:, -1])
        torch.ge(scores, bar[:, None] - _SLACK, out=hits)
        rows, columns = (found.cpu().numpy() for found in hits.nonzero(as_tuple=True))
        which, starts = np.unique(rows, return_index=True)
        return zip(which.tolist(), np.split(columns, starts[1:]) if len(starts) else [], strict=True)
