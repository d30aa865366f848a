"""Outputs that are there whole or not at all.

An output is written beside its place under a name of this process's own, `.{name}.{token}.partial`, brought to the
disk (`prepare`) and renamed (`publish`). Several files that belong together are published by `publish_together`. One
writer at a time: who writes an output has claimed it (`claims`).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Self

from arhn.errors import DiskFull, OutputExists, OutputNotWritable
from arhn.files.claims import Claim, Mark, make_token, name_working_file, read_mark, real_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
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

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """What will be in its place once it is published, by place; to be read once it is prepared."""
        return {}

    @abstractmethod
    def _prepare(self) -> None: ...

    @abstractmethod
    def _publish(self) -> None: ...

    @abstractmethod
    def _abort(self) -> None: ...


class _Claimed(Output):
    """An output that is written beside its place and renamed."""

    _why_not: str

    def __init__(self, path: str | os.PathLike[str], overwrite: bool | Claim) -> None:
        self.path = real_place(path)
        self.partial = name_working_file(self.path, "partial", make_token())
        self._own: Claim | None = None
        if isinstance(overwrite, Claim):
            assert overwrite.covers(self.path), f"{self.path} isn't claimed"  # nosec B101 - narrows a type
            self._claim = overwrite
        else:
            self._check(overwrite)  # before a lock is made: most mistakes are found here
            self._claim = self._own = Claim(path, overwrite=overwrite)
        try:
            self._check()
            with output_errors(self.path):
                self._open(read_mode(self.path))
        except BaseException:
            self._give_up()
            raise

    @property
    def marks(self) -> Mapping[Path, Mark]:
        """See `Output`."""
        mark = read_mark(self.partial)
        return {self.path: mark} if mark is not None else {}

    def publish(self) -> None:
        """See `Output`."""
        super().publish()
        if self._state == "published":
            self._give_up()

    def abort(self) -> None:
        """See `Output`."""
        super().abort()
        self._give_up()

    def _give_up(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None

    def _check(self, overwrite: bool | None = None) -> None:
        with output_errors(self.path):
            if not self.path.exists():
                if not self.path.parent.is_dir():
                    raise NotADirectoryError
                return
            if not self._is_replaceable():
                raise OutputNotWritable(f"{self.path}: {self._why_not} and is left alone; choose another name")
        if not (self._claim.may_replace(self.path) if overwrite is None else overwrite):
            raise OutputExists(f"{self.path}: is there already; choose another name, or replace it with --overwrite")

    @abstractmethod
    def _is_replaceable(self) -> bool: ...

    @abstractmethod
    def _open(self, mode: int | None) -> None: ...


class AtomicFile(_Claimed):
    """A file that appears under its name when it is whole. It keeps the mode of the file it replaces.

    Args:
        path: where it goes; a symbolic link is followed.
        overwrite: replace a file that is there already; or the claim of a process that writes several outputs.

    Raises:
        OutputExists: `path` is there and `overwrite` isn't set.
        OutputLocked: another process is writing it.
        OutputNotWritable: `path` is no regular file, or its folder is missing or not writable.
        DiskFull: there is no room.
    """

    raw: BinaryIO
    _why_not = "isn't a regular file"

    def __init__(self, path: str | os.PathLike[str], *, overwrite: bool | Claim = False) -> None:
        super().__init__(path, overwrite)

    def write(self, data: bytes) -> None:
        """Append bytes. Raises OutputNotWritable, DiskFull."""
        with output_errors(self.path):
            self.raw.write(data)

    def _open(self, mode: int | None) -> None:
        self.raw = self.partial.open("xb")
        if mode is not None:
            self.partial.chmod(mode)

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

    def _is_replaceable(self) -> bool:
        return self.path.is_file()


class AtomicFolder(_Claimed):
    """A folder that appears under its name when it is whole; write into `partial`.

    Args:
        path: where it goes.
        overwrite: replace a folder that is there already, if it is `ours` or empty; or a claim, as for `AtomicFile`.
        ours: whether a folder is of the kind that may be replaced; never delete anything else.

    Raises:
        OutputExists, OutputLocked, OutputNotWritable, DiskFull: as for `AtomicFile`.
    """

    _why_not = "isn't a saved data set"

    def __init__(
        self, path: str | os.PathLike[str], *, ours: Callable[[Path], bool], overwrite: bool | Claim = False
    ) -> None:
        self._ours = ours
        super().__init__(path, overwrite)
        self._old = self.partial.with_suffix(".old")

    def _open(self, mode: int | None) -> None:
        self.partial.mkdir()
        if mode is not None:
            self.partial.chmod(mode | stat.S_IRWXU)

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
            if self.path.exists():
                self.path.rename(self._old)
            self.partial.rename(self.path)
            _sync_folder(self.path.parent)
            if self._old.exists():
                shutil.rmtree(self._old)

    def _abort(self) -> None:
        if self._old.exists() and not self.path.exists():  # between the two renames
            self._old.rename(self.path)
        shutil.rmtree(self.partial, ignore_errors=True)

    def _is_replaceable(self) -> bool:
        return self.path.is_dir() and (self._ours(self.path) or not any(self.path.iterdir()))


def publish_together(outputs: Sequence[Output], claim: Claim) -> None:
    """Put several outputs in their places, in this order: the last one is there only when all of them are.

    A journal lies beside the first place of `claim` meanwhile. Where this process is stopped, the next that claims the
    same outputs may replace what was published, and nothing else.

    Raises:
        OutputExists, OutputNotWritable, DiskFull: see `AtomicFile`.
    """
    for output in outputs:
        output.prepare()
    marks = {str(place): mark for output in outputs for place, mark in output.marks.items()}
    with AtomicFile(claim.journal, overwrite=claim) as journal:
        journal.write(json.dumps(marks).encode())
    try:
        for output in outputs:
            output.publish()
    except Exception:
        # The journal is for a process that was stopped. A failure in a living one is reported, and then nothing is
        # to be replaced that the user didn't ask for.
        claim.journal.unlink(missing_ok=True)
        raise
    claim.journal.unlink(missing_ok=True)


def read_mode(path: Path) -> int | None:
    """The permissions of the file that an output replaces; None where there is none."""
    try:
        return stat.S_IMODE(path.stat().st_mode) & 0o777
    except OSError:
        return None


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


def _sync_folder(folder: Path) -> None:
    """A rename is only safe from a power cut when its folder is on the disk; Windows has no such call."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
