"""From one format to another: what goes along, what is left out and counted, where relabelled passages go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.formats import FORMATS, Container, GroupWriter, choose_container, detect, list_losses, read
from arhn.types import Action, CleanedGroup, Decision, Group, Passage, Reason
from tests.unit.conftest import at_most
from tests.unit.formats.helpers import (
    FLAG,
    LABELED,
    NTUPLE,
    SAMPLES,
    TEVATRON,
    TRIPLET,
    copy,
    group,
    put,
    rows_of,
    texts,
    write,
)


def cleaned(source: Path, **actions: Action) -> Group:
    """The first group of `source` with the actions for negatives, given by their text; others stay."""
    found = next(read(source))
    decisions = tuple(
        Decision(doc_id=p.doc_id, action=actions.get(p.text, "keep"), reason=Reason.NO_ANSWER) for p in found.passages
    )
    return CleanedGroup(group=found, decisions=decisions, extractions=()).cleaned


def clean(tmp_path: Path, *rows: dict[str, Any], **actions: Action) -> tuple[list[dict[str, Any]], dict[str, int]]:
    source = put(tmp_path, *rows)
    lost = write(tmp_path / "out.jsonl", detect(source).format, cleaned(source, **actions))
    return rows_of(tmp_path / "out.jsonl"), dict(lost)


def test_relabelled_tevatron(tmp_path: Path) -> None:
    passages = [{"docid": n, "text": n, "lang": "en"} for n in ("n1", "n2", "n3")]
    row = {**TEVATRON, "negative_passages": passages}
    out, lost = clean(tmp_path, row, n1="relabel", n2="filter")
    positives = [*TEVATRON["positive_passages"], passages[0]]
    assert out == [{**row, "positive_passages": positives, "negative_passages": passages[2:]}]
    assert lost == {}


def test_relabelled_flagembedding_takes_its_score_along(tmp_path: Path) -> None:
    row = {
        "query": "who",
        "pos": ["p"],
        "neg": ["n1", "n2", "n3"],
        "prompt": "x",
        "pos_scores": [0.9],
        "neg_scores": [0.8, 0.2, 1],
        "pos_id": ["a"],
        "neg_id": ["b", "c", "d"],
    }
    out, lost = clean(tmp_path, row, n1="relabel", n2="filter")
    assert out == [
        {
            "query": "who",
            "pos": ["p", "n1"],
            "neg": ["n3"],
            "prompt": "x",
            "pos_scores": [0.9, 0.8],
            "neg_scores": [1],
            "pos_id": ["a", "b"],
            "neg_id": ["d"],
        }
    ]
    assert lost == {}


def test_scores_of_one_side_only_are_counted_where_they_can_not_go(tmp_path: Path) -> None:
    out, lost = clean(tmp_path, {**FLAG, "neg": ["n1", "n2"], "neg_scores": [0.8, 0.2]}, n1="relabel")
    assert out == [{"query": "who", "pos": ["positive", "n1"], "neg": ["n2"], "neg_scores": [0.2]}]
    assert lost == {"passage field score": 1}


def test_relabelled_triplet(tmp_path: Path) -> None:
    rows = [{"query": "who", "positive": "p", "negative": n} for n in ("n1", "n2", "n3")]
    out, lost = clean(tmp_path, *rows, n1="relabel", n2="filter")
    assert out == [{"query": "who", "positive": p, "negative": "n3"} for p in ("p", "n1")]
    assert lost == {}


def test_relabelled_triplet_with_more_columns(tmp_path: Path) -> None:
    rows = [{**TRIPLET, "negative": n, "score": i} for i, n in enumerate(("n1", "n2"))]
    out, lost = clean(tmp_path, *rows, n1="relabel")
    assert out == [{**TRIPLET, "positive": p, "negative": "n2", "score": 1} for p in ("positive", "n1")]
    assert lost == {"passage field score": 1}


def test_relabelled_ntuple(tmp_path: Path) -> None:
    row = {**NTUPLE, "negative_3": "n3", "score": [0.9, 0.5, 0.4, 0.3], "topic": "t"}
    out, lost = clean(tmp_path, row, n1="relabel", n2="filter")
    rest = {"negative_1": "n3", "topic": "t"}
    assert out == [
        {"anchor": "who", "positive": "positive", "score": [0.9, 0.3], **rest},
        {"anchor": "who", "positive": "n1", "score": [0.5, 0.3], **rest},
    ]
    assert lost == {}


def test_relabelled_labeled_list_keeps_the_order(tmp_path: Path) -> None:
    row = {"query": "who", "docs": ["n1", "p", "n2", "n3"], "labels": [0, 3, -1, 0.0], "scores": [1, 2, 3, 4]}
    out, lost = clean(tmp_path, row, n1="relabel", n3="filter")
    assert out == [{"query": "who", "docs": ["n1", "p", "n2"], "labels": [1, 3, -1], "scores": [1, 2, 3]}]
    assert lost == {}


def test_passages_from_elsewhere_go_last(tmp_path: Path) -> None:
    found = next(read(put(tmp_path, LABELED)))
    more = replace(found, negatives=(Passage(doc_id="mined", text="mined"), *found.negatives))
    write(tmp_path / "out.jsonl", "labeled_list", more)
    assert rows_of(tmp_path / "out.jsonl")[0] == {
        "query": "who",
        "docs": ["negative", "positive", "mined"],
        "labels": [0, 1, 0],
    }


@pytest.mark.parametrize("target", [f for f in FORMATS.names() if f not in ("tevatron", "dpr")])
def test_titles_and_ids_are_counted(tmp_path: Path, target: str) -> None:
    source = put(tmp_path, {**TEVATRON, "subset": "s"})
    lost = copy(source, tmp_path / "out.jsonl", to=target)
    carries = target in ("flagembedding", "labeled_list", "negative_list", "swift")
    assert lost == {"title": 1, "doc_id": 2, "query_id": 1} | ({} if carries else {"field subset": 1})
    assert ("subset" in rows_of(tmp_path / "out.jsonl")[0]) is carries
    (found,) = read(tmp_path / "out.jsonl")
    assert [p.text for p in found.passages] == ["T positive", "negative"]


@pytest.mark.parametrize("target", FORMATS.names())
@pytest.mark.parametrize("source", [f for f in FORMATS.names() if f not in ("tevatron", "dpr", "labeled_pair")])
def test_nothing_private_becomes_a_field(tmp_path: Path, source: str, target: str) -> None:
    """Between formats without ids nothing is lost, and only the target's own fields are written."""
    lost = copy(put(tmp_path, SAMPLES[source]), tmp_path / "out.jsonl", to=target)
    assert lost == {}
    for row in rows_of(tmp_path / "out.jsonl"):
        assert row.keys() <= SAMPLES[target].keys()
        for passage in row.get("negative_passages", []):
            assert passage.keys() == {"docid", "text"}


