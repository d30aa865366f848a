"""BM25 on real collections, against one written here from the formula."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from arhn.evaluate.job import evaluate
from arhn.evaluate.measures import NDCG, RECALL, measure
from arhn.evaluate.retrievers import Bm25Retriever
from arhn.evaluate.sources import find_sources
from arhn.retrieval.collection import Collection

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
K1, B = 1.5, 0.75
#: Lucene's English stop words.
STOPPED = """
    a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
    was will with
    """

pytest.importorskip("bm25s")
stemmer = pytest.importorskip("Stemmer").Stemmer("english")
pytest.importorskip("pytrec_eval")


def words(text: str) -> list[str]:
    stopped = frozenset(STOPPED.split())
    found = re.findall(r"\b\w\w+\b", text.lower())
    return [str(word) for word in stemmer.stemWords([word for word in found if word not in stopped])]


def by_hand(collection: Collection) -> dict[str, dict[str, float]]:
    """The thousand best of each query, by Lucene's formula."""
    texts = {p.doc_id: words(f"{p.title}\n{p.text}") for p in collection.corpus}
    mean = sum(map(len, texts.values())) / len(texts)
    postings: dict[str, dict[str, float]] = defaultdict(dict)
    for doc_id, of in texts.items():
        for word, count in Counter(of).items():
            postings[word][doc_id] = count / (count + K1 * (1 - B + B * len(of) / mean))
    run = {}
    for query_id, query in collection.queries.items():
        scores: dict[str, float] = defaultdict(float)
        for word in words(query):
            there = postings[word]
            idf = math.log(1 + (len(texts) - len(there) + 0.5) / (len(there) + 0.5))
            for doc_id, weight in there.items():
                scores[doc_id] += idf * weight
        scores.pop(query_id, None)
        run[query_id] = dict(sorted(scores.items(), key=lambda item: -item[1])[:1000])
    return run


@pytest.mark.parametrize("name", ["cranfield", "xquad_windows/beir"])
def test_on_real_collections(name: str, tmp_path: Path) -> None:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip("no ../shared here")
    [source] = find_sources(folders=[str(folder)])
    [found] = evaluate(Bm25Retriever(), [source], tmp_path / "out").datasets
    collection = source.open().collection
    expected = measure(collection.qrels, by_hand(collection)).means
    for measured in (NDCG, RECALL):
        assert found.means[measured] == pytest.approx(expected[measured], abs=0.005), (found.means, expected)
