"""No output replaces an input or another output, whatever names and links lead to them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from arhn.errors import UsageError
from arhn.files.apart import require_apart


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").touch()
    (tmp_path / "link").symlink_to("in")
    os.link("in", "hard")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.arrow").touch()
    return tmp_path


@pytest.mark.parametrize("output", ["in", "./in", "link", "hard", "set/../in"])
def test_one_file_under_any_name(here: Path, output: str) -> None:
    with pytest.raises(UsageError, match="would replace the input, in"):
        require_apart({"the input": "in"}, {"--output": output})
    with pytest.raises(UsageError, match="would replace"):
        require_apart({"the input": str(here / output)}, {"--output": here / "in"})


@pytest.mark.parametrize(
    "name", [".out.partial", ".out.lock", ".out.publishing", ".out.0123abcd.partial", ".out.0123abcd.old", "out-wal"]
)
def test_names_that_are_needed_while_an_output_is_written(here: Path, name: str) -> None:
    with pytest.raises(UsageError, match="has a name that arhn uses"):
        require_apart({"the input": name}, {"--output": "out"})
    with pytest.raises(UsageError, match="has a name that arhn uses"):
        require_apart({}, {"--output": "out", "--json": here / name})


def test_folders(here: Path) -> None:
    for inputs, output in (("set/data.arrow", "set"), ("set", "set/state.json"), ("set", "set/data.arrow")):
        with pytest.raises(UsageError, match="would replace"):
            require_apart({"the input": inputs}, {"--output": output})
    require_apart({"the input": "set"}, {"--output": "set/cleaned.jsonl"})


def test_outputs_among_each_other(here: Path) -> None:
    with pytest.raises(UsageError, match="would replace"):
        require_apart({}, {"--output": "out", "--summary": here / "out"})
    require_apart({"a": None, "b": "s3://bucket/out"}, {"--output": "out", "--summary": None, "c": "s3://bucket/out"})
