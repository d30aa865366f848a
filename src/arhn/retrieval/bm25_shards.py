"""Shards of a BM25 index on disk: words are counted first, and scored once the whole corpus has been counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from arhn.libraries import library
from arhn.retrieval.search import Scores

Ints = npt.NDArray[np.int64]

_TERM = 32  # a posting is one number while it is counted: the term above this bit, the passage below it


class CorpusCounts:
    """Counts over a corpus: `passages`, `words`, and for each term the passages that have it (`frequencies`)."""

    def __init__(self, terms: int) -> None:
        self.passages = 0
        self.words = 0
        self.frequencies = np.zeros(terms, dtype=np.int64)

    @cached_property
    def idf(self) -> Scores:
        """The inverse document frequency of each term, float32, shape (terms,). Read it once all is counted.

        log(1 + (N - n + 0.5) / (n + 0.5)) for a term in n of N passages, as Lucene has it; 0 where n is 0.
        """
        n, found = self.passages, self.frequencies.tolist()
        values = [math.log(1 + (n - f + 0.5) / (f + 0.5)) if f else 0.0 for f in found]
        return np.array(values, dtype=np.float32)

    @property
    def mean_length(self) -> float:
        """Words in a passage, on average; 1 for a corpus without words."""
        return self.words / self.passages if self.words else 1.0


class Shard:
    """The index of the passages at positions `first` to `first + size - 1`."""

    def __init__(self, folder: Path, first: int, size: int) -> None:
        self._folder = folder
        self.first, self.size = first, size

    @classmethod
    def count(
        cls, root: Path, first: int, blocks: Iterable[tuple[list[Ints], list[int]]], counts: CorpusCounts
    ) -> Self:
        """Count the words of a shard's passages: write its postings to disk and add to `counts`.

        Args:
            root: the folder of all shards.
            first: the position of the shard's first passage in the corpus.
            blocks: for some passages at a time, the term numbers of each, and how many words each has.
        """
        folder = root / str(first)
        folder.mkdir()
        lengths: list[int] = []
        pieces = []
        for ids, block in blocks:
            numbers = np.repeat(np.arange(len(lengths), len(lengths) + len(ids)), [len(terms) for terms in ids])
            pieces.append(np.unique(np.concatenate(ids) << _TERM | numbers, return_counts=True))
            lengths += block
        postings, frequencies = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
        order = np.argsort(postings)
        counts.passages += len(lengths)
        counts.words += sum(lengths)
        counts.frequencies += np.bincount(postings >> _TERM, minlength=len(counts.frequencies))
        np.savez(folder / "counted.npz", postings=postings[order], frequencies=frequencies[order], lengths=lengths)
        return cls(folder, first, len(lengths))

    def score_postings(self, counts: CorpusCounts, *, k1: float, b: float) -> None:
        """Turn the counted postings into an index of bm25s. `counts` must cover the whole corpus by now."""
        path = self._folder / "counted.npz"
        with np.load(path) as counted:
            postings, lengths = counted["postings"], counted["lengths"]
            frequencies = counted["frequencies"].astype(np.float32)
        terms, passages = postings >> _TERM, postings & ((1 << _TERM) - 1)
        # Computed in the order and precision of bm25s, so that scores are the same to the last bit.
        norms = k1 * ((1 - b) + b * lengths / counts.mean_length)
        scores = counts.idf[terms] * (frequencies / (norms[passages] + frequencies))
        index = library("bm25s", "mine").BM25(k1=k1, b=b, method="lucene")
        index.scores = {
            "data": scores.astype(np.float32),
            "indices": passages.astype(np.int32),
            "indptr": np.searchsorted(terms, np.arange(len(counts.frequencies) + 1)),
            "num_docs": self.size,
        }
        index.vocab_dict, index.nonoccurrence_array = {}, None
        index.save(self._folder, show_progress=False)
        path.unlink()

    def open_scorer(self) -> Callable[[Ints], Scores]:
        """A function from the term numbers of a query to the scores of all passages, shape (size,).

        The index stays open for as long as the function is referenced.
        """
        index = library("bm25s", "mine").BM25.load(self._folder, mmap=True, load_vocab=False, show_progress=False)
        scores: Callable[[Ints], Scores] = index.get_scores_from_ids
        return scores
