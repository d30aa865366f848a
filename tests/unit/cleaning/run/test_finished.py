"""A finished run read again: the groups that were cleaned, whatever their rows hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arhn import formats
from arhn.card.job import Card, write_card
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.run.finished import open_run
from arhn.cleaning.run.inspect import inspect_all, inspect_number
from arhn.engines.fake import FakeEngine
from arhn.errors import UsageError
from tests.conftest import answer_by_marks

ROWS = [
    {"query": "one", "pos": ["ANSWER2 a", " "], "neg": ["b", "", "b", "ANSWER1 c"]},
    {"query": "two", "pos": ["ANSWER2 d"], "neg": ["e", "f"]},
    {"query": "one", "pos": ["ANSWER2 g"], "neg": ["h", "i"]},
]


@pytest.fixture
def cleaned(tmp_path: Path) -> str:
    source = tmp_path / "train.jsonl"
    source.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS), "utf-8")
    output = str(tmp_path / "cleaned.jsonl")
    run(Job(input=str(source), files=Files.beside(output)), lambda _: Models(engine=FakeEngine(answer_by_marks)))
    return output


def test_blank_and_equal_passages_are_read_as_they_were_cleaned(cleaned: str, tmp_path: Path) -> None:
    groups = [joined.group for joined in open_run(cleaned, "diff").join()]
    assert groups == list(formats.read(tmp_path / "train.jsonl"))
    assert [len(group.passages) for group in groups] == [4, 3, 3]
    assert inspect_number(cleaned, 1).group == groups[0]


def test_a_query_of_two_groups_is_shown_with_both(cleaned: str) -> None:
    first, second, third = (joined.group for joined in open_run(cleaned, "diff").join())
    assert [found.group for found in inspect_all(cleaned, first.query_id)] == [first, third]
    assert [found.group for found in inspect_all(cleaned, second.query_id)] == [second]


@pytest.mark.parametrize("name", ["train.jsonl", "cleaned.jsonl", "cleaned.decisions.jsonl", "cleaned.summary.json"])
def test_who_reads_a_run_replaces_none_of_its_files(cleaned: str, tmp_path: Path, name: str) -> None:
    before = (tmp_path / name).read_bytes()
    with pytest.raises(UsageError, match="would replace the run's"):
        write_card(Card(output=cleaned), tmp_path / name, overwrite=True)
    assert (tmp_path / name).read_bytes() == before
