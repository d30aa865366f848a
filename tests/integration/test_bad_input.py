"""Every kind of wrong input through the command line: one clear message, an exit code of its own, nothing changed,
and the same command works once the cause is gone."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from arhn import cli, errors, formats, weights
from arhn.engines import Completion, Request
from arhn.engines.fake import FakeEngine
from arhn.errors import (
    ArhnError,
    BadJson,
    BadRow,
    CalibrationError,
    CannotHold,
    DataError,
    DiskFull,
    DuplicateId,
    EngineError,
    FileMissing,
    MissingDependency,
    MixedFormats,
    ModelCorrupt,
    ModelMissing,
    ModelUnavailable,
    NotUtf8,
    OutputExists,
    OutputLocked,
    OutputNotWritable,
    StoreCorrupt,
    StoreError,
    StoreLocked,
    StoreVersion,
    UnknownFormat,
    UsageError,
)
from arhn.files.locks import locked
from arhn.store import SqliteStore
from arhn.types import Passage
from tests.conftest import NO, YES, FakeSimilarity, answer_by_marks, many, put_in, shown, until, verdict

ROOT = Path(__file__).parents[2]
GROUPS, NEGATIVES = 3, 4
CLEAN = ("clean", "train.jsonl", "-o", "out.jsonl")
CONVERT = ("convert", "train.jsonl", "-o", "out.jsonl")
INSPECT = ("inspect", "out.jsonl", "--query-id", "q1")
#: Where each output goes unless a key names another place, by that key.
OUTPUTS = {"output": "out.jsonl"} | {
    f"files.{what}": f"out.{what}.{ending}"
    for what, ending in (("decisions", "jsonl"), ("summary", "json"), ("rejects", "jsonl"))
}
STORE = "out.responses.sqlite"
OUTPUT_KEYS = (*OUTPUTS, "store")

Says = tuple[str, ...]


def put_at(key: str, place: object) -> Says:
    """Where one of the outputs goes, as flags of the command."""
    return (f"--{key}", str(place)) if key in ("output", "store") else put_in(f"{key}='{place}'")


# --- The command line in a folder -----------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass
class Arhn:
    """Runs commands in `folder`, with a scripted engine that the test may change; `asked` counts its answers."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    script: Callable[[Request], Completion | str] = answer_by_marks
    model: str = "fake"
    logprobs: bool = True
    engines: list[FakeEngine] = field(default_factory=list)

    def engine(self, *_: object) -> FakeEngine:
        engine = FakeEngine(self.script, model=self.model)
        engine.capabilities = dataclasses.replace(engine.capabilities, logprobs=self.logprobs)
        self.engines.append(engine)
        return engine

    @property
    def asked(self) -> int:
        """Questions that the last engine answered."""
        return len(self.engines[-1].asked)

    def __call__(self, *argv: str) -> Done:
        self.capsys.readouterr()
        code = cli.main(argv)
        said = self.capsys.readouterr()
        return Done(code, said.out, said.err)

    def works(self, *argv: str) -> Done:
        done = self(*argv)
        assert (done.code, done.err) == (0, "")
        return done

    def asks(self) -> int:
        """Questions of a whole run on a new store."""
        self.works(*CLEAN[:3], "whole.jsonl", "--overwrite", "--store", "whole.responses.sqlite")
        Path("whole.responses.sqlite").unlink()
        return self.asked

    def fails(self, error: type[ArhnError], *argv: str, says: Says = ()) -> None:
        """One message that holds `says`, the exit code of `error`, and no file made, changed or removed."""
        before = content(self.folder)
        done = self(*argv)
        assert done.code == error.exit_code, done.err
        assert done.out == ""
        assert done.err.startswith("arhn: ")
        assert done.err.count("arhn: ") == 1
        assert "Traceback" not in done.err
        for words in says:
            assert words in done.err
        assert content(self.folder) == before


def content(folder: Path) -> dict[str, bytes]:
    """All files but locks and the response store that a run may leave."""
    left = re.compile(r"\.(.+\.)?lock|.+\.responses\.sqlite(-wal|-shm)?")
    files = (p for p in folder.rglob("*") if p.is_file() and not left.fullmatch(p.name))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.fixture
def arhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Arhn:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power cut is played here
    write_train()
    arhn = Arhn(tmp_path, capsys)
    for engine in ("ctranslate2", "llamacpp"):
        monkeypatch.setattr(f"arhn.engines.{engine}.settings.Settings.open", arhn.engine)
    return arhn


def write_train(path: str = "train.jsonl") -> None:
    with formats.GroupWriter(path, "tevatron", container="jsonl", overwrite=True) as writer:
        for group in many(GROUPS, NEGATIVES):
            writer.write(group)


def lines(path: str = "train.jsonl") -> list[bytes]:
    return Path(path).read_bytes().splitlines()


def row(number: int) -> dict[str, Any]:
    """The row in line `number` of the training file."""
    found: dict[str, Any] = json.loads(lines()[number - 1])
    return found


def read_json(path: str) -> Any:
    return json.loads(Path(path).read_bytes())


def test_exit_codes_are_distinct() -> None:
    kinds = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, ArhnError)]
    codes = [error.exit_code for error in kinds if error is not errors.InvalidGroup]  # a BadRow by another way
    assert len(set(codes)) == len(codes)
    assert 0 not in codes
    assert cli.INTERRUPTED not in codes


# --- Bad rows -------------------------------------------------------------------------------------


def but(**fields: Any) -> Callable[[], bytes]:
    """Line 2 with other fields; ... removes one."""
    return lambda: json.dumps({k: v for k, v in (row(2) | fields).items() if v is not ...}).encode()


def passage(**fields: Any) -> Callable[[], bytes]:
    """Line 2 with another second negative."""

    def spoilt() -> bytes:
        negatives = row(2)["negative_passages"]
        negatives[1] = {k: v for k, v in (negatives[1] | fields).items() if v is not ...}
        return but(negative_passages=negatives)()

    return spoilt


BAD_ROWS: dict[str, tuple[type[DataError], str, Callable[[], bytes]]] = {
    "truncated": (BadJson, "column 61: unexpected end of data", lambda: lines()[1][:60]),
    "malformed": (BadJson, "column 2: ", lambda: b"{'query': 1}"),
    "not a number": (BadJson, "column ", lambda: b'{"query": NaN}'),
    "a list": (BadRow, "row: expected a JSON object, found a list [1]", lambda: b"[1]"),
    "wrong type": (BadRow, "query: expected a non-empty string, found an integer 7", but(query=7)),
    "a string for a list": (BadRow, "negative_passages: expected a list, found a string", but(negative_passages="n")),
    "a string for a passage": (
        BadRow,
        "positive_passages[0]: expected an object with docid and text, found a string",
        but(positive_passages=["p"]),
    ),
    "a number for a title": (BadRow, "negative_passages[1].title: expected a string", passage(title=1)),
    "no query_id": (BadRow, "query_id: expected a non-empty string or an integer, found no such", but(query_id=...)),
    "empty query_id": (BadRow, "query_id: expected a non-empty string or an integer", but(query_id="")),
    "no docid": (BadRow, "negative_passages[1].docid: expected", passage(docid=...)),
    "duplicate query_id": (DuplicateId, "query_id 'q0' occurs again; it was first in line 1", but(query_id="q0")),
    "duplicate docid": (
        BadRow,
        "negative_passages[1].docid: expected each docid once in a group, found 'q1-p0', which is also",
        passage(docid="q1-p0"),
    ),
    "no query": (BadRow, "query: expected a non-empty string, found no such field", but(query=...)),
    "empty query": (BadRow, "query: expected a non-empty string, found a string ''", but(query="")),
    "blank query": (BadRow, "query: expected a non-empty string, found a string ' '", but(query=" ")),
    "no text": (BadRow, "negative_passages[1].text: expected", passage(text=...)),
    "no positives": (
        BadRow,
        "positive_passages: expected at least one positive, found none",
        but(positive_passages=[]),
    ),
    "no list of negatives": (BadRow, "negative_passages: expected a list, found no such", but(negative_passages=...)),
    "not UTF-8": (NotUtf8, "byte 0xe9, number 12 of the line, isn't UTF-8", lambda: b'{"query": "\xe9"}'),
    "half a character": (BadRow, "query: expected Unicode text", but(query="\ud800")),
    "another format": (
        MixedFormats,
        "this row is flagembedding, but the file is tevatron; split it into one file a format",
        lambda: b'{"query": "q", "pos": ["p"], "neg": ["n"]}',
    ),
}
bad_rows = pytest.mark.parametrize(("error", "says", "spoilt"), BAD_ROWS.values(), ids=BAD_ROWS)


