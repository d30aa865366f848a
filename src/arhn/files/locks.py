"""One process at a time, by a lock file that the system releases when its holder ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from arhn.errors import ArhnError, OutputNotWritable


@contextmanager
def locked(path: Path, busy: Callable[[], ArhnError]) -> Iterator[None]:
    """Hold the lock file `path`, which is made where it is missing.

    Raises:
        what `busy` makes: another process holds it.
        OutputNotWritable: its folder is missing or can't be written.
    """
    lock = FileLock(path)
    try:
        if not path.parent.is_dir():
            raise OutputNotWritable(f"{path.parent}: no such folder. Create it, or write elsewhere")
        lock.acquire(timeout=0)
    except Timeout:
        if not path.exists():  # a folder such as /proc, where no file can be made
            raise OutputNotWritable(f"{path.parent}: no file can be made there. Write elsewhere") from None
        raise busy() from None
    except OSError as error:
        raise OutputNotWritable(f"{path.parent}: can't be written ({error.strerror}). Write elsewhere") from error
    try:
        yield
    finally:
        lock.release()
