"""BM25 by `bm25s`, over a corpus that never has to fit into memory.

The corpus is tokenized once into shards on disk, each an index that bm25s itself loads. What a score hangs on
beyond its passage, document frequencies and the mean length, is counted over the whole corpus before any score is
computed, so that scores equal those of one big index to the last bit, whatever the size of a shard. Only words of
the queries are indexed: others can't match, and the vocabulary of a large corpus would be what fills the memory.

Formula: Lucene's variant (Kamphuis et al., ECIR 2020, "Which BM25 Do You Mean?"), the default of bm25s.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from arhn.errors import UsageError
from arhn.files.atomic import output_errors
from arhn.retrieval.corpus import BLOCK, Corpus
from arhn.retrieval.embedder import as_text
from arhn.retrieval.search import Hits, Scores, joined, none_found, slices, told
from arhn.retrieval.shards import Counts, Ints, Shard
from arhn.retrieval.words import ENGLISH, Words

#: Passages of a shard, and queries that are searched together; what is held at once grows with both.
SHARD = 4096
BATCH = 512

K1, B = 1.5, 0.75


class Bm25:
    """BM25 over one corpus. A passage without a word of the query is never a hit.

    The index is made on the first search, and made anew when queries bring words that it hasn't: give all queries
    in one call. It lies in a temporary folder and takes about 8 bytes for each word of the queries in each passage.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        k1: float = K1,
        b: float = B,
        stemmer: str | None = ENGLISH,
        stopwords: str | None = ENGLISH,
        shard: int = SHARD,
    ) -> None:
        """Args:
            k1, b: saturation of the term frequency (0 and up), share of the length normalisation (0 to 1).
            stemmer: a language of PyStemmer; None for words as they are.
            stopwords: a language whose stop words bm25s has; None to keep all words.
            shard: passages indexed together.

        Raises:
            MissingDependency: bm25s isn't installed, or PyStemmer for a stemmer.
            UsageError: a number out of range, or a language that isn't known.
        """
        self._words = self.checked(k1=k1, b=b, stemmer=stemmer, stopwords=stopwords)
        if shard < 1:
            raise UsageError(f"shard: expected 1 passage or more, found {shard}.")
        self._corpus = corpus
        self._k1, self._b, self._shard = k1, b, shard
        self._index: _Index | None = None

    @staticmethod
    def checked(
        *, k1: float = K1, b: float = B, stemmer: str | None = ENGLISH, stopwords: str | None = ENGLISH
    ) -> Words:
        """What splits texts. Whether all this can be is found out without a corpus; raises as `Bm25` does."""
        if not 0 <= k1 < math.inf or not 0 <= b <= 1:
            raise UsageError(f"BM25 needs k1 from 0 on, b from 0 to 1; found k1={k1:g}, b={b:g}.")
        return Words(stemmer, stopwords)

    @property
    def name(self) -> str:
        return "bm25"

    def search(self, queries: Sequence[str], k: int) -> Iterator[Hits]:
        """See `Searcher`. Scores are BM25 scores, above 0 and without an upper bound."""
        index = self._covering(queries)
        for batch in slices(queries, BATCH):
            terms = self._words.ids(batch, index.vocabulary)
            found = [none_found()] * len(batch)
            for shard in index.shards:
                scorer = shard.scorer()
                found = [_merged(hits, scorer(ids), shard.first, k) for hits, ids in zip(found, terms, strict=True)]
            yield from found

    def score(self, queries: Sequence[str], positions: Sequence[Sequence[int]]) -> Iterator[Scores]:
        """See `Searcher`. A passage without a word of the query has 0."""
        index = self._covering(queries)
        for batch, wanted in zip(slices(queries, BATCH), slices(positions, BATCH), strict=True):
            terms = self._words.ids(batch, index.vocabulary)
            scores = [np.zeros(len(places), np.float32) for places in wanted]
            for shard in index.shards:
                scorer = shard.scorer()
                for ids, places, out in zip(terms, wanted, scores, strict=True):
                    _fill(out, np.asarray(places, np.int64) - shard.first, scorer, ids, shard.size)
            yield from scores

    def _covering(self, queries: Sequence[str]) -> _Index:
        """An index that has all words of these queries."""
        known: Mapping[str, int] = self._index.vocabulary if self._index is not None else {}
        words = self._words.distinct(queries)
        if self._index is None or not known.keys() >= words:
            vocabulary = {word: i for i, word in enumerate(sorted(words | known.keys()))}
            self._index = _Index(self._corpus, vocabulary, self._words, self._shard, self._k1, self._b)
        return self._index


class _Index:
    """The shards of a corpus over a vocabulary; their folder goes when the index does."""

    def __init__(
        self, corpus: Corpus, vocabulary: Mapping[str, int], words: Words, size: int, k1: float, b: float
    ) -> None:
        self.vocabulary = vocabulary
        root = Path(tempfile.gettempdir())
        with output_errors(root / "bm25"):
            folder = Path(tempfile.mkdtemp(prefix="arhn-bm25-", dir=root))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            counts = Counts(len(vocabulary))
            self.shards = [
                Shard.counted(folder, first, _blocks(corpus, first, size, words, vocabulary), counts)
                for first in told(range(0, len(corpus), size), "indexed")
            ]
            for shard in self.shards:
                shard.finish(counts, k1=k1, b=b)


def _blocks(
    corpus: Corpus, first: int, size: int, words: Words, vocabulary: Mapping[str, int]
) -> Iterator[tuple[list[Ints], list[int]]]:
    """Per block of passages, the ids of their words that are in the vocabulary, and how many words they have."""
    for start in range(first, min(first + size, len(corpus)), BLOCK):
        texts = [as_text(passage) for passage in corpus.between(start, min(start + BLOCK, first + size))]
        yield words.ids_and_lengths(texts, vocabulary)


def _merged(hits: Hits, scores: Scores, first: int, k: int) -> Hits:
    """The `k` best of `hits` and the passages of a shard. Later passages lose a tie, so full hits raise the bar."""
    floor = hits.scores[-1] if len(hits.scores) == k else 0
    found = np.flatnonzero(scores > floor)
    if len(found) > k:
        found = found[scores[found] >= np.partition(scores, len(scores) - k)[len(scores) - k]]
    return joined(hits, found + first, scores[found], k) if len(found) else hits


def _fill(out: Scores, local: Ints, scorer: Callable[[Ints], Scores], ids: Ints, size: int) -> None:
    """Put the scores of those passages into `out` whose place in the shard, `local`, is one."""
    inside = (local >= 0) & (local < size)
    if inside.any():
        out[inside] = scorer(ids)[local[inside]]
