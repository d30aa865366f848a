"""A corpus stays on disk and is read by position and by doc_id."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from arhn.errors import BadJson, BadRow, DuplicateId, EmptyCorpus, FileMissing, NotUtf8, UnknownFormat
from arhn.retrieval import corpus as module
from arhn.retrieval.corpus import Corpus
from arhn.types import Passage
from tests.unit.conftest import at_most
from tests.unit.retrieval.helpers import TEXTS, put_corpus, put_lines

ROWS = [
    {"_id": "a", "title": "T", "text": "one"},
    {"_id": "b", "text": ""},
    {"_id": "ü 3", "title": "", "text": "🙂\n"},
]
PASSAGES = [
    Passage(doc_id="a", title="T", text="one"),
    Passage(doc_id="b", text=""),
    Passage(doc_id="ü 3", text="🙂\n"),
]


def written(folder: Path, container: str, rows: list[dict[str, Any]] = ROWS) -> Path:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path = folder / f"corpus.{container}"
    match container:
        case "jsonl":
            path.write_bytes(lines)
        case "gz":
            path.write_bytes(gzip.compress(lines))
        case "zst":
            path.write_bytes(zstandard.compress(lines))
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
        case "odd":  # blank lines, Windows' line ends, a byte order mark, no end of line
            path.write_bytes(b"\xef\xbb\xbf\n  \n" + lines.replace(b"\n", b"\r\n\r\n").rstrip())
    return path


HANDLES = Path("/proc/self/fd")
CONTAINERS = ("jsonl", "gz", "zst", "parquet", "odd")


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_corpus(tmp_path: Path, container: str) -> None:
    corpus = Corpus.open(written(tmp_path, container))
    assert (len(corpus), list(corpus)) == (3, PASSAGES)
    assert corpus.read_at([2, 0, 2]) == [PASSAGES[2], PASSAGES[0], PASSAGES[2]]
    assert corpus.read_ids([1]) == ["b"]
    assert corpus.read_at([]) == []
    assert corpus.find_positions(["ü 3", "nowhere", "a"]) == {"ü 3": 2, "a": 0}
    assert list(corpus.doc_ids) == ["a", "b", "ü 3"]
    assert (corpus.doc_ids[1], corpus.doc_ids[-1], corpus.doc_ids[1:]) == ("b", "ü 3", ["b", "ü 3"])
    assert corpus.digest == Corpus.open(written(tmp_path, "jsonl")).digest


def test_a_table_between_tabs_is_a_corpus(tmp_path: Path) -> None:
    path = tmp_path / "collection.tsv"
    path.write_text("7\tone\n8\ttwo words\n", encoding="utf-8")
    assert list(Corpus.open(path)) == [Passage(doc_id="7", text="one"), Passage(doc_id="8", text="two words")]
    path.write_text("id\ttext\ttitle\n7\tone\tT\n", encoding="utf-8")
    assert list(Corpus.open(path)) == [Passage(doc_id="7", text="one", title="T")]


@pytest.mark.parametrize(
    "row",
    [
        {"doc_id": 5, "contents": "x"},
        {"docid": "5", "passage": "x", "title": None},
        {"id": "5", "body": "x", "more": {}},
    ],
)
def test_other_names_of_the_fields_are_known(tmp_path: Path, row: dict[str, Any]) -> None:
    assert list(Corpus.open(put_lines(tmp_path / "c.jsonl", [row]))) == [Passage(doc_id="5", text="x")]


def test_digest_hangs_on_ids_texts_and_their_order(tmp_path: Path) -> None:
    digests = {
        Corpus.open(put_corpus(tmp_path / str(i), texts)).digest
        for i, texts in enumerate(
            ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "12", "b": ""}, {"a1": "", "b": "2"})
        )
    }
    assert len(digests) == 4


@at_most(50)
@given(
    texts=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(), min_size=1),
    title=st.text(st.characters(exclude_categories=["Cs"])),
    container=st.sampled_from(["jsonl", "gz", "parquet"]),
)
def test_any_text_comes_back_by_position_and_by_id(
    tmp_path_factory: pytest.TempPathFactory, texts: dict[str, str], title: str, container: str
) -> None:
    clean = {i: text.encode("utf-8", "replace").decode() for i, text in texts.items()}
    rows = [{"_id": i, "title": title, "text": text} for i, text in clean.items()]
    corpus = Corpus.open(written(tmp_path_factory.mktemp("any"), container, rows))
    expected = [Passage(doc_id=i, title=title, text=text) for i, text in clean.items()]
    assert list(corpus) == expected
    assert corpus.find_positions(reversed(clean)) == {i: position for position, i in reversed([*enumerate(clean)])}


def test_ids_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_hash", lambda doc_id: len(doc_id))
    corpus = Corpus.open(put_corpus(tmp_path))
    assert corpus.find_positions([*TEXTS, "d9"]) == {doc_id: i for i, doc_id in enumerate(TEXTS)}


def test_threads_and_forks_read_at_once(tmp_path: Path) -> None:
    corpus = Corpus.open(put_corpus(tmp_path, {str(i): f"text {i}" * 50 for i in range(500)}))
    wrong: list[int] = []

    def read() -> None:
        wrong.extend(i for i in range(500) if corpus.read_ids([i]) != [str(i)])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not HANDLES.is_dir(), reason="the system doesn't list open files")
def test_the_file_of_a_dropped_corpus_is_closed(tmp_path: Path) -> None:
    path, before = put_corpus(tmp_path), len([*HANDLES.iterdir()])
    for _ in range(5):
        Corpus.open(path)
    assert len([*HANDLES.iterdir()]) == before


def test_memory_is_some_bytes_a_passage(tmp_path: Path) -> None:
    """In a process of its own: this one has counted much else."""
    code = """
