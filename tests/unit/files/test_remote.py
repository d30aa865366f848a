"""Object stores, played by fsspec's memory: inputs and outputs, what is refused, and what is said about it."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from arhn import formats
from arhn.cleaning.models import Models
from arhn.cleaning.run import Job, placed, run
from arhn.cluster.storage import open_folder
from arhn.engines.fake import FakeEngine
from arhn.errors import (
    AccessDenied,
    ArhnError,
    BadJson,
    EngineError,
    FileMissing,
    MissingDependency,
    OutputExists,
    OutputNotWritable,
    StorageError,
    UnknownFormat,
    UsageError,
)
from arhn.files import remote
from arhn.files.remote import Remote, is_url, local_path
from tests.conftest import answer_by_marks, many
from tests.unit.cluster.inline import run_inline


@pytest.fixture
def store() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def put(files: Any, tmp_path: Path, name: str, count: int = 5) -> str:
    with formats.GroupWriter(tmp_path / name, "tevatron") as writer:
        for group in many(count):
            writer.write(group)
    files.pipe_file(f"/in/{name}", (tmp_path / name).read_bytes())
    return f"memory://in/{name}"


@pytest.mark.parametrize("name", ["g.jsonl", "g.jsonl.gz", "g.jsonl.zst", "g.parquet"])
def test_groups_are_read_from_a_store(store: Any, tmp_path: Path, name: str) -> None:
    url = put(store, tmp_path, name, 40)
    assert list(formats.read(url)) == list(formats.read(tmp_path / name))
    assert formats.detect(url).fields == formats.detect(tmp_path / name).fields


def test_what_is_wrong_with_a_remote_file_is_said_as_of_a_local_one(store: Any, tmp_path: Path) -> None:
    url = put(store, tmp_path, "g.parquet")
    whole = store.cat_file("/in/g.parquet")
    store.pipe_file("/in/g.parquet", whole[:-40])
    with pytest.raises(BadJson, match=r"memory://in/g\.parquet, line 1: the Parquet file is damaged"):
        list(formats.read(url))
    store.pipe_file("/in/empty.jsonl", b"")
    with pytest.raises(UnknownFormat, match=r"memory://in/empty\.jsonl: is empty"):
        formats.detect("memory://in/empty.jsonl")
    with pytest.raises(FileMissing, match=r"memory://in/none\.jsonl"):
        formats.detect("memory://in/none.jsonl")


def test_only_what_is_read_is_fetched(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = put(store, tmp_path, "g.jsonl", 3000)
    read: list[int] = []
    fetch = remote._Raw.readinto

    def counted(raw: Any, buffer: Any) -> int:
        read.append(fetch(raw, buffer))
        return read[-1]

    monkeypatch.setattr(remote._Raw, "readinto", counted)
    source = formats.detect(url)
    read.clear()
    groups = formats.read(source)
    next(groups)
    assert 0 < sum(read) < (tmp_path / "g.jsonl").stat().st_size
    assert len(list(groups)) == 2999


def job(source: str, files: Any, **fields: Any) -> Job:
    return Job(input=source, files=files, **fields)


def do(url: str, output: str, folder: Path, **fields: Any) -> dict[str, Any]:
    with placed(output, overwrite=fields.get("overwrite", False), store=folder / "s.sqlite") as files:
        return run(job(url, files, **fields), lambda _: Models(engine=FakeEngine(answer_by_marks)))


def test_outputs_go_to_a_store_as_to_a_folder(store: Any, tmp_path: Path) -> None:
    url = put(store, tmp_path, "g.jsonl")
    content = do(url, "memory://out/x.jsonl", tmp_path)
    do(str(tmp_path / "g.jsonl"), str(tmp_path / "x.jsonl"), tmp_path)
    assert sorted(store.find("/out")) == ["/out/x.decisions.jsonl", "/out/x.jsonl", "/out/x.summary.json"]
    for name in ("x.jsonl", "x.decisions.jsonl"):
        assert store.cat_file(f"/out/{name}") == (tmp_path / name).read_bytes()
    assert json.loads(store.cat_file("/out/x.summary.json")) == content
    assert (content["files"]["input"], content["files"]["output"]) == (url, "memory://out/x.jsonl")
    assert content["files"]["decisions"] == "memory://out/x.decisions.jsonl"


def test_a_store_is_not_written_over_unless_asked(store: Any, tmp_path: Path) -> None:
    url = put(store, tmp_path, "g.jsonl")
    store.pipe_file("/out/x.failures.jsonl", b"mine")
    with pytest.raises(OutputExists, match=r"memory://out/x\.failures\.jsonl"):
        do(url, "memory://out/x.jsonl", tmp_path)
    assert store.find("/out") == ["/out/x.failures.jsonl"]
    do(url, "memory://out/x.jsonl", tmp_path, overwrite=True)
    assert not store.exists("/out/x.failures.jsonl")


def test_a_run_that_fails_puts_nothing_there(store: Any, tmp_path: Path) -> None:
    url = put(store, tmp_path, "g.jsonl")

    def gone(_: object) -> str:
        raise EngineError("gone")

    with pytest.raises(EngineError), placed("memory://out/x.jsonl", store=tmp_path / "s") as files:
        run(job(url, files), lambda _: Models(engine=FakeEngine(gone)))
    assert not store.exists("/out") or store.find("/out") == []


def test_a_run_killed_while_it_puts_files_there_is_finished_by_the_next(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(store, tmp_path, "g.jsonl")
    with monkeypatch.context() as patched:

        def put_file(files: Any, file: str, path: str) -> None:
            if path.endswith("summary.json"):
                raise OSError("cut off")
            files.pipe_file(path, Path(file).read_bytes())

        patched.setattr(MemoryFileSystem, "put_file", put_file)
        with pytest.raises(StorageError, match="cut off"):
            do(url, "memory://out/x.jsonl", tmp_path)
    assert store.exists("/out/x.decisions.jsonl")
    assert not store.exists("/out/x.jsonl")
    do(url, "memory://out/x.jsonl", tmp_path)
    assert sorted(store.find("/out")) == ["/out/x.decisions.jsonl", "/out/x.jsonl", "/out/x.summary.json"]
    with pytest.raises(OutputExists):
        do(url, "memory://out/x.jsonl", tmp_path)


def test_partitions_are_kept_in_a_store(store: Any, tmp_path: Path) -> None:
    folder = open_folder("memory://work/x/")
    assert folder.read("a") is None
    folder.write("a", b"1")
    folder.write("a", b"22")
    assert (folder.read("a"), store.find("/work")) == (b"22", ["/work/x/a"])
    here = open_folder(f"file://{tmp_path / 'with%20space'}")
    assert here.read("a") is None
    assert not (tmp_path / "with space").exists(), "made with its first file, so that a failed run leaves nothing"
    here.write("a", b"1")
    assert (tmp_path / "with space" / "a").read_bytes() == b"1"
    with pytest.raises(OutputNotWritable):
        open_folder(str(tmp_path / "no" / "folder"))
    with pytest.raises(OutputNotWritable):
        open_folder(str(tmp_path / "with space" / "a"))


def test_a_cluster_run_from_store_to_store(store: Any, tmp_path: Path) -> None:
    url = put(store, tmp_path, "g.jsonl")
    with placed("memory://out/x.jsonl") as files:
        content = run_inline(job(url, files), tmp_path / "work")
    do(str(tmp_path / "g.jsonl"), str(tmp_path / "x.jsonl"), tmp_path)
    assert store.cat_file("/out/x.jsonl") == (tmp_path / "x.jsonl").read_bytes()
    assert content["files"]["work"] == str(tmp_path / "work")


class NoCredentialsError(Exception):
    """As botocore calls it."""


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (NoCredentialsError("Unable to locate credentials"), AccessDenied),
        (PermissionError("Forbidden"), AccessDenied),
        (RuntimeError("Your default credentials were not found"), AccessDenied),
        (OSError("Could not connect"), StorageError),
    ],
)
def test_errors_of_a_store_are_ours(
    store: Any, monkeypatch: pytest.MonkeyPatch, wrong: Exception, expected: type[ArhnError]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise wrong

    monkeypatch.setattr(MemoryFileSystem, "exists", refuse)
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    for do_it in (Remote("memory://x/y").check, lambda: Remote("memory://x/y").write(b"")):
        with pytest.raises(expected, match="memory://x/y"):
            do_it()


def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(remote, "_FIRST", 0.05)
    monkeypatch.setattr(MemoryFileSystem, "exists", lambda *_: threading.Event().wait(60))
    with pytest.raises(StorageError, match=r"no answer within 0\.05 seconds"):
        Remote("memory://x/y").check()


def test_a_store_whose_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, url in (("s3fs", "s3://b/x"), ("gcsfs", "gs://b/x"), ("fsspec", "memory://x")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingDependency, match=rf"{module} .*arhn\[cloud\]"):
            Remote(url).exists()


def test_addresses() -> None:
    assert is_url("s3://b/x")
    assert not any(is_url(path) for path in ("x.jsonl", "/a/b", "hf://o/n", "file:///a"))
    assert (local_path("file:///a%20b/c"), local_path("file://localhost/c"), local_path("x")) == ("/a b/c", "/c", "x")
    with pytest.raises(UsageError, match="another machine"):
        local_path("file://host/x")
    with pytest.raises(UsageError, match="nosuch://b/x"):
        Remote("nosuch://b/x").exists()
    for output in ("memory://out/", "s3://bucket"):
        with pytest.raises(UsageError, match="no file name"), placed(output):
            pass


def test_a_remote_file_is_read_from_any_place_in_it(store: Any) -> None:
    store.pipe_file("/a", b"0123456789")
    with Remote("memory://a").open() as file:
        assert file.peek(2)[:2] == b"01"
        assert file.seek(-3, io.SEEK_END) == 7
        assert (file.read(), file.tell()) == (b"789", 10)
