"""`arhn mine` from files to files, with bm25 and a tiny model made here."""

from __future__ import annotations

import gzip
import json
import random
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arhn import errors
from arhn.cli import main
from arhn.formats import FORMATS, read
from arhn.mine import job
from arhn.mine.rules import Settings
from arhn.retrieval.bm25 import Bm25
from arhn.retrieval.collection import Collection, open_collection
from tests.unit.retrieval.helpers import put_beir, put_lines, static_model

pytest.importorskip("bm25s")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

WORDS = [f"word{i}" for i in range(40)]


def invented(count: int) -> dict[str, str]:
    rng = random.Random(0)
    return {f"d{i}": " ".join(rng.choices(WORDS, k=8)) for i in range(count)}


TEXTS = invented(80)
QUERIES = {f"q{i}": " ".join(TEXTS[f"d{i}"].split()[:3]) for i in range(10)}
QRELS: dict[str, dict[str, int]] = {f"q{i}": {f"d{i}": 1, f"d{i + 20}": 1, f"d{i + 40}": 0} for i in range(10)}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(static_model(tmp_path_factory.mktemp("models") / "tiny", WORDS))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARHN_CACHE", str(tmp_path / "cache"))
    put_beir(tmp_path / "data", TEXTS, QUERIES, QRELS)
    return tmp_path


def mine(*arguments: str) -> int:
    return main(["mine", "data", "-o", "groups.jsonl", "--negatives", "3", *arguments])


def summary(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "groups.summary.json").read_text())
    return found


def test_bm25_to_groups_that_clean_can_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mine() == 0
    groups = list(read(here / "groups.jsonl"))
    assert [g.query_id for g in groups] == list(QUERIES)
    for g in groups:
        assert g.query == QUERIES[g.query_id]
        assert [(p.doc_id, p.text) for p in g.positives] == [
            (d, TEXTS[d]) for d, grade in QRELS[g.query_id].items() if grade
        ]
        assert len(g.negatives) == 3
        assert all(p.text == TEXTS[p.doc_id] for p in g.negatives)
        assert not {p.doc_id for p in g.positives} & {p.doc_id for p in g.negatives}
    content = summary(here)
    assert content["queries"] == {
        "read": 10,
        "written": 10,
        "without_negatives": 0,
        "without_positive": 0,
        "fewer_negatives": 0,
    }
    assert content["passages"]["positives"] == 20
    assert content["candidates"]["chosen"] == content["passages"]["negatives"] == 30
    assert content["retrievers"] == ["bm25"]
    shown = capsys.readouterr().out
    assert "10 queries, 10 groups written" in shown
    assert "groups.summary.json" in shown


@pytest.mark.parametrize("retrievers", [("bm25",), ("MODEL",), ("bm25", "MODEL")])
def test_the_same_command_gives_the_same_bytes(here: Path, model: str, retrievers: tuple[str, ...]) -> None:
    flags = [f for name in retrievers for f in ("--retriever", model if name == "MODEL" else name)]
    flags += ["--device", "cpu"] if "MODEL" in retrievers else []
    flags += ["--sampling", "random", "--seed", "3", "--range-min", "2", "--range-max", "20"]
    assert mine(*flags) == 0
    first = (here / "groups.jsonl").read_bytes()
    assert mine(*flags, "--overwrite") == 0
    assert (here / "groups.jsonl").read_bytes() == first
    assert len(list(read(here / "groups.jsonl"))) == 10


def test_every_candidate_is_accounted_for(here: Path, model: str) -> None:
    flags = ["--retriever", "bm25", "--retriever", model, "--device", "cpu", "--embeddings", "kept"]
    assert mine(*flags, "--absolute-margin", "0.3", "--max-score", "0.6", "--candidates", "c.jsonl") == 0
    rows = [json.loads(line) for line in (here / "c.jsonl").read_text().splitlines()]
    content = summary(here)
    counted: dict[str, int] = {}
    for row in rows:
        counted[row["fate"]] = counted.get(row["fate"], 0) + 1
        assert row["score"] is not None
        assert row["fate"] != "chosen" or row["score"] <= 0.6
    assert counted == {fate: n for fate, n in content["candidates"].items() if n}
    assert {"absolute_margin", "max_score"} & set(counted)
    assert content["scorer"].startswith("tiny@sha256:")
    chosen = {(row["query_id"], row["doc_id"]) for row in rows if row["fate"] == "chosen"}
    assert chosen == {(g.query_id, p.doc_id) for g in read(here / "groups.jsonl") for p in g.negatives}
    assert len(list((here / "kept").iterdir())) == 1


