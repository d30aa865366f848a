"""Groups in memory, what is forbidden for each query, and the decisions that say what was filtered."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.errors import BadJson, BadRow, DataError, FileMissing, NothingToTrain, UnknownFormat
from arhn.retrieval.embedder import as_text
from arhn.train import filtered_passages
from arhn.train.filtered_passages import FilteredPassages, doc_key, text_key
from arhn.train.groups import GroupStore, TextBuffer, find_data_set, gather
from arhn.types import Group, Passage
from tests.conftest import group, passage
from tests.unit.train import tiny


def keys(*passages: Passage) -> set[int]:
    return {key for p in passages for key in (doc_key(p.doc_id), text_key(as_text(p)))}


def numbers(store: GroupStore, found: Iterable[int]) -> list[str]:
    return [store.passage(i).text for i in found]


@given(st.lists(st.text(max_size=20), max_size=30))
def test_texts_come_back_and_are_held_once(words: list[str]) -> None:
    texts = TextBuffer()
    indices = [texts.add(word) for word in words]
    texts.freeze()
    assert [texts[i] for i in indices] == words
    assert len(texts) == len(set(words))


def test_groups_come_back() -> None:
    made = tiny.groups(5, positives=2, negatives=3)
    store = gather(made)
    assert len(store) == 5
    for found, expected in zip((store[i] for i in range(5)), made, strict=True):
        assert found.query == expected.query
        assert numbers(store, found.positives) == tiny.texts(expected.positives)
        assert numbers(store, found.negatives) == tiny.texts(expected.negatives)
        assert set(found.forbidden) == keys(*expected.positives)


def test_a_text_that_many_groups_share_is_held_once() -> None:
    shared = tuple(passage(f"n{i}", "word " * 200 + str(i)) for i in range(5))

    def size(count: int) -> int:
        made = [
            Group(query_id=f"q{i}", query=f"query {i}", positives=(passage(f"p{i}", f"short {i}"),), negatives=shared)
            for i in range(count)
        ]
        return gather(made).bytes

    assert size(101) - size(100) < 250


def test_titles_stand_before_the_text() -> None:
    titled = Passage(doc_id="p", text="text", title="title")
    store = gather([Group(query_id="q", query="?", positives=(titled,), negatives=(passage("n", "t"),))])
    assert numbers(store, store[0].positives) == ["title\ntext"]


def test_what_was_filtered_is_forbidden_by_id_and_by_text_where_another_group_has_it() -> None:
    known, unknown = passage("known", "a text that another group holds"), "unknown"
    made = [
        Group(query_id="q1", query="one", positives=(passage("p1", "a"),), negatives=(passage("n1", "b"),)),
        Group(query_id="q2", query="two", positives=(passage("p2", "c"),), negatives=(known,)),
    ]
    filtered = FilteredPassages()
    filtered.add("q1", doc_key("known"))
    filtered.add("q1", doc_key(unknown))
    store = gather(made, filtered)
    assert set(store[0].forbidden) == keys(made[0].positives[0], known) | {doc_key(unknown)}
    assert set(store[1].forbidden) == keys(made[1].positives[0])
    assert store.counts.filtered == 2


def test_groups_with_the_same_query_share_what_is_forbidden() -> None:
    one = Group(query_id="q1", query="same query", positives=(passage("p1", "a"),), negatives=(passage("n1", "b"),))
    two = Group(query_id="q2", query="same  query ", positives=(passage("p2", "c"),), negatives=(passage("n2", "d"),))
    filtered = FilteredPassages()
    filtered.add("q2", doc_key("f"))
    store = gather([one, two], filtered)
    expected = keys(*one.positives, *two.positives) | {doc_key("f")}
    assert set(store[0].forbidden) == set(store[1].forbidden) == expected


def test_a_negative_that_is_a_positive_or_was_filtered_is_left_out_and_counted() -> None:
    made = Group(
        query_id="q",
        query="query",
        positives=(passage("p", "the answer"),),
        negatives=(passage("copy", "the  answer"), passage("gone", "filtered"), passage("n", "stays")),
    )
    filtered = FilteredPassages()
    filtered.add("q", doc_key("gone"))
    store = gather([made], filtered)
    assert numbers(store, store[0].negatives) == ["stays"]
    assert store.counts.contradicted == 2


def test_groups_with_too_few_negatives_are_left_out_and_counted() -> None:
    store = gather([*tiny.groups(3, negatives=3), *tiny.groups(2, negatives=1, name="few")], min_negatives=2)
    assert (len(store), store.counts.read, store.counts.no_negatives) == (3, 5, 2)
    assert (store.counts.positives, store.counts.negatives) == (3, 9)


def test_groups_without_negatives_can_be_kept() -> None:
    assert len(gather(tiny.groups(3, negatives=0), min_negatives=0)) == 3


def test_nothing_to_train_on() -> None:
    with pytest.raises(NothingToTrain, match="the input is empty"):
        gather([])
    with pytest.raises(NothingToTrain, match=r"none of 3 has 1 negative or more .* --set min_negatives=0"):
        gather(tiny.groups(3, negatives=0))


def test_the_data_sets_are_counted() -> None:
    counts = gather([*tiny.groups(5), group("x")]).counts
    assert (dict(counts.sets), counts.unnamed) == ({"fever": 3, "nq": 2}, 1)


def test_a_well_known_name_counts_before_another_one() -> None:
    made = tiny.groups(1)[0]
    assert find_data_set(replace(made, extra={"dataset": "mine", "source": "hotpotqa"})) == "hotpotqa"
    assert find_data_set(replace(made, extra={"dataset": "mine"})) == "mine"
    assert find_data_set(replace(made, extra={})) is None


def test_the_hash_is_of_the_content() -> None:
    assert gather(tiny.groups(4)).sha256 == gather(tiny.groups(4)).sha256
    assert gather(tiny.groups(4)).sha256 != gather(tiny.groups(4, seed=1)).sha256
    filtered = FilteredPassages()
    filtered.add("q0", doc_key("gone"))
    assert gather(tiny.groups(4), filtered).sha256 != gather(tiny.groups(4)).sha256


def decisions(path: Path, *rows: dict[str, object] | str) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_decisions_are_read(tmp_path: Path) -> None:
    path = decisions(
        tmp_path / "x.decisions.jsonl",
        {"query_id": "q1", "doc_id": "d1", "action": "keep"},
        {"query_id": "q1", "doc_id": "d2", "action": "filter", "reason": "margin"},
        {"query_id": "q2", "doc_id": "d3", "action": "relabel"},
        {"query_id": 3, "doc_id": "d4", "action": "filter", "text": "with text"},
    )
    filtered = FilteredPassages()
    filtered.read(path)
    assert {query: list(found) for query, found in filtered.keys.items()} == {
        "q1": [doc_key("d2")],
        "3": [doc_key("d4"), text_key("with text")],
    }
    assert filtered.queries == {"q1", "q2", "3"}
    assert (filtered.passages, filtered.sha256) == (2, [filtered_passages.hash_file(path)])


def test_what_a_refresh_filters_comes_back_with_its_text(tmp_path: Path) -> None:
    path = tmp_path / "epoch-1.decisions.jsonl"
    gone = Passage(doc_id="d", text="text", title="title")
    filtered_passages.write_decisions(path, {"q": [gone], "none": []})
    filtered = FilteredPassages()
    filtered.read(path)
    assert set(filtered.keys["q"]) == keys(gone)


@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        ([], UnknownFormat, "is empty; expected the decisions of 'arhn clean'"),
        (["{"], BadJson, "line 1"),
        ([{"query_id": "q", "doc_id": "d"}], BadRow, "action: expected one of keep, relabel, filter, found no such"),
        ([{"query_id": "q", "doc_id": "d", "action": "drop"}], BadRow, "found a string 'drop'"),
        ([{"doc_id": "d", "action": "keep"}], BadRow, "query_id: expected"),
        ([{"query_id": "q", "action": "filter"}], BadRow, "doc_id: expected"),
    ],
)
def test_decisions_that_are_none(
    tmp_path: Path, rows: list[dict[str, object] | str], error: type[DataError], says: str
) -> None:
    with pytest.raises(error) as caught:
        FilteredPassages().read(decisions(tmp_path / "bad.jsonl", *rows))
    assert says in str(caught.value)
    assert str(tmp_path / "bad.jsonl") in str(caught.value)


def test_decisions_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="Check the path"):
        FilteredPassages().read(tmp_path / "none.jsonl")


def test_decisions_beside_groups_are_found(tmp_path: Path) -> None:
    assert filtered_passages.find_beside(str(tmp_path / "x.jsonl.zst")) is None
    path = decisions(tmp_path / "x.decisions.jsonl", {"query_id": "q", "doc_id": "d", "action": "keep"})
    assert filtered_passages.find_beside(str(tmp_path / "x.jsonl.zst")) == path
    assert filtered_passages.find_beside("hf://org/name") is None
    assert filtered_passages.find_beside("/") is None
