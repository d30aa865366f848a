"""`arhn estimate` from file to table and JSON: without a server, and with one that has a tokenizer or hasn't."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from arhn import cli
from arhn.errors import StoreError, UsageError
from tests.conftest import answer_by_marks, many
from tests.served import Served
from tests.serving import Asked, Reply, Server, failed

PLANNED = ["--engine", "openai", "--model", "planned"]


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    path = tmp_path / "groups.jsonl"
    rows = [
        {
            "query_id": g.query_id,
            "query": g.query,
            "positive_passages": [{"docid": p.doc_id, "text": p.text} for p in g.positives],
            "negative_passages": [{"docid": p.doc_id, "text": p.text} for p in g.negatives],
        }
        for g in many(40)
    ]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def estimated(groups: Path, *flags: str) -> dict[str, Any]:
    out = groups.with_name("estimate.json")
    assert cli.main(["estimate", str(groups), "--json", str(out), "--overwrite", *flags]) == 0
    content: dict[str, Any] = json.loads(out.read_text("utf-8"))
    return content


def assumed(content: dict[str, Any], what: str) -> str:
    value: str = next(a["value"] for a in content["assumptions"] if a["what"].startswith(what))
    return value


def test_without_a_server(groups: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = estimated(groups, *PLANNED, "--sample", "8", "--calls-per-second", "2", "--gpus", "2", "--gpu-price", "3")
    assert (found["groups"], found["sampled"], found["passages"]) == (40, 8, 320)
    for name in ("calls", "prompt_tokens", "computed_prompt_tokens", "completion_tokens", "seconds", "gpu_hours"):
        low, middle, high = found[name]
        assert 0 < low <= middle <= high
    assert found["seconds"][1] == pytest.approx(found["calls"][1] / 2 / 2, abs=0.5)
    assert found["gpu_money"][1] == pytest.approx(3 * found["gpu_hours"][1], abs=1e-3)
    assert found["token_money"] is None
    assert found["computed_prompt_tokens"][1] < found["prompt_tokens"][1]
    assert "4.4 characters a token" in assumed(found, "prompts counted by")
    said = capsys.readouterr().out
    assert "40 groups with 320 passages, from 8 of them" in said
    assert "negatives that answer" in said


def test_a_group_that_repeats_another_is_not_said_to_be_stored(
    groups: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = orjson.loads(groups.read_bytes().splitlines()[0])
    groups.write_bytes(b"".join(orjson.dumps(first | {"query_id": name}) + b"\n" for name in ("a", "b")))
    assert estimated(groups, *PLANNED)["known"] == 0
    assert "store" not in capsys.readouterr().out


def test_prices_and_a_limit(groups: Path) -> None:
    prices = ("budget.prompt_price=1", "budget.completion_price=4", "budget.cached_price=0.1")
    flags = (*PLANNED, *(word for price in prices for word in ("--set", price)))
    whole, half = estimated(groups, *flags), estimated(groups, *flags, "--limit", "20")
    assert half["groups"] == 20
    assert half["token_money"][1] == pytest.approx(whole["token_money"][1] / 2, rel=0.2)
    assert whole["seconds"] is None
    cached = whole["prompt_tokens"][1] - whole["computed_prompt_tokens"][1]
    money = (whole["computed_prompt_tokens"][1] + 0.1 * cached + 4 * whole["completion_tokens"][1]) / 1e6
    assert whole["token_money"][1] == pytest.approx(money, abs=1e-4)


def test_more_characters_a_token_fewer_tokens(groups: Path) -> None:
    few, many_ = (estimated(groups, *PLANNED, "--characters", x)["prompt_tokens"][1] for x in ("8", "4"))
    assert few == pytest.approx(many_ / 2, rel=0.01)


def served(tokenizer: bool) -> Server:
    answers = Served(answer_by_marks)

    def handler(asked: Asked) -> Reply:
        if not asked.path.endswith("/tokenize"):
            return answers(asked)
        if not tokenizer:
            return failed(404, "no such page")
        text = asked.body.get("prompt") or "\n".join(m["content"] for m in asked.body["messages"])
        return Reply(body={"tokens": list(text.encode())})

    return Server(handler)


def test_with_the_servers_own_tokenizer(groups: Path) -> None:
    with served(tokenizer=True) as server:
        found = estimated(groups, "--engine", "openai", "--url", server.url, "--sample", "4")
    assert assumed(found, "prompts counted by") == "the server's tokenizer"
    plain = estimated(groups, *PLANNED, "--sample", "4", "--characters", "1")
    # Its tokens are bytes, but it has no chat template.
    assert found["prompt_tokens"][1] == pytest.approx(plain["prompt_tokens"][1], rel=0.3)


def test_with_a_server_that_has_none(groups: Path) -> None:
    with served(tokenizer=False) as server:
        found = estimated(groups, "--engine", "openai", "--url", server.url, "--sample", "4")
    assert "characters a token" in assumed(found, "prompts counted by")


def test_a_pilot_and_its_store(groups: Path, tmp_path: Path) -> None:
    with served(tokenizer=False) as server:
        asking = ["--engine", "openai", "--url", server.url, "--calibration", "none"]
        pilot = tmp_path / "pilot.jsonl"
        assert cli.main(["clean", str(groups), "-o", str(pilot), "--limit", "10", *asking]) == 0
        summary = json.loads((tmp_path / "pilot.summary.json").read_text("utf-8"))
        flags = (*asking, "--pilot", str(tmp_path / "pilot.summary.json"))
        fresh = estimated(groups, *flags, "--sample", "40")
        rest = estimated(groups, *flags, "--sample", "40", "--store", str(tmp_path / "pilot.responses.sqlite"))
    share = summary["negatives"]["status"]["answer"] / sum(summary["negatives"]["status"].values())
    assert assumed(fresh, "negatives that answer").startswith(f"{share:.1%}")
    # The pilot's pace, unless a rate is given.
    asked = sum(stage["asked"] for stage in summary["llm"].values())
    assert fresh["seconds"][1] == pytest.approx(fresh["calls"][1] / (asked / summary["seconds"]), rel=0.01)
    assert rest["known"] == 10
    assert rest["calls"][1] == pytest.approx(0.75 * fresh["calls"][1], rel=0.1)


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ([*PLANNED, "--method", "margin", "--similarity", "x"], UsageError),
        ([*PLANNED, "--calls-per-second", "2", "--prompt-rate", "5"], UsageError),
        ([*PLANNED, "--store", "groups.jsonl"], UsageError),
        (["--engine", "vllm", "--model", "m", "--store", "groups.jsonl"], UsageError),
        ([*PLANNED, "--pilot", "groups.jsonl"], UsageError),
        ([*PLANNED, "--set", "engine.slots=2"], UsageError),
        ([*PLANNED, "--set", "store=x"], UsageError),
        (["--store", "none.sqlite"], StoreError),
        ([*PLANNED, "--json", "groups.jsonl"], UsageError),
    ],
)
def test_what_does_not_fit(
    groups: Path, flags: list[str], error: type[UsageError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(groups.parent)
    before = groups.read_bytes()
    assert cli.main(["estimate", str(groups), *flags]) == error.exit_code
    assert groups.read_bytes() == before


@pytest.mark.parametrize("rate", ["0", "-1", "nan", "inf", "x"])
def test_rates_are_numbers_above_zero(groups: Path, rate: str) -> None:
    assert cli.main(["estimate", str(groups), *PLANNED, f"--prompt-rate={rate}"]) == UsageError.exit_code