import sys, tracemalloc
from pathlib import Path
from arhn.retrieval.corpus import Corpus
path = Path(sys.argv[1])
with path.open("w") as file:
    for i in range(20_000):
        file.write('{"_id": "passage-%d", "text": "%s"}\\n' % (i, "word " * 100))
tracemalloc.start()
corpus = Corpus.open(path)
print(tracemalloc.get_traced_memory()[0] / len(corpus))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.jsonl")], check=True, capture_output=True, text=True
    )
    assert float(ran.stdout) < 30


# --- What can be wrong ----------------------------------------------------------------------------

BAD = [
    ('{"_id": "a", "text": "x"}\n{"_id": "b"}\n', BadRow, "line 2: text: expected a field named text or contents"),
    ('{"_id": "a", "text": "x"}\n{"text": "b"}\n', BadRow, "line 2: _id: expected a field named _id or doc_id"),
    ('{"_id": "a", "text": 5}\n', BadRow, "line 1: text: expected a string, found an integer 5"),
    ('{"_id": "", "text": "x"}\n', BadRow, "line 1: _id: expected a non-empty string"),
    ('{"_id": "a", "title": 5, "text": "x"}\n', BadRow, "title: expected a string"),
    ('{"_id": "a", "text": "x"}\n{"_id": "b", "te\n', BadJson, "line 2"),
    ('{"_id": "a", "text": "x"}\n[1]\n', BadRow, "line 2: row: expected a JSON object"),
    ("", EmptyCorpus, "holds no passage"),
    ("\n \n", EmptyCorpus, "holds no passage"),
    ('[{"_id": "a"}]', UnknownFormat, "is a JSON array"),
    ("a\tb\tc\n", BadRow, "2 fields between tabs"),
    (
        '{"_id": "a", "text": "x"}\n\n{"_id": "b", "text": "x"}\n{"_id": "a", "text": "y"}',
        DuplicateId,
        "line 4: .*line 1",
    ),
]


@pytest.mark.parametrize(("content", "error", "says"), BAD)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_bad_corpus_is_refused(tmp_path: Path, content: str, error: type[Exception], says: str, pack: Any) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes(pack(content.encode()))
    with pytest.raises(error, match=says) as raised:
        Corpus.open(path)
    assert str(raised.value).startswith(str(path))


def test_a_corpus_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_bytes('{"_id": "a", "text": "x"}\n{"_id": "b", "text": "ü"}\n'.encode("latin-1"))
    with pytest.raises(NotUtf8, match="line 2"):
        Corpus.open(path)


@pytest.mark.parametrize("container", ["gz", "zst", "parquet"])
def test_a_corpus_that_ends_early_is_refused(tmp_path: Path, container: str) -> None:
    path = written(tmp_path, container)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(BadJson, match=r"ends early|damaged"):
        Corpus.open(path)


def test_a_corpus_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileMissing, match="no such file"):
        Corpus.open(tmp_path / "none.jsonl")
    with pytest.raises(FileMissing, match="is a folder"):
        Corpus.open(tmp_path)


def test_a_corpus_that_changes_while_it_is_used_is_an_error(tmp_path: Path) -> None:
    path = put_corpus(tmp_path)
    corpus = Corpus.open(path)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(BadJson, match="was changed while it was in use"):
        corpus.read_at([0])
