import asyncio
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from arhn import formats
from arhn.cleaning import prompts
from arhn.cleaning.config import CleanConfig, RankerSettings
from arhn.cleaning.evidence.calibration import Calibration
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.run.inspect import inspect
from arhn.engines.fake import FakeEngine, Script
from arhn.errors import ArhnError, BadJson, EngineError, OutputExists, OutputLocked, OutputNotWritable, StoreLocked
from arhn.files.locks import locked
from arhn.store import SqliteStore
from tests.conftest import answer_by_marks, many


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with formats.GroupWriter(tmp_path / "train.jsonl", "tevatron") as writer:
        for group in many(12):
            writer.write(group)
    return tmp_path


def job(folder: Path, output: str = "cleaned.jsonl", **fields: Any) -> Job:
    return Job(input=str(folder / "train.jsonl"), files=Files.beside(str(folder / output)), **fields)


def do(j: Job, engine: FakeEngine | None = None) -> dict[str, Any]:
    return run(j, lambda _: Models(engine=engine or FakeEngine(answer_by_marks)))


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if not p.name.endswith(".lock")}


def test_writes_groups_decisions_and_summary(folder: Path) -> None:
    content = do(job(folder))
    assert names(folder) == {
        "train.jsonl",
        "cleaned.jsonl",
        "cleaned.decisions.jsonl",
        "cleaned.summary.json",
        "cleaned.responses.sqlite",
    }
    assert json.loads((folder / "cleaned.summary.json").read_text()) == content
    decisions = rows(folder / "cleaned.decisions.jsonl")
    assert len(decisions) == 12 * 8
    assert list(decisions[0]) == [
        "query_id", "doc_id", "label", "action", "reason", "status", "snippet", "start", "end", "confidence",
        "log_odds", "rank", "cut", "similarity", "fullness", "family",
    ]  # fmt: skip
    cleaned = {g.query_id: g for g in formats.read(folder / "cleaned.jsonl", require_negatives=False)}
    originals = {g.query_id: g for g in formats.read(folder / "train.jsonl")}
    for row in decisions:
        after, before = cleaned[row["query_id"]], originals[row["query_id"]]
        text = next(p.text for p in before.passages if p.doc_id == row["doc_id"])
        assert row["snippet"] is None or text[row["start"] : row["end"]] == row["snippet"]
        is_positive = row["doc_id"] in {p.doc_id for p in after.positives}
        is_negative = row["doc_id"] in {p.doc_id for p in after.negatives}
        assert is_positive == (row["label"] == "positive" or row["action"] == "relabel")
        assert is_negative == (row["label"] == "negative" and row["action"] == "keep")


def test_summary_counts_agree_with_the_decisions(folder: Path) -> None:
    content = do(job(folder))
    decisions = rows(folder / "cleaned.decisions.jsonl")
    for label in ("positive", "negative"):
        for what in ("action", "reason", "status"):
            counted = content[f"{label}s"][what]
            assert sum(counted.values()) == sum(r["label"] == label for r in decisions)
            for value, count in counted.items():
                assert count == sum(r["label"] == label and r[what] == value for r in decisions)
    for stage in content["llm"].values():
        assert stage["requests"] == stage["asked"] + stage["reused"] + stage["failed"] + stage["too_long"]
    assert set(content["llm"]) == {"extract", "rank", "fullness"}
    assert content["groups"]["read"] == content["groups"]["written"] == 12
    assert {row["family"] for row in decisions} == {"question"}
    assert content["families"] == {"question (guessed)": 12}
    assert content["prompts"] == {"question": prompts.load("question").hashes}
    assert not content["calibrations"]["question"]["calibrated"]
    assert content["model"] == "fake"
    assert content["settings"] | {"method": "arhn", "limit": None} == content["settings"]
    assert content["settings"]["ranker"]["name"] == "listwise"


