"""What is imported before it is needed, by all of the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.formats.helpers import TEVATRON, put

_HEAVY = ("pyarrow", "httpx", "fsspec", "datasets")


def loaded(code: str) -> set[str]:
    """Which of the heavy libraries `code` leaves imported."""
    show = f"{code}\nimport sys\nprint(*[name for name in {_HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["formats", "weights", "store", "engines"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    assert loaded(f"import arhn.{module}") == set()


def test_json_lines_need_no_pyarrow_and_parquet_does(tmp_path: Path) -> None:
    source, target = str(put(tmp_path, TEVATRON)), str(tmp_path / "out.jsonl")
    code = f"""
from arhn.formats import GroupWriter, read
with GroupWriter({target!r}, "tevatron") as writer:
    for group in read({source!r}):
        writer.write(group)
"""
    assert loaded(code) == set()
    assert loaded(code.replace("out.jsonl", "out.parquet")) == {"pyarrow"}
