"""Qrels and queries from every container."""

from __future__ import annotations

import gzip
import json
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.errors import BadJson, BadRow, DataError, FileMissing, NotUtf8, UnknownFormat
from arhn.retrieval import collection_files
from tests.unit.conftest import at_most

# A first line that starts with a brace is taken for JSON.
IDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"])).map("i{}".format)
PAIRS = st.dictionaries(st.tuples(IDS, IDS), st.integers(-2, 4), min_size=1)
FORMS = ("beir", "bare", "trec", "jsonl", "parquet")


def put_qrels(folder: Path, form: str, pairs: dict[tuple[str, str], int]) -> Path:
    path = folder / f"qrels.{form}"
    rows = [{"query-id": q, "corpus-id": d, "score": grade} for (q, d), grade in pairs.items()]
    match form:
        case "beir" | "bare":
            lines = [f"{q}\t{d}\t{grade}" for (q, d), grade in pairs.items()]
            path.write_text("\n".join([*(["query-id\tcorpus-id\tscore"] if form == "beir" else []), *lines]), "utf-8")
        case "trec":
            path.write_text("".join(f"{q} 0 {d}  {grade}\r\n" for (q, d), grade in pairs.items()), "utf-8")
        case "jsonl":
            path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@at_most(60)
@given(pairs=PAIRS, form=st.sampled_from(FORMS))
def test_qrels_come_back_from_every_form(
    tmp_path_factory: pytest.TempPathFactory, pairs: dict[tuple[str, str], int], form: str
) -> None:
    path = put_qrels(tmp_path_factory.mktemp("qrels"), form, pairs)
    assert {(j.query_id, j.doc_id): j.grade for j in collection_files.read_qrels(path)} == pairs


@at_most(100)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(content)
    for read in (collection_files.read_passages, collection_files.read_queries, collection_files.read_qrels):
        with suppress(DataError):
            list(read(path))


@pytest.mark.parametrize("grade", [1.0, "1", 1])
def test_grades_may_be_written_in_several_ways(tmp_path: Path, grade: object) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({"query-id": 7, "corpus-id": "d", "score": grade}))
    assert list(collection_files.read_qrels(path)) == [(1, "7", "d", 1)]


@pytest.mark.parametrize(
    "row", [{"_id": "q", "text": "who"}, {"query_id": "q", "query": "who"}, {"id": "q", "question": "who", "answer": 1}]
)
def test_queries_have_several_names(tmp_path: Path, row: dict[str, object]) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row))
    assert list(collection_files.read_queries(path)) == [(1, "q", "who")]


def test_queries_between_tabs(tmp_path: Path) -> None:
    path = tmp_path / "queries.tsv"
    path.write_text("1\twho is it\n2\twhat\n")
    assert list(collection_files.read_queries(path)) == [(1, "1", "who is it"), (2, "2", "what")]


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        ("query-id\tcorpus-id\tscore\nq\td\tmuch\n", BadRow, "line 2: grade: expected a whole number up to "),
        ("q\td\t1\nq d\n", BadRow, "line 2: row: expected query_id, doc_id and grade"),
        ("q\td\t1.5\nq\td\t1\n" * 2, BadRow, "grade: expected a whole number"),
        ("q 0 d 1 extra\n", BadRow, "TREC's four columns"),
        ('{"query-id": "q", "corpus-id": "d"}', BadRow, "a field named score or relevance"),
        ('{"query-id": "q", "corpus-id": "d", "score": 0.5}', BadRow, "score: expected a whole number"),
        ('{"_id": "q", "corpus-id": "d", "score": 1}', BadRow, "a field named query_id or query-id"),
        ("", UnknownFormat, "is empty"),
    ],
)
def test_bad_qrels_are_refused(tmp_path: Path, content: str, error: type[Exception], says: str) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(content)
    with pytest.raises(error, match=says):
        list(collection_files.read_qrels(path))


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="no such file"):
        list(collection_files.read_qrels(tmp_path / "none"))
    with pytest.raises(FileMissing, match="is a folder"):
        list(collection_files.read_queries(tmp_path))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"q\td\t1\n" * 9999)[:-20])
    with pytest.raises(BadJson, match="ends early"):
        list(collection_files.read_qrels(tmp_path / "cut.gz"))
    (tmp_path / "latin").write_bytes("q\tü\t1\n".encode("latin-1"))
    with pytest.raises(NotUtf8, match="line 1"):
        list(collection_files.read_qrels(tmp_path / "latin"))
