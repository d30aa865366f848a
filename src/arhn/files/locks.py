"""One process at a time, by a lock file that the system releases when its holder ends."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from arhn.errors import ArhnError, DiskFull, OutputNotWritable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path, busy: Callable[[], ArhnError]) -> Iterator[None]:
    """Hold the lock file `path`, which is made where it is missing and removed at the end.

    A link in its place is never followed, and a file that holds anything is neither changed nor removed.

    Raises:
        what `busy` makes: another process holds it.
        OutputNotWritable: its folder is missing or can't be written.
        DiskFull: there is no room for it.
    """
    if not path.parent.is_dir():
        raise OutputNotWritable(f"{path.parent}: no such folder. Create it, or write elsewhere")
    release = _hold(path, busy) if fcntl is not None else _hold_portably(path, busy)
    try:
        yield
    finally:
        release()


def _hold(path: Path, busy: Callable[[], ArhnError]) -> Callable[[], None]:
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise _explain(path, error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise (busy() if error.errno in _BUSY else _explain(path, error)) from None
        if _is_at(handle, path):
            return lambda: _release(handle, path)
        os.close(handle)  # its holder removed it between the two calls: a lock that nobody else can see


_BUSY = {errno.EWOULDBLOCK, errno.EACCES}


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file still is the one under that name."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _release(handle: int, path: Path) -> None:
    """Removes the file while it is held, so that nobody can hold what is about to go."""
    try:
        if os.fstat(handle).st_size == 0 and _is_at(handle, path):
            with suppress(OSError):
                path.unlink()
    finally:
        os.close(handle)


def _hold_portably(path: Path, busy: Callable[[], ArhnError]) -> Callable[[], None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise busy() from None
    except OSError as error:
        raise _explain(path, error) from error
    return lock.release


def _explain(path: Path, error: OSError) -> ArhnError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"{path.parent}: no room left on the disk; free some or write elsewhere")
    if error.errno == errno.ELOOP:
        return OutputNotWritable(f"{path}: is a link, where arhn's lock belongs. Remove it, or write elsewhere")
    if error.errno == errno.ENOENT:  # a folder such as /proc, where no file can be made
        return OutputNotWritable(f"{path.parent}: no file can be made there. Write elsewhere")
    return OutputNotWritable(f"{path.parent}: can't be written ({error.strerror}). Write elsewhere")