def spoil(spoilt: Callable[[], bytes]) -> None:
    """Replace line 2."""
    first, *others = lines()
    Path("train.jsonl").write_bytes(b"\n".join([first, spoilt(), *others[1:], b""]))


@bad_rows
@pytest.mark.parametrize("command", [CLEAN, CONVERT], ids=["clean", "convert"])
def test_bad_row(arhn: Arhn, command: Says, error: type[DataError], says: str, spoilt: Callable[[], bytes]) -> None:
    spoil(spoilt)
    arhn.fails(error, *command, says=("train.jsonl, line 2: ", says, "Correct the row", "--on-bad-row skip"))
    write_train()
    arhn.works(*command)


@bad_rows
def test_skipped_row(arhn: Arhn, error: type[DataError], says: str, spoilt: Callable[[], bytes]) -> None:
    spoil(spoilt)
    bad = lines()[1]
    done = arhn.works(*CLEAN, "--on-bad-row", "skip")
    assert "1 row rejected" in done.out
    assert "out.rejects.jsonl" in done.out
    require_rejected("out.rejects.jsonl", says, bad)
    assert read_json("out.summary.json")["groups"]["rejected_rows"] == 1
    assert len(lines("out.jsonl")) == GROUPS - 1
    done = arhn.works("convert", "train.jsonl", "-o", "c.jsonl", "--on-bad-row", "skip", "--rejects", "bad.jsonl")
    assert "1 row rejected: bad.jsonl" in done.out
    require_rejected("bad.jsonl", says, bad)


def require_rejected(path: str, says: str, bad: bytes) -> None:
    [reject] = map(json.loads, lines(path))
    assert (reject["path"], reject["line"]) == ("train.jsonl", 2)
    assert says in reject["error"]
    assert reject["row"] == bad.decode(errors="backslashreplace")


def test_no_negatives_can_be_converted_but_not_cleaned(arhn: Arhn) -> None:
    spoil(but(negative_passages=[]))
    arhn.fails(BadRow, *CLEAN, says=("line 2: negative_passages: expected at least one negative, found none",))
    arhn.works(*CONVERT)


def test_first_row(arhn: Arhn) -> None:
    Path("train.jsonl").write_bytes(b"\n".join([lines()[0][:-20], *lines()[1:]]))
    arhn.fails(BadJson, *CLEAN, says=("train.jsonl, line 1: column", "--on-bad-row skip"))
    arhn.works(*CLEAN, "--on-bad-row", "skip")
    assert read_json("out.rejects.jsonl")["line"] == 1


def test_no_good_row_at_all(arhn: Arhn) -> None:
    Path("train.jsonl").write_bytes(b'{"query": \n' * 5)
    arhn.fails(BadJson, *CLEAN, "--on-bad-row", "skip", says=("None of the first rows is good",))


def test_bad_row_of_parquet(arhn: Arhn) -> None:
    table = pa.table({"query": ["a", "", "c"], "pos": [["p"]] * 3, "neg": [["n"]] * 3})
    pq.write_table(table, "train.jsonl")
    arhn.fails(BadRow, *CLEAN, says=("train.jsonl, line 2: query: expected a non-empty string, found a string ''",))
    arhn.works(*CLEAN, "--on-bad-row", "skip", "--to", "flagembedding", *put_in("max_failures=1.0"))
    assert read_json("out.summary.json")["groups"]["rejected_rows"] == 1


# --- Bad files ------------------------------------------------------------------------------------

LONG = "\n".join(hashlib.sha256(bytes([i])).hexdigest() for i in range(99)).encode()


