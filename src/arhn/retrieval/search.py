"""The interface of a retriever, its hits, and the runs it makes over a collection."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from arhn.retrieval.similarity import DIGITS

if TYPE_CHECKING:
    from arhn.retrieval.collection import Collection
    from arhn.retrieval.corpus import Corpus
    from arhn.retrieval.runs import Run

_T = TypeVar("_T")
#: Positions of passages in the file of the corpus, from 0.
Positions = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]

#: Seconds between two lines of progress; a loop that takes less logs nothing.
EVERY = 10.0

logger = logging.getLogger(__name__)


class Hits(NamedTuple):
    """The best passages for a query, best first: their positions in the corpus and their scores, both of shape (hits,).

    Equal scores are in the order of the corpus.
    """

    positions: Positions
    scores: Scores

    @classmethod
    def none(cls) -> Self:
        """No hits."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.float32))


class Searcher(Protocol):
    """A retriever over one corpus."""

    @property
    def name(self) -> str:
        """What summaries call the retriever and its scores."""
        ...

    def search(self, queries: Sequence[str], k: int) -> Iterator[Hits]:
        """The `k` best passages of each query, in the order of `queries`; fewer where fewer match.

        Give all queries in one call: a retriever may read the whole corpus in each call. The memory it takes doesn't
        grow with the number of queries times the size of the corpus.
        """
        ...

    def score(self, queries: Sequence[str], positions: Sequence[Sequence[int]]) -> Iterator[Scores]:
        """For each query the scores of its `positions`, in their order, by the same measure as `search`."""
        ...


def batched(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """`items` in slices of `size`; the last may be shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def top_hits(positions: Positions, scores: Scores, k: int) -> Hits:
    """The `k` best of some passages, given in any order."""
    order = np.lexsort((positions, -scores))[:k]
    return Hits(positions[order], scores[order])


def merge_hits(hits: Hits, positions: Positions, scores: Scores, k: int) -> Hits:
    """The `k` best of `hits` and more passages."""
    return top_hits(np.concatenate([hits.positions, positions]), np.concatenate([hits.scores, scores]), k)


def compute_cosines(documents: Scores, query: Scores) -> Scores:
    """The cosine similarities of documents with a query, shape (documents,), rounded to 6 digits.

    Float32 matrix products differ in the last digits between machines, and with the rows beside a vector, because the
    order of summation differs. Double precision and rounding make equal vectors equally similar.

    Args:
        documents: unit vectors, shape (documents, dimensions).
        query: a unit vector, shape (dimensions,).
    """
    exact = documents.astype(np.float64) @ query.astype(np.float64)
    rounded: Scores = (np.round(exact, DIGITS) + 0.0).astype(np.float32)  # + 0.0 makes -0.0 plain 0.0
    return rounded


def log_progress(starts: range, action: str) -> Iterator[int]:
    """Yield `starts`, and log every ten seconds how many of `starts.stop` passages are done.

    Args:
        action: what was done to them, such as "indexed".
    """
    last = time.monotonic()
    for start in starts:
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            logger.info("%s of %s passages %s", f"{start:,}", f"{starts.stop:,}", action)
        yield start


def search_run(searcher: Searcher, collection: Collection, k: int, *, skip_identical: bool = True) -> Run:
    """Search a collection: the `k` best passages of every query, best first.

    Args:
        skip_identical: leave out a passage whose doc_id is the query_id, as BEIR does where queries come from the
            corpus; the next passage takes its place.
    """
    queries = collection.queries
    hits = searcher.search(list(queries.values()), k + skip_identical)
    ids = _Ids(collection.corpus)
    return {
        query_id: _name_hits(ids, query_id, h, k, skip_identical) for query_id, h in zip(queries, hits, strict=True)
    }


class _Ids:
    """doc_ids by position; each is read from disk once, however many queries find its passage."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._known: dict[int, str] = {}

    def read_at(self, positions: Sequence[int]) -> list[str]:
        new = [position for position in positions if position not in self._known]
        self._known.update(zip(new, self._corpus.read_ids(new), strict=True))
        return [self._known[position] for position in positions]


def _name_hits(ids: _Ids, query_id: str, hits: Hits, k: int, skip_identical: bool) -> dict[str, float]:
    """Scores by doc_id."""
    scored = zip(ids.read_at(hits.positions.tolist()), hits.scores.tolist(), strict=True)
    allowed = [(doc_id, score) for doc_id, score in scored if not (skip_identical and doc_id == query_id)]
    return dict(allowed[:k])
