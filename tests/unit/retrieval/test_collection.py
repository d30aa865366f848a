"""A collection is checked before anything long starts."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import (
    BadRow,
    CollectionError,
    DuplicateId,
    EmptyCorpus,
    FileMissing,
    MissingPassages,
    MissingQueries,
    NoPositives,
    UsageError,
)
from arhn.retrieval import collection as module
from arhn.retrieval.collection import open_collection
from arhn.retrieval.corpus import Corpus
from tests.unit.retrieval.helpers import QRELS, QUERIES, TEXTS, put_beir, put_corpus, put_lines


def opened(folder: Path, **kwargs: Any) -> module.Collection:
    return open_collection(folder=folder, split="train", **kwargs)


def test_a_beir_folder(tmp_path: Path) -> None:
    found = opened(put_beir(tmp_path / "small", queries={**QUERIES, "q3": "of another split"}))
    assert (found.name, found.queries, found.qrels, found.dropped) == ("small", QUERIES, QRELS, {})
    assert [p.text for p in found.corpus] == list(TEXTS.values())
    assert found.positives("q1") == ["d1"]
    assert found.positives("q2") == ["d3", "d4"]


def test_files_instead_of_a_folder_or_of_some_of_it(tmp_path: Path) -> None:
    folder = put_beir(tmp_path / "small")
    files = {
        "queries": folder / "queries.jsonl",
        "corpus": folder / "corpus.jsonl",
        "qrels": folder / "qrels/train.tsv",
    }
    assert open_collection(**files).queries == QUERIES  # type: ignore[arg-type]
    other = put_corpus(tmp_path / "other", {**TEXTS, "d7": "more"})
    assert len(opened(folder, corpus=other).corpus) == len(TEXTS) + 1
    with pytest.raises(UsageError, match="found no queries and no qrels"):
        open_collection(corpus=other)


def test_the_files_of_a_folder_may_be_compressed(tmp_path: Path) -> None:
    folder = put_beir(tmp_path)
    for path in (folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / "train.tsv"):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert opened(folder).qrels == QRELS


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    folder = put_beir(tmp_path / "it")
    with pytest.raises(FileMissing, match="no split 'test'; there are train"):
        open_collection(folder=folder)
    (folder / "queries.jsonl").unlink()
    with pytest.raises(FileMissing, match=r"holds no queries\.jsonl .*--queries"):
        opened(folder)
    with pytest.raises(FileMissing, match="no such folder"):
        opened(tmp_path / "none")


def test_judged_passages_that_the_corpus_lacks(tmp_path: Path) -> None:
    folder = put_beir(tmp_path, qrels={"q1": {"d1": 1, "x1": 1}, "q2": {"x2": 1, "x3": 0}})
    with pytest.raises(MissingPassages, match=r"3 of 4 judged passages .*'x1', 'x2', 'x3'.*--missing-qrels drop"):
        opened(folder)
    with pytest.raises(NoPositives, match=r"1 of 2 queries .*'q2'"):
        opened(folder, missing="drop")
    found = opened(folder, missing="drop", without_positives="drop")
    assert (list(found.queries), found.qrels) == (["q1"], {"q1": {"d1": 1}})
    assert found.dropped == {
        "judgements of passages that the corpus lacks": 3,
        "queries without a relevant passage": 1,
    }
    assert opened(folder, missing="keep").qrels["q2"] == {"x2": 1, "x3": 0}


def test_queries_without_a_relevant_passage(tmp_path: Path) -> None:
    folder = put_beir(tmp_path, qrels={"q1": {"d1": 0, "d2": -1}, "q2": {"d3": 1}})
    with pytest.raises(NoPositives, match=r"1 of 2 queries have no relevant passage .*'q1'.*--no-positives drop"):
        opened(folder)
    assert opened(folder, without_positives="drop").queries.keys() == {"q2"}
    assert opened(folder, without_positives="keep").queries.keys() == {"q1", "q2"}


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmptyCorpus, match="no query is left"):
        opened(put_beir(tmp_path, qrels={"q1": {"d1": 0}}), without_positives="drop")


def test_qrels_of_unknown_queries(tmp_path: Path) -> None:
    folder = put_beir(tmp_path, qrels={f"x{i}": {"d1": 1} for i in range(9)})
    with pytest.raises(MissingQueries, match=r"9 of 9 queries aren't in .*'x0', 'x1', 'x2', 'x3', 'x4', …"):
        opened(folder)


def test_the_corpus_is_read_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Corpus, "open", lambda path: pytest.fail("read before the rest was checked"))
    with pytest.raises(MissingQueries):
        opened(put_beir(tmp_path / "a", qrels={"x": {"d1": 1}}))
    with pytest.raises(NoPositives):
        opened(put_beir(tmp_path / "b", qrels={"q1": {"d1": 0}}))


def test_ids_that_come_twice(tmp_path: Path) -> None:
    folder = put_beir(tmp_path)
    put_lines(
        folder / "queries.jsonl", [{"_id": "q1", "text": "a"}, {"_id": "x", "text": "b"}, {"_id": "x", "text": "b"}]
    )
    with pytest.raises(DuplicateId, match="line 3: query_id 'x' occurs again; it was first in line 2"):
        opened(folder)


def test_a_passage_that_is_judged_twice(tmp_path: Path) -> None:
    folder = put_beir(tmp_path)
    path = folder / "qrels" / "train.tsv"
    path.write_text(path.read_text() + "q1\td1\t1\n")
    assert opened(folder).qrels == QRELS
    path.write_text(path.read_text() + "q1\td1\t2\n")
    with pytest.raises(DuplicateId, match="judged again, 2 after 1"):
        opened(folder)


def test_blank_queries_are_refused_where_they_are_judged(tmp_path: Path) -> None:
    assert opened(put_beir(tmp_path / "a", queries={**QUERIES, "q9": ""})).queries == QUERIES
    with pytest.raises(BadRow, match="line 1: text of query 'q1'"):
        opened(put_beir(tmp_path / "b", queries={**QUERIES, "q1": " "}))


@pytest.mark.parametrize("what", ["queries.jsonl", "corpus.jsonl", "qrels/train.tsv"])
def test_empty_files_are_refused(tmp_path: Path, what: str) -> None:
    folder = put_beir(tmp_path)
    (folder / what).write_text("query-id\tcorpus-id\tscore\n" if "qrels" in what else "")
    with pytest.raises(EmptyCorpus, match=f"{Path(what).name}: holds no"):
        opened(folder)


def test_all_of_these_are_one_kind_of_error() -> None:
    codes = [error.exit_code for error in (CollectionError, MissingPassages, MissingQueries, NoPositives, EmptyCorpus)]
    assert codes == [70, 71, 72, 73, 74]


def test_judgements_of_unknown_queries_are_dropped_and_counted(tmp_path: Path) -> None:
    folder = put_beir(tmp_path, qrels={"q1": {"d1": 1}, "gone": {"d1": 1, "d2": 0}})
    with pytest.raises(MissingQueries, match="--missing-qrels drop"):
        opened(folder)
    found = opened(folder, missing="drop")
    assert found.dropped == {"judgements of queries that the queries file lacks": 2}
    assert [*found.queries] == ["q1"]
