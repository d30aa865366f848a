"""`arhn.clean`: every kind of data goes in and comes out cleaned as the same file would be."""

from __future__ import annotations

import asyncio
import copy
import json
import math
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import arhn
from arhn.api.result import DECISION
from arhn.api.run_folder import RunFolder
from arhn.cleaning.run.records import make_decision_rows
from arhn.cli import main
from arhn.engines import Completion, Request, RequestFailed
from arhn.engines.fake import FakeEngine
from arhn.errors import (
    ArhnError,
    BadRow,
    CannotHold,
    DataError,
    EngineError,
    FileMissing,
    OutputExists,
    StoreLocked,
    TooManyFailures,
    UnknownFormat,
    UsageError,
)
from arhn.store import SqliteStore
from tests.conftest import answer_by_marks, many

Rows = list[dict[str, Any]]
#: So that a few groups are enough to change something.
UNCALIBRATED: dict[str, Any] = {"calibrations": "none"}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARHN_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


def flag_rows(count: int = 12) -> Rows:
    """FlagEmbedding's rows, with a column of their own."""
    return [
        {
            "query": group.query,
            "pos": [p.text for p in group.positives],
            "neg": [p.text for p in group.negatives],
            "source": {"name": f"web {i}", "rank": i},
        }
        for i, group in enumerate(many(count))
    ]


def triplet_rows(count: int = 6) -> Rows:
    return [
        {"anchor": group.query, "positive": group.positives[0].text, "negative": p.text}
        for group in many(count)
        for p in group.negatives
    ]


def clean(data: Any, engine: FakeEngine | None = None, **settings: Any) -> arhn.CleanedData:
    engine = engine or FakeEngine(answer_by_marks)
    return arhn.clean(data, engine, progress=False, **({} if "config" in settings else UNCALIBRATED) | settings)


def by_file(rows: Rows, folder: Path) -> Rows:
    """What the run from file to file makes of the same rows."""
    path, output = folder / "rows.jsonl", folder / "rows.cleaned.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    clean(path, output=output)
    return [json.loads(line) for line in output.read_text("utf-8").splitlines()]


def from_stream(stream: Any) -> Rows:
    return list(stream)


KINDS: dict[str, tuple[Callable[[Rows], Any], Callable[[Any], Rows], type[Any]]] = {
    "list": (lambda rows: rows, lambda data: data, list),
    "arrow": (pa.Table.from_pylist, lambda data: data.to_pylist(), pa.Table),
    "pandas": (pd.DataFrame, lambda data: pa.Table.from_pandas(data).to_pylist(), pd.DataFrame),
    "polars": (pl.DataFrame, lambda data: data.to_dicts(), pl.DataFrame),
    "dataset": (datasets.Dataset.from_list, lambda data: data.to_list(), datasets.Dataset),
    "stream": (
        lambda rows: datasets.Dataset.from_list(rows).to_iterable_dataset(),
        from_stream,
        datasets.IterableDataset,
    ),
    "stream without columns": (
        lambda rows: datasets.IterableDataset.from_generator(lambda: iter(rows)),
        from_stream,
        datasets.IterableDataset,
    ),
}


