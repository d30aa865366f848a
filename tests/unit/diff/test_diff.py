"""`arhn diff`: pages, filters, samples, two runs, formats, hostile texts."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest

from arhn import cli
from arhn.cleaning.run.finished import open_run
from arhn.diff.changes import Wanted, find_changes, pair_runs
from arhn.errors import UsageError
from arhn.texts.markdown import escape_markdown
from tests.conftest import many
from tests.unit.finished import CONFIG_F, clean, hostile_groups, with_subsets


@pytest.fixture
def output(tmp_path: Path) -> str:
    return clean(tmp_path, with_subsets(many(12)))


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    capsys.readouterr()
    assert cli.main(["diff", *argv]) == code
    found = capsys.readouterr()
    return found.out + found.err


def ids(output: str, wanted: Wanted) -> list[tuple[str, str]]:
    return [(c.group.query_id, c.passage.doc_id) for c in find_changes(open_run(output, "diff"), wanted)]


def test_every_change_is_found_once_with_its_texts(output: str) -> None:
    run = open_run(output, "diff")
    found = list(find_changes(run, Wanted()))
    changed = [r for rows in run.read_rows() for r in rows.rows if r["action"] != "keep"]
    assert [dict(c.row) for c in found] == changed
    assert all(c.passage.doc_id == c.row["doc_id"] and c.positive.doc_id == c.positive_row["doc_id"] for c in found)
    assert {c.subset for c in found} == {"odd", "even"}


def test_filters(output: str) -> None:
    run = open_run(output, "diff")
    kept = list(find_changes(run, Wanted(reasons=frozenset({"no_answer"}))))
    assert {c.row["reason"] for c in kept} == {"no_answer"}
    assert {c.row["action"] for c in find_changes(run, Wanted(actions=frozenset({"relabel"})))} == {"relabel"}
    assert {c.subset for c in find_changes(run, Wanted(subset="odd"))} == {"odd"}
    assert not list(find_changes(run, Wanted(confidence=(0.0, 0.1))))
    with pytest.raises(UsageError, match="--reason: found 'x', allowed: positive, "):
        Wanted(reasons=frozenset({"x"}))


def test_a_larger_sample_holds_the_smaller_one(output: str) -> None:
    every, few, more = (ids(output, Wanted(sample=n, seed=3)) for n in (1000, 4, 9))
    assert every == ids(output, Wanted())
    assert len(few) == 4
    assert set(few) < set(more) < set(every)
    assert set(ids(output, Wanted(sample=4, seed=4))) != set(few)
    assert len(ids(output, Wanted(sample=3, subset="odd"))) == 3


def test_pages(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    total = len(ids(output, Wanted()))
    first = said(capsys, output, "--per-page", "5")
    assert f"1 to 5 of {total}; --page 2 shows the next" in first
    last = said(capsys, output, "--per-page", "5", "--page", str(-(-total // 5)))
    assert f" to {total} of {total}\n" in last
    assert "No page 99" in said(capsys, output, "--page", "99")
    assert "No decision is like that" in said(capsys, output, "--reason", "margin")
    assert f"drawn from {total} with --seed 0" in said(capsys, output, "--sample", "2")


def test_two_runs(output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = clean(tmp_path, reversed(list(many(12))), "other.jsonl", config=CONFIG_F)
    runs = open_run(output, "diff"), open_run(other, "diff")
    assert sum(1 for _ in pair_runs(*runs)) == 12
    found = list(find_changes(runs[0], Wanted(), other=runs[1]))
    assert found
    assert all(c.other is not None and c.other["action"] != c.row["action"] for c in found)
    assert "here relabel, there keep" in said(capsys, output, other)
    assert "No decision is like that" in said(capsys, output, output)


def test_formats(output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    total = len(ids(output, Wanted()))
    lines = said(capsys, output, "--format", "jsonl").splitlines()
    assert len(lines) == total
    assert {"query", "text", "action", "positive_text"} <= json.loads(lines[0]).keys()
    assert len(list(csv.DictReader(io.StringIO(said(capsys, output, "--format", "csv"))))) == total
    to = tmp_path / "changes.md"
    said(capsys, output, "--format", "md", "-o", str(to))
    assert to.read_text("utf-8").count("\n## ") == total - 1
    assert "is there already" in said(capsys, output, "--format", "md", "-o", str(to), code=21)
    assert "would replace" in said(capsys, output, "--format", "md", "-o", output, "--overwrite", code=2)
    assert "text is for the terminal" in said(capsys, output, "-o", str(to), code=2)


@pytest.mark.parametrize("wrong", ["0.5", "a:b", "0.6:0.4", "-1:2"])
def test_a_range_that_is_none(output: str, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected LOW:HIGH" in said(capsys, output, "--confidence", wrong, code=2)


@pytest.mark.parametrize("name", ["text", "md", "csv", "jsonl"])
def test_hostile_texts_are_shown(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = clean(tmp_path, hostile_groups())
    text = said(capsys, output, "--format", name)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]", text.replace("\r\n", "\n"))
    assert re.search(r"1b\\?\[2J", text)
    if name in ("text", "md"):
        assert len(text) < 100_000
    if name == "md":
        assert "<script" not in text
        assert "](" not in text


def test_markdown_is_escaped() -> None:
    assert escape_markdown("a *b* <i>\n# c") == r"a \*b\* &lt;i&gt; \# c"
