"""BM25 against one big index of bm25s, and against a second implementation that is as plain as can be."""

from __future__ import annotations

import math
import random
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import MissingDependency, UsageError
from arhn.retrieval import bm25 as module
from arhn.retrieval.bm25 import K1, B, Bm25
from arhn.retrieval.collection import open_collection
from arhn.retrieval.corpus import Corpus
from arhn.retrieval.embedder import as_text
from arhn.retrieval.search import Hits, search_run
from arhn.retrieval.tokenizer import space_out
from tests.unit.retrieval.helpers import TEXTS, ndcg, put_corpus, put_lines, shared

bm25s = pytest.importorskip("bm25s")
stemmers = pytest.importorskip("Stemmer")
np = pytest.importorskip("numpy")


class Plain:
    """BM25 as the formula says it: words in lists, counts in dictionaries, sums in double precision."""

    def __init__(self, texts: Sequence[str], *, stemmer: str | None = "english", stop: bool = True) -> None:
        self._stem = stemmers.Stemmer(stemmer).stemWord if stemmer else str
        self._stop = {*bm25s.stopwords.STOPWORDS_EN} if stop else set()
        words = [self.words(text) for text in texts]
        self.lengths = [len(found) for found in words]
        self.mean = sum(self.lengths) / len(words)
        self.postings: dict[str, list[tuple[int, int]]] = {}
        for i, found in enumerate(words):
            for word, count in Counter(found).items():
                self.postings.setdefault(word, []).append((i, count))

    def words(self, text: str) -> list[str]:
        found = re.findall(r"\b\w\w+\b", space_out(text).lower())
        return [self._stem(word) for word in found if word not in self._stop]

    def scores(self, query: str) -> list[float]:
        size = len(self.lengths)
        scores = [0.0] * size
        for word in self.words(query):
            postings = self.postings.get(word, [])
            idf = math.log(1 + (size - len(postings) + 0.5) / (len(postings) + 0.5))
            for i, count in postings:
                scores[i] += idf * count / (count + K1 * (1 - B + B * self.lengths[i] / self.mean))
        return scores

    def run(self, queries: Mapping[str, str], doc_ids: Sequence[str], k: int) -> dict[str, dict[str, float]]:
        ranked = {
            q: sorted(zip(self.scores(text), doc_ids, strict=True), key=lambda pair: -pair[0])
            for q, text in queries.items()
        }
        return {q: {doc_id: score for score, doc_id in pairs[:k] if score} for q, pairs in ranked.items()}


def invented(count: int, seed: int = 0) -> dict[str, str]:
    """Texts of few words, so that many are equally good, some without any word."""
    rng = random.Random(seed)
    words = ["walking", "walks", "dogs", "dog", "cat", "the", "of", "x", "running", "runs", "Über", "42"]
    return {f"d{i}": " ".join(rng.choices(words, k=rng.randrange(0, 8))) for i in range(count)}


ASKED = ["walking the dogs", "cat cat run", "über 42", "nothing that is there", "x the", "", "run runs running dog"]