@pytest.mark.parametrize("rows", [flag_rows(), triplet_rows()], ids=["flagembedding", "triplet"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_cleaned(kind: str, rows: Rows, tmp_path: Path) -> None:
    make, list_rows, expected = KINDS[kind]
    before = copy.deepcopy(rows)
    data = make(rows)
    result = clean(data)
    assert isinstance(result.data, expected)
    assert list_rows(result.data) == by_file(rows, tmp_path)
    assert result.data is not data
    assert rows == before
    assert result.summary["negatives"]["action"]["relabel"]


@pytest.mark.parametrize("kind", KINDS)
def test_decisions_and_changes_are_tables_of_the_same_library(kind: str) -> None:
    make, list_rows, expected = KINDS[kind]
    result = clean(make(flag_rows()))
    tables: type[Any] = datasets.Dataset if expected is datasets.IterableDataset else expected
    assert isinstance(result.decisions, tables)
    assert isinstance(result.changes(3), tables)
    assert len(result.decisions) == 12 * 8
    assert len(result.changes(3)) == 3
    rows = list_rows(result.decisions)
    assert tuple(rows[0]) == DECISION
    assert {row["action"] for row in list_rows(result.changes(100))} <= {"relabel", "filter"}


def test_the_columns_of_decisions_are_those_of_records() -> None:
    [cleaned] = arhn.clean_groups(many(1), FakeEngine(answer_by_marks))
    assert tuple(next(make_decision_rows(cleaned))) == DECISION


def test_types_stay() -> None:
    rows = flag_rows(6)
    features = datasets.Features(
        {
            "query": datasets.Value("string"),
            "pos": datasets.List(datasets.Value("string")),
            "neg": datasets.List(datasets.Value("string")),
            "label": datasets.ClassLabel(names=["a", "b"]),
            "small": datasets.Value("int8"),
            "picture": datasets.Image(decode=False),
        }
    )
    rows = [
        {
            **{k: row[k] for k in ("query", "pos", "neg")},
            "label": 1,
            "small": 3,
            "picture": {"bytes": b"\x89PNG", "path": None},
        }
        for row in rows
    ]
    result = clean(datasets.Dataset.from_list(rows, features=features))
    assert result.data.features == features
    assert result.data[0]["picture"]["bytes"] == b"\x89PNG"
    frame = pd.DataFrame(flag_rows(6))
    frame["kind"] = pd.Categorical(["x", "y"] * 3)
    frame["small"] = pd.array([1, None, 3, 4, 5, 6], dtype="Int16")
    frame["when"] = pd.Timestamp("2026-01-01", tz="UTC")
    found = clean(frame).data
    assert list(found["kind"]) == ["x", "y"] * 3
    assert found.dtypes["kind"] == "category"
    assert found.dtypes["small"] == "Int16"
    assert found.dtypes["when"] == frame.dtypes["when"]
    column = pl.DataFrame(flag_rows(6)).with_columns(pl.lit("x").cast(pl.Categorical).alias("kind"))
    assert clean(column).data.schema["kind"] == column.schema["kind"]


def test_a_second_call_asks_nothing() -> None:
    first, second = FakeEngine(answer_by_marks), FakeEngine(answer_by_marks)
    one = clean(flag_rows(), first)
    other = clean(pd.DataFrame(flag_rows()), second)
    assert first.asked
    assert not second.asked
    assert other.summary["negatives"] == one.summary["negatives"]


def test_splits() -> None:
    splits = datasets.DatasetDict(
        train=datasets.Dataset.from_list(flag_rows(8)), test=datasets.Dataset.from_list(flag_rows(3))
    )
    result = clean(splits)
    assert isinstance(result.data, datasets.DatasetDict)
    assert {name: len(part) for name, part in result.data.items()} == {"train": 8, "test": 3}
    assert set(result.summary) == {"train", "test"}
    assert {*result.decisions["split"]} == {"train", "test"}
    one = clean(splits, split="test")
    assert one.data["train"] is splits["train"]
    assert len(one.data["test"]) == 3
    with pytest.raises(UsageError, match="train, test"):
        clean(splits, split="dev")
    splits["other"] = datasets.Dataset.from_list([{"a": 1}])
    with pytest.raises(UnknownFormat, match=r"the Dataset, split other.*anchor, positive, negative"):
        clean(splits)


def test_it_works_in_a_running_loop() -> None:
    async def notebook() -> arhn.CleanedData:
        return clean(flag_rows(3))

    assert asyncio.run(notebook()).summary["groups"]["read"] == 3


def test_the_same_answers_are_not_written_by_two_calls(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with SqliteStore(path, model="fake"), pytest.raises(StoreLocked, match=re.escape(str(path))):
        clean(flag_rows(3), store=path)
    assert clean(flag_rows(3), store=path).data


def test_settings_are_those_of_a_config_file(tmp_path: Path) -> None:
    found = clean(flag_rows(), mode="F", ranker={"name": "pivot"}, limit=4, floor=0).summary
    assert found["settings"]["mode"] == "F"
    assert found["settings"]["ranker"]["name"] == "pivot"
    assert found["groups"]["read"] == 4
    config = tmp_path / "run.toml"
    config.write_text('mode = "R"\nfloor = 2\n[files]\nlimit = 5\n', "utf-8")
    found = clean(flag_rows(), config=config, floor=1, similarity="none").summary
    assert (found["settings"]["mode"], found["settings"]["floor"], found["groups"]["read"]) == ("R", 1, 5)
    for settings, said in (
        ({"mode": "X"}, "mode='X'"),
        ({"moed": "F"}, "there is no such setting"),
        ({"ranker": {"nmae": "pivot"}}, "ranker.nmae"),
        ({"files": {"limit": 3}}, "limit"),
        ({"cluster": {"address": "auto"}}, "no keyword"),
        ({"small_model": {"model": "x"}}, "open already"),
        ({"limit": 0}, "limit"),
        ({"output": "x.jsonl"}, "output"),
        ({"split": "train"}, "no splits"),
    ):
        with pytest.raises(UsageError, match=said):
            clean(flag_rows(1), **settings)


def test_a_model_by_name_or_url(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_engine(self: Any, budget: object = None) -> FakeEngine:
        opened.append(self)
        return FakeEngine(answer_by_marks)

    monkeypatch.setattr("arhn.engines.llamacpp.settings.Settings.open", open_engine)
    monkeypatch.setattr("arhn.engines.openai.settings.Settings.open", open_engine)
    result = arhn.clean(flag_rows(2), "some-model", similarity="none", progress=False, engine={"slots": 2})
    assert (opened[-1].model, opened[-1].slots) == ("some-model", 2)
    assert result.summary["config"]["engine"]["model"] == "some-model"
    arhn.clean(flag_rows(2), "http://localhost:1/v1", engine={"model": "theirs"}, progress=False)
    assert (opened[-1].urls, opened[-1].model) == (("http://localhost:1/v1",), "theirs")
    with pytest.raises(UsageError, match="expected a name"):
        arhn.clean(flag_rows(2), 3, progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ([], UnknownFormat, "the list of dicts: is empty"),
        ([{"text": "x", "label": 1}], UnknownFormat, "the list of dicts, row 1.*text, label.*query, pos, neg"),
        (["text"], UsageError, "row 1: expected a dict"),
        ([{"query": "q", "pos": ["a"], "neg": [1]}], BadRow, r"row 1 .*neg\[0\].*on_bad_row=\"skip\""),
        ([*flag_rows(2), {"query": "q", "pos": "a", "neg": []}], BadRow, "row 3 .*pos: expected a list"),
        ([{**flag_rows(1)[0], "when": object()}], CannotHold, "row 1: JSON can't hold"),
        ([{**flag_rows(1)[0], "score": math.nan}], CannotHold, "row 1"),
        (pd.DataFrame({"query": ["q", math.nan], "pos": [["a"]] * 2, "neg": [["c"]] * 2}), BadRow, "row 2 .*query"),
        (pd.DataFrame({"query": ["q", 3], "pos": [["a"], ["b"]], "neg": [["c"], ["d"]]}), CannotHold, "query"),
        (pd.DataFrame({0: ["q"]}), UsageError, "names of their own"),
        (pa.table({"pos_scores": [[math.nan]], "query": ["q"], "pos": [["a"]], "neg": [["c"]]}), BadRow, "finite"),
        (pl.DataFrame({"sentence": ["a"]}), UnknownFormat, "the frame, row 1"),
        (datasets.Dataset.from_dict({"anchor": []}), UnknownFormat, "the Dataset: is empty"),
        (many(2), UsageError, "arhn.clean_groups"),
        ({"query": ["q"]}, UsageError, "found dict"),
    ],
)  # fmt: skip
def test_bad_data(data: Any, error: type[ArhnError], said: str) -> None:
    with pytest.raises(error, match=said):
        clean(data)


def test_bad_rows_can_be_skipped() -> None:
    result = clean([*flag_rows(2), {"query": "q", "pos": "a", "neg": []}], on_bad_row="skip")
    assert len(result.data) == 2
    assert result.summary["groups"]["rejected_rows"] == 1


def test_a_view_of_a_deleted_file(tmp_path: Path) -> None:
    datasets.Dataset.from_list(flag_rows(3)).save_to_disk(tmp_path / "saved")
    saved = datasets.load_from_disk(tmp_path / "saved").select([2, 0])
    pickled = pickle.dumps(saved)
    shutil.rmtree(tmp_path / "saved")
    # A file that is still mapped can be read to its end.
    assert [row["source"]["rank"] for row in clean(saved).data] == [2, 0]
    with pytest.raises((FileNotFoundError, FileMissing)):
        clean(pickle.loads(pickled))


def test_a_stream_that_breaks_off() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from flag_rows(3)
        raise FileNotFoundError(2, "gone", "shard-2.parquet")

    with pytest.raises(FileMissing, match=r"shard-2\.parquet"):
        clean(datasets.IterableDataset.from_generator(rows))


def test_of_a_stream_no_more_is_drawn_than_is_cleaned() -> None:
    drawn = []

    def rows() -> Iterator[dict[str, Any]]:
        for row in flag_rows(5000):
            drawn.append(row)
            yield row

    stream = datasets.IterableDataset.from_generator(rows, features=datasets.Dataset.from_list(flag_rows(1)).features)
    assert len(list(clean(stream, limit=3).data)) == 3
    assert len(drawn) <= 1001


def test_an_engine_that_stops_loses_no_answer() -> None:
    asked = 0

    def script(request: Request) -> Completion | str:
        nonlocal asked
        asked += 1
        if asked > 20:
            raise EngineError("gone")
        return answer_by_marks(request)

    with pytest.raises(EngineError):
        clean(flag_rows(), FakeEngine(script))
    again = FakeEngine(answer_by_marks)
    result = clean(flag_rows(), again)
    assert sum(stage["asked"] + stage["reused"] for stage in result.summary["llm"].values()) > len(again.asked)


def test_a_notebook_shows_texts_as_texts() -> None:
    rows = flag_rows(3)
    rows[0]["query"] = "<script>alert(1)</script>"
    rows[0]["neg"][0] += " <img src=x onerror=alert(1)>"
    html = clean(rows)._repr_html_()
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "<img" not in html
    assert repr(clean(rows)).startswith("CleanedData(groups 3, ")
    unchanged = clean([{"query": "q", "pos": ["a"], "neg": ["nothing"]}], max_failures=1.0)
    assert "Nothing was changed" in unchanged._repr_html_()


def test_files_go_with_the_result(tmp_path: Path) -> None:
    root = tmp_path / "cache" / "python"
    result = clean(flag_rows(3))
    [folder] = [path for path in root.iterdir() if path.is_dir()]
    del result
    assert not folder.exists()
    left = root / "ffffffff"
    left.mkdir()
    kept = RunFolder()
    assert not left.exists()
    assert kept.path.is_dir()
    with pytest.raises(DataError):
        clean([{"a": 1}])
    assert [path for path in root.iterdir() if path.is_dir()] == [kept.path]


def test_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in flag_rows(4)), "utf-8")
    with pytest.raises(UsageError, match="output="):
        clean(path)
    result = clean(str(path), output=tmp_path / "cleaned.jsonl")
    assert result.data == tmp_path / "cleaned.jsonl"
    assert isinstance(result.decisions, pa.Table)
    assert main(["diff", str(tmp_path / "cleaned.jsonl")]) == 0
    assert "relabel" in capsys.readouterr().out
    with pytest.raises(OutputExists):
        clean(path, output=tmp_path / "cleaned.jsonl")
    clean(path, output=tmp_path / "cleaned.jsonl", overwrite=True)


def test_a_bar_moves(capsys: pytest.CaptureFixture[str]) -> None:
    arhn.clean(flag_rows(3), FakeEngine(answer_by_marks))
    assert "3/3" in capsys.readouterr().err


def test_too_many_failures() -> None:
    def script(request: Request) -> Completion | str:
        raise RequestFailed("no")

    with pytest.raises(TooManyFailures):
        clean(flag_rows(3), FakeEngine(script))
    assert len(clean(flag_rows(3), FakeEngine(script), max_failures=1.0).data) == 3


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_example_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in ("ctranslate2", "llamacpp"):
        monkeypatch.setattr(f"arhn.engines.{engine}.settings.Settings.open", lambda *_: FakeEngine(answer_by_marks))
    monkeypatch.setattr("arhn.config.opening.open_similarity", lambda _: None)
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[3] / page).read_text("utf-8")
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in flag_rows(12)), "utf-8")
    [code, *_] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    exec(code.replace('split="train"', f'split="train", cache_dir={str(tmp_path / "hf")!r}'), {})
    assert len(Path("cleaned.jsonl").read_text("utf-8").splitlines()) == 12
