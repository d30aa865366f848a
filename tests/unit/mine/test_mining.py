"""Mining with retrievers whose lists are written down here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from arhn.errors import UsageError
from arhn.mine import mining as module
from arhn.mine.mining import Mined, interleave, mine
from arhn.mine.rules import Fate, Settings
from arhn.retrieval.collection import Collection, open_collection
from arhn.retrieval.search import Hits, Scores
from tests.unit.retrieval.helpers import put_beir

np = pytest.importorskip("numpy")

TEXTS = {f"d{i}": f"text of {i}" for i in range(12)} | {"q1": "a passage that asks", "twin": "text of 0"}
QUERIES = {"q1": "who?", "q2": "what?"}
QRELS = {"q1": {"d0": 1, "d1": 2, "d5": 0}, "q2": {"d2": 1}}


class Listed:
    """A retriever that finds what it is told to, best first, with scores 0.9, 0.8 and so on, or as given."""

    def __init__(self, collection: Collection, lists: Mapping[str, Sequence[str]], name: str = "listed") -> None:
        self.name = name
        self._positions = collection.corpus.find_positions(TEXTS)
        self._lists = {collection.queries[q]: ids for q, ids in lists.items()}
        self.asked: list[tuple[str, int]] = []
        self.scored: list[Sequence[int]] = []

    def search(self, queries: Sequence[str], k: int) -> Iterator[Hits]:
        for query in queries:
            self.asked.append((query, k))
            found = [self._positions[doc_id] for doc_id in self._lists.get(query, ())][:k]
            yield Hits(np.array(found, np.int64), np.array([self._score(i) for i in range(len(found))], np.float32))

    def score(self, queries: Sequence[str], positions: Sequence[Sequence[int]]) -> Iterator[Scores]:
        for query, places in zip(queries, positions, strict=True):
            self.scored.append(places)
            ids = [list(self._positions)[list(self._positions.values()).index(place)] for place in places]
            ranked = list(self._lists.get(query, ()))
            yield np.array([self._score(ranked.index(i)) if i in ranked else 0.0 for i in ids], np.float32)

    def _score(self, rank: int) -> float:
        return round(0.9 - 0.1 * rank, 6)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return open_collection(folder=put_beir(tmp_path, TEXTS, QUERIES, QRELS), split="train")


def ids(mined: Mined) -> list[str]:
    assert mined.group is not None
    return [passage.doc_id for passage in mined.group.negatives]


def mined(collection: Collection, lists: Mapping[str, Sequence[str]], **settings: object) -> list[Mined]:
    return list(mine(collection, [Listed(collection, lists)], Settings.model_validate({"negatives": 2, **settings})))


def test_groups_have_all_positives_and_the_first_negatives(collection: Collection) -> None:
    first, second = mined(collection, {"q1": ["d1", "d4", "d0", "d5", "d6"], "q2": ["d7", "d8"]})
    assert first.group is not None
    assert (first.query_id, first.group.query_id, first.group.query) == ("q1", "q1", "who?")
    assert [(p.doc_id, p.text) for p in first.group.positives] == [("d0", "text of 0"), ("d1", "text of 1")]
    assert ids(first) == ["d4", "d5"]
    assert [(c.rank, fate) for c, fate in zip(first.candidates, first.fates, strict=True)] == [
        (1, Fate.CHOSEN),
        (2, Fate.CHOSEN),
        (3, Fate.SPARE),
    ]
    assert (first.positives_found, first.judged, first.identical, first.blank_positives) == (2, 1, 0, 0)
    assert ids(second) == ["d7", "d8"]


def test_positives_and_the_query_itself_take_no_rank(collection: Collection) -> None:
    first, _ = mined(collection, {"q1": ["q1", "d1", "d4", "d0", "d6", "d7", "d8"]}, range_min=1, range_max=3)
    assert ids(first) == ["d6", "d7"]
    assert first.identical == 1
    assert first.fates == (Fate.SKIPPED, Fate.CHOSEN, Fate.CHOSEN)


def test_texts_of_positives_under_another_id_are_no_negatives(collection: Collection) -> None:
    first, _ = mined(collection, {"q1": ["twin", "d4"]})
    assert (ids(first), first.fates) == (["d4"], (Fate.EQUALS_POSITIVE, Fate.CHOSEN))


def test_fewer_stay_fewer_and_none_stay_none(collection: Collection) -> None:
    first, second = mined(collection, {"q1": ["d0", "d4"]}, negatives=5)
    assert ids(first) == ["d4"]
    assert ids(second) == []


def test_retrievers_are_asked_once_for_as_much_as_is_needed(collection: Collection) -> None:
    searcher = Listed(collection, {})
    list(mine(collection, [searcher], Settings(range_max=10)))
    assert searcher.asked == [("who?", 13), ("what?", 13)]  # 10, two positives, the query itself


def test_several_retrievers_take_turns(collection: Collection) -> None:
    one = Listed(collection, {"q1": ["d1", "d4", "d5"], "q2": ["d3"]})
    two = Listed(collection, {"q1": ["d6", "d4", "d7"]})
    first, second = mine(collection, [one, two], Settings(negatives=3))
    assert ids(first) == ["d6", "d4", "d5"]
    assert ids(second) == ["d3"]


@pytest.mark.parametrize(
    ("lists", "merged"),
    [([[1, 2, 3], [4, 1]], [1, 4, 2, 3]), ([[], [0]], [0]), ([[1]], [1]), ([[1, 2], [2, 1]], [1, 2])],
)
def test_taking_turns(lists: list[list[int]], merged: list[int]) -> None:
    assert interleave(lists) == merged


def test_rules_go_by_one_retriever_whoever_found_a_passage(collection: Collection) -> None:
    dense = Listed(collection, {"q1": ["d4", "d1", "d0", "d5"]})  # 0.9, positives 0.8 and 0.7, 0.6
    lexical = Listed(collection, {"q1": ["d6", "d4"]})
    settings = Settings(negatives=3, absolute_margin=0.05)
    first, _ = mine(collection, [lexical, dense], settings, scorer=dense)
    assert ids(first) == ["d6", "d5"]
    scores = {c.passage.doc_id: c.score for c in first.candidates if c.passage}
    assert scores == pytest.approx({"d6": 0.0, "d4": 0.9, "d5": 0.6})
    assert [list(places) for places in dense.scored] == [[collection.corpus.find_positions(["d6"])["d6"]], [2]]
    assert not lexical.scored


def test_nothing_is_scored_where_no_rule_needs_it(collection: Collection) -> None:
    searcher = Listed(collection, {"q1": ["d4"]})
    list(mine(collection, [searcher], Settings()))
    assert not searcher.scored


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_batches_change_nothing(collection: Collection, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    lists = {"q1": ["d4", "d1", "d0", "d5", "d6"], "q2": ["d2", "d7", "d8"]}
    expected = mined(collection, lists, relative_margin=0.2)
    monkeypatch.setattr(module, "BATCH", batch)
    assert mined(collection, lists, relative_margin=0.2) == expected


def test_blank_passages_are_neither_positives_nor_negatives(tmp_path: Path) -> None:
    folder = put_beir(tmp_path, {**TEXTS, "d0": "", "d2": " ", "d4": ""}, QUERIES, QRELS)
    collection = open_collection(folder=folder, split="train")
    first, second = mined(collection, {"q1": ["d4", "d6"], "q2": ["d7"]}, absolute_margin=0)
    assert first.group is not None
    assert [p.doc_id for p in first.group.positives] == ["d1"]
    assert (first.blank_positives, first.fates[0]) == (1, Fate.BLANK)
    assert (second.group, second.blank_positives) == (None, 1)


def test_a_retriever_is_needed(collection: Collection) -> None:
    with pytest.raises(UsageError, match="at least one retriever"):
        list(mine(collection, [], Settings()))
