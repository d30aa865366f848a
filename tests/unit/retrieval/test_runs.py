"""Runs in TREC form: what is written is read."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.errors import BadJson, BadRow, CannotHold, DuplicateId, FileMissing, OutputExists
from arhn.retrieval.runs import read_run, write_run
from tests.unit.conftest import at_most

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1)
SCORES = st.floats(allow_nan=False, allow_infinity=False)
RUNS = st.dictionaries(WORDS, st.dictionaries(WORDS, SCORES, min_size=1))


@at_most(100)
@given(run=RUNS, suffix=st.sampled_from(["", ".gz", ".zst"]))
def test_a_run_comes_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, dict[str, float]], suffix: str
) -> None:
    path = tmp_path_factory.mktemp("runs") / f"a.run{suffix}"
    write_run(path, run, "tag")
    found = read_run(path)
    assert found == run
    for query_id, scores in found.items():
        assert list(scores) == sorted(run[query_id], key=lambda d: -run[query_id][d])  # stable


def test_the_form(tmp_path: Path) -> None:
    write_run(tmp_path / "a.run", {"q": {"a": 1.5, "b": 2, "c": 1.5}, "empty": {}}, "bm25")
    assert (tmp_path / "a.run").read_text() == "q Q0 b 1 2.0 bm25\nq Q0 a 2 1.5 bm25\nq Q0 c 3 1.5 bm25\n"


def test_what_others_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    path.write_bytes(gzip.compress(b"q1\tQ0\td1\t99\t1e-3\tx\r\n\nq1 Q0 d2 0 -4 x\n"))
    assert read_run(path) == {"q1": {"d1": 0.001, "d2": -4.0}}
    path.write_text("")
    assert read_run(path) == {}


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ({"a b": {"d": 1.0}}, "query_id 'a b'"),
        ({"q": {"": 1.0}}, "doc_id ''"),
        ({"q": {"d\u00a0e": 1.0}}, "blanks in it"),
        ({"q": {"d": math.nan}}, "the score of 'd' is nan"),
    ],
)
def test_what_the_form_cannot_hold_is_refused(tmp_path: Path, run: dict[str, dict[str, float]], says: str) -> None:
    with pytest.raises(CannotHold, match=says):
        write_run(tmp_path / "a.run", run, "tag")
    assert not list(tmp_path.iterdir())


def test_files_are_not_replaced_unless_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a.run", {}, "tag")
    with pytest.raises(OutputExists):
        write_run(tmp_path / "a.run", {}, "tag")
    write_run(tmp_path / "a.run", {"q": {"d": 1.0}}, "tag", overwrite=True)
    assert read_run(tmp_path / "a.run") == {"q": {"d": 1.0}}


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        ("q Q0 d 1 0.5\n", BadRow, "line 1: row: expected six columns"),
        ("q Q0 d 1 0.5 x\n" + "q Q0 e 1 high x\n", BadRow, "line 2: score: expected a finite number, found 'high'"),
        ("q Q0 d 1 nan x\n", BadRow, "score"),
        ("q Q0 d 1 0.5 x\n" * 2, DuplicateId, "line 2: doc_id 'd' occurs twice for query 'q'"),
    ],
)
def test_a_bad_run_is_refused(tmp_path: Path, content: str, error: type[Exception], says: str) -> None:
    (tmp_path / "a.run").write_text(content)
    with pytest.raises(error, match=says):
        read_run(tmp_path / "a.run")


def test_runs_that_are_not_there_or_end_early(tmp_path: Path) -> None:
    with pytest.raises(FileMissing):
        read_run(tmp_path / "none")
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"".join(b"q Q0 d%d 1 0.5 x\n" % i for i in range(999)))[:-9])
    with pytest.raises(BadJson, match="ends early"):
        read_run(tmp_path / "a.gz")