def same(found: Hits, scores: Sequence[float], k: int) -> None:
    """Whether hits are the best `k` of all scores that aren't 0, ties by position."""
    order = sorted((i for i, score in enumerate(scores) if score > 0), key=lambda i: (-scores[i], i))[:k]
    assert found.positions.tolist() == order
    assert found.scores.tolist() == [scores[i] for i in order]
    assert (found.positions.dtype, found.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("shard", [1, 7, 100, 10_000])
@pytest.mark.parametrize(("stemmer", "stopwords"), [("english", "english"), (None, None)])
def test_shards_of_any_size_equal_one_big_index_to_the_last_bit(
    tmp_path: Path, shard: int, stemmer: str | None, stopwords: str | None
) -> None:
    texts = invented(230)
    corpus = Corpus.open(put_corpus(tmp_path, texts))
    stem = stemmers.Stemmer(stemmer) if stemmer else None
    tokens = [
        bm25s.tokenize(list(t), stopwords=stopwords, stemmer=stem, return_ids=False, show_progress=False)
        for t in (texts.values(), ASKED)
    ]
    big = bm25s.BM25(k1=K1, b=B, method="lucene")
    big.index(tokens[0], show_progress=False)
    searcher = Bm25(corpus, stemmer=stemmer, stopwords=stopwords, shard=shard)
    for k in (1, 5, 500):
        for words, hits in zip(tokens[1], searcher.search(ASKED, k), strict=True):
            known = [word for word in words if word in big.vocab_dict]
            same(hits, big.get_scores(known).tolist() if known else [0.0] * len(texts), k)


def test_scores_of_given_passages_are_those_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    corpus = Corpus.open(put_corpus(tmp_path, invented(50)))
    searcher = Bm25(corpus, shard=9)
    wanted = [[49, 0, 7], [], [3], [1, 2], list(range(50)), [0], [5, 5]]
    found = [dict(zip(h.positions.tolist(), h.scores.tolist(), strict=True)) for h in searcher.search(ASKED, 50)]
    for scores, places, expected in zip(searcher.score(ASKED, wanted), wanted, found, strict=True):
        assert scores.tolist() == [expected.get(place, 0.0) for place in places]


def test_titles_are_searched_too(tmp_path: Path) -> None:
    rows = [{"_id": "a", "title": "", "text": "cheese"}, {"_id": "b", "title": "moon", "text": "cheese"}]
    (hits,) = Bm25(Corpus.open(put_lines(tmp_path / "c.jsonl", rows))).search(["moon"], 5)
    assert hits.positions.tolist() == [1]


def test_new_words_make_a_new_index_and_known_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[object] = []
    index = module._Index

    def made(*arguments: Any) -> Any:
        built.append(arguments)
        return index(*arguments)

    monkeypatch.setattr(module, "_Index", made)
    searcher = Bm25(Corpus.open(put_corpus(tmp_path)))
    first = [next(searcher.search([text], 9)).positions.tolist() for text in ("cat", "moon rock", "cat")]
    assert len(built) == 2
    assert first[0] == first[2]


def test_the_index_goes_with_the_searcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    searcher = Bm25(Corpus.open(put_corpus(tmp_path)))
    assert len(list(searcher.search(["cat"], 1))) == 1
    assert list((tmp_path / "tmp").iterdir())
    del searcher
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize(
    "wrong", [{"k1": -1}, {"b": 1.5}, {"shard": 0}, {"stemmer": "klingon"}, {"stopwords": "klingon"}]
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Bm25(Corpus.open(put_corpus(tmp_path)), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("module_name", "package"), [("bm25s", "bm25s"), ("Stemmer", "Stemmer")])
def test_without_the_extra_the_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module_name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module_name, None)
    with pytest.raises(MissingDependency, match=rf"{package} .*pip install 'arhn\[mine\]'"):
        Bm25(Corpus.open(put_corpus(tmp_path)))


def test_nothing_is_said_where_a_run_is_quiet(tmp_path: Path) -> None:
    """bm25s asks to log its details and has bars of its own."""
    code = """
import logging, sys
logging.basicConfig(level=logging.INFO)
from arhn.retrieval.bm25 import Bm25
from arhn.retrieval.corpus import Corpus
print(len(list(Bm25(Corpus.open(sys.argv[1])).search(["cat", ""], 1))))
"""
    command = [sys.executable, "-c", code, str(put_corpus(tmp_path))]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == ("2\n", "")


def test_small_scores_equal_the_plain_formula(tmp_path: Path) -> None:
    corpus, plain = Corpus.open(put_corpus(tmp_path)), Plain(list(TEXTS.values()))
    asked = ["the cat on rock", "dogs and cheese"]
    for query, scores in zip(asked, Bm25(corpus).score(asked, [range(len(TEXTS))] * 2), strict=True):
        assert scores.tolist() == pytest.approx(plain.scores(query), abs=1e-6)


@pytest.mark.parametrize(("parts", "split"), [(("cranfield",), "test"), (("xquad_windows", "beir"), "test")])
def test_ndcg_equals_that_of_a_second_implementation(parts: tuple[str, ...], split: str) -> None:
    collection = open_collection(folder=shared(*parts), split=split)
    run = search_run(Bm25(collection.corpus, shard=500), collection, 100, skip_identical=False)
    plain = Plain([as_text(passage) for passage in collection.corpus])
    second = plain.run(collection.queries, [*collection.corpus.doc_ids], 100)  # each is read from the file otherwise
    assert ndcg(run, collection.qrels) == pytest.approx(ndcg(second, collection.qrels), abs=0.005)
    for query_id, scores in second.items():  # the last places may go to others of the same score
        assert [*run[query_id].values()] == pytest.approx([*scores.values()], abs=1e-4)


def test_text_without_spaces_is_split_into_pairs() -> None:
    assert space_out("橋は1931年に").split() == ["橋は", "1931", "年に"]
    assert space_out("a 橋 b").split() == ["a", "橋_", "b"]
    assert space_out("カメラ・レンズ").split() == ["カメ", "メラ", "・", "レン", "ンズ"]
    assert space_out("ภาษาไทย").split()[0] == "ภา"
    assert space_out("plain words, Straße 한국어 слово") == "plain words, Straße 한국어 слово"
