"""What a row says of its passages moves with them, or is left out and counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arhn.formats import FORMATS, read
from arhn.types import Group

from .helpers import put

FLAG = {"query": "q", "pos": ["p"], "neg": ["a", "b", "c"]}
TEVATRON = {
    "query_id": "1",
    "query": "q",
    "positive_passages": [{"docid": "p", "text": "p"}],
    "negative_passages": [{"docid": name, "text": name} for name in "abc"],
}
NTUPLE = {"anchor": "q", "positive": "p", "negative_1": "a", "negative_2": "b", "negative_3": "c"}
LABELED = {"query": "q", "docs": ["p", "a", "b", "c"], "labels": [1, 0, 0, 0]}
TRIPLET = {"anchor": "q", "positive": "p", "negative": "a"}


def first_negative(group: Group) -> Group:
    return replace(group, negatives=group.negatives[:1])


def relabelled(group: Group) -> Group:
    return replace(group, positives=(*group.positives, group.negatives[1]), negatives=group.negatives[::2])


def write(tmp_path: Path, change: Any, *rows: dict[str, Any]) -> tuple[list[dict[str, Any]], Counter[str]]:
    (group,) = read(put(tmp_path, *rows))
    losses: Counter[str] = Counter()
    name = group.extra.origin.format  # type: ignore[attr-defined]
    return FORMATS.get(name).encode(change(group), losses, ()), losses


@pytest.mark.parametrize("row", [FLAG, TEVATRON])
def test_lists_over_passages_and_over_negatives(tmp_path: Path, row: dict[str, Any]) -> None:
    lists = {"teacher_scores": [1, 2, 3, 4], "neg_source": ["x", "y", "z"], "negative_ids": [7, 8, 9]}
    (kept,), losses = write(tmp_path, first_negative, row | lists)
    assert {name: kept[name] for name in lists} == {
        "teacher_scores": [1, 2],
        "neg_source": ["x"],
        "negative_ids": [7],
    }
    (moved,), _ = write(tmp_path, relabelled, row | lists)
    assert {name: moved[name] for name in lists} == {
        "teacher_scores": [1, 3, 2, 4],
        "neg_source": ["x", "z"],
        "negative_ids": [7, 9],
    }
    assert not losses


@pytest.mark.parametrize("row", [FLAG, TEVATRON, LABELED])
def test_a_list_that_fits_by_chance_stays_until_the_passages_change(tmp_path: Path, row: dict[str, Any]) -> None:
    lists = {"answers": ["1931", "in 1931", "May", "3 May"], "tags": ["bridge"]}
    (same,), losses = write(tmp_path, lambda group: group, row | lists)
    assert {name: same[name] for name in lists} == lists
    (kept,), losses = write(tmp_path, first_negative, row | lists)
    assert "answers" not in kept
    assert kept["tags"] == ["bridge"]
    assert losses == {"field answers": 1}


def test_a_list_of_another_length_is_none_of_the_passages(tmp_path: Path) -> None:
    (kept,), _ = write(tmp_path, first_negative, FLAG | {"neg_source": ["x", "y"], "neg_rank": []})
    assert (kept["neg_source"], kept["neg_rank"]) == (["x", "y"], [])


def test_labelled_lists(tmp_path: Path) -> None:
    (kept,), _ = write(tmp_path, first_negative, LABELED | {"doc_ids": ["w", "x", "y", "z"], "scores": [4, 3, 2, 1]})
    assert (kept["docs"], kept["doc_ids"], kept["scores"]) == (["p", "a"], ["w", "x"], [4, 3])


def test_margins_of_ntuples(tmp_path: Path) -> None:
    own, new = write(tmp_path, relabelled, NTUPLE | {"label": [0.1, 0.2, 0.3], "score": [1, 2, 3, 4]})[0]
    assert (own["label"], own["score"]) == ([0.1, 0.3], [1, 2, 4])
    assert "label" not in new
    assert new["score"] == [3, 2, 4]


def test_scores_and_margins_of_triplets(tmp_path: Path) -> None:
    rows = [
        TRIPLET | {"negative": n, "score": [9, s], "label": 9 - s, "set": "nq"}
        for n, s in zip("abc", (1, 2, 3), strict=True)
    ]
    same, losses = write(tmp_path, lambda group: group, *rows)
    assert same == rows
    assert not losses
    found, losses = write(tmp_path, relabelled, *rows)
    assert [(row["positive"], row["score"], row.get("label"), row["set"]) for row in found] == [
        ("p", [9, 1], 8, "nq"),
        ("p", [9, 3], 6, "nq"),
        ("b", [2, 1], None, "nq"),
        ("b", [2, 3], None, "nq"),
    ]
    assert losses["passage field label"] == 3  # of the new positive, and of its two pairs


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_list_is_ever_written_with_another_length(data: st.DataObject) -> None:
    """Of lists with as many values as passages; each value names its passage."""
    texts = data.draw(st.lists(st.text("abc", min_size=1), min_size=2, max_size=6, unique=True))
    count = data.draw(st.integers(1, len(texts) - 1))
    row = {"query": "q", "pos": texts[:count], "neg": texts[count:]}
    row |= {"doc_texts_id": texts, "neg_titles": texts[count:], "words": texts, "pos_ids": texts[:count]}
    draft = FORMATS.get("flagembedding").parse(json.loads(json.dumps(row)), 1)
    ids = sorted(p.doc_id for p in draft.negatives)
    left, moved = data.draw(st.sets(st.sampled_from(ids))), data.draw(st.sets(st.sampled_from(ids)))
    stays = [p for p in draft.negatives if p.doc_id in left]
    group = Group(
        query_id="1",
        query="q",
        positives=(*draft.positives, *(p for p in stays if p.doc_id in moved)),
        negatives=tuple(p for p in stays if p.doc_id not in moved),
        extra=draft.extra,
    )
    (written,) = FORMATS.get("flagembedding").encode(group, Counter(), ())
    assert written.get("doc_texts_id") == [*written["pos"], *written["neg"]]
    assert written.get("neg_titles", written["neg"]) == written["neg"]
    assert written.get("pos_ids", written["pos"]) == written["pos"]
    assert written.get("words", texts) == texts
    assert ("words" in written) is (len(written["pos"]) == count and len(stays) == len(draft.negatives))