def test_summary_names_the_calibration_and_the_agreement(folder: Path) -> None:
    calibration = Calibration(model="fake", prompt=prompts.load("question").check.hash, threshold=0.9, lower=0.2)
    config = CleanConfig(ranker=RankerSettings(name="consistent"), calibrations=(calibration,))
    content = do(job(folder, config=config))
    found = content["calibrations"]["question"]
    assert found | {"calibrated": True, "threshold": 0.9, "lower": 0.2} == found
    # A negative as direct as the positive stands where it is shown, now above, now below.
    assert 0.5 < content["ranking_agreement"] < 1
    assert "calibrations" not in content["settings"]


def test_the_same_command_again_resumes_and_gives_the_same_bytes(folder: Path) -> None:
    do(job(folder))
    outputs = ["cleaned.jsonl", "cleaned.decisions.jsonl"]
    first = {name: (folder / name).read_bytes() for name in outputs}
    for name in (*outputs, "cleaned.summary.json"):
        (folder / name).unlink()
    engine = FakeEngine(answer_by_marks)
    content = do(job(folder), engine)
    assert {name: (folder / name).read_bytes() for name in outputs} == first
    assert engine.asked == []
    assert content["llm"]["extract"]["asked"] == 0


def test_nothing_existing_is_overwritten(folder: Path) -> None:
    for name in ("cleaned.jsonl", "cleaned.decisions.jsonl", "cleaned.summary.json", "cleaned.rejects.jsonl"):
        (folder / name).write_text("mine")
        engine = FakeEngine(answer_by_marks)
        with pytest.raises(OutputExists, match=name):
            do(job(folder), engine)
        assert (folder / name).read_text() == "mine"
        assert engine.asked == []
        (folder / name).unlink()
    assert names(folder) == {"train.jsonl"}


def test_overwrite_replaces_and_drops_old_rejects(folder: Path) -> None:
    (folder / "cleaned.rejects.jsonl").write_text("old")
    do(job(folder, overwrite=True))
    assert not (folder / "cleaned.rejects.jsonl").exists()
    do(job(folder, overwrite=True, limit=3))
    assert len(rows(folder / "cleaned.jsonl")) == 3


def test_what_was_opened_is_closed_whatever_happens(folder: Path) -> None:
    closed: list[str] = []

    def opened(script: Script) -> Callable[[ExitStack], Models]:
        def open_models(stack: ExitStack) -> Models:
            stack.callback(lambda: closed.append("engine"))
            return Models(engine=FakeEngine(script))

        return open_models

    def gone(_: object) -> str:
        raise EngineError("gone")

    with pytest.raises(EngineError):
        run(job(folder), opened(gone))
    assert closed == ["engine"]
    run(job(folder), opened(answer_by_marks))
    assert closed == ["engine"] * 2


def test_an_engine_that_cannot_start_leaves_nothing(folder: Path) -> None:
    def broken(_: ExitStack) -> Models:
        raise EngineError("no")

    with pytest.raises(EngineError):
        run(job(folder), broken)
    assert names(folder) == {"train.jsonl"}


def test_an_engine_that_dies_leaves_only_the_store(folder: Path) -> None:
    calls = iter(range(20))

    def script(request: Any) -> Any:
        if next(calls, None) is None:
            raise EngineError("gone")
        return answer_by_marks(request)

    with pytest.raises(EngineError, match="gone"):
        do(job(folder), FakeEngine(script))
    assert names(folder) == {"train.jsonl", "cleaned.responses.sqlite"}
    engine = FakeEngine(answer_by_marks)
    content = do(job(folder), engine)
    whole = FakeEngine(answer_by_marks)
    do(job(folder, output="whole.jsonl"), whole)
    assert len(engine.asked) == len(whole.asked) - 20 == sum(s["asked"] for s in content["llm"].values())
    for part in ("", ".decisions"):
        assert (folder / f"cleaned{part}.jsonl").read_bytes() == (folder / f"whole{part}.jsonl").read_bytes()


def test_a_run_killed_while_publishing_is_finished_by_the_next(folder: Path) -> None:
    do(job(folder))
    expected = (folder / "cleaned.jsonl").read_bytes()
    (folder / "cleaned.jsonl").unlink()
    (folder / ".cleaned.jsonl.publishing").write_text(
        json.dumps([str(folder / f"cleaned.{n}") for n in ("decisions.jsonl", "summary.json", "jsonl")])
    )
    do(job(folder))
    assert (folder / "cleaned.jsonl").read_bytes() == expected
    assert not (folder / ".cleaned.jsonl.publishing").exists()
    with pytest.raises(OutputExists):
        do(job(folder))


