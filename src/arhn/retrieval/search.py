"""What a retriever is, and a run of it over a collection."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from arhn.retrieval.collection import Collection
    from arhn.retrieval.corpus import Corpus
    from arhn.retrieval.runs import Run

_T = TypeVar("_T")
Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]


class Hits(NamedTuple):
    """The best passages for a query: file positions from 0 (int64) and their scores (float32), best first.

    Equal scores are in the order of the corpus.
    """

    positions: Positions
    scores: Scores


class Searcher(Protocol):
    """A retriever over one corpus.

    `name` says which one it is beside scores and counts.
    """

    @property
    def name(self) -> str: ...

    def search(self, queries: Sequence[str], k: int) -> Iterator[Hits]:
        """The `k` best passages of each query, in the order of `queries`; fewer where fewer match.

        Give all queries in one call: a retriever may read the corpus once a call. What is held doesn't grow with
        queries times corpus.
        """
        ...

    def score(self, queries: Sequence[str], positions: Sequence[Sequence[int]]) -> Iterator[Scores]:
        """The score of each query with each of its `positions`, by the same measure as `search`."""
        ...


def none_found() -> Hits:
    """No hits."""
    return Hits(np.zeros(0, np.int64), np.zeros(0, np.float32))


def slices(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """`items` in pieces of `size`, the last one shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def best(positions: Positions, scores: Scores, k: int) -> Hits:
    """The `k` best of some passages in the order of `Hits`, from hits in any order."""
    order = np.lexsort((positions, -scores))[:k]
    return Hits(positions[order], scores[order])


def search_run(searcher: Searcher, collection: Collection, k: int, *, skip_identical: bool = True) -> Run:
    """The `k` best passages of every query of a collection, best first.

    Args:
        skip_identical: leave out a passage whose doc_id is the query_id, as BEIR does where queries are taken from
            the corpus; the next one takes its place.
    """
    queries = collection.queries
    hits = searcher.search(list(queries.values()), k + skip_identical)
    ids = _Ids(collection.corpus)
    return {query_id: _scored(ids, query_id, h, k, skip_identical) for query_id, h in zip(queries, hits, strict=True)}


class _Ids:
    """doc_ids by file position; each is read from disk once, however many queries find the passage."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._known: dict[int, str] = {}

    def at(self, positions: Sequence[int]) -> list[str]:
        new = [position for position in positions if position not in self._known]
        self._known.update(zip(new, self._corpus.ids(new), strict=True))
        return [self._known[position] for position in positions]


def _scored(ids: _Ids, query_id: str, hits: Hits, k: int, skip_identical: bool) -> dict[str, float]:
    found = zip(ids.at(hits.positions.tolist()), hits.scores.tolist(), strict=True)
    kept = [(doc_id, score) for doc_id, score in found if not (skip_identical and doc_id == query_id)]
    return dict(kept[:k])


logger = logging.getLogger(__name__)

#: Seconds between two lines; a loop that takes less says nothing.
EVERY = 10.0


def told(starts: range, what: str) -> Iterator[int]:
    """`starts`, logging now and then how many of `starts.stop` passages are `what`."""
    last = time.monotonic()
    for start in starts:
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            logger.info("%s of %s passages %s", f"{start:,}", f"{starts.stop:,}", what)
        yield start


#: Digits of a similarity, as in `arhn.retrieval.similarity`.
DIGITS = 6


def cosines(documents: Scores, query: Scores) -> Scores:
    """The similarity of unit vectors, shape (documents, dimensions), with that of a query.

    Matrix products in float32 sum up in an order that hangs on the machine and on what is beside a vector, and
    differ in the last digits. In double precision, with 6 digits kept, equal vectors are equally similar.
    """
    exact = documents.astype(np.float64) @ query.astype(np.float64)
    kept: Scores = (np.round(exact, DIGITS) + 0.0).astype(np.float32)  # + 0.0 makes -0.0 plain 0.0
    return kept


def joined(hits: Hits, positions: npt.NDArray[np.int64], scores: Scores, k: int) -> Hits:
    """The `k` best of `hits` and more passages."""
    every = np.concatenate([hits.positions, positions])
    return best(every, np.concatenate([hits.scores, scores]), k)
