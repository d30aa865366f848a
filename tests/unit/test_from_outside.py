"""What another package brings is used like what is ours: here by `register`, and by an entry point in its metadata.

Rankers and methods. What else can be added from outside has its place below them.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import arhn
from arhn import formats, registry
from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig, RankerSettings
from arhn.cleaning.methods import METHODS
from arhn.cleaning.methods.method import AskerFor
from arhn.cleaning.models import Models
from arhn.cleaning.rank import RANKERS
from arhn.cleaning.rank.ranker import Candidates
from arhn.cleaning.relabel import decide, finish, hold_against_floor
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.select import take_apart
from arhn.engines.fake import FakeEngine
from arhn.registry import Registry
from arhn.types import CleanedGroup, Group, Ranking, Reason
from tests.conftest import answer_by_marks, group, kind_of


class Longest:
    """A toy ranker: the longest snippet first. It asks nothing."""

    def __init__(self, asker: Asker, settings: RankerSettings) -> None:
        self.room = asker.capabilities.context
        self.by = settings.by

    async def rank(self, candidates: Candidates) -> Ranking:
        found = candidates.extractions
        ranked = sorted(candidates.passages, key=lambda p: -len(found[p.doc_id].snippet or ""))
        return Ranking(order=tuple(p.doc_id for p in ranked), status="ok")


class Shorter:
    """A toy method: whatever is shorter than its positive goes. It needs no model."""

    asks_llm = False

    def __init__(self, config: CleanConfig, models: Models, asker_for: AskerFor) -> None:
        self.config = config

    async def clean(self, group: Group) -> CleanedGroup:
        parts = take_apart(group, self.config.negatives)
        least = min(len(p.text) for p in group.positives)
        reasons = {p.doc_id: Reason.POSITIVE for p in group.positives}
        reasons |= {p.doc_id: Reason.MARGIN if len(p.text) < least else Reason.UNDISPUTED for p in group.negatives}
        decisions = decide(group, reasons, mode=self.config.mode, copies=parts.copies, unused=parts.unused_ids)
        floored = hold_against_floor(group, decisions, floor=self.config.floor, policy=self.config.floor_policy)
        return finish(group, floored)


#: The registries that other packages can add to, and a toy for each.
TOYS: dict[str, tuple[Registry[Any], type]] = {"longest": (RANKERS, Longest), "shorter": (METHODS, Shorter)}


@pytest.fixture(params=["registered", "entry point"])
def toys(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "entry point":
        groups = {"longest": "arhn.rankers", "shorter": "arhn.methods"}
        points = [EntryPoint(name, f"{__name__}:{toy.__name__}", groups[name]) for name, (_, toy) in TOYS.items()]

        def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
            return [p for p in points if p.group == group and name in (None, p.name)]

        monkeypatch.setattr(registry, "entry_points", entry_points)
    else:
        for name, (where, toy) in TOYS.items():
            where.register(name, toy)
    yield
    for name, (where, _) in TOYS.items():
        where._loaded.pop(name, None)


@pytest.mark.usefixtures("toys")
def test_a_ranker() -> None:
    g = group(positives=("has ANSWER12",), negatives=["has ANSWER345", "has ANSWER6", "nothing"])
    engine = FakeEngine(answer_by_marks)
    config = CleanConfig.model_validate({"ranker": {"name": "longest", "stable": 0.6}, "fullness": False})
    [cleaned] = arhn.clean_groups([g], engine, config=config)
    assert [p.text for p in cleaned.relabelled] == ["has ANSWER345"]
    assert [p.text for p in cleaned.filtered] == ["has ANSWER6"]
    assert [p.text for p in cleaned.negatives] == ["nothing"]
    assert {kind_of(r) for r in engine.asked} == {"verdict", "snippet"}


@pytest.mark.usefixtures("toys")
def test_a_method() -> None:
    g = group(positives=("as long as it is",), negatives=["short", "a good deal longer than it is"])
    [cleaned] = arhn.clean_groups([g], arhn.Models(), config=CleanConfig(method="shorter"))
    assert [p.text for p in cleaned.filtered] == ["short"]
    assert [p.text for p in cleaned.negatives] == ["a good deal longer than it is"]


@pytest.mark.usefixtures("toys")
def test_a_method_from_file_to_file(tmp_path: Path) -> None:
    with formats.GroupWriter(tmp_path / "in.jsonl", "tevatron") as writer:
        writer.write(group(positives=("as long as it is",), negatives=["short", "a good deal longer than it is"]))
    files = Files.beside(str(tmp_path / "out.jsonl"))
    job = Job(input=str(tmp_path / "in.jsonl"), files=files, config=CleanConfig(method="shorter"))
    summary = run(job, lambda _: Models())
    assert summary["settings"]["method"] == "shorter"
    assert (summary["prompts"], summary["calibrations"]) == ({}, {})
    assert summary["negatives"]["action"] == {"filter": 1, "keep": 1}


@pytest.mark.parametrize(
    ("settings", "where", "says"),
    [
        ({"method": "ahrn"}, ("method",), "'ahrn' is no method. Did you mean 'arhn'? There are: arhn, rlhn, margin, "),
        ({"ranker": {"name": "pivto"}}, ("ranker", "name"), "'pivto' is no ranker. Did you mean 'pivot'? There are: "),
        ({"method": "shorter"}, ("method",), "'shorter' is no method. "),
        ({"method": 3}, ("method",), "valid string"),
    ],
)
def test_a_name_that_nobody_has(settings: dict[str, Any], where: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CleanConfig.model_validate(settings)
    [error] = caught.value.errors()
    assert error["loc"] == where
    assert says in error["msg"]
