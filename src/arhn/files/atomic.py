"""Outputs that are there whole or not at all.

An output is written beside its place under the name `.{name}.partial`, brought to the disk (`prepare`) and
renamed (`publish`). To publish several files together, prepare all of them first, so that only renames are
left to fail. One writer at a time: two writers of one output would share its partial.
"""

from __future__ import annotations

import errno
import os
import shutil
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Self

from arhn.errors import DiskFull, OutputExists, OutputNotWritable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

_FULL = {errno.ENOSPC, errno.EDQUOT}


class Output(ABC):
    """Something written in two steps. A `with` block commits at its end and aborts on an exception.

    Each step is taken once: calling it again, or after `abort`, does nothing.
    """

    _state: Literal["open", "prepared", "published", "aborted"] = "open"

    def prepare(self) -> None:
        """Bring everything to the disk. Nothing can be written afterwards."""
        if self._state == "open":
            self._prepare()
            self._state = "prepared"

    def publish(self) -> None:
        """Put the output in its place, prepared if it isn't yet."""
        self.prepare()
        if self._state == "prepared":
            self._publish()
            self._state = "published"

    def abort(self) -> None:
        """Remove what was written; what was published stays."""
        if self._state in ("open", "prepared"):
            self._state = "aborted"
            self._abort()

    def commit(self) -> None:
        """Publish, and leave nothing on an error.

        Raises:
            OutputExists, OutputNotWritable, DiskFull
        """
        try:
            self.publish()
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abort()

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _publish(self) -> None: ...

    @abstractmethod
    def _abort(self) -> None: ...


class AtomicFile(Output):
    """A file that appears under its name when it is whole.

    Args:
        path: where it goes; a symbolic link is followed.
        overwrite: replace a file that is there already.

    Raises:
        OutputExists: `path` is there and `overwrite` isn't set.
        OutputNotWritable: `path` is no regular file, or its folder is missing or not writable.
        DiskFull: there is no room.
    """

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.path, self.partial = _place(path)
        self._overwrite = overwrite
        self._check()
        with output_errors(self.path):
            self.raw: BinaryIO = self.partial.open("wb")

    def write(self, data: bytes) -> None:
        """Append bytes. Raises OutputNotWritable, DiskFull."""
        with output_errors(self.path):
            self.raw.write(data)

    def _prepare(self) -> None:
        self._check()  # while nothing of what is published together has its name yet
        with output_errors(self.path), self.raw:
            self.raw.flush()
            os.fsync(self.raw.fileno())

    def _publish(self) -> None:
        self._check()
        with output_errors(self.path):
            self.partial.replace(self.path)
            _sync_folder(self.path.parent)

    def _abort(self) -> None:
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self.raw.close()
        with suppress(OSError):
            self.partial.unlink()

    def _check(self) -> None:
        _check_place(self.path, self._overwrite, Path.is_file, "isn't a regular file")


class AtomicFolder(Output):
    """A folder that appears under its name when it is whole; write into `partial`.

    Args:
        path: where it goes.
        overwrite: replace a folder that is there already, if it is `ours` or empty.
        ours: whether a folder is of the kind that may be replaced; never delete anything else.

    Raises:
        OutputExists, OutputNotWritable, DiskFull: as for `AtomicFile`.
    """

    def __init__(self, path: str | os.PathLike[str], *, ours: Callable[[Path], bool], overwrite: bool = False) -> None:
        self.path, self.partial = _place(path)
        self._old = self.path.with_name(f".{self.path.name}.old")
        self._overwrite = overwrite
        self._replaceable = lambda folder: folder.is_dir() and (ours(folder) or not any(folder.iterdir()))
        self._check()
        with output_errors(self.path):
            _remove_folder(self.partial)
            self.partial.mkdir()

    def _prepare(self) -> None:
        self._check()
        with output_errors(self.path):
            for file in self.partial.iterdir():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
            _sync_folder(self.partial)

    def _publish(self) -> None:
        self._check()
        with output_errors(self.path):
            _remove_folder(self._old)
            if self.path.exists():
                self.path.rename(self._old)
            self.partial.rename(self.path)
            _sync_folder(self.path.parent)
            _remove_folder(self._old)

    def _abort(self) -> None:
        if self._old.exists() and not self.path.exists():  # between the two renames
            self._old.rename(self.path)
        shutil.rmtree(self.partial, ignore_errors=True)

    def _check(self) -> None:
        _check_place(self.path, self._overwrite, self._replaceable, "isn't a saved data set")


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Turns the system's errors into `DiskFull` and `OutputNotWritable` that name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"{path}: no room left on the disk; free some or write elsewhere") from error
        reason = error.strerror or str(error)
        if not path.parent.is_dir():
            reason = f"there is no folder {path.parent}; create it first"
        raise OutputNotWritable(f"{path}: can't be written: {reason}") from error


def _place(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    place = Path(os.path.realpath(path))
    return place, place.with_name(f".{place.name}.partial")


def _check_place(path: Path, overwrite: bool, replaceable: Callable[[Path], bool], why_not: str) -> None:
    with output_errors(path):
        if not path.exists():
            return
        if not replaceable(path):
            raise OutputNotWritable(f"{path}: {why_not} and is left alone; choose another name")
    if not overwrite:
        raise OutputExists(f"{path}: is there already; choose another name, or replace it with --overwrite")


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _sync_folder(folder: Path) -> None:
    """A rename is only safe from a power cut when its folder is on the disk; Windows has no such call."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
