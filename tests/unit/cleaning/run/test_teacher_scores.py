"""The setting `files.scores`: each score belongs to its passage, and none is another teacher's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arhn import formats
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, run
from arhn.engines import Completion, Request
from arhn.engines.fake import FakeEngine
from arhn.errors import UsageError
from tests.conftest import answer_by_marks, many, shown

STALE = 99.0


def clean(folder: Path, rows: list[dict[str, Any]], script: Any = answer_by_marks, **fields: Any) -> dict[str, Any]:
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    config = CleanConfig(calibrations=("none",))
    files = Files.beside(str(folder / "cleaned.jsonl"))
    job = Job(input=str(folder / "train.jsonl"), files=files, config=config, **fields)
    return run(job, lambda _: Models(engine=FakeEngine(script)))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def flag_rows(count: int = 6) -> list[dict[str, Any]]:
    """Rows whose scores are another teacher's."""
    found = []
    for group in many(count):
        pos, neg = [p.text for p in group.positives], [p.text for p in group.negatives]
        stale = {"pos_scores": [STALE] * len(pos), "neg_scores": [STALE] * len(neg)}
        found.append({"query": group.query, "pos": pos, "neg": neg, **stale})
    return found


def decided(folder: Path, what: str) -> dict[tuple[str, str], float]:
    """What was decided on, by query and text."""
    groups = {g.query_id: g for g in formats.read(folder / "train.jsonl")}
    texts = {(g.query_id, p.doc_id): (g.query, p.text) for g in groups.values() for p in g.passages}
    return {texts[r["query_id"], r["doc_id"]]: r[what] for r in read(folder / "cleaned.decisions.jsonl")}


@pytest.mark.parametrize("what", ["log_odds", "confidence"])
def test_scores_belong_to_their_passages(tmp_path: Path, what: Any) -> None:
    content = clean(tmp_path, flag_rows(), scores=what)
    expected = decided(tmp_path, what)
    rows = read(tmp_path / "cleaned.jsonl")
    assert len({score for row in rows for score in row["neg_scores"]}) >= 1
    for row in rows:
        for side in ("pos", "neg"):
            assert row[f"{side}_scores"] == [expected[row["query"], text] for text in row[side]]
    assert any(len(row["pos"]) > 1 for row in rows), "nothing was relabelled"
    assert "scores of a group" not in {k for k, n in content["losses"].items() if n}


def test_without_it_the_scores_of_the_input_stay(tmp_path: Path) -> None:
    clean(tmp_path, flag_rows())
    assert {score for row in read(tmp_path / "cleaned.jsonl") for score in row["neg_scores"]} == {STALE}


def test_a_group_has_all_scores_or_none(tmp_path: Path) -> None:
    def script(request: Request) -> Completion | str:
        if request.constraint is None and "passage 1 of group 2" in shown(request):
            return Completion(text="?", first={"?": -0.1}, finish="length")
        return answer_by_marks(request)

    content = clean(tmp_path, flag_rows(), script, scores="log_odds")
    rows = read(tmp_path / "cleaned.jsonl")
    lacking = [i for i, row in enumerate(rows) if "pos_scores" not in row]
    assert lacking == [2]
    assert "neg_scores" not in rows[2]
    assert content["losses"]["scores of a group"] == 1
    assert STALE not in {score for row in rows for side in ("pos", "neg") for score in row.get(f"{side}_scores", ())}


def test_tevatron_and_labelled_lists(tmp_path: Path) -> None:
    for to in ("tevatron", "labeled_list"):
        folder = tmp_path / to
        folder.mkdir()
        clean(folder, flag_rows(), to=to, scores="log_odds")
        expected = decided(folder, "log_odds")
        for row in read(folder / "cleaned.jsonl"):
            if to == "tevatron":
                for passage in row["positive_passages"] + row["negative_passages"]:
                    assert passage["score"] == expected[row["query"], passage["text"]]
            else:
                assert row["score"] == [expected[row["query"], text] for text in row["docs"]]


def test_formats_without_a_place_for_scores(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"triplet has no place for scores.*flagembedding"):
        clean(tmp_path, flag_rows(), to="triplet", scores="log_odds")
