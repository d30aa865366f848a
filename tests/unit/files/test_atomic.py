"""An output is there whole or not at all."""

from __future__ import annotations

import errno
import gzip
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from arhn.errors import CannotHold, DiskFull, OutputExists, OutputLocked, OutputNotWritable
from arhn.files.atomic import AtomicFile, AtomicFolder, publish_together
from arhn.files.claims import Claim
from arhn.formats import GroupWriter, read
from tests.unit.formats.helpers import group

OUTPUTS = ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.parquet"]


def names(folder: Path) -> list[str]:
    """The files of a folder, without locks and without what tells the partials of processes apart."""
    files = sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
    return [re.sub(r"\.[0-9a-f]{8}\.partial$", ".partial", name) for name in files]


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
        if self.name.endswith(".partial"):
            opened(self, *args, **kwargs).close()
            return opened(Path("/dev/full"), "wb")
        return opened(self, *args, **kwargs)

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


def test_another_process_keeps_a_second_one_out(tmp_path: Path) -> None:
    with AtomicFile(tmp_path / "a") as file:
        file.write(b"first")
        for overwrite in (False, True):
            with pytest.raises(OutputLocked, match="another arhn process is writing it"):
                AtomicFile(tmp_path / "a", overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"first"


def test_links_with_a_name_of_ours_are_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in (".a.partial", ".a.01234567.partial"):
        (tmp_path / name).symlink_to(victim)
    with AtomicFile(tmp_path / "a") as file:
        file.write(b"new")
    (tmp_path / ".b.lock").symlink_to(victim)
    with pytest.raises(OutputNotWritable, match="is a link"):
        AtomicFile(tmp_path / "b")
    assert not (tmp_path / "a").is_symlink()
    assert victim.read_bytes() == b"precious"


def test_partials_of_killed_processes_go_and_others_stay(tmp_path: Path) -> None:
    ours, theirs = tmp_path / ".a.01234567.partial", [tmp_path / ".a.partial", tmp_path / ".b.01234567.partial"]
    for path in (ours, *theirs):
        path.write_bytes(b"x")
    AtomicFile(tmp_path / "a").commit()
    assert not ours.exists()
    assert all(path.exists() for path in theirs)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_the_mode_of_what_is_replaced_is_kept(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(mode)
    file = AtomicFile(tmp_path / "a", overwrite=True)
    assert stat.S_IMODE(file.partial.stat().st_mode) == mode
    file.commit()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


def test_a_lock_that_holds_something_stays(tmp_path: Path) -> None:
    (tmp_path / ".a.lock").write_bytes(b"someone's notes")
    AtomicFile(tmp_path / "a").commit()
    assert (tmp_path / ".a.lock").read_bytes() == b"someone's notes"


def test_names_of_any_length(tmp_path: Path) -> None:
    AtomicFile(tmp_path / ("a" * 255)).commit()
    assert names(tmp_path) == ["a" * 255]


def test_a_folder_comes_back_when_its_replacement_was_cut_off(tmp_path: Path) -> None:
    old = tmp_path / ".set.01234567.old"
    old.mkdir()
    (old / "mark").touch()
    with pytest.raises(OutputExists):
        AtomicFolder(tmp_path / "set", ours=lambda _: True)
    assert names(tmp_path / "set") == ["mark"]


class Killed(BaseException):
    """What a signal does: nothing is cleaned up."""


@pytest.mark.parametrize("published", [0, 1])
def test_outputs_of_a_killed_process_are_replaced_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: int
) -> None:
    def write(content: bytes) -> None:
        with Claim(tmp_path / "main", tmp_path / "beside") as claim:
            outputs = [AtomicFile(tmp_path / name, overwrite=claim) for name in ("beside", "main")]
            for output in outputs:
                output.write(content)
            publish_together(outputs, claim)

    left = iter(range(published + 1))  # the journal is published, too
    publish = AtomicFile._publish

    def publish_some(self: AtomicFile) -> None:
        if next(left, None) is None:
            raise Killed
        publish(self)

    with monkeypatch.context() as patched:
        patched.setattr(AtomicFile, "_publish", publish_some)
        with suppress(Killed):
            write(b"first")
    write(b"second")
    assert [(tmp_path / name).read_bytes() for name in ("beside", "main")] == [b"second"] * 2
    with pytest.raises(OutputExists):
        write(b"third")
    assert names(tmp_path) == ["beside", "main"]


def test_a_foreign_file_where_the_journal_belongs(tmp_path: Path) -> None:
    (tmp_path / ".main.publishing").write_text("notes")
    with pytest.raises(OutputNotWritable, match="isn't arhn's"):
        Claim(tmp_path / "main")
    assert (tmp_path / ".main.publishing").read_text() == "notes"
