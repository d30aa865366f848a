"""What is read is written back as it was, in every format."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.formats import FORMATS, Container, GroupWriter, detect, read
from tests.unit.conftest import at_most

from .helpers import (
    FLAG,
    LABELED,
    NTUPLE,
    SAMPLES,
    TEVATRON,
    TRIPLET,
    copy,
    extras,
    lines,
    numbers,
    put,
    texts,
)

SHARED = Path(__file__).parents[4] / "shared" / "data"
SUFFIXES = [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"]
modest = at_most(60)


def comes_back(rows: list[dict[str, Any]]) -> None:
    """The canonical layout comes back to the byte."""
    with tempfile.TemporaryDirectory() as name:
        source = put(Path(name), *rows)
        copy(source, Path(name, "out.jsonl"))
        assert Path(name, "out.jsonl").read_bytes() == source.read_bytes()


@st.composite
def tevatron_rows(draw: st.DrawFn) -> dict[str, Any]:
    ids = st.integers(-(10**25), 10**25) | st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
    docids = draw(st.lists(ids, min_size=1, max_size=5, unique_by=str))
    passages = [{"docid": docid, **draw(titles), "text": draw(texts), **draw(extras)} for docid in docids]
    split = draw(st.integers(1, len(passages)))
    sides = {"positive_passages": passages[:split], "negative_passages": passages[split:]}
    return {"query_id": draw(ids), "query": draw(texts), **sides, **draw(extras)}


titles = st.one_of(
    st.just({}),
    st.just({"title": ""}),
    st.just({"title": None}),
    st.builds(lambda title: {"title": title}, texts),
)


@modest
@given(st.lists(tevatron_rows(), min_size=1, max_size=3, unique_by=lambda row: str(row["query_id"])))
def test_tevatron(rows: list[dict[str, Any]]) -> None:
    comes_back(rows)


@modest
@given(st.data())
def test_flagembedding(data: st.DataObject) -> None:
    row: dict[str, Any] = {"query": data.draw(texts)}
    for side, least in (("pos", 1), ("neg", 0)):
        row[side] = data.draw(st.lists(texts, min_size=least, max_size=3))
    for side in ("pos", "neg"):
        if data.draw(st.booleans()):
            row[f"{side}_scores"] = data.draw(st.lists(numbers, min_size=len(row[side]), max_size=len(row[side])))
    if data.draw(st.booleans()):
        row |= {"pos_id": list(range(len(row["pos"]))), "neg_id": list(range(len(row["neg"])))}
    comes_back([row | data.draw(extras)])


@modest
@given(texts, st.lists(st.tuples(texts, st.integers(-1, 5)), min_size=1, max_size=5), st.booleans(), extras)
def test_labeled_list(query: str, docs: list[tuple[str, float]], scored: bool, extra: dict[str, Any]) -> None:
    labels = [label for _, label in docs[1:]]
    labels.insert(len(labels) // 2, 1)
    row = {"query": query, "docs": [text for text, _ in docs], "labels": labels}
    comes_back([row | ({"scores": labels} if scored else {}) | extra])


@modest
@given(st.lists(st.tuples(*[st.sampled_from(["a", "b", "ü\u2028"])] * 3, extras), min_size=1, max_size=12))
def test_triplet(rows: list[tuple[str, str, str, dict[str, Any]]]) -> None:
    comes_back([{"query": a, "positive": p, "negative": n, **extra} for a, p, n, extra in rows])


@modest
@given(st.lists(st.tuples(texts, texts, st.lists(texts, min_size=1, max_size=3), extras), min_size=1, max_size=5))
def test_ntuple(rows: list[tuple[str, str, list[str], dict[str, Any]]]) -> None:
    comes_back(
        [
            {"anchor": a, "positive": p, **{f"negative_{i}": n for i, n in enumerate(ns, 1)}, **extra}
            for a, p, ns, extra in rows
        ]
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", FORMATS.names())
def test_every_container(tmp_path: Path, kind: str, suffix: str) -> None:
    further = [{**SAMPLES[kind], "passage": "negative", "label": 0}] if kind == "labeled_pair" else []
    source = put(tmp_path, SAMPLES[kind], *further)
    copy(source, tmp_path / f"there{suffix}")
    copy(tmp_path / f"there{suffix}", tmp_path / "back.jsonl")
    assert list(read(tmp_path / f"there{suffix}")) == list(read(source))
    assert (tmp_path / "back.jsonl").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_groups_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    source = put(tmp_path, *({**TEVATRON, "query_id": n, "query": f"who {n}"} for n in range(1200)))
    copy(source, tmp_path / f"a{suffix}")
    copy(source, tmp_path / f"b{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_order_of_fields_stays(tmp_path: Path) -> None:
    passage = {"text": "t", "docid": "d", "lang": "en", "title": "x"}
    row = {
        "subset": "s",
        "negative_passages": [],
        "query": "who",
        "positive_passages": [passage],
        "query_id": 7,
    }
    comes_back([row])


@pytest.mark.parametrize(
    "row",
    [
        {**FLAG, "pos_scores": None, "neg_scores": None},
        {**FLAG, "pos_scores": [], "neg_scores": []},
        {"prompt": "p", **FLAG, "type": "normal", "neg_scores": [0.5]},
        {**FLAG, "pos_tags": "NN", "neg_tags": ["x"]},
        {"question": "who", "answer": "positive", "negative": "n"},
        {"sentence1": "who", "sentence2": "positive", "negative_1": "n"},
        {"question": "who", "answer": ["a", "b"], "labels": [0.0, 3]},
        {**NTUPLE, "score": [0.9, 0.5, 0.1]},
        {**NTUPLE, "score": [0.9, 0.5]},
        {**NTUPLE, "labels": [0.9, 0.5]},
        {**TRIPLET, "labels": 1},
    ],
    ids=lambda row: " ".join(row),
)
def test_rows_of_the_trainers(row: dict[str, Any]) -> None:
    comes_back([row])


def test_several_positives(tmp_path: Path) -> None:
    triplets = [{"anchor": "q", "positive": p, "negative": n} for p in "ab" for n in "xyz"]
    source = put(tmp_path, *triplets, {"anchor": "q", "positive": "c", "negative": "x"})
    groups = list(read(source))
    assert [[p.text for p in g.positives] for g in groups] == [["a", "b"], ["c"]]
    assert [[p.text for p in g.negatives] for g in groups] == [["x", "y", "z"], ["x"]]
    assert groups[1].query_id == f"{groups[0].query_id}-2"
    comes_back(triplets)
    ntuples = [{"anchor": "q", "positive": p, "negative_1": "x"} for p in "ab"]
    assert len(list(read(put(tmp_path, *ntuples)))) == 1
    comes_back(ntuples)


def test_ids_from_content(tmp_path: Path) -> None:
    row = {"query": "who", "pos": ["same"], "neg": ["same", "other", "same"]}
    first, second = read(put(tmp_path, row, TRIPLET | row))
    base = first.positives[0].doc_id
    assert base.startswith("d-")
    assert len(base) == 18
    assert [p.doc_id for p in first.negatives][::2] == [f"{base}-2", f"{base}-3"]
    assert second.query_id == f"{first.query_id}-2"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_that_come_late(tmp_path: Path, suffix: str) -> None:
    rows = [{**NTUPLE, "anchor": f"who {n}"} for n in range(1500)]
    rows[1400] = {**rows[1400], "negative_3": "n3", "negative_4": "n4"}
    rows[3] = {"anchor": "short", "positive": "p", "negative_1": "n"}
    source = put(tmp_path, *rows)
    copy(source, tmp_path / f"out{suffix}")
    copy(tmp_path / f"out{suffix}", tmp_path / "back.jsonl")
    assert (tmp_path / "back.jsonl").read_bytes() == source.read_bytes()


def test_parquet_types_stay(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "query": ["who"],
            "pos": [["p"]],
            "neg": [["n"]],
            "pos_scores": pa.array([[0.5]], pa.list_(pa.float32())),
            "made": pa.array([0], pa.timestamp("ms")),
            "nothing": pa.array([None], pa.string()),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    copy(tmp_path / "in.parquet", tmp_path / "out.parquet")
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.column_names == table.column_names
    assert out.to_pylist() == table.to_pylist()
    assert out.schema.field("nothing").type == pa.string()


def test_parquet_of_empty_lists(tmp_path: Path) -> None:
    row = {**TEVATRON, "negative_passages": []}
    copy(put(tmp_path, row), tmp_path / "out.parquet")
    copy(tmp_path / "out.parquet", tmp_path / "back.jsonl")
    assert (tmp_path / "back.jsonl").read_bytes() == lines(row)


@pytest.mark.parametrize("name", ["xquad_windows/train.jsonl", "rlhn_fiqa/groups.jsonl"])
def test_real_files(tmp_path: Path, name: str) -> None:
    source = SHARED / name
    if not source.exists():
        pytest.skip(f"{source} isn't there")
    copy(source, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == source.read_bytes()
    copy(source, tmp_path / "out.parquet")
    assert list(read(tmp_path / "out.parquet")) == list(read(source))


def test_detected_by_content_not_by_name(tmp_path: Path) -> None:
    copy(put(tmp_path, LABELED), tmp_path / "out.jsonl.gz")
    (tmp_path / "out.jsonl.gz").rename(tmp_path / "named.parquet")
    source = detect(tmp_path / "named.parquet")
    assert (source.format, source.container) == ("labeled_list", Container.JSONL)
    with GroupWriter(tmp_path / "data", source.format, container="parquet") as writer:
        writer.write(next(read(source)))
    assert detect(tmp_path / "data").container is Container.PARQUET


@modest
@given(st.data())
def test_labeled_pair(data: st.DataObject) -> None:
    rows = []
    for query in data.draw(st.lists(texts, min_size=1, max_size=3, unique=True)):
        labels = data.draw(st.permutations([1, 0, *data.draw(st.lists(st.integers(-1, 3), max_size=3))]))
        rows += [{"query": query, "passage": data.draw(texts), "label": label, **data.draw(extras)} for label in labels]
    comes_back(rows)


@modest
@given(st.data())
def test_negative_list(data: st.DataObject) -> None:
    single = data.draw(st.booleans())
    rows = []
    for query in data.draw(st.lists(texts, min_size=1, max_size=3, unique=True)):
        negatives = data.draw(st.lists(texts, min_size=1, max_size=3))
        positives = data.draw(st.lists(texts, min_size=1, max_size=3))
        own = data.draw(extras)
        columns = positives if single else [positives]
        rows += [{"anchor": query, "positive": each, "negative": negatives, **own} for each in columns]
    comes_back(rows)


@modest
@given(st.data())
def test_dpr(data: st.DataObject) -> None:
    named = st.sampled_from(["passage_id", "psg_id", "id"])
    ids = iter(range(100))

    def passages(least: int) -> list[dict[str, Any]]:
        count = data.draw(st.integers(least, 3))
        return [
            {
                **data.draw(titles),
                "text": data.draw(texts),
                **({data.draw(named): str(next(ids))} if data.draw(st.booleans()) else {}),
                **data.draw(extras),
            }
            for _ in range(count)
        ]

    row = {"question": data.draw(texts), "answers": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]}
    sides = {"positive_ctxs": passages(1), "negative_ctxs": passages(0), "hard_negative_ctxs": passages(0)}
    comes_back([row | sides | data.draw(extras)])


@modest
@given(st.data())
def test_swift(data: st.DataObject) -> None:
    system = [{"role": "system", "content": "be brief"}] if data.draw(st.booleans()) else []
    row = {"messages": [*system, {"role": "user", "content": data.draw(texts)}]}
    for side, least in (("positive_messages", 1), ("negative_messages", 0)):
        found = data.draw(st.lists(texts, min_size=least, max_size=3))
        row[side] = [[{"role": "assistant", "content": text}] for text in found]  # type: ignore[misc]
    comes_back([row | data.draw(extras)])
