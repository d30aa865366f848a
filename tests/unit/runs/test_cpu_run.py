"""runs/cpu.sh: its commands are ones that arhn takes, in an order that works, and a second call repeats nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.cli.parsing import parsed, settings

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")

SCRIPT = Path(__file__).parents[3] / "runs" / "cpu.sh"
ARMS = ("none", "r", "f", "rf", "rlhn")
#: Stands for arhn: writes down what it was asked for and makes the output, or breaks at the word in $BREAK.
STAND_IN = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
[[ -z ${BREAK-} || "$*" != *"$BREAK"* ]] || exit 3
while (($#)); do
  if [[ $1 == -o && $2 == *.jsonl ]]; then : > "$2"; fi
  if [[ $1 == -o && $2 == */models/* ]]; then mkdir "$2"; : > "$2/arhn.train.json"; fi
  shift
done
"""
Settings = Mapping[str, str | Path]


def run(settings: Settings, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    environment = {**own, **{name: str(value) for name, value in settings.items()}}
    return subprocess.run([SCRIPT, *flags], env=environment, check=check, capture_output=True, text=True)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the stand-in's calls are written down."""
    place = tmp_path / "bin" / "arhn"
    place.parent.mkdir()
    place.write_text(STAND_IN)
    place.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place.parent}:{os.environ['PATH']}")
    return tmp_path / "calls"


@pytest.mark.parametrize("more", [{}, {"OOD": "/other domain/it's", "QUERIES": "4", "WORK": "/some where"}])
def test_arhn_takes_every_command_of_a_dry_run(more: dict[str, str]) -> None:
    lines = run({"FOLDER": "/the data/nq", **more}, "--dry-run").stdout.splitlines()
    commands = [shlex.split(line) for line in lines]
    assert {command[0] for command in commands} == {"arhn"}
    found = [parsed(command[1:]) for command in commands]
    assert [name for name, _ in found] == [
        "mine",
        *["clean"] * 5,
        *["train"] * 5,
        *["evaluate"] * 5,
        "compare",
    ]
    for command in commands[1:6]:
        settings(command[1:])  # the flags fit the method
    assert found[0][1]["folder"] == "/the data/nq"
    evaluated = next(given for name, given in found if name == "evaluate")
    assert evaluated["data"] == ["in-domain=/the data/nq", *([f"out-of-domain={more['OOD']}"] if more else [])]


def test_a_dry_run_leaves_nothing(tmp_path: Path) -> None:
    run({"FOLDER": "nq", "WORK": tmp_path / "work"}, "--dry-run")
    assert not list(tmp_path.iterdir())


def test_what_one_step_writes_is_what_the_next_one_reads(tmp_path: Path, calls: Path) -> None:
    run({"FOLDER": "nq", "WORK": tmp_path / "work", "CALLS": calls})
    made: set[str] = set()
    for line in calls.read_text().splitlines():
        name, given = parsed(shlex.split(line))
        read = {
            "mine": [],
            "clean": [given.get("source", "")],
            "train": [given.get("source", "")],
            "evaluate": [given.get("model", "")],
            "compare": [spec.partition("=")[2] for spec in given.get("results", ())],
        }
        assert set(read[name]) <= made
        made.add(str(given.get("output", "")))
    assert {str(tmp_path / "work" / "results" / name) for name in ARMS} <= made


def test_a_broken_run_goes_on_without_what_is_done(tmp_path: Path, calls: Path) -> None:
    settings: Settings = {"FOLDER": "nq", "WORK": tmp_path / "work", "CALLS": calls}
    assert run({**settings, "BREAK": "models/f "}, check=False).returncode == 3
    before = [line.split()[0] for line in calls.read_text().splitlines()]
    assert before == ["mine", *["clean"] * 5, *["train"] * 3]
    calls.unlink()
    run(settings)
    again = [line.split()[0] for line in calls.read_text().splitlines()]
    assert again == [*["train"] * 3, *["evaluate"] * 5, "compare"]


def test_files_of_other_settings_are_refused(tmp_path: Path, calls: Path) -> None:
    settings: Settings = {"FOLDER": "nq", "WORK": tmp_path / "work", "CALLS": calls}
    run(settings)
    other = run({**settings, "QUERIES": "80"}, check=False)
    assert other.returncode == 2
    assert "QUERIES=40" in other.stderr


@pytest.mark.parametrize(("flags", "settings"), [((), {}), (("--dryrun",), {"FOLDER": "nq"})])
def test_a_call_without_data_or_with_a_wrong_flag_says_what_to_do(
    flags: tuple[str, ...], settings: dict[str, str]
) -> None:
    wrong = run(settings, *flags, check=False)
    assert wrong.returncode == 2
    assert "FOLDER=" in wrong.stderr
    assert not wrong.stdout
