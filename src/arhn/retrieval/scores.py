"""Cosine similarities that are the same however they were found."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from arhn.retrieval.search import Hits, Scores, best

#: Digits of a similarity, as in `arhn.similarity`.
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
