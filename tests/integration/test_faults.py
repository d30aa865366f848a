"""`arhn clean` against a server that fails at every fifth request, in every way that servers have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from arhn import cli, formats
from arhn.errors import TooManyFailures
from tests.conftest import many, put_in
from tests.faulted import Ran, broken_promises
from tests.served import Faulty, Served, hasten
from tests.serving import Asked, Reply, Server

GROUPS = list(many(40))
#: What probes ask isn't spoiled: it is another test's.
SPARED = 40
KINDS = {
    "429", "503", "500", "502 page", "page", "dropped", "half", "half json", "wrong json", "no end", "wrong index",
    "wrong ids", "stall", "restart",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    hasten(monkeypatch)
    monkeypatch.setattr(os, "fsync", lambda _: None)


def cleaned(folder: Path, handler: Callable[[Asked], Reply], *flags: str, exit_code: int = 0) -> Ran:
    folder.mkdir(exist_ok=True)
    source = folder / "train.jsonl"
    with formats.GroupWriter(source, "tevatron", overwrite=True) as writer:
        for group in GROUPS:
            writer.write(group)
    with Server(handler) as server:
        if isinstance(handler, Faulty):
            handler.server = server
        serving = (
            "--engine",
            "openai",
            "--url",
            server.url,
            "--calibration",
            "none",
            *put_in("engine.concurrency=16", "engine.timeouts.answer=1"),
        )
        assert cli.main(["clean", str(source), "-o", str(folder / "out.jsonl"), *serving, *flags]) == exit_code
    return Ran(folder)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return cleaned(tmp_path_factory.mktemp("healthy"), Served())


def faulty(*, lies: bool = False) -> Faulty:
    """A stall is longer than the time-out; the answer that comes after it must reach nobody else."""
    return Faulty(Served(), spared=SPARED, restart_after=200, stall=1.2, stalls=4, lies=lies)


def asked(ran: Ran) -> int:
    return sum(stage["asked"] for stage in ran.summary["llm"].values())


def test_the_same_bytes_in_the_end(healthy: Ran, tmp_path: Path) -> None:
    handler = faulty()
    ran = cleaned(tmp_path, handler, *put_in("engine.attempts=20"))
    assert handler.faults.keys() == KINDS - {"wrong ids"}
    assert handler.faults.total() > 0.15 * (handler.seen - SPARED)
    assert ran.failures == []
    # A sound answer that arrived is never asked for again; one that broke on its way is.
    [counts] = ran.summary["serving"]["model"]["servers"].values()
    assert counts["answered"] == asked(ran)
    for name in ("out.jsonl", "out.decisions.jsonl"):
        assert (tmp_path / name).read_bytes() == (healthy.folder / name).read_bytes()
    assert broken_promises(GROUPS, ran, healthy, []) == []


def test_lies_and_requests_that_fail_for_good(healthy: Ran, tmp_path: Path) -> None:
    handler = faulty(lies=True)
    few = put_in("engine.attempts=1", "max_failures=0.0001")
    ran = cleaned(tmp_path, handler, *few, exit_code=TooManyFailures.exit_code)
    assert handler.faults.keys() == KINDS
    assert {row["stage"] for row in ran.failures} >= {"extract", "rank"}
    assert all(row["reason"] and row["attempts"] >= 1 for row in ran.failures)
    assert all(row["doc_id"].startswith(row["query_id"]) for row in ran.failures if row["stage"] == "extract")
    assert {row["query_id"] for row in ran.failures} < {group.query_id for group in GROUPS}
    assert broken_promises(GROUPS, ran, healthy, handler.lied) == []
    # The next run asks only what failed, and what hung on it.
    known, served = len(ran.answers), Served()
    again = cleaned(tmp_path, served, "--overwrite")
    assert again.failures == []
    assert broken_promises(GROUPS, again, healthy, handler.lied) == []
    assert len(again.answers) == known + asked(again)


def test_what_is_broken_is_noticed(healthy: Ran, tmp_path: Path) -> None:
    """The checks above aren't blind."""
    ran = cleaned(tmp_path, Served())
    assert broken_promises(GROUPS, ran, healthy, []) == []
    ran.output.pop(3)
    assert "the output has other groups" in broken_promises(GROUPS, ran, healthy, [])[0]
    ran = Ran(tmp_path)
    changed = next(row for rows in ran.decisions.values() for row in rows if row["action"] == "relabel")
    changed["snippet"] = "other words"
    said = broken_promises(GROUPS, ran, healthy, [])
    assert any("without words of the passage" in words for words in said)
    assert any("the stored answers give other decisions" in words for words in said)
    assert any("another outcome than without faults" in words for words in said)
    ran = Ran(tmp_path)
    next(iter(ran.answers.values()))[0] = "something else"
    assert broken_promises(GROUPS, ran, healthy, [])[-1].startswith("a stored answer that the server never gave")
