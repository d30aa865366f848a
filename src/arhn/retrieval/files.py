"""Reading a piece of an open file, whoever else reads it: other threads, or processes that were forked."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock


def reader(handle: int) -> Callable[[int, int], bytes]:
    """What gives the bytes `start` to before `stop` of an open file; fewer where it ends before."""
    if hasattr(os, "pread"):
        return lambda start, stop: _all(lambda at, count: os.pread(handle, count, at), start, stop)
    lock = Lock()  # Windows has no call that seeks and reads at once

    def read(at: int, count: int) -> bytes:
        with lock:
            os.lseek(handle, at, os.SEEK_SET)
            return os.read(handle, count)

    return lambda start, stop: _all(read, start, stop)


def _all(read: Callable[[int, int], bytes], start: int, stop: int) -> bytes:
    """One read may give less than was asked for."""
    data = read(start, stop - start)
    while start + len(data) < stop and (more := read(start + len(data), stop - start - len(data))):
        data += more
    return data
