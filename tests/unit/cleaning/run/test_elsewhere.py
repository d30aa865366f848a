"""A query that stands in several groups: what one labels positive is no negative of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.run.inspect import inspect_all
from arhn.errors import NothingLeft
from arhn.types import Mode

A, B, C = "opened in May 1931", "opening day", "tolls are paid"


def clean(folder: Path, rows: list[dict[str, Any]], *, mode: str = "R+F") -> dict[str, Any]:
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = CleanConfig(method="none", mode=Mode(mode))
    job = Job(
        input=str(folder / "in.jsonl"),
        files=Files.beside(str(folder / "out.jsonl")),
        config=config,
        on_bad_row="skip",
        overwrite=True,
    )
    return run(job, lambda _: Models())


def row(query: str, pos: list[str], neg: list[str]) -> dict[str, Any]:
    return {"query": query, "pos": pos, "neg": neg}


@pytest.mark.parametrize("far", [0, 3])
def test_a_positive_elsewhere_is_no_negative(tmp_path: Path, far: int) -> None:
    others = [row(f"other {i}", ["p"], [A]) for i in range(far)]
    content = clean(tmp_path, [row("when", [A], [C]), *others, row("when", [B], [A, C])])
    assert content["positives_elsewhere"] == 1
    assert content["negatives"]["reason"]["equals_positive"] == 1
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [each["neg"] for each in written] == [[C], *([[A]] * far), [C]]
    decisions = [json.loads(line) for line in (tmp_path / "out.decisions.jsonl").read_text().splitlines()]
    assert len({(each["query_id"], each["doc_id"]) for each in decisions}) == len(decisions) == 5 + 2 * far
    found = inspect_all(str(tmp_path / "out.jsonl"), decisions[0]["query_id"])
    assert [each.group.positives[0].text for each in found] == [A, B]


def test_a_mode_that_does_not_filter_relabels(tmp_path: Path) -> None:
    clean(tmp_path, [row("when", [A], [C]), row("when", [B], [A, C])], mode="R")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [each["pos"] for each in written] == [[A], [B, A]]


def test_only_bad_rows_are_no_success(tmp_path: Path) -> None:
    with pytest.raises(NothingLeft, match="2 rows are no groups"):
        clean(tmp_path, [row("when", [], [C]), row("when", [" "], [C])])
    assert not (tmp_path / "out.jsonl").exists()