def put(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


def whole(path: Path) -> bytes:
    write_train(str(path))
    return path.read_bytes()


def cut_parquet(path: Path) -> None:
    pq.write_table(pa.table({"query": ["a"], "pos": [["p"]], "neg": [["n"]]}), path)
    path.write_bytes(path.read_bytes()[:-20])


BAD_FILES: dict[str, tuple[type[DataError], Says, Callable[[Path], object]]] = {
    "missing": (FileMissing, ("can't be read: No such file", "check the path"), lambda _: None),
    "a pipe": (FileMissing, ("isn't a regular file; save the groups to one",), os.mkfifo),
    "a folder": (UnknownFormat, ("is a folder, but not one that datasets.save_to_disk made",), Path.mkdir),
    "empty": (UnknownFormat, ("is empty; expected one training group a row",), put(b"\n")),
    "a table": (UnknownFormat, ("line 1: expected one JSON object a line, or Parquet, found b'",), put(b"q,pos,neg\n")),
    "prose": (UnknownFormat, ("expected one JSON object a line",), put(b"Dear reader\n")),
    "an archive": (UnknownFormat, ("expected one JSON object a line",), put(b"PK\3\4\0\0\xff")),
    "an array": (UnknownFormat, ("is a JSON array; expected one object a line (jq",), put(b"[\n{}\n]")),
    "unknown fields": (
        UnknownFormat,
        ("line 1: the fields q, docs fit no format; known are query_id, query, positive_passages", "Rename them"),
        put(b'{"q": 1, "docs": []}\n'),
    ),
    "UTF-16": (NotUtf8, ("line 1", "the file seems to be UTF-16"), put('{"query": "q"}'.encode("utf-16"))),
    "Latin-1": (NotUtf8, ("line 1", "save the file as UTF-8"), put(b'{"query": "caf\xe9"}')),
    "cut gzip": (BadJson, ("the compressed file ends early",), lambda p: put(gzip.compress(whole(p))[:-9])(p)),
    "cut Zstandard": (BadJson, ("ends early",), lambda p: put(zstandard.compress(whole(p))[:-9])(p)),
    "damaged gzip": (BadJson, ("is damaged",), lambda p: put(gzip.compress(LONG).replace(b"\0", b"\1"))(p)),
    "cut Parquet": (BadJson, ("the Parquet file is damaged or ends early",), cut_parquet),
    "Parquet of something else": (
        UnknownFormat,
        ("the fields x fit no format",),
        lambda p: pq.write_table(pa.table({"x": [1]}), p),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("error", "says", "make"), BAD_FILES.values(), ids=BAD_FILES)
@pytest.mark.parametrize("task", ["clean", "convert"])
def test_bad_file(arhn: Arhn, task: str, error: type[DataError], says: Says, make: Callable[[Path], object]) -> None:
    place = Path("in.jsonl")
    make(place)
    command = (task, "in.jsonl", "-o", "out.jsonl")
    arhn.fails(error, *command, says=("in.jsonl", *says))
    if task == "convert":  # whole files can't be skipped
        arhn.fails(error, *command, "--on-bad-row", "skip")
    if place.is_dir():
        place.rmdir()
    else:
        place.unlink(missing_ok=True)
    write_train("in.jsonl")
    arhn.works(*command)
    assert len(arhn.engines) == (task == "clean")


def test_name_that_is_too_long(arhn: Arhn) -> None:
    arhn.fails(FileMissing, "clean", "x" * 300, "-o", "out.jsonl", says=("File name too long",))


def test_saved_data_set(arhn: Arhn, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("set").mkdir()
    Path("set/state.json").write_text("{}")
    command = ("clean", "set", "-o", "out.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr("arhn.files.datasets.import_module", missing_module)
        arhn.fails(MissingDependency, *command, says=("datasets is needed", "pip install 'arhn[hub]'"))
        arhn.fails(MissingDependency, *CONVERT[:-1], "saved/", says=("pip install 'arhn[hub]'",))
    pytest.importorskip("datasets")
    arhn.fails(FileMissing, *command, says=("set: isn't a data set that can be loaded",))
    Path("set/state.json").unlink()
    Path("set").rmdir()
    arhn.works(*CONVERT[:-1], "set/")
    arhn.works(*command)


def missing_module(name: str) -> Any:
    raise ModuleNotFoundError(name)


# --- Flags that don't fit -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--limit", "0"), "files.limit (--limit 0): found '0', allowed: a whole number from 1"),
        (("--limit", "-1"), "files.limit (--limit -1): found '-1'"),
        (("--limit", "9" * 30), "allowed: a whole number from 1"),
        (("--limit", "many"), "files.limit (--limit many): found 'many', allowed: a whole number from 1"),
        (put_in("negatives=0"), "negatives (--set negatives=0): found 0, allowed: a whole number from 1"),
        (put_in("engine.slots=0"), "engine.slots (--set engine.slots=0): found 0, allowed: a whole number from 1"),
        (put_in("engine.context=1.5"), "engine.context (--set engine.context=1.5): found 1.5, allowed: a whole number"),
        (put_in("engine.threads=0"), "engine.threads"),
        (put_in("engine.gpu_layers=all"), "found 'all', allowed: a whole number"),
        (put_in("floor=few"), "floor (--set floor=few): found 'few', allowed: a whole number from 0"),
        (put_in("floor=-1"), "found -1, allowed: a whole number from 0"),
        (put_in("floor_policy=x"), "found 'x', allowed: keep, drop or backfill"),
        (("--mode", "X"), "mode (--mode X): found 'X', allowed: R, F, R+F or drop"),
        (("--from", "csv"), "files.format (--from csv): found 'csv', allowed: tevatron"),
        (("--to", "csv"), "files.to (--to csv): found 'csv', allowed: tevatron"),
        (("--on-bad-row", "ignore"), "files.on_bad_row (--on-bad-row ignore): found 'ignore', allowed: fail or skip"),
        (put_in("samples=-1"), "samples (--set samples=-1): found -1, allowed: a whole number from 0 to 64"),
        (put_in("samples=65"), "found 65, allowed: a whole number from 0 to 64"),
        (
            put_in("ranker.name=consistent", "ranker.shuffles=5"),
            "found 5, allowed: a whole number from 2 to 64, a mult",
        ),
        (put_in("ranker.name=consistent", "ranker.shuffles=66"), "found 66, allowed: a whole number from 2 to 64"),
        (
            put_in("ranker.name=pivot", "ranker.shuffles=4"),
            "ranker.shuffles (--set ranker.shuffles=4): does nothing with ranker pivot, only with consistent",
        ),
        (
            put_in("ranker.name=listwise", "ranker.stable=1"),
            "ranker.stable (--set ranker.stable=1): does nothing with ranker listwise, only with consistent",
        ),
        (put_in("ranker.name=consistent", "ranker.stable=0.4"), "found 0.4, allowed: a number from 0.5 to 1"),
        (put_in("ranker.stable=most"), "found 'most', allowed: a number from 0.5 to 1"),
        (("--precision", "0"), "precision (--precision 0): found '0', allowed: a number above 0, at most 1"),
        (("--precision", "1.1"), "found '1.1', allowed: a number above 0, at most 1"),
        (("--precision", "nan"), "found 'nan', allowed: a number above 0, at most 1"),
        (("--precision", "90%"), "found '90%', allowed: a number above 0, at most 1"),
        (("--method", "best"), "method (--method best): 'best' is no method. There are: arhn, rlhn, margin, none"),
        (put_in("ranker.name=best"), "'best' is no ranker. There are: evidence, listwise, consistent, pivot"),
        (put_in("ranker.by=title"), "found 'title', allowed: snippet, passage or both"),
        (put_in("files.split=test"), "train.jsonl: is one file and has no split 'test'. Leave --split out"),
        (("--nonsense",), "No such option: --nonsense\nSee 'arhn clean --help'"),
        (("--overwite",), "No such option: --overwite. Did you mean --overwrite?"),
        (("--ranker", "pivot"), "No such option: --ranker. It is a setting: --set ranker.name=VALUE"),
        (("--shuffles", "4"), "No such option: --shuffles. It is a setting: --set ranker.shuffles=VALUE"),
        (
            ("--set", "rankr.name=pivot"),
            "rankr (--set rankr.name=pivot): there is no such setting. Did you mean ranker?",
        ),
        (("--set", "mine.negatives=3"), "mine.negatives (--set mine.negatives=3): 'arhn clean' makes no use of it"),
        (("--config", "none.toml"), "--config none.toml: can't be read (No such file or directory). Check the path"),
    ],
)
def test_flag_that_does_not_fit(arhn: Arhn, flags: Says, says: str) -> None:
    before = content(arhn.folder)
    done = arhn(*CLEAN, *flags)
    assert done.code == UsageError.exit_code == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert content(arhn.folder) == before


@pytest.mark.parametrize(
    "argv",
    [
        ("clean",),
        ("clean", "train.jsonl"),
        ("calibrate",),
        ("calibrate", "gold.jsonl", "train.jsonl"),
        ("agree", "out.jsonl"),
        ("store",),
        ("nonsense",),
    ],
)
def test_incomplete_command(arhn: Arhn, argv: Says) -> None:
    done = arhn(*argv)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("arhn: ")
    assert done.err.splitlines()[1:] == [f"See 'arhn{f' {argv[0]}' if argv != ('nonsense',) else ''} --help'"]


# --- Outputs in each other's place ----------------------------------------------------------------

CLASHES: dict[str, tuple[Says, str]] = {
    "output is the input": (("-o", "train.jsonl"), "--output train.jsonl: would replace the input"),
    "the same, spelt otherwise": (("-o", "../{folder}/train.jsonl"), "would replace the input"),
    "output is a link to the input": (("-o", "link.jsonl"), "would replace the input"),
    "output is the input's folder": (("-o", "{path}"), "would replace the input"),
    "decisions are the input": (
        ("-o", "o", *put_in("files.decisions=train.jsonl")),
        "files.decisions train.jsonl: would replace",
    ),
    "summary is the input": (("-o", "o", *put_in("files.summary=train.jsonl")), "would replace the input"),
    "rejects are the input": (("-o", "o", *put_in("files.rejects=train.jsonl")), "would replace the input"),
    "store is the input": (("-o", "o", "--store", "train.jsonl"), "--store train.jsonl: would replace the input"),
    "decisions are the output": (
        ("-o", "o", *put_in("files.decisions=./o")),
        "--output o: would replace files.decisions, o",
    ),
    "summary is the output": (("-o", "o", *put_in("files.summary=o")), "--output o: would replace files.summary, o"),
    "rejects are the output": (("-o", "o", *put_in("files.rejects=o")), "--output o: would replace files.rejects, o"),
    "store is the output": (("-o", "o", "--store", "o"), "--output o: would replace --store, o"),
    "summary is the decisions": (
        ("-o", "o", *put_in("files.decisions=x", "files.summary=x")),
        "files.decisions x: would replace",
    ),
    "decisions in the output": (
        ("-o", "o/", *put_in("files.decisions=o/d")),
        "--output o/: would replace files.decisions, o/d",
    ),
}


@pytest.mark.parametrize(("flags", "says"), CLASHES.values(), ids=CLASHES)
@pytest.mark.parametrize("overwrite", [False, True])
def test_outputs_in_each_others_place(arhn: Arhn, flags: Says, says: str, overwrite: bool) -> None:
    Path("link.jsonl").symlink_to("train.jsonl")
    given = [flag.format(folder=arhn.folder.name, path=arhn.folder) for flag in flags]
    arhn.fails(UsageError, "clean", "train.jsonl", *given, *["--overwrite"] * overwrite, says=(says, "Name another"))
    assert arhn.engines == []


@pytest.mark.parametrize("flags", [("-o", "train.jsonl"), ("-o", "o", "--rejects", "train.jsonl")])
def test_convert_never_replaces_its_input(arhn: Arhn, flags: Says) -> None:
    arhn.fails(UsageError, "convert", "train.jsonl", *flags, "--overwrite", says=("would replace the input",))


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
@pytest.mark.parametrize("key", OUTPUT_KEYS)
def test_output_without_a_name(arhn: Arhn, key: str, name: str) -> None:
    arhn.fails(UsageError, *CLEAN, *put_at(key, name), says=("has no file name to write to",))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have names in Unicode")
def test_name_that_is_not_utf8(arhn: Arhn) -> None:
    Path("train.jsonl").rename("\udcff.jsonl")
    arhn.fails(UsageError, "clean", "\udcff.jsonl", "-o", "out.jsonl", says=("the name isn't UTF-8. Rename it",))
    Path("\udcff.jsonl").rename("train.jsonl")
    arhn.fails(UsageError, *CLEAN, *put_at("files.summary", "\udcff"), says=("files.summary", "the name isn't UTF-8"))


# --- Outputs that can't be written ----------------------------------------------------------------


@pytest.mark.parametrize("key", OUTPUTS)
def test_nothing_existing_is_overwritten(arhn: Arhn, key: str) -> None:
    place = Path(OUTPUTS[key])
    place.write_text("mine")
    arhn.fails(OutputExists, *CLEAN, says=(place.name, "is there already", "--overwrite"))
    if key in ("output", "files.rejects"):
        arhn.fails(OutputExists, *CONVERT, says=(place.name, "is there already"))
    assert arhn.engines == []
    arhn.works(*CLEAN, "--overwrite")
    assert not place.exists() or place.read_text() != "mine"
    place.write_text("mine again")
    arhn.fails(OutputExists, *CLEAN)
    for name in OUTPUTS.values():
        Path(name).unlink(missing_ok=True)
    arhn.works(*CLEAN)


@pytest.mark.parametrize("key", OUTPUTS)
def test_output_that_appears_meanwhile(arhn: Arhn, key: str) -> None:
    place = Path(OUTPUTS[key])
    arhn.script = partial(answer_after, lambda: place.write_text("mine"))
    done = arhn(*CLEAN)
    assert place.read_text() == "mine"
    if key == "files.rejects":  # which this run doesn't need
        assert done.code == 0
        return
    assert done.code == OutputExists.exit_code
    assert set(content(arhn.folder)) == {"train.jsonl", place.name}
    arhn.fails(OutputExists, *CLEAN)
    place.unlink()
    arhn.script = answer_by_marks
    arhn.works(*CLEAN)
    assert arhn.asked == 0


def answer_after(do: Callable[[], object], request: Request) -> Completion | str:
    do()
    return answer_by_marks(request)


def remove(path: Path) -> None:
    path.rmdir() if path.is_dir() else path.unlink()


def make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


# What stands in the way of "there/x", how to put it there, how to fix it.
PLACES: dict[str, tuple[str, Callable[[Path], object], Callable[[Path], object]]] = {
    "no folder": ("there", lambda _: None, make_folder),
    "a file for a folder": ("there", put(b"mine"), make_folder),
    "a folder for a file": ("there/x", partial(Path.mkdir, parents=True), remove),
}


@pytest.mark.parametrize(("place", "block", "fix"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("key", OUTPUT_KEYS)
def test_place_that_cannot_be_written(
    arhn: Arhn,
    key: str,
    overwrite: bool,
    place: str,
    block: Callable[[Path], object],
    fix: Callable[[Path], object],
) -> None:
    block(Path(place))
    command = (*CLEAN, *put_at(key, "there/x"), *["--overwrite"] * overwrite)
    arhn.fails(OutputNotWritable, *command, says=(place,))
    assert arhn.engines == []
    fix(Path(place))
    arhn.works(*command)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
@pytest.mark.parametrize("key", OUTPUT_KEYS)
def test_proc(arhn: Arhn, key: str) -> None:
    arhn.fails(OutputNotWritable, *CLEAN, *put_at(key, "/proc/x"), says=("/proc: ", "Write elsewhere"))


def test_hub_as_output(arhn: Arhn) -> None:
    for task in ("clean", "convert"):
        arhn.fails(OutputNotWritable, task, "train.jsonl", "-o", "hf://a/b", says=("are only read; write a file",))


def test_name_too_long_for_an_output(arhn: Arhn) -> None:
    for length in (250, 300):  # with and without room for the names of lock and partial file
        arhn.fails(OutputNotWritable, "clean", "train.jsonl", "-o", "x" * length, says=("File name too long",))


def mount(folder: Path, options: str) -> None:
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("no file system can be mounted here")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path.with_name(f"{tmp_path.name}-disk")
    mount(folder, "size=1m")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("key", OUTPUT_KEYS)
def test_read_only_disk(arhn: Arhn, disk: Path, key: str) -> None:
    command = (*CLEAN, *put_at(key, f"{disk}/x"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    arhn.fails(OutputNotWritable, *command, says=(str(disk), "Read-only file system"))
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    arhn.works(*command)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_read_only_folder(arhn: Arhn) -> None:
    arhn.folder.chmod(0o500)
    arhn.fails(OutputNotWritable, *CLEAN, says=("Permission denied",))
    arhn.folder.chmod(0o700)
    arhn.works(*CLEAN)


def fill(disk: Path) -> Path:
    """Take what room there is on a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(bytes(4096))
    return filler


@pytest.mark.parametrize("key", ["output", "files.decisions", "files.summary", "store"])
def test_full_disk(arhn: Arhn, disk: Path, key: str) -> None:
    command = (*CLEAN, *([] if key == "store" else ["--store", STORE]), *put_at(key, f"{disk}/x"))
    filler = fill(disk)
    arhn.fails(DiskFull, *command, says=(f"{disk}/x", "make room" if key == "store" else "free some"))
    assert {p.name for p in disk.iterdir() if p.suffix != ".lock"} <= {"filler", "x"}
    asked = len(arhn.engines)
    filler.unlink()
    arhn.works(*command)
    assert len(arhn.engines) == asked + 1


def test_disk_that_is_full_at_the_end(arhn: Arhn, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        arhn.fails(DiskFull, *CLEAN, says=("no room left on the disk; free some or write elsewhere",))
        arhn.fails(DiskFull, *CONVERT, says=("out.jsonl: no room left",))
    arhn.works(*CLEAN)
    assert arhn.asked == 0


def test_rows_that_parquet_cannot_hold(arhn: Arhn) -> None:
    spoil(but(x="text"))
    Path("train.jsonl").write_bytes(Path("train.jsonl").read_bytes().replace(b'"q0",', b'"q0", "x": 1,'))
    for task in ("clean", "convert"):
        arhn.fails(CannotHold, task, "train.jsonl", "-o", "o.parquet", says=("Parquet", "x", "write JSONL instead"))
    arhn.works(*CLEAN)


# --- Models ---------------------------------------------------------------------------------------

GGUF = b"GGUF" + bytes(200)
TINY = weights.ModelFile(
    name="tiny",
    repo="org/tiny",
    revision="0" * 40,
    file="tiny.gguf",
    size=len(GGUF),
    sha256=hashlib.sha256(GGUF).hexdigest(),
    licence="CC0-1.0",
    mirror=None,
    description="",
)
CACHED = Path("cache", "models", TINY.sha256[:12], TINY.file)


@pytest.fixture
def models(arhn: Arhn, monkeypatch: pytest.MonkeyPatch) -> Arhn:
    """Models are looked for as ever, but the engine that gets the file is the scripted one."""
    monkeypatch.undo()
    monkeypatch.chdir(arhn.folder)
    monkeypatch.setenv("ARHN_CACHE", "cache")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr(weights, "MODELS", {"tiny": TINY})
    monkeypatch.setattr("platform.machine", lambda: "arm64")  # where llama.cpp computes it
    monkeypatch.setattr(
        "arhn.engines.llamacpp.engine.LlamaCppEngine", lambda _, model, **__: FakeEngine(answer_by_marks)
    )
    return arhn


@pytest.mark.parametrize(
    ("error", "model", "bad", "good", "says"),
    [
        (ModelMissing, "m.gguf", None, "m.gguf", ("'m.gguf': no such file or name", "Known names: tiny")),
        (ModelMissing, "tinny", None, "tinny", ("Did you mean tiny?",)),
        (ModelCorrupt, "m.gguf", "m.gguf", "m.gguf", ("m.gguf: not a GGUF file", "Give a model in")),
        (ModelUnavailable, "tiny", None, str(CACHED), ("tiny can't be fetched", "hub:", TINY.sha256, "by hand")),
        (ModelCorrupt, "tiny", str(CACHED), str(CACHED), ("damaged", TINY.sha256, "Try again")),
    ],
    ids=["missing file", "mistyped name", "not GGUF", "not to be had", "wrong SHA-256"],
)
def test_model(models: Arhn, error: type[ArhnError], model: str, bad: str | None, good: str, says: Says) -> None:
    CACHED.parent.mkdir(parents=True)
    if bad is not None:
        Path(bad).write_bytes(GGUF[::-1])
    before = set(content(models.folder))
    done = models(*CLEAN, "--model", model)
    assert done.code == error.exit_code
    assert all(words in done.err for words in says), done.err
    assert "Traceback" not in done.err
    # A damaged file is removed from arhn's own cache, never from anywhere else.
    assert {name for name in content(models.folder) if not name.startswith("cache")} == {
        name for name in before if not name.startswith("cache")
    }
    Path(good).write_bytes(GGUF)
    models.works(*CLEAN, "--model", model)


@pytest.mark.parametrize("model", ["x" * 300, "~nobody-of-this-name/m.gguf", ".", "hf://org/model"])
def test_impossible_model(models: Arhn, model: str) -> None:
    models.fails(ModelMissing, *CLEAN, "--model", model, says=(f"Model {model!r}: ", "Known names: tiny"))


def test_gguf_that_is_damaged_inside(arhn: Arhn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(arhn.folder)
    monkeypatch.setenv("ARHN_CACHE", str(arhn.folder.with_name(f"{arhn.folder.name}-cache")))
    Path("m.gguf").write_bytes(GGUF)
    arhn.fails(EngineError, *CLEAN, "--model", "m.gguf", says=("m.gguf",))


def test_engine_that_dies(arhn: Arhn) -> None:
    arhn.script = dying(EngineError("the engine is gone"), after=7)
    arhn.fails(EngineError, *CLEAN, says=("the engine is gone",))
    arhn.script = answer_by_marks
    arhn.works(*CLEAN)
    assert arhn.asked + 7 == arhn.asks()


def dying(error: BaseException, *, after: int) -> Callable[[Request], Completion | str]:
    calls = iter(range(after))

    def script(request: Request) -> Completion | str:
        if next(calls, None) is None:
            raise error
        return answer_by_marks(request)

    return script


# --- The response store ---------------------------------------------------------------------------


def sql(*statements: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        db = sqlite3.connect(path)
        db.executescript(";".join(statements))
        db.close()

    return change


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def with_old_answers(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        SqliteStore(path, model="old").close()
        change(path)

    return make


BAD_STORES: dict[str, tuple[type[ArhnError], Says, Callable[[Path], object]]] = {
    "another version": (
        StoreVersion,
        ("made by another version of arhn (store schema 99", "Use that version, or choose a new --store"),
        with_old_answers(sql("PRAGMA user_version = 99")),
    ),
    "another program's": (StoreCorrupt, ("not a response store", "--store"), sql("CREATE TABLE t (x)")),
    "text": (StoreCorrupt, ("not a response store, or damaged", "Move it away"), put(b"some notes\n" * 99)),
    "cut": (StoreCorrupt, ("or damaged", "Move it away to start afresh"), with_old_answers(cut)),
    "without tables": (
        StoreCorrupt,
        ("no such table", "Move it away"),
        with_old_answers(sql("DROP TABLE answers", "DROP TABLE models")),
    ),
}


@pytest.mark.parametrize(("error", "says", "make"), BAD_STORES.values(), ids=BAD_STORES)
def test_bad_store(arhn: Arhn, error: type[ArhnError], says: Says, make: Callable[[Path], object]) -> None:
    make(Path("s.db"))
    arhn.fails(error, *CLEAN, "--store", "s.db", says=("s.db: ", *says))
    arhn.fails(error, "store", "s.db", says=("s.db: ", *says))
    arhn.fails(error, "store", "s.db", "--prune", "all")
    Path("s.db").rename("away.db")
    arhn.works(*CLEAN, "--store", "s.db")
    arhn.works("store", "s.db")


def test_answer_that_is_damaged(arhn: Arhn) -> None:
    arhn.works(*CLEAN)
    for answer in (b"{", b"5", b"[5]"):
        sql(f"UPDATE answers SET answer = x'{answer.hex()}'")(Path(STORE))
        arhn.fails(StoreCorrupt, *CLEAN, "--overwrite", says=(f"{STORE}: a stored answer", "Move the store away"))
    Path(STORE).unlink()
    arhn.works(*CLEAN, "--overwrite")


def test_two_runs_at_once(arhn: Arhn) -> None:
    with SqliteStore(Path("s.db"), model="other"):
        shared = (*CLEAN, "--store", "s.db")
        arhn.fails(StoreLocked, *shared, says=("s.db: another arhn process", "a store of its own with --store"))
        arhn.fails(StoreLocked, "store", "s.db", says=("s.db: another arhn process",))
        arhn.fails(StoreLocked, "store", "s.db", "--prune", "all")
    with locked(Path(".out.jsonl.lock"), ArhnError):
        arhn.fails(OutputLocked, *shared, says=("out.jsonl: another arhn process is writing it. Wait",))
    assert arhn.engines == []
    arhn.works(*shared)


def test_store_that_another_program_has_locked(arhn: Arhn, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteStore(Path("s.db"), model="old").close()
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, timeout=0.05))
    with ExitStack() as stack:
        db = sqlite3.connect("s.db", isolation_level=None)
        stack.callback(db.close)
        db.execute("BEGIN EXCLUSIVE")
        arhn.fails(StoreLocked, *CLEAN, "--store", "s.db", says=("s.db: another program has it open",))
        arhn.fails(StoreLocked, "store", "s.db", "--prune", "all", says=("Close it there",))
    arhn.works(*CLEAN, "--store", "s.db")


def test_store_commands(arhn: Arhn) -> None:
    arhn.works(*CLEAN)
    arhn.fails(StoreError, "store", "nowhere.sqlite", says=("nowhere.sqlite: there is no response store.",))
    arhn.fails(StoreError, "store", ".", says=("there is no response store",))
    Path("empty").touch()
    arhn.fails(StoreCorrupt, "store", "empty", says=("empty: a database, but not a response store",))
    arhn.fails(
        StoreError, "store", STORE, "--prune", "all", "--model", "nope", says=("no answers of model 'nope'", "fake")
    )
    arhn.fails(UsageError, "store", STORE, "--model", "fake", says=("Give --prune too",))
    assert "0 answers deleted" in arhn.works("store", STORE, "--prune", "unused").out


# --- Methods and what they need -------------------------------------------------------------------


@dataclass
class Similar(FakeSimilarity):
    """In the place of a sentence-transformers model: what holds ANSWER is near."""

    identity: str

    def scores(self, _: str, passages: Sequence[Passage]) -> tuple[float, ...]:
        return tuple(0.9 if "ANSWER" in p.text else 0.1 for p in passages)


@pytest.fixture
def similar(arhn: Arhn, monkeypatch: pytest.MonkeyPatch) -> Arhn:
    monkeypatch.setattr("arhn.retrieval.similarity.Similarity", Similar)
    return arhn


BELONGS: dict[tuple[str, ...], tuple[str, Says, Says]] = {
    ("--similarity", "s"): ("similarity", ("none", "rlhn"), ("margin",)),
    ("--small-model", "m"): ("small_model", ("none", "margin"), ("rlhn",)),
    put_in("margin.rule=relative"): ("margin", ("none", "rlhn", "arhn"), ()),
    ("--precision", "0.9"): ("precision", ("none", "margin", "rlhn"), ()),
    put_in("samples=3"): ("samples", ("none", "margin", "rlhn"), ("arhn",)),
    put_in("families.nq=claim"): ("families", ("none", "margin", "rlhn"), ("arhn",)),
    put_in("show_answer=false"): ("show_answer", ("none", "margin", "rlhn"), ("arhn",)),
    put_in("fullness=false"): ("fullness", ("none", "margin", "rlhn"), ("arhn",)),
    put_in("ranker.name=pivot"): ("ranker", ("none", "margin", "rlhn"), ("arhn",)),
    put_in("ranker.by=both"): ("ranker", ("none", "margin", "rlhn"), ("arhn",)),
    put_in("ranker.name=consistent", "ranker.shuffles=4"): ("ranker", ("none", "margin", "rlhn"), ("arhn",)),
    ("--model", "m"): ("engine.model", ("none", "margin"), ("arhn", "rlhn")),
}


@pytest.mark.parametrize(("flag", "methods"), BELONGS.items(), ids=["=".join(flag) for flag in BELONGS])
def test_flag_of_another_method(similar: Arhn, flag: Says, methods: tuple[str, Says, Says]) -> None:
    key, others, own = methods
    for method in others:
        command = (*CLEAN, "--method", method, *flag)
        similar.fails(UsageError, *command, says=(f"{key} (", f": does nothing with method {method}, only with "))
    assert similar.engines == []
    for method in own:
        similar.works(*CLEAN, "--overwrite", "--method", method, *flag)


@pytest.mark.parametrize(
    ("error", "flags", "says"),
    [
        (
            UsageError,
            (*put_in("triage=1.0"), "--small-model", "m"),
            "small_model (--small-model m): does nothing with method arhn where all negatives are asked about",
        ),
        (
            UsageError,
            (*put_in("triage=0.98"), "--similarity", "none"),
            "triage (--set triage=0.98): needs something to tell likely from unlikely",
        ),
        (CalibrationError, (*put_in("triage=0.98"), "--small-model", "m"), "triage: there is no calibration for"),
    ],
)
def test_triage_without_what_it_needs(similar: Arhn, error: type[ArhnError], flags: Says, says: str) -> None:
    similar.fails(error, *CLEAN, *flags, says=(says,))


def test_flags_of_the_consistent_ranker(similar: Arhn) -> None:
    similar.works(*CLEAN, *put_in("ranker.name=consistent", "ranker.shuffles=4", "ranker.stable=0.9"))


def test_method_margin(similar: Arhn) -> None:
    margin = (*CLEAN, "--method", "margin")
    similar.fails(UsageError, *margin, says=("method margin: needs a similarity model. Give one with --similarity",))
    with_model = (*margin, "--similarity", "s")
    similar.fails(
        UsageError, *with_model, "--mode", "R", says=("mode (--mode R): method margin only filters", "Use F or R+F")
    )
    similar.works(*with_model)
    assert read_json("out.summary.json")["similarity"] == "s"
    assert similar.engines == []


@pytest.mark.parametrize(
    ("margin", "says"),
    [
        (("rule=close",), "margin.rule (--set margin.rule=close): found 'close', allowed: absolute, relative or perc"),
        (("value=much",), "margin.value (--set margin.value=much): found 'much', allowed: a number"),
        (("value=nan",), "margin.value (--set margin.value=nan): found nan"),
        (("value=inf",), "found inf"),
        (("value=1.5",), "margin.value: with rule 'perc', 1.5 is not in [0, 1]"),
        (("rule=relative", "value=-1"), "margin.value: with rule 'relative', -1 is not in [0, 2]"),
        (("rule=''",), "found '', allowed: absolute, relative or perc"),
        (("rul=perc",), "Did you mean margin.rule?"),
    ],
)
def test_margin(similar: Arhn, margin: Says, says: str) -> None:
    command = (*CLEAN, "--method", "margin", "--similarity", "s")
    similar.fails(UsageError, *command, *put_in(*(f"margin.{each}" for each in margin)), says=(says,))
    similar.works(*command, *put_in("margin.rule=relative", "margin.value=0.1"))


def test_similarity_model(arhn: Arhn) -> None:
    command = (*CLEAN, "--method", "margin", "--similarity", "no/such/folder")
    arhn.fails(ModelMissing, *command, says=("Model 'no/such/folder': no such folder, and not a name on the hub",))
    Path("folder").mkdir()
    arhn.fails(ModelMissing, *command[:-1], "folder", says=("Model 'folder': the folder holds no modules.json",))


FAMILIES = {
    "an unknown family": (
        ("families.nq=questions",),
        "'questions' isn't a family of prompts (for subset 'nq'). Families: question",
    ),
    "twice": (("families.nq=claim", "families.NQ=title"), "subset 'NQ' is named twice, as claim and as title"),
    "a number": (("families.nq=3",), "a value of type int isn't a family"),
    "no table": (("families=3",), "families (--set families=3): found 3, allowed: a table"),
}


@pytest.mark.parametrize(("families", "says"), FAMILIES.values(), ids=FAMILIES)
def test_families(arhn: Arhn, families: Says, says: str) -> None:
    arhn.fails(UsageError, *CLEAN, *put_in(*families), says=(says,))
    assert arhn.engines == []
    Path("run.toml").write_text('[families]\nnq = "claims"')
    arhn.fails(UsageError, *CLEAN, "--config", "run.toml", says=("'claims' isn't a family", "for subset 'nq'"))
    Path("run.toml").write_text('[families]\n"*" = "claim"')
    arhn.works(*CLEAN, "--config", "run.toml")
    assert read_json("out.summary.json")["families"] == {"claim (map)": GROUPS}


# --- Calibrating ----------------------------------------------------------------------------------

CALIBRATE = ("calibrate", "gold.jsonl", "train.jsonl", "-o", "c.json")
LABELLED = 24
#: Labelled groups in which what seems to be a false negative is a true one.
WRONG = 6


def write_gold(*, name: str = "q{}", passage: str = "q{}-n{}", count: int = LABELLED) -> None:
    """Labels of the negatives of `count` groups: every third is a false negative, as `many` has it."""
    with Path("gold.jsonl").open("w") as file:
        for i in range(count):
            labels = {
                passage.format(i, j): "true_negative" if j % 3 or (j == 0 and i < WRONG) else "false_negative"
                for j in range(NEGATIVES)
            }
            file.write(json.dumps({"query_id": name.format(i), "labels": labels}) + "\n")


def relabel(label: str) -> None:
    text = Path("gold.jsonl").read_text()
    Path("gold.jsonl").write_text(re.sub("(true|false)_negative", label, text))


def gold_line(spoilt: str) -> Callable[[], None]:
    """Put in the place of line 2."""

    def spoil_it() -> None:
        first, _, *others = lines("gold.jsonl")
        Path("gold.jsonl").write_bytes(b"\n".join([first, spoilt.encode(), *others, b""]))

    return spoil_it


@pytest.fixture
def labelled(arhn: Arhn) -> Arhn:
    pytest.importorskip("sklearn")
    with formats.GroupWriter("train.jsonl", "tevatron", container="jsonl", overwrite=True) as writer:
        for group in many(LABELLED, NEGATIVES):
            writer.write(group)
    write_gold()
    return arhn


def test_a_calibration_is_made_and_used(labelled: Arhn) -> None:
    out = labelled.works(*CALIBRATE).out
    assert f"question: {LABELLED} groups, 42 false and 54 true negatives" in out
    assert out.splitlines()[-1] == "c.json"
    labelled.works(*CLEAN, "--calibration", "c.json", "--store", "c.responses.sqlite")
    assert read_json("out.summary.json")["calibrations"]["question"]["calibrated"]
    # What was asked to calibrate isn't asked again.
    assert labelled.asked < labelled.asks() / 2
    # The summary holds the calibration itself, so that the run can be had again without its file.
    Path("c.json").unlink()
    labelled.works("clean", "train.jsonl", "-o", "again.jsonl", "--config", "out.summary.json")
    assert Path("again.jsonl").read_bytes() == Path("out.jsonl").read_bytes()
    assert Path("again.decisions.jsonl").read_bytes() == Path("out.decisions.jsonl").read_bytes()
    assert read_json("again.summary.json")["calibrations"] == read_json("out.summary.json")["calibrations"]


def test_a_kind_of_query_with_too_few_labels_is_told(labelled: Arhn) -> None:
    spoil(but(subset="fever"))
    out = labelled.works(*CALIBRATE).out
    assert "claim: not calibrated, too little to calibrate on: " in out
    assert [c["family"] for c in read_json("c.json")] == ["question"]


BAD_LABELS: dict[str, tuple[type[ArhnError], Says, Callable[[], object]]] = {
    "of other groups": (
        CalibrationError,
        (f"gold.jsonl: none of its {LABELLED} groups (query_id 'x0', ...) has a labelled negative in train.jsonl",
         "Give the groups that these labels are of, with the same query_id and doc_id"),
        lambda: write_gold(name="x{}"),
    ),
    "of other passages": (
        CalibrationError,
        ("none of its 24 groups (query_id 'q0'",),
        lambda: write_gold(passage="x{}-{}"),
    ),
    "true negatives only": (
        CalibrationError,
        ("gold.jsonl: question: too little to calibrate on: a single class, no false negatives",),
        lambda: relabel("true_negative"),
    ),
    "false negatives only": (
        CalibrationError,
        ("a single class, no true negatives", "At least 20 groups and 10 of each class are needed"),
        lambda: relabel("false_negative"),
    ),
    "ambiguous ones only": (CalibrationError, ("has a labelled negative in",), lambda: relabel("ambiguous")),
    "few groups": (CalibrationError, ("in 19 groups. At least 20 groups",), lambda: write_gold(count=19)),
    "missing": (FileMissing, ("gold.jsonl: ", "Check the path"), lambda: Path("gold.jsonl").unlink()),
    "empty": (UnknownFormat, ("gold.jsonl: is empty",), lambda: Path("gold.jsonl").write_bytes(b"")),
    "groups": (UnknownFormat, ("of no kind that can be compared",), lambda: write_train("gold.jsonl")),
    "cut": (BadJson, ("gold.jsonl, line 2: column",), gold_line('{"query_id": "q1", "labels"')),
    "a list": (BadRow, ("line 2: labels: expected an object",), gold_line('{"query_id": "q1", "labels": []}')),
    "no query_id": (BadRow, ("gold.jsonl, line 2: query_id",), gold_line('{"labels": {}}')),
    "another word": (
        BadRow,
        ("line 2: labels.q1-n0: expected 'false_negative' or 'ambiguous' or 'true_negative', found a string 'false'",),
        gold_line('{"query_id": "q1", "labels": {"q1-n0": "false"}}'),
    ),
    "two labels": (
        DuplicateId,
        ("gold.jsonl, line 2: doc_id 'q0-n1' of query_id 'q0' is 'ambiguous' here and 'true_negative' before",),
        gold_line('{"query_id": "q0", "labels": {"q0-n1": "ambiguous"}}'),
    ),
    "not UTF-8": (NotUtf8, ("gold.jsonl, line 1",), lambda: Path("gold.jsonl").write_bytes(b'{"query_id": "\xe9"}')),
}  # fmt: skip


@pytest.mark.parametrize(("error", "says", "spoil_labels"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels(labelled: Arhn, error: type[ArhnError], says: Says, spoil_labels: Callable[[], object]) -> None:
    spoil_labels()
    labelled.fails(error, *CALIBRATE, says=says)
    assert labelled.engines == []
    assert not Path("c.responses.sqlite").exists()
    write_gold()
    labelled.works(*CALIBRATE)


def test_bad_groups_to_calibrate_on(labelled: Arhn) -> None:
    good = Path("train.jsonl").read_bytes()
    spoil(but(query=7))
    labelled.fails(
        BadRow, *CALIBRATE, says=("train.jsonl, line 2: query: expected", "found an integer 7. Correct the row\n")
    )
    Path("train.jsonl").unlink()
    labelled.fails(FileMissing, *CALIBRATE, says=("train.jsonl",))
    assert labelled.engines == []
    Path("train.jsonl").write_bytes(good)
    labelled.works(*CALIBRATE)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("-o", "gold.jsonl"), "--output gold.jsonl: would replace the input GOLD, gold.jsonl"),
        (("-o", "train.jsonl"), "--output train.jsonl: would replace the input GROUPS, train.jsonl"),
        (("--store", "gold.jsonl"), "--store gold.jsonl: would replace the input"),
        (("--store", "./c.json"), "would replace"),
        (("-o", "."), "'.': has no file name to write to"),
        (("-o", ""), "has no file name to write to"),
        (("--store", "/"), "'/': has no file name to write to"),
        (put_in("families.nq=claims"), "'claims' isn't a family"),
        (put_in("samples=65"), "samples (--set samples=65): found 65, allowed: a whole number from 0 to 64"),
        (put_in("precision=0.9"), "precision (--set precision=0.9): 'arhn calibrate' makes no use of it"),
    ],
)
def test_flag_that_does_not_fit_calibrate(labelled: Arhn, flags: Says, says: str) -> None:
    labelled.fails(UsageError, *CALIBRATE, *flags, "--overwrite", says=(says,))
    assert labelled.engines == []
    labelled.works(*CALIBRATE)


@pytest.mark.parametrize("flag", ["--calibration", "--precision", "--ray", "--method", "--mode"])
def test_flag_that_only_clean_has(labelled: Arhn, flag: str) -> None:
    before = content(labelled.folder)
    done = labelled(*CALIBRATE, flag, "x")
    assert done.code == 2
    assert done.err.startswith(f"arhn: No such option: {flag}")
    assert content(labelled.folder) == before


def test_calibration_that_is_there_already(labelled: Arhn) -> None:
    Path("c.json").write_text("mine")
    labelled.fails(OutputExists, *CALIBRATE, says=("c.json", "is there already", "--overwrite"))
    assert labelled.engines == []
    labelled.works(*CALIBRATE, "--overwrite")
    assert read_json("c.json")[0]["model"] == "fake"
    labelled.fails(OutputNotWritable, *CALIBRATE[:-1], "there/c.json", says=("there",))
    with SqliteStore(Path("c.responses.sqlite"), model="other"):
        labelled.fails(StoreLocked, *CALIBRATE, "--overwrite", says=("c.responses.sqlite: another arhn process",))
    labelled.works(*CALIBRATE, "--overwrite")


def test_calibrate_without_log_probabilities(labelled: Arhn) -> None:
    labelled.logprobs = False
    labelled.fails(
        CalibrationError,
        *CALIBRATE,
        says=("fake gives no log-probabilities", "Let several answers vote: --set samples=5"),
    )
    assert labelled.asked == 0
    labelled.works(*CALIBRATE, *put_in("samples=5"))
    # It is for five answers only, then.
    clean = (*CLEAN, "--calibration", "c.json")
    labelled.fails(CalibrationError, *clean, says=("no calibration for fake with 1 sampled answer",))
    labelled.works(*clean, *put_in("samples=5"))


def test_calibrate_without_its_library(labelled: Arhn, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn", None)
        labelled.fails(MissingDependency, *CALIBRATE, says=("scikit-learn is needed", "pip install 'arhn[calibrate]'"))
    assert labelled.engines == []
    labelled.works(*CALIBRATE)


def test_model_that_says_the_opposite(labelled: Arhn) -> None:
    def opposite(request: Request) -> Completion | str:
        if request.constraint is not None:
            return answer_by_marks(request)
        return verdict(NO if "ANSWER" in shown(request) else YES)

    labelled.script = opposite
    labelled.fails(CalibrationError, *CALIBRATE, says=("log-odds don't tell false negatives from true ones",))
    labelled.script, labelled.model = answer_by_marks, "better"
    labelled.works(*CALIBRATE)


def test_engine_that_dies_while_calibrating(labelled: Arhn) -> None:
    labelled.script = dying(EngineError("the engine is gone"), after=30)
    labelled.fails(EngineError, *CALIBRATE, says=("the engine is gone",))
    labelled.script = answer_by_marks
    labelled.works(*CALIBRATE)
    # A verdict and a snippet of the positive, a verdict of each negative.
    assert labelled.asked + 30 == LABELLED * (2 + NEGATIVES)


def test_interrupt_while_calibrating(labelled: Arhn) -> None:
    interrupts = iter([lambda: os.kill(os.getpid(), signal.SIGINT)])
    labelled.script = partial(answer_after, lambda: next(interrupts, lambda: None)())
    before = content(labelled.folder)
    done = labelled(*CALIBRATE)
    assert (done.code, done.out) == (130, "")
    assert done.err == "arhn: interrupted. Every answer so far is kept; the same command goes on from there\n"
    assert content(labelled.folder) == before
    answered = labelled.asked
    assert answered > 0
    labelled.script = answer_by_marks
    labelled.works(*CALIBRATE)
    assert answered + labelled.asked == LABELLED * (2 + NEGATIVES)


def test_similarity_needs_a_calibration_of_its_own(labelled: Arhn, similar: Arhn) -> None:
    fused = ("--similarity", "s")
    labelled.fails(
        CalibrationError,
        *CLEAN,
        *fused,
        "--calibration",
        "none",
        says=("similarity: there is no calibration for fake with log-probabilities and the similarity of s",
              "Make one from labelled groups with 'arhn calibrate' and the same settings"),
    )  # fmt: skip
    assert labelled is similar
    labelled.works(*CALIBRATE, *fused)
    labelled.works(*CLEAN, *fused, "--calibration", "c.json")
    labelled.fails(
        CalibrationError, *CLEAN, "--overwrite", "--calibration", "c.json", says=("no calibration for fake",)
    )


def test_precision(labelled: Arhn) -> None:
    wanted = (*CLEAN, "--precision", "0.8")
    labelled.fails(
        CalibrationError,
        *wanted,
        "--calibration",
        "none",
        says=("precision: there is no calibration for fake", "--calibration"),
    )
    labelled.works(*CALIBRATE)
    calibrated = (*wanted, "--calibration", "c.json")
    labelled.fails(
        CalibrationError,
        *(*CLEAN, "--calibration", "c.json", "--calibration", "none", "--precision", "0.99"),
        says=("precision 0.99: no threshold reaches it for question", "gave at most 0.84. Ask for less"),
    )
    labelled.works(*calibrated)
    assert read_json("out.summary.json")["settings"]["precision"] == 0.8
    # Other families have calibrations made in the run, so that this one only abstains, and that is said.
    done = labelled.works(*CLEAN, "--overwrite", "--calibration", "c.json", "--precision", "0.99")
    assert "Nothing was changed: no negative reaches precision 0.99" in done.out


def change_calibration(**fields: Any) -> Callable[[], object]:
    def change() -> None:
        Path("c.json").write_text(json.dumps([c | fields for c in read_json("c.json")]))

    return change


BAD_CALIBRATIONS: dict[str, tuple[str, Callable[[], object]]] = {
    "missing": ("c.json: can't be read (No such file or directory). Check the path", lambda: Path("c.json").unlink()),
    "a folder": ("c.json: can't be read (Is a directory)", lambda: make_folder(Path("c.json"))),
    "not JSON": ("c.json: not JSON (", lambda: Path("c.json").write_text("threshold = 0.5")),
    "not UTF-8": ("c.json: not JSON (", lambda: Path("c.json").write_bytes(b'["\xe9"]')),
    "an object": ("c.json: expected a list of calibrations as", lambda: Path("c.json").write_text("{}")),
    "of another model": ("calibrations: there is no calibration for fake", change_calibration(model="other")),
    "of another prompt": ("calibrations: there is no calibration for fake", change_calibration(prompt="other")),
    "of no model": ("c.json: a calibration without model and prompt", change_calibration(model="")),
    "unknown keys": ("c.json: not a calibration: center: Extra inputs are not permitted. Expected a file that",
                     change_calibration(center=1)),
    "a bad number": ("not a calibration: signals: verdict: weight: Input should be a valid number",
                     change_calibration(signals={"verdict": {"weight": "steep"}})),
}  # fmt: skip


@pytest.mark.parametrize(("says", "damage"), BAD_CALIBRATIONS.values(), ids=BAD_CALIBRATIONS)
def test_bad_calibration(labelled: Arhn, says: str, damage: Callable[[], object]) -> None:
    labelled.works(*CALIBRATE)
    good = Path("c.json").read_bytes()
    damage()
    labelled.fails(CalibrationError, *CLEAN, "--calibration", "c.json", says=(says,))
    remove(Path("c.json")) if Path("c.json").exists() else None
    Path("c.json").write_bytes(good)
    labelled.works(*CLEAN, "--calibration", "c.json")


def test_agree_on_another_data_set(labelled: Arhn) -> None:
    labelled.works(*CLEAN)
    write_gold(name="x{}")
    agree = ("agree", "out.jsonl", "gold.jsonl", "--json", "agreement.json")
    labelled.fails(DataError, *agree, says=("out.jsonl", "gold.jsonl"))
    write_gold()
    labelled.works(*agree)


# --- Inspecting -----------------------------------------------------------------------------------


def test_inspect_before_cleaning(arhn: Arhn) -> None:
    arhn.fails(FileMissing, *INSPECT, says=("out.summary.json: no such file", "takes the output of 'arhn clean'"))
    arhn.works(*CLEAN)
    assert "q1: question 1?" in arhn.works(*INSPECT).out


@pytest.mark.parametrize("query_id", ["q99", "", "\udcff", '"q1"'])
def test_inspect_unknown_query_id(arhn: Arhn, query_id: str) -> None:
    arhn.works(*CLEAN)
    says = (f"out.decisions.jsonl: no group with query_id {query_id!r}. Check the id",)
    arhn.fails(DataError, "inspect", "out.jsonl", "--query-id", query_id, says=says)


@pytest.mark.parametrize("query_id", ["é1", 'a"b\\c', "x\u2028\x7f\t"])
def test_inspect_finds_ids_of_any_kind(arhn: Arhn, query_id: str) -> None:
    spoil(but(query_id=query_id))
    arhn.works(*CLEAN)
    assert "question 1?" in arhn.works("inspect", "out.jsonl", "--query-id", query_id).out


def replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new)


DAMAGE: dict[str, tuple[str, str, Callable[[bytes], bytes]]] = {
    "empty summary": ("out.summary.json", "not what 'arhn clean' wrote", lambda _: b""),
    "cut summary": ("out.summary.json", "not what 'arhn clean' wrote", lambda data: data[:99]),
    "summary as a list": ("out.summary.json", "content: ", lambda _: b"[]"),
    "summary not UTF-8": ("out.summary.json", "UTF-8", lambda _: b"\xff"),
    "summary without files": ("out.summary.json", "files: Field required", replace(b'"files"', b'"file"')),
    "summary without input": ("out.summary.json", "files.input: Field required", replace(b'"input"', b'"in"')),
    "unknown format": ("out.summary.json", "files.input_format: ", replace(b'"tevatron"', b'"tevtron"')),
    "cut decisions": ("out.decisions.jsonl", "line 8: not what 'arhn clean' wrote", lambda data: b"\n".join(
        [*data.splitlines()[:7], data.splitlines()[7][:90]])),
    "decision without rank": ("out.decisions.jsonl", "line 6", replace(b'"rank"', b'"rnk"')),
    "decision without doc_id": ("out.decisions.jsonl", "line 6", replace(b'"doc_id"', b'"did"')),
    "unknown action": ("out.decisions.jsonl", "action: ", replace(b'"action": "keep"', b'"action": "eat"')),
    "rank as text": ("out.decisions.jsonl", "rank: ", replace(b'"rank": 1', b'"rank": "1"')),
    "position as text": ("out.decisions.jsonl", "start: ", lambda d: re.sub(rb'"start": (\d+)', rb'"start": "\1"', d)),
    "decisions gone": ("out.decisions.jsonl", "no group with query_id 'q1'", lambda _: b""),
}  # fmt: skip


@pytest.mark.parametrize(("name", "says", "damage"), DAMAGE.values(), ids=DAMAGE)
def test_inspect_damaged_records(arhn: Arhn, name: str, says: str, damage: Callable[[bytes], bytes]) -> None:
    arhn.works(*CLEAN)
    record = Path(name)
    data = record.read_bytes()
    record.write_bytes(damage(data))
    assert record.read_bytes() != data
    arhn.fails(DataError, *INSPECT, says=(name, says))
    arhn.works(*CLEAN, "--overwrite")
    arhn.works(*INSPECT)


@pytest.mark.parametrize(
    "change",
    [replace(b"q1-n0", b"q1-x0"), replace(b"holds ANSWER", b"has ANSWER"), replace(b'"q1"', b'"q7"')],
    ids=["other ids", "other texts", "no such group"],
)
def test_inspect_changed_input(arhn: Arhn, change: Callable[[bytes], bytes]) -> None:
    arhn.works(*CLEAN)
    Path("train.jsonl").write_bytes(change(Path("train.jsonl").read_bytes()))
    arhn.fails(DataError, *INSPECT, says=("train.jsonl: ", "'q1'", "Has the file changed since"))
    write_train()
    arhn.works(*INSPECT)


@pytest.mark.parametrize("name", ["train.jsonl", "out.decisions.jsonl"])
def test_inspect_missing_file(arhn: Arhn, name: str) -> None:
    arhn.works(*CLEAN)
    Path(name).rename("away")
    arhn.fails(FileMissing, *INSPECT, says=(name,))
    Path("away").rename(name)
    arhn.works(*INSPECT)


# --- Converting -----------------------------------------------------------------------------------


def test_convert_prints_what_is_lost(arhn: Arhn) -> None:
    spoil(but(negative_passages=[], note="[/b] :smile:", **{"[/b]": 1}))
    out = arhn.works(*CONVERT, "--to", "triplet").out
    assert f"{GROUPS - 1} groups: tevatron to triplet" in out
    assert "triplet can't hold: doc_id (10)" in out
    assert "triplet can't hold: groups without negatives (1)" in out
    out = arhn.works("convert", "train.jsonl", "-o", "flag.jsonl", "--to", "flagembedding").out
    assert "flagembedding can't hold: query_id (3)" in out
    assert "flagembedding can't hold: field" not in out


def test_text_that_looks_like_markup_is_shown_as_it_is(arhn: Arhn) -> None:
    spoil(but(**{"[/b] :smile:": 1}))
    arhn.model = "[/b].gguf"
    for command in ((*CLEAN, "--to", "triplet"), ("convert", "train.jsonl", "-o", "[o].jsonl", "--to", "triplet")):
        assert "field [/b] :smile:" in arhn.works(*command).out
    assert "[/b].gguf" in arhn.works("store", STORE).out


def test_terminal_that_cannot_show_a_character(arhn: Arhn, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(but(query="où?"))
    arhn.works(*CLEAN)
    written = io.BytesIO()
    terminal = io.TextIOWrapper(written, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(INSPECT) == 0
    terminal.flush()
    assert b"q1: o\\xf9?" in written.getvalue()


# --- Ctrl-C ---------------------------------------------------------------------------------------


def test_interrupt(arhn: Arhn) -> None:
    interrupts = iter([lambda: os.kill(os.getpid(), signal.SIGINT)])
    arhn.script = partial(answer_after, lambda: next(interrupts, lambda: None)())
    before = content(arhn.folder)
    done = arhn(*CLEAN)
    assert (done.code, done.out) == (130, "")
    assert done.err == "arhn: interrupted. Every answer so far is kept; the same command goes on from there\n"
    assert content(arhn.folder) == before
    answered = arhn.asked
    assert answered > 0
    arhn.script = answer_by_marks
    arhn.works(*CLEAN)
    assert answered + arhn.asked == arhn.asks()


def test_interrupt_while_converting(arhn: Arhn, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(formats.GroupWriter, "write", lambda *_: signal.raise_signal(signal.SIGINT))
        before = content(arhn.folder)
        done = arhn(*CONVERT)
    assert (done.code, done.err) == (130, "arhn: interrupted. Run the same command again\n")
    assert content(arhn.folder) == before
    arhn.works(*CONVERT)


SLOW = """
import sys
from pathlib import Path
from arhn import cli
from arhn.engines.fake import FakeEngine
from arhn.engines.ctranslate2 import settings as ctranslate2
from arhn.engines.llamacpp import settings as llamacpp
from tests.conftest import answer_by_marks

def script(request):
    Path("started").touch()
    return answer_by_marks(request)

for engine in (ctranslate2, llamacpp):
    engine.Settings.open = lambda *_: FakeEngine(script, delay=0.3)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_sigint(arhn: Arhn) -> None:
    with formats.GroupWriter("train.jsonl", "tevatron", overwrite=True) as writer:
        for group in many(500, 2):
            writer.write(group)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, "-c", SLOW, *CLEAN]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until(Path("started").exists)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err == b"arhn: interrupted. Every answer so far is kept; the same command goes on from there\n"
    assert set(content(arhn.folder)) == {"train.jsonl", "started"}
    arhn.works(*CLEAN)
    assert 0 < arhn.asked < arhn.asks()
