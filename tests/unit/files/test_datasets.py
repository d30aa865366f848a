"""Data sets of the library `datasets`, from local folders only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import FileMissing, MissingDependency, OutputNotWritable, UsageError
from arhn.formats import FORMATS, Container, GroupWriter, detect, read
from tests.unit.formats.helpers import FLAG, SAMPLES, TEVATRON, copy, group, put


@pytest.fixture
def datasets() -> Any:
    return pytest.importorskip("datasets")


@pytest.mark.parametrize("kind", FORMATS.names())
def test_round_trip(tmp_path: Path, datasets: Any, kind: str) -> None:
    source = put(tmp_path, SAMPLES[kind])
    copy(source, tmp_path / "set", container=Container.DATASETS)
    assert detect(tmp_path / "set").container is Container.DATASETS
    copy(tmp_path / "set", tmp_path / "back.jsonl", container=Container.JSONL)
    assert (tmp_path / "back.jsonl").read_bytes() == source.read_bytes()
    assert len(datasets.load_from_disk(str(tmp_path / "set"))) == 1


def test_written_as_the_library_would(tmp_path: Path, datasets: Any) -> None:
    rows = [{**FLAG, "query": f"who {n}", "pos_scores": [n], "neg_scores": [0.5]} for n in range(2500)]
    with GroupWriter(f"{tmp_path}/set/", "flagembedding") as writer:
        for found in read(put(tmp_path, *rows)):
            writer.write(found)
    loaded = datasets.load_from_disk(str(tmp_path / "set"))
    assert loaded.to_list() == rows
    assert loaded.features == datasets.Dataset.from_list(rows).cast(loaded.features).features
    again = tmp_path / "again"
    copy(put(tmp_path, *rows), again, container=Container.DATASETS)
    for file in again.iterdir():
        assert file.read_bytes() == (tmp_path / "set" / file.name).read_bytes()


def test_saved_by_the_library(tmp_path: Path, datasets: Any) -> None:
    rows = [{**TEVATRON, "query_id": str(n)} for n in range(30)]
    datasets.Dataset.from_list(rows).shuffle(seed=1).save_to_disk(str(tmp_path / "set"), num_shards=3)
    assert sorted(int(g.query_id) for g in read(tmp_path / "set")) == list(range(30))


def test_splits(tmp_path: Path, datasets: Any) -> None:
    train, test = ([{**FLAG, "query": query}] for query in ("train", "test"))
    one = datasets.DatasetDict({"train": datasets.Dataset.from_list(train)})
    one.save_to_disk(str(tmp_path / "one"))
    assert next(read(tmp_path / "one")).query == "train"
    one["test"] = datasets.Dataset.from_list(test)
    one.save_to_disk(str(tmp_path / "two"))
    assert next(read(detect(tmp_path / "two", split="test"))).query == "test"
    with pytest.raises(UsageError, match="name one of the splits train, test"):
        detect(tmp_path / "two")
    with pytest.raises(UsageError, match="not dev"):
        detect(tmp_path / "two", split="dev")


def test_damaged_folder(tmp_path: Path, datasets: Any) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dataset_info.json").write_text("{}")
    with pytest.raises(FileMissing, match="isn't a data set that can be loaded"):
        detect(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("hf://org/name", ("org/name", None, None)),
        ("hf://org/name:dev", ("org/name", None, "dev")),
        ("hf://org/name/triplet:dev", ("org/name", "triplet", "dev")),
    ],
)
def test_hub_is_streamed(
    datasets: Any, monkeypatch: pytest.MonkeyPatch, name: str, asked: tuple[str | None, ...]
) -> None:
    calls = []

    def load_dataset(path: str, config: str | None, *, split: str | None, streaming: bool) -> Any:
        calls.append((path, config, split))
        assert streaming
        rows = iter([{**FLAG, "query": "who"}])
        return rows if split else {"train": rows}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert [g.query for g in read(detect(name))] == ["who"]
    assert set(calls) == {asked}


def test_hub_that_does_not_answer(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(FileMissing, match="no route"):
        detect("hf://org/name")


def test_only_data_sets_are_overwritten(tmp_path: Path, datasets: Any) -> None:
    copy(put(tmp_path, FLAG), tmp_path / "set", container=Container.DATASETS)
    with GroupWriter(tmp_path / "set", "tevatron", container="datasets", overwrite=True) as writer:
        writer.write(group("n"))
    assert next(read(tmp_path / "set")).query_id == "q1"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(OutputNotWritable):
        GroupWriter(f"{tmp_path}/mine/", "tevatron", overwrite=True)


def test_an_exception_leaves_nothing(tmp_path: Path, datasets: Any) -> None:
    with pytest.raises(RuntimeError), GroupWriter(f"{tmp_path}/set/", "tevatron") as writer:
        writer.write(group("n"))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_library_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependency, match=r"arhn\[hub\]"):
        GroupWriter(f"{tmp_path}/set/", "tevatron")
    with pytest.raises(MissingDependency):
        detect("hf://org/name")
    assert list(tmp_path.iterdir()) == []
