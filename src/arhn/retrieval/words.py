"""Texts to words as bm25s splits them: lower case, two letters or more, without stop words, stemmed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from arhn.errors import UsageError
from arhn.libraries import library
from arhn.retrieval.corpus import BLOCK
from arhn.retrieval.search import slices
from arhn.retrieval.shards import Ints

ENGLISH = "english"
_ABSENT = -1


class Words:
    """A tokenizer. Raises as `Bm25` does."""

    def __init__(self, stemmer: str | None, stopwords: str | None) -> None:
        bm25s = bm25s_library()
        self._tokenize = bm25s.tokenize
        self._stemmer = None if stemmer is None else _stemmer(stemmer)
        try:
            bm25s.tokenize("", stopwords=stopwords, show_progress=False)
        except ValueError as error:
            raise UsageError(f"Stop words of {stopwords!r} aren't known: {error}") from error
        self._stopwords = stopwords

    def distinct(self, texts: Sequence[str]) -> set[str]:
        """All words of some texts."""
        return set(chain.from_iterable(self._tokenized(batch).vocab for batch in slices(texts, BLOCK)))

    def ids(self, texts: Sequence[str], vocabulary: Mapping[str, int]) -> list[Ints]:
        """The words of each text by their numbers in `vocabulary`, in their order; those it hasn't are left out."""
        return self.ids_and_lengths(texts, vocabulary)[0]

    def ids_and_lengths(self, texts: Sequence[str], vocabulary: Mapping[str, int]) -> tuple[list[Ints], list[int]]:
        """`ids`, and how many words each text has, those not in the vocabulary included."""
        found = self._tokenized(texts)
        numbers = np.full(len(found.vocab) + 1, _ABSENT, dtype=np.int64)
        for word, i in found.vocab.items():
            numbers[i] = vocabulary.get(word, _ABSENT)
        every = [numbers[np.asarray(ids, dtype=np.int64)] for ids in found.ids]
        return [ids[ids != _ABSENT] for ids in every], list(map(len, every))

    def _tokenized(self, texts: Sequence[str]) -> Any:
        return self._tokenize(list(texts), stopwords=self._stopwords, stemmer=self._stemmer, show_progress=False)


def bm25s_library() -> Any:
    """The module, kept from logging what it does in detail, which it asks for on import."""
    bm25s = library("bm25s", "mine")
    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s


def _stemmer(language: str) -> Any:
    stemmer = library("Stemmer", "mine")
    try:
        return stemmer.Stemmer(language)
    except KeyError as error:
        known = ", ".join(stemmer.algorithms())
        raise UsageError(f"There is no stemmer {language!r}; there are {known}, and none.") from error
