"""Commands on inputs full of what a terminal obeys: none of it reaches the terminal."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from arhn.cli import main
from arhn.cli.flags.common import make_console

EVIL = "x\x1b]0;pwned\x07\x1b[2J\x9b31m\u202e\u2066y"
OBEYED = set("\x1b\x07\x9b\u202e\u2066")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Groups, judgements and a collection with such characters in every text, id and field name."""
    monkeypatch.chdir(tmp_path)
    names = {name: f"{name} {EVIL}" for name in ("q", "p", "n")}
    row = {
        "query_id": names["q"],
        "query": f"what {EVIL}",
        "positive_passages": [{"docid": names["p"], "title": EVIL, "text": f"pos {EVIL}", EVIL: EVIL}],
        "negative_passages": [{"docid": names["n"], "title": EVIL, "text": f"neg {EVIL}", EVIL: EVIL}],
        EVIL: EVIL,
    }
    write("train.jsonl", row)
    write("unknown.jsonl", {EVIL: EVIL})
    write("bad.jsonl", row, {**row, "query": [EVIL]})
    write("gold.jsonl", {"query_id": names["q"], "doc_id": names["n"], "label": EVIL})
    Path(EVIL.replace("/", "")).with_suffix(".jsonl").write_text(json.dumps(row) + "\n")
    Path("beir/qrels").mkdir(parents=True)
    write("beir/corpus.jsonl", {"_id": names["p"], "title": EVIL, "text": f"a {EVIL}"})
    write("beir/queries.jsonl", {"_id": names["q"], "text": f"what {EVIL}"})
    Path("beir/qrels/train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{EVIL}\t{EVIL}\t1\n")
    return tmp_path


def write(name: str, *rows: object) -> None:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


COMMANDS = [
    ["clean", "train.jsonl", "-o", "o.jsonl", "--method", "none"],
    ["inspect", "o.jsonl"],
    ["inspect", "o.jsonl", "--query-id", EVIL],
    ["diff", "o.jsonl"],
    ["report", "o.jsonl", "-o", f"{EVIL}.html"],
    ["convert", "train.jsonl", "-o", "t.jsonl", "--to", "triplet"],
    ["convert", "unknown.jsonl", "-o", "u.jsonl"],
    ["convert", "bad.jsonl", "-o", "b.jsonl"],
    ["convert", "bad.jsonl", "-o", f"{EVIL}/b.jsonl", "--on-bad-row", "skip"],
    ["convert", f"{EVIL}.jsonl", "-o", f"{EVIL}2.jsonl"],
    ["convert", EVIL, "-o", "c.jsonl"],
    ["agree", "gold.jsonl", "o.decisions.jsonl"],
    ["agree", "o.decisions.jsonl", "gold.jsonl"],
    ["estimate", "train.jsonl", "--engine", "fake"],
    ["mine", "beir", "-o", "m.jsonl"],
    ["mine", "beir", "-o", "m.jsonl", "--missing-qrels", "drop", "--no-positives", "drop"],
    ["mine", EVIL, "-o", "m.jsonl"],
    ["store", EVIL],
    ["calibrate", "train.jsonl", "--gold", "gold.jsonl", "-o", "cal.json"],
    ["config", "show", "--set", f"{EVIL}=1"],
    ["evaluate", EVIL],
    ["compare", EVIL, EVIL],
    ["card", "o.jsonl"],
    ["train", "train.jsonl", "-o", EVIL],
    ["convert", "train.jsonl", "-o", "t.jsonl", "--to", EVIL],
    ["convert", "train.jsonl", "-o", "t.jsonl", f"--{EVIL}"],
    [EVIL],
]


def test_nothing_that_a_terminal_obeys_reaches_it(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        main(command)
        said = "".join(capfd.readouterr())
        assert not OBEYED & set(said), (command, said)
        assert "Traceback" not in said, command


def test_a_console_shows_any_renderable_safely(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.table import Table
    from rich.text import Text

    shown = io.StringIO()
    monkeypatch.setattr(sys, "stdout", shown)
    console = make_console()
    table = Table(EVIL, title=EVIL, caption=EVIL)
    table.add_row(EVIL)
    table.add_row(Text(EVIL))
    console.print(table, EVIL, Text(EVIL), [EVIL], {EVIL: 1})
    console.rule(EVIL)
    assert not OBEYED & set(shown.getvalue())
    assert shown.getvalue().count("\\x1b") >= 8