def test_faiss_finds_what_exact_search_finds_in_a_small_corpus(here: Path, model: str) -> None:
    pytest.importorskip("faiss")
    assert mine("--retriever", model, "--device", "cpu") == 0
    exact = (here / "groups.jsonl").read_bytes()
    assert mine("--retriever", model, "--device", "cpu", "--faiss-above", "10", "--overwrite") == 0
    assert (here / "groups.jsonl").read_bytes() == exact


@pytest.mark.parametrize("to", FORMATS.names())
def test_groups_go_to_every_format(here: Path, to: str) -> None:
    assert mine("--to", to) == 0
    assert len(list(read(here / "groups.jsonl"))) == 10
    assert ("doc_id" in summary(here)["losses"]) == (to not in ("tevatron", "dpr"))


def test_files_of_other_kinds(here: Path) -> None:
    rows = [{"doc_id": d, "text": text, "title": ""} for d, text in TEXTS.items()]
    pq.write_table(pa.Table.from_pylist(rows), here / "corpus.parquet", row_group_size=7)
    lines = "".join(json.dumps({"query_id": q, "query": text}) + "\n" for q, text in QUERIES.items())
    (here / "queries.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    trec = "".join(f"{q} 0 {d} {grade}\n" for q, judged in QRELS.items() for d, grade in judged.items())
    (here / "qrels.txt").write_text(trec)
    files = ["--corpus", "corpus.parquet", "--queries", "queries.jsonl.gz", "--qrels", "qrels.txt"]
    assert main(["mine", *files, "-o", "other.jsonl.gz", "--negatives", "3"]) == 0
    assert mine() == 0
    assert list(read(here / "other.jsonl.gz")) == list(read(here / "groups.jsonl"))


def test_queries_for_which_nothing_is_found_are_left_out_and_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_beir(here / "data", TEXTS, {**QUERIES, "q0": "unheard of"}, QRELS)
    assert mine() == 0
    assert [g.query_id for g in read(here / "groups.jsonl")] == list(QUERIES)[1:]
    assert "10 queries, 9 groups written; 1 left out, no negative" in capsys.readouterr().out


def test_what_does_not_fit_can_be_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_beir(here / "data", TEXTS, QUERIES, {**QRELS, "q0": {"d99": 1}, "q1": {"d1": 1, "d98": 0}})
    assert mine() == errors.MissingPassages.exit_code
    assert "2 of 27 judged passages" in capsys.readouterr().err
    assert mine("--missing-qrels", "drop") == errors.NoPositives.exit_code
    assert mine("--missing-qrels", "drop", "--no-positives", "drop") == 0
    assert len(list(read(here / "groups.jsonl"))) == 9
    assert "1 left out: queries without a relevant passage" in capsys.readouterr().out


# --- What can be wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "error", "says"),
    [
        (["--range", "10"], errors.UsageError, "No such option: --range"),
        (["--range-min", "5", "--range-max", "6"], errors.UsageError, "Range 5:6 holds 1 passage, fewer than the 3"),
        (["--range-max", "0"], errors.UsageError, "mine.range_max (--range-max 0): found '0', allowed: a whole number"),
        (["--absolute-margin", "-1"], errors.UsageError, "mine.absolute_margin (--absolute-margin -1): found '-1'"),
        (["--max-score", "nan"], errors.UsageError, "mine.max_score (--max-score nan): found "),
        (["--max-length", "5"], errors.UsageError, "models.max_length: does nothing without a model"),
        (
            ["--set", "mine.negatives=3"],
            errors.UsageError,
            "mine.negatives: given twice, by --set mine.negatives=3 and",
        ),
        (["--set", "precision=0.9"], errors.UsageError, "'arhn mine' makes no use of it"),
        (["--set", "mine.bm25.k2=1"], errors.UsageError, "Did you mean mine.bm25.k1?"),
        (["--retriever", "./none"], errors.ModelMissing, "no such folder"),
        (["--score-by", "./none"], errors.UsageError, "is none of the retrievers bm25"),
        (["--split", "dev"], errors.FileMissing, "no split 'dev'; there are train"),
        (["--corpus", "none.jsonl"], errors.FileMissing, "none.jsonl: there is no such file"),
        (["--summary", "groups.jsonl"], errors.UsageError, "would replace --"),
        (["-o", "none/groups.jsonl"], errors.OutputNotWritable, "no such folder"),
        (["-o", "hf://org/name"], errors.OutputNotWritable, "only read"),
        (["-o", ".."], errors.UsageError, "no file name"),
        (["--candidates", "."], errors.UsageError, "no file name"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], flags: list[str], error: type[errors.ArhnError], says: str
) -> None:
    before = {path.name for path in here.iterdir()}
    assert mine(*flags) == error.exit_code
    assert says in capsys.readouterr().err
    assert {path.name for path in here.iterdir() if path.suffix != ".lock"} == before


@pytest.mark.parametrize("flag", [["--k1", "1"], ["--stemmer", "none"]])
def test_flags_of_bm25_are_refused_without_it(
    here: Path, model: str, capsys: pytest.CaptureFixture[str], flag: list[str]
) -> None:
    assert mine("--retriever", model, *flag) == errors.UsageError.exit_code
    assert "does nothing without bm25" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--k1", "-1"], "BM25 needs k1 of 0 or more"),
        (["--k1", "nan"], "BM25 needs k1 of 0 or more"),
        (["--stemmer", "klingon"], "There is no stemmer 'klingon'. Choose one of "),
        (["--stopwords", "klingon"], "Stop words of 'klingon' aren't known"),
        (["--retriever", "MODEL", "--faiss-above", "-1"], "found '-1', allowed: a whole number from 0"),
    ],
)
def test_what_can_be_seen_of_a_retriever_is_said_before_the_corpus_is_read(
    here: Path, model: str, capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    (here / "data" / "corpus.jsonl").write_text("not read")
    assert mine(*(model if flag == "MODEL" else flag for flag in flags)) == errors.UsageError.exit_code
    assert says in capsys.readouterr().err


def test_a_device_that_is_not_there_is_said_before_the_corpus_is_read(
    here: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data" / "corpus.jsonl").write_text("not read")
    assert mine("--retriever", model, "--device", "cuda:77") == errors.DeviceMissing.exit_code
    assert "'cuda:77' can't be used here" in capsys.readouterr().err


def test_outputs_are_not_replaced_unless_told_and_tried_before_anything_is_read(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mine() == 0
    (here / "data" / "corpus.jsonl").unlink()
    assert mine() == errors.OutputExists.exit_code
    (here / "groups.jsonl").unlink()
    assert mine() == errors.OutputExists.exit_code  # the summary
    assert not (here / "groups.jsonl").exists()


def test_no_output_appears_where_a_run_fails(here: Path) -> None:
    def open_inputs() -> tuple[Collection, job.Retrievers]:
        collection = open_collection(folder=here / "data", split="train")
        return collection, job.Retrievers(searchers=[Bm25(collection.corpus)])

    def fail(done: int, total: int) -> None:
        assert total == 10
        if done == 5:
            raise KeyboardInterrupt

    files = job.Files.beside(str(here / "groups.jsonl"), candidates=here / "c.jsonl")
    with pytest.raises(KeyboardInterrupt):
        job.run(files, open_inputs, Settings(negatives=3), on_query=fail)
    assert {path.name for path in here.iterdir()} == {"data"}


def test_empty_files_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_lines(here / "data" / "corpus.jsonl", [])
    assert mine() == errors.EmptyCorpus.exit_code
    assert "corpus.jsonl: holds no passage" in capsys.readouterr().err


def test_without_the_extra_the_command_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    (here / "data" / "corpus.jsonl").write_text("not read")
    assert mine() == errors.MissingDependency.exit_code
    assert "pip install 'arhn[mine]'" in capsys.readouterr().err
