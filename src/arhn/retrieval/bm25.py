"""BM25 by `bm25s`, over a corpus that never has to fit into memory.

The corpus is tokenized once into shards on disk, each of them an index that bm25s itself loads. Document frequencies
and the mean passage length are counted over the whole corpus before any score is computed, so scores equal those of
one big index to the last bit, whatever the size of a shard. Only words of the queries are indexed: other words can't
match, and the vocabulary of a large corpus would fill the memory.

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
from arhn.retrieval.bm25_shards import CorpusCounts, Ints, Shard
from arhn.retrieval.corpus import BLOCK, Corpus
from arhn.retrieval.embedder import as_text
from arhn.retrieval.search import Hits, Scores, batched, log_progress, merge_hits
from arhn.retrieval.tokenizer import ENGLISH, Tokenizer

#: Passages in a shard, and queries searched together; memory grows with both.
SHARD = 4096
BATCH = 512

K1, B = 1.5, 0.75


class Bm25:
    """BM25 over one corpus. A passage that shares no word with the query is never a hit.

    The index is built on the first search, and built again when queries have words that it lacks: give all queries
    in one call. It is stored in a temporary folder and takes about 8 bytes for each query word in each passage.
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
        """Check the settings; nothing is read yet.

        Args:
            k1: how fast a repeated word stops adding to the score, 0 or more.
            b: how much long passages are penalised, from 0 to 1.
            stemmer: a language of PyStemmer; None to leave words unstemmed.
            stopwords: a language whose stop words bm25s has; None to keep all words.
            shard: passages indexed together, 1 or more.

        Raises:
            MissingDependency: bm25s isn't installed, or PyStemmer for a stemmer.
            UsageError: a number out of range, or an unknown language.
        """
        self._tokenizer = self.make_tokenizer(k1=k1, b=b, stemmer=stemmer, stopwords=stopwords)
        if shard < 1:
            raise UsageError(f"shard: expected 1 passage or more, found {shard}.")
        self._corpus = corpus
        self._k1, self._b, self._shard = k1, b, shard
        self._index: _Index | None = None

    @staticmethod
    def make_tokenizer(
        *, k1: float = K1, b: float = B, stemmer: str | None = ENGLISH, stopwords: str | None = ENGLISH
    ) -> Tokenizer:
        """Check the settings of a `Bm25` without a corpus, and make its tokenizer. Raises as `Bm25` does."""
        if not 0 <= k1 < math.inf or not 0 <= b <= 1:
            raise UsageError(f"BM25 needs k1 of 0 or more and b from 0 to 1; found k1={k1:g}, b={b:g}.")
        return Tokenizer(stemmer, stopwords)

    @property
    def name(self) -> str:
        """See `Searcher`: "bm25"."""
        return "bm25"

    def search(self, queries: Sequence[str], k: int) -> Iterator[Hits]:
        """See `Searcher`. Scores are above 0, without an upper bound."""
        index = self._index_queries(queries)
        for batch in batched(queries, BATCH):
            terms = self._tokenizer.number_words(batch, index.vocabulary)
            found = [Hits.none()] * len(batch)
            for shard in index.shards:
                scorer = shard.open_scorer()
                found = [
                    _merge_shard(hits, scorer(ids), shard.first, k) for hits, ids in zip(found, terms, strict=True)
                ]
            yield from found

    def score(self, queries: Sequence[str], positions: Sequence[Sequence[int]]) -> Iterator[Scores]:
        """See `Searcher`. A passage that shares no word with the query scores 0."""
        index = self._index_queries(queries)
        for batch, wanted in zip(batched(queries, BATCH), batched(positions, BATCH), strict=True):
            terms = self._tokenizer.number_words(batch, index.vocabulary)
            scores = [np.zeros(len(places), np.float32) for places in wanted]
            for shard in index.shards:
                scorer = shard.open_scorer()
                for ids, places, out in zip(terms, wanted, scores, strict=True):
                    _fill_scores(out, np.asarray(places, np.int64) - shard.first, scorer, ids, shard.size)
            yield from scores

    def _index_queries(self, queries: Sequence[str]) -> _Index:
        """The index, built again if it lacks a word of these queries."""
        known: Mapping[str, int] = self._index.vocabulary if self._index is not None else {}
        words = self._tokenizer.collect_words(queries)
        if self._index is None or not known.keys() >= words:
            vocabulary = {word: i for i, word in enumerate(sorted(words | known.keys()))}
            self._index = _Index(self._corpus, vocabulary, self._tokenizer, self._shard, self._k1, self._b)
        return self._index


class _Index:
    """The shards of a corpus over a vocabulary; their folder is removed with the index."""

    def __init__(
        self, corpus: Corpus, vocabulary: Mapping[str, int], tokenizer: Tokenizer, size: int, k1: float, b: float
    ) -> None:
        self.vocabulary = vocabulary
        root = Path(tempfile.gettempdir())
        with output_errors(root / "bm25"):
            folder = Path(tempfile.mkdtemp(prefix="arhn-bm25-", dir=root))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            counts = CorpusCounts(len(vocabulary))
            self.shards = [
                Shard.count(folder, first, _tokenize_blocks(corpus, first, size, tokenizer, vocabulary), counts)
                for first in log_progress(range(0, len(corpus), size), "indexed")
            ]
            for shard in self.shards:
                shard.score_postings(counts, k1=k1, b=b)


def _tokenize_blocks(
    corpus: Corpus, first: int, size: int, tokenizer: Tokenizer, vocabulary: Mapping[str, int]
) -> Iterator[tuple[list[Ints], list[int]]]:
    """For each block of passages: the numbers of their words in the vocabulary, and how many words each has."""
    for start in range(first, min(first + size, len(corpus)), BLOCK):
        texts = [as_text(passage) for passage in corpus.read_range(start, min(start + BLOCK, first + size))]
        yield tokenizer.number_and_count_words(texts, vocabulary)


def _merge_shard(hits: Hits, scores: Scores, first: int, k: int) -> Hits:
    """The `k` best of `hits` and the passages of a shard.

    Of equal scores the earlier passage wins, so once `k` hits are there, a later one must score above the last.
    """
    lowest = hits.scores[-1] if len(hits.scores) == k else 0
    found = np.flatnonzero(scores > lowest)
    if len(found) > k:
        found = found[scores[found] >= np.partition(scores, len(scores) - k)[len(scores) - k]]
    return merge_hits(hits, found + first, scores[found], k) if len(found) else hits


def _fill_scores(out: Scores, local: Ints, scorer: Callable[[Ints], Scores], ids: Ints, size: int) -> None:
    """Write scores into `out` for the passages that are in this shard: those whose `local` position is inside it."""
    inside = (local >= 0) & (local < size)
    if inside.any():
        out[inside] = scorer(ids)[local[inside]]
