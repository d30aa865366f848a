"""An output is there whole or not at all."""

from __future__ import annotations

import errno
import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import CannotHold, DiskFull, OutputExists, OutputNotWritable
from arhn.files.atomic import AtomicFile, AtomicFolder
from arhn.formats import GroupWriter, read
from tests.unit.formats.helpers import group

OUTPUTS = ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.parquet"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_steps(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "a")
    file.write(b"content")
    assert names(tmp_path) == [".a.partial"]
    file.prepare()
    assert names(tmp_path) == [".a.partial"]
    file.publish()
    assert names(tmp_path) == ["a"]
    file.commit()
    file.abort()
    assert (tmp_path / "a").read_bytes() == b"content"


@pytest.mark.parametrize("prepared", [False, True])
def test_abort(tmp_path: Path, prepared: bool) -> None:
    file = AtomicFile(tmp_path / "a")
    if prepared:
        file.prepare()
    file.abort()
    file.publish()
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_exception_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeError), GroupWriter(tmp_path / name, "tevatron") as writer:
        for _ in range(1500):
            writer.write(group("n"))
        raise RuntimeError
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_exception_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(RuntimeError), GroupWriter(tmp_path / name, "tevatron", overwrite=True) as writer:
        writer.write(group("n"))
        raise RuntimeError
    assert (tmp_path / name).read_bytes() == b"old"
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("name", OUTPUTS)
def test_existing_output(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(OutputExists, match="is there already"):
        GroupWriter(tmp_path / name, "tevatron")
    with GroupWriter(tmp_path / name, "tevatron", overwrite=True) as writer:
        writer.write(group("n"))
    assert len(list(read(tmp_path / name))) == 1


def test_output_that_appears_meanwhile(tmp_path: Path) -> None:
    with pytest.raises(OutputExists), AtomicFile(tmp_path / "a"):
        (tmp_path / "a").write_bytes(b"theirs")
    assert (tmp_path / "a").read_bytes() == b"theirs"
    assert names(tmp_path) == ["a"]


def test_stale_partial_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".a.partial").write_bytes(b"of a run that was killed")
    with AtomicFile(tmp_path / "a") as file:
        file.write(b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritable, match="there is no folder"):
        AtomicFile(tmp_path / "no" / "a")
    with pytest.raises(OutputNotWritable, match="isn't a regular file"):
        AtomicFile(tmp_path, overwrite=True)
    with pytest.raises(OutputNotWritable, match="isn't a regular file"):
        AtomicFile(os.devnull, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(OutputNotWritable):
        AtomicFile(tmp_path / "file" / "a")
    with pytest.raises(OutputNotWritable, match="only read"):
        GroupWriter("hf://org/name", "tevatron")


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with AtomicFile(tmp_path / "link", overwrite=True) as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("name", OUTPUTS)
def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int) -> None:
    def full(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no room left"), GroupWriter(tmp_path / name, "tevatron") as writer:
        writer.write(group("n"))
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("name", OUTPUTS)
def test_disk_full_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    opened = Path.open

    def open_full(self: Path, *args: Any, **kwargs: Any) -> Any:
        return opened(Path("/dev/full") if self.name.endswith(".partial") else self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(DiskFull), GroupWriter(tmp_path / name, "tevatron") as writer:
        for number in range(3000):
            writer.write(group(f"n {number}", query=f"{number**9}"))
    assert names(tmp_path) == []


def test_other_errors_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", denied)
    with pytest.raises(OutputNotWritable, match="Permission denied"), AtomicFile(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


def test_folder(tmp_path: Path) -> None:
    def ours(folder: Path) -> bool:
        return (folder / "mark").exists()

    def fill(content: str, *, overwrite: bool = True) -> None:
        with AtomicFolder(tmp_path / "set", ours=ours, overwrite=overwrite) as folder:
            (folder.partial / "mark").write_text(content)

    fill("one")
    fill("two")
    assert (tmp_path / "set" / "mark").read_text() == "two"
    with pytest.raises(OutputExists):
        fill("three", overwrite=False)
    (tmp_path / "set" / "mark").unlink()
    (tmp_path / "set" / "thesis.tex").touch()
    with pytest.raises(OutputNotWritable, match="isn't a saved data set"):
        fill("four")
    assert names(tmp_path) == ["set"]


def test_folder_comes_back_when_the_second_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mark").touch()
    folder = AtomicFolder(tmp_path / "set", ours=lambda _: True, overwrite=True)
    rename = Path.rename

    def fails_once(self: Path, target: Path) -> Path:
        if self == folder.partial:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_once)
    with pytest.raises(OutputNotWritable):
        folder.commit()
    assert names(tmp_path) == ["set"]
    assert names(tmp_path / "set") == ["mark"]


def test_gzip_has_no_time_and_no_name(tmp_path: Path) -> None:
    with GroupWriter(tmp_path / "out.jsonl.gz", "tevatron") as writer:
        writer.write(group("n"))
    header = (tmp_path / "out.jsonl.gz").read_bytes()[:10]
    assert header[3] == 0  # no name
    assert header[4:8] == bytes(4)  # no time
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()).startswith(b'{"query_id"')


def test_a_value_that_the_container_can_not_hold(tmp_path: Path) -> None:
    from dataclasses import replace
    from datetime import datetime

    for name, value in (
        ("a.jsonl", float("nan")),
        ("a.jsonl", datetime(2026, 1, 1)),
        ("a.parquet", [1, "x"]),
    ):
        with (
            pytest.raises(CannotHold, match=r"/a\.\w+: .*; write (Parquet|JSONL) instead"),
            GroupWriter(tmp_path / name, "tevatron") as writer,
        ):
            writer.write(replace(group("n"), extra={"x": value}))
    with pytest.raises(CannotHold), GroupWriter(tmp_path / "a.parquet", "tevatron") as writer:
        for number in range(2000):
            writer.write(replace(group("n"), extra={"x": number if number < 1000 else str(number)}))
    with pytest.raises(CannotHold), GroupWriter(tmp_path / "a.parquet", "tevatron") as writer:
        writer.write(replace(group("n"), extra={"x": {}}))
    assert names(tmp_path) == []
