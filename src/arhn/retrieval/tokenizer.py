"""The words of texts, split as bm25s does it: lower case, two letters or more, without stop words, stemmed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from arhn.errors import UsageError
from arhn.libraries import library
from arhn.retrieval.bm25_shards import Ints
from arhn.retrieval.corpus import BLOCK
from arhn.retrieval.search import batched

ENGLISH = "english"
_ABSENT = -1


class Tokenizer:
    """Splits texts into words, and numbers the words by a vocabulary."""

    def __init__(self, stemmer: str | None, stopwords: str | None) -> None:
        """Check the languages.

        Args:
            stemmer: a language of PyStemmer; None to leave words unstemmed.
            stopwords: a language whose stop words bm25s has; None to keep all words.

        Raises:
            MissingDependency: bm25s isn't installed, or PyStemmer for a stemmer.
            UsageError: an unknown language.
        """
        bm25s = load_bm25s()
        self._tokenize = bm25s.tokenize
        self._stemmer = None if stemmer is None else _load_stemmer(stemmer)
        try:
            bm25s.tokenize("", stopwords=stopwords, show_progress=False)
        except ValueError as error:
            raise UsageError(f"Stop words of {stopwords!r} aren't known: {error}") from error
        self._stopwords = stopwords

    def collect_words(self, texts: Sequence[str]) -> set[str]:
        """The distinct words of some texts."""
        return set(chain.from_iterable(self._run(batch).vocab for batch in batched(texts, BLOCK)))

    def number_words(self, texts: Sequence[str], vocabulary: Mapping[str, int]) -> list[Ints]:
        """The words of each text as numbers of `vocabulary`, in their order; words it lacks are left out."""
        return self.number_and_count_words(texts, vocabulary)[0]

    def number_and_count_words(
        self, texts: Sequence[str], vocabulary: Mapping[str, int]
    ) -> tuple[list[Ints], list[int]]:
        """As `number_words`, and how many words each text has, those the vocabulary lacks included."""
        found = self._run(texts)
        numbers = np.full(len(found.vocab) + 1, _ABSENT, dtype=np.int64)
        for word, i in found.vocab.items():
            numbers[i] = vocabulary.get(word, _ABSENT)
        every = [numbers[np.asarray(ids, dtype=np.int64)] for ids in found.ids]
        return [ids[ids != _ABSENT] for ids in every], list(map(len, every))

    def _run(self, texts: Sequence[str]) -> Any:
        return self._tokenize(list(texts), stopwords=self._stopwords, stemmer=self._stemmer, show_progress=False)


def load_bm25s() -> Any:
    """Import bm25s, and silence the detailed log that it switches on when imported."""
    bm25s = library("bm25s", "mine")
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s


def _load_stemmer(language: str) -> Any:
    stemmer = library("Stemmer", "mine")
    try:
        return stemmer.Stemmer(language)
    except KeyError as error:
        known = ", ".join(stemmer.algorithms())
        raise UsageError(f"There is no stemmer {language!r}. Choose one of {known}, or none.") from error