def test_integer_ids_and_null_titles_stay_at_home(tmp_path: Path) -> None:
    row = {**TEVATRON, "query_id": 7, "negative_passages": [{"docid": 8, "title": None, "text": "n"}]}
    source = put(tmp_path, row)
    (found,) = read(source)
    assert (found.query_id, found.negatives[0].doc_id, dict(found.negatives[0].extra)) == ("7", "8", {})
    renamed = replace(found, query_id="7b")
    write(tmp_path / "out.jsonl", "tevatron", renamed)
    assert rows_of(tmp_path / "out.jsonl")[0]["query_id"] == "7b"


def test_generated_ids_are_not_counted_even_after_a_detour(tmp_path: Path) -> None:
    first = put(tmp_path, {**FLAG, "neg": ["same", "same"], "neg_scores": [1, 2], "pos_scores": [3]})
    copy(first, tmp_path / "tevatron.jsonl", to="tevatron")
    assert copy(tmp_path / "tevatron.jsonl", tmp_path / "back.jsonl", to="flagembedding") == {}
    assert rows_of(tmp_path / "back.jsonl") == rows_of(first)


def test_names_that_the_target_uses_are_counted(tmp_path: Path) -> None:
    source = put(tmp_path, {**FLAG, "query_id": "theirs"})
    assert copy(source, tmp_path / "out.jsonl", to="tevatron") == {"field query_id": 1}
    source = put(tmp_path, {**LABELED, "pos_scores": "not a list"})
    assert copy(source, tmp_path / "flag.jsonl", to="flagembedding") == {"field pos_scores": 1}


def test_graded_labels_are_counted(tmp_path: Path) -> None:
    source = put(tmp_path, {**LABELED, "labels": [0, 2]})
    assert copy(source, tmp_path / "out.jsonl", to="triplet") == {"label": 1}


def test_groups_without_negatives_are_left_out_of_triplets(tmp_path: Path) -> None:
    lost = write(tmp_path / "out.jsonl", "triplet", group(), group("n"))
    assert lost["groups without negatives"] == 1
    assert len(rows_of(tmp_path / "out.jsonl")) == 1


def test_names_of_a_file_to_resemble(tmp_path: Path) -> None:
    like = detect(put(tmp_path, {"question": "a", "answer": "b", "negative": "c"}))
    with GroupWriter(tmp_path / "out.jsonl", "triplet", like=like) as writer:
        writer.write(group("n"))
    assert rows_of(tmp_path / "out.jsonl") == [{"question": "who", "answer": "positive", "negative": "n"}]


def test_losses_known_beforehand() -> None:
    assert list_losses("tevatron", "flagembedding") == ["doc_id", "passage fields", "query_id", "title"]
    assert "groups without negatives" in list_losses("tevatron", "triplet")
    for each in FORMATS.names():
        assert list_losses(each, each) == []


def test_containers_by_name(tmp_path: Path) -> None:
    like = replace(detect(put(tmp_path, FLAG)), container=Container.PARQUET)
    assert choose_container("x.jsonl.zst", like=like) is Container.JSONL
    assert choose_container("x.parquet") is Container.PARQUET
    assert choose_container("x/") is Container.DATASETS
    assert choose_container("x", like=like) is Container.PARQUET
    assert choose_container("x") is Container.JSONL


@at_most(60)
@given(texts, st.lists(texts, min_size=1, max_size=3, unique=True), st.lists(texts, min_size=1, max_size=3))
@pytest.mark.parametrize("kind", FORMATS.names())
def test_groups_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    query: str,
    positives: list[str],
    negatives: list[str],
) -> None:
    folder = tmp_path_factory.mktemp("groups")
    write(folder / "a.jsonl", kind, group(*negatives, positives=tuple(positives), query=query))
    (found,) = read(folder / "a.jsonl")
    assert found.query == query
    assert [p.text for p in found.positives] == positives
    assert [p.text for p in found.negatives] == negatives