def test_two_runs_that_share_a_record_do_not_run_at_once(folder: Path) -> None:
    """cleaned.jsonl and cleaned.parquet would both write cleaned.decisions.jsonl."""

    def open_models(_: ExitStack) -> Models:
        with pytest.raises(OutputLocked):
            do(job(folder, output="cleaned.parquet"))
        return Models(engine=FakeEngine(answer_by_marks))

    run(job(folder), open_models)
    assert len(rows(folder / "cleaned.decisions.jsonl")) == 12 * 8


def test_a_publish_that_fails_gives_no_leave_to_overwrite(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OutputNotWritable("no")

    with monkeypatch.context() as patched:
        patched.setattr(formats.GroupWriter, "_publish", fail)
        with pytest.raises(OutputNotWritable):
            do(job(folder))
    assert ".cleaned.jsonl.publishing" not in names(folder)
    with pytest.raises(OutputExists):
        do(job(folder))


def test_works_where_an_event_loop_runs(folder: Path) -> None:
    async def notebook() -> dict[str, Any]:
        return do(job(folder))

    assert asyncio.run(notebook())["groups"]["written"] == 12


def test_written_counts_what_is_in_the_file(folder: Path) -> None:
    config = CleanConfig(negatives=1)
    content = do(job(folder, output="cleaned.jsonl", to="triplet", config=config))
    anchors = {row["anchor"] for row in rows(folder / "cleaned.jsonl")}
    assert content["groups"]["written"] == len(anchors) < content["groups"]["read"]
    assert content["unused_negatives"] == 12 * 6
    assert sum(content["negatives"]["action"].values()) == 12


def test_two_runs_at_once(folder: Path) -> None:
    with SqliteStore(folder / "cleaned.responses.sqlite", model="fake"), pytest.raises(StoreLocked):
        do(job(folder))
    with locked(folder / ".cleaned.jsonl.lock", ArhnError), pytest.raises(OutputLocked):
        do(job(folder))


def test_bad_rows_fail_with_their_line_or_are_set_aside(folder: Path) -> None:
    lines = (folder / "train.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "train.jsonl").write_bytes(b"".join([*lines[:3], lines[3][:40] + b"\n", *lines[4:]]))
    with pytest.raises(BadJson, match="line 4"):
        do(job(folder))
    # Among the first groups, which settle the families, it is found before anything is opened.
    assert names(folder) == {"train.jsonl"}
    content = do(job(folder, on_bad_row="skip"))
    assert content["groups"] | {"read": 11, "rejected_rows": 1} == content["groups"]
    [reject] = rows(folder / "cleaned.rejects.jsonl")
    assert reject["line"] == 4
    assert content["files"]["rejects"] == str(folder / "cleaned.rejects.jsonl")


def test_a_missing_output_folder(folder: Path) -> None:
    with pytest.raises(OutputNotWritable, match="no such folder"):
        do(job(folder, output="nowhere/cleaned.jsonl"))


def test_another_output_format(folder: Path) -> None:
    content = do(job(folder, to="flagembedding"))
    assert content["files"]["output_format"] == "flagembedding"
    assert content["losses"]["doc_id"] > 0
    assert set(rows(folder / "cleaned.jsonl")[0]) == {"query", "pos", "neg"}


def test_dropped_groups_are_in_the_decisions_only(folder: Path) -> None:
    content = do(job(folder, config=CleanConfig(floor=6, floor_policy="drop")))
    assert content["groups"]["dropped"] > 0
    assert len(rows(folder / "cleaned.jsonl")) == content["groups"]["written"] == 12 - content["groups"]["dropped"]
    assert len(rows(folder / "cleaned.decisions.jsonl")) == 12 * 8


def test_inspect_puts_a_group_together_again(folder: Path) -> None:
    do(job(folder))
    found = inspect(str(folder / "cleaned.jsonl"), "q3")
    assert found.group.query_id == "q3"
    assert {row["action"] for row in found.decisions.values()} >= {"keep"}
