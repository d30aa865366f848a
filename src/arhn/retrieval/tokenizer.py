"""The words of texts, split as bm25s does it: lower case, two letters or more, without stop words, stemmed.

Text that has no spaces between words is split into pairs of characters.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np

from arhn.errors import UsageError
from arhn.libraries import library
from arhn.retrieval.bm25_shards import Ints
from arhn.retrieval.corpus import BLOCK
from arhn.retrieval.search import batched

ENGLISH = "english"
#: Runs of the scripts whose words have no spaces between them: Thai, Lao, Myanmar, Khmer, kana and Han.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]+"
)
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
        return self._tokenize(
            list(map(space_out, texts)), stopwords=self._stopwords, stemmer=self._stemmer, show_progress=False
        )


def space_out(text: str) -> str:
    """The text with pairs of neighbouring characters in place of what is written without spaces between words.

    As Lucene's analyzer for Chinese, Japanese and Korean does it; a character alone stays one word.
    """
    return _UNSPACED.sub(_list_pairs, text)


def _list_pairs(run: re.Match[str]) -> str:
    letters = [character for character in run[0] if character.isalnum()]
    # Words of one letter are dropped later: an underscore makes it two.
    pairs = map("".join, pairwise(letters)) if len(letters) > 1 else (f"{letter}_" for letter in letters)
    return f" {' '.join(pairs)} "


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
