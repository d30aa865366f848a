"""A data set format of another package: tab-separated texts in JSON, detected, read, cleaned and written like ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Set
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import arhn
from arhn import registry
from arhn.engines.fake import FakeEngine
from arhn.errors import BadRow, MixedFormats
from arhn.formats import FORMATS, Draft, Format, GroupWriter, detect, list_losses, read
from arhn.formats.convert import convert
from arhn.formats.interface import keep_rows, make_passage
from arhn.formats.origin import keep
from arhn.types import Group
from tests.conftest import answer_by_marks
from tests.unit.formats.helpers import TEVATRON, lines, rows_of


class Tabs:
    """{"q": query, "good": "text<tab>text", "bad": …}."""

    COLUMNS = "q, good, bad"
    POSITIVES = "good"
    NEGATIVES = "bad"
    HOLDS = frozenset({"groups without negatives"})
    ROW_IS_GROUP = True

    join = staticmethod(keep_rows)

    def fits(self, fields: Set[str]) -> bool:
        return {"q", "good"} <= fields

    def parse(self, row: dict[str, Any], line: int) -> Draft:
        if not isinstance(row["q"], str):
            raise BadRow("q", "a string", repr(row["q"]))
        good, bad = (
            tuple(make_passage(text, keep("tabs", (), {})) for text in row.get(side, "").split("\t") if text)
            for side in ("good", "bad")
        )
        return Draft(line=line, query=row["q"], positives=good, negatives=bad, extra=keep("tabs", tuple(row), {}))

    def encode(self, group: Group, losses: Counter[str], like: tuple[str, ...]) -> list[dict[str, Any]]:
        good, bad = ("\t".join(p.text for p in side) for side in (group.positives, group.negatives))
        return [{"q": group.query, "good": good, "bad": bad}]


TABS: Format = Tabs()
ROW = {"q": "who?", "good": "It says ANSWER.", "bad": "It says ANSWER too.\tIt doesn't."}


@pytest.fixture(params=["entry point", "register"])
def tabs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FORMATS, "_loaded", dict(FORMATS._loaded))
    if request.param == "register":
        FORMATS.register("tabs", TABS)
        return
    point = EntryPoint("tabs", f"{__name__}:TABS", "arhn.formats")

    def entry_points(*, group: str, name: str | None = None) -> Iterator[EntryPoint]:
        return (p for p in [point] if p.group == group and name in (None, p.name))

    monkeypatch.setattr(registry, "entry_points", entry_points)


@pytest.mark.usefixtures("tabs")
def test_it_is_detected_read_cleaned_and_written(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(lines(ROW))
    found = detect(source)
    assert (found.format, found.fields) == ("tabs", ("q", "good", "bad"))
    [cleaned] = arhn.clean_groups(read(found), FakeEngine(answer_by_marks))
    with GroupWriter(tmp_path / "out.jsonl", found.format, like=found) as writer:
        writer.write(cleaned.cleaned)
    [row] = rows_of(tmp_path / "out.jsonl")
    assert row["q"] == "who?"
    assert row["good"].startswith(ROW["good"])
    assert row["bad"] == "It doesn't."


@pytest.mark.usefixtures("tabs")
def test_it_is_converted_to_ours_and_back(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(lines(ROW))
    convert(detect(tmp_path / "in.jsonl"), str(tmp_path / "ours.jsonl"), "tevatron")
    done = convert(detect(tmp_path / "ours.jsonl"), str(tmp_path / "back.jsonl"), "tabs")
    assert done.written == 1
    assert rows_of(tmp_path / "back.jsonl") == [ROW]
    assert list_losses("labeled_list", "tabs") == ["group fields", "label", "score"]


@pytest.mark.usefixtures("tabs")
def test_its_errors_are_like_those_of_ours(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(lines(ROW, {**ROW, "good": ""}))
    with pytest.raises(BadRow, match="good: expected at least one positive, found none"):
        list(read(tmp_path / "in.jsonl"))
    (tmp_path / "in.jsonl").write_bytes(lines(TEVATRON, ROW))
    with pytest.raises(MixedFormats, match="this row is tabs, but the file is tevatron"):
        list(read(tmp_path / "in.jsonl"))


def test_ours_come_first_and_are_modules() -> None:
    assert FORMATS.names()[:5] == ("tevatron", "flagembedding", "ntuple", "triplet", "labeled_list")
    assert all(hasattr(FORMATS.get(name), "ROW_IS_GROUP") for name in FORMATS.names())


def test_the_origin_of_fields_is_hashed_as_before(tmp_path: Path) -> None:
    """Partitions of a cluster's work, done before formats were registered, are found again."""
    (tmp_path / "in.jsonl").write_bytes(lines(TEVATRON))
    [group] = read(tmp_path / "in.jsonl")
    fields = ("query_id", "query", "positive_passages", "negative_passages")
    assert repr(group.extra) == f"Kept({{}}, Origin(format=<Format.TEVATRON: 'tevatron'>, fields={fields!r}, raw={{}}))"
