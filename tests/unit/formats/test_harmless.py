"""One harmless passage costs only itself, in every format alike."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import BadJson, BadRow, NothingLeft
from arhn.files import jsonl, rows
from arhn.formats import GroupWriter, detect, read
from arhn.formats.convert import convert
from arhn.formats.reading import BLANK

from .helpers import put


def tevatron(positives: list[str], negatives: list[str]) -> list[dict[str, Any]]:
    def side(name: str, texts: list[str]) -> list[dict[str, Any]]:
        return [{"docid": f"{name}{i}", "text": text} for i, text in enumerate(texts)]

    sides = {"positive_passages": side("p", positives), "negative_passages": side("n", negatives)}
    return [{"query_id": "1", "query": "q", **sides}]


def flagembedding(positives: list[str], negatives: list[str]) -> list[dict[str, Any]]:
    return [{"query": "q", "pos": positives, "neg": negatives}]


def labeled_list(positives: list[str], negatives: list[str]) -> list[dict[str, Any]]:
    return [{"query": "q", "docs": positives + negatives, "labels": [1] * len(positives) + [0] * len(negatives)}]


def ntuple(positives: list[str], negatives: list[str]) -> list[dict[str, Any]]:
    return [
        {"anchor": "q", "positive": positive, **{f"negative_{i}": text for i, text in enumerate(negatives, 1)}}
        for positive in positives
    ]


def triplet(positives: list[str], negatives: list[str]) -> list[dict[str, Any]]:
    return [{"anchor": "q", "positive": p, "negative": n} for p in positives for n in negatives]


ALL = [tevatron, flagembedding, labeled_list, ntuple, triplet]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("negatives", [["a", " ", "b"], ["", "a", "b"], ["a", "b", "\n"]])
def test_a_blank_negative(tmp_path: Path, make: Any, negatives: list[str]) -> None:
    counts: Counter[str] = Counter()
    (group,) = read(put(tmp_path, *make(["p"], negatives)), left_out=counts)
    assert [p.text for p in group.negatives] == ["a", "b"]
    assert counts == {BLANK: 1}


@pytest.mark.parametrize("make", [tevatron, flagembedding, labeled_list])
def test_a_blank_positive_among_others(tmp_path: Path, make: Any) -> None:
    (group,) = read(put(tmp_path, *make(["", "p"], ["a"])))
    assert [p.text for p in group.positives] == ["p"]


@pytest.mark.parametrize("make", ALL)
def test_a_group_without_a_usable_passage_is_a_bad_row(tmp_path: Path, make: Any) -> None:
    for positives, negatives in (([" "], ["a"]), (["p"], ["", " "])):
        with pytest.raises(BadRow, match="blank ones only"):
            list(read(put(tmp_path, *make(positives, negatives))))
        rejects: list[Any] = []
        rows = [*make(positives, negatives), *make(["other"], ["b"])]
        rows[-1] = {name: "2" if name == "query_id" else value for name, value in rows[-1].items()}
        found = list(read(put(tmp_path, *rows), on_bad_row="skip", rejects=rejects.append))
        assert [group.positives[0].text for group in found] == ["other"]
        assert rejects


def test_copies_with_one_docid(tmp_path: Path) -> None:
    row = tevatron(["p"], ["a", "b"])[0]
    row["negative_passages"] += [row["negative_passages"][0], row["positive_passages"][0]]
    source = put(tmp_path, row)
    (group,) = read(source)
    assert [p.doc_id for p in group.negatives] == ["n0", "n1", "n0-2", "p0-2"]
    with GroupWriter(tmp_path / "out.jsonl", "tevatron", like=detect(source)) as writer:
        writer.write(group)
    assert (tmp_path / "out.jsonl").read_bytes() == source.read_bytes()
    row["negative_passages"][0] = {"docid": "n0", "text": "another"}
    with pytest.raises(BadRow, match="also the docid of"):
        list(read(put(tmp_path, row)))


@pytest.mark.parametrize("text", [{"text": ""}, {"text": None}, {}])
def test_a_title_without_a_text_is_a_passage(tmp_path: Path, text: dict[str, Any]) -> None:
    row = tevatron(["p"], ["a"])[0]
    row["negative_passages"][0] = {"docid": "n", "title": "Bridge", **text}
    source = put(tmp_path, row)
    (group,) = read(source)
    assert (group.negatives[0].title, group.negatives[0].text) == ("", "Bridge")
    with GroupWriter(tmp_path / "out.jsonl", "tevatron", like=detect(source)) as writer:
        writer.write(group)
    assert (tmp_path / "out.jsonl").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("labels", [[0.98, 0.07], [1, 0.5], [3.5, -2.25]])
def test_probabilities_are_no_grades(tmp_path: Path, labels: list[float]) -> None:
    with pytest.raises(BadRow, match="whole number above 0 for a positive"):
        list(read(put(tmp_path, {"query": "q", "docs": ["p", "n"], "labels": labels})))
    list(read(put(tmp_path, {"query": "q", "docs": ["p", "n"], "labels": [2.0, -1]})))


def test_nothing_left_is_no_success(tmp_path: Path) -> None:
    source = put(tmp_path, {"query": "q", "pos": ["p"], "neg": []}, {"query": "q", "pos": [], "neg": []})
    with pytest.raises(NothingLeft, match="1 rows are no groups"):
        convert(detect(source), str(tmp_path / "out.jsonl"), "triplet", on_bad_row="skip")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("depth", [101, 500, 990, 1020])
@pytest.mark.parametrize("long", ["", '"n": 12345678901234567890, '])
def test_rows_nested_too_deep(depth: int, long: str) -> None:
    with pytest.raises((BadRow, BadJson)):
        jsonl.parse(f'{{{long}"x": {"[" * depth}{"]" * depth}}}'.encode())


def test_integers_of_any_length() -> None:
    assert jsonl.parse(b'{"x": %d}' % 10**90) == {"x": 10**90}
    for digits in (101, 4301, 100_000):
        with pytest.raises(BadJson, match=r"digits|infinity"):
            jsonl.parse(b'{"x": ' + b"9" * digits + b"}")
    with pytest.raises(BadRow, match="surrogate"):
        jsonl.parse(b'{"x": "\\ud800", "y": ' + b"9" * 5000 + b"}")


@pytest.mark.parametrize(
    "value", ["a" * 57, "a" * 58, "it's" * 30, "\x1b" * 40, [1, {"a": None}], list(range(99)), {"b": [True] * 50}, 1.5]
)
def test_values_are_shown_as_their_repr_begins(value: Any) -> None:
    whole = repr(value)
    assert rows.shorten(value) == (whole if len(whole) <= rows.SHOWN else f"{whole[: rows.SHOWN]}…")


def test_values_of_any_depth_and_size_are_shown() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert rows.shorten(deep) == "[" * rows.SHOWN + "…"
    assert len(rows.describe_value(10**100_000)) < 100
