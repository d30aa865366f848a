"""The cache of models as processes share it, and as its disk bounds it."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from arhn.errors import DiskFull, OutputNotWritable

logger = logging.getLogger(__name__)


@contextmanager
def take_turns(lock: Path, doing: str) -> Iterator[None]:
    """Hold the lock file, and wait where another process does.

    Args:
        doing: what the other process is at, for the log, such as "fetching x.gguf".
    """
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        logger.info("Another process is %s; waiting for it", doing)
        held.acquire()
    try:
        yield
    finally:
        held.release()


@contextmanager
def explain_errors(folder: Path, purpose: str, needed: Callable[[], int]) -> Iterator[None]:
    """Turn the system's errors about `folder` into arhn's own.

    Args:
        purpose: what space is for, such as "for the model".
        needed: how many bytes are still wanting when the disk is full.

    Raises:
        DiskFull, OutputNotWritable: see errors.py.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise _disk_full(folder, purpose, needed()) from error
        raise OutputNotWritable(
            f"{folder}: the model cache can't be used: {error.strerror or error}. "
            "Set ARHN_CACHE to a folder that can be written."
        ) from error


def require_space(folder: Path, purpose: str, needed: int) -> None:
    """Raises DiskFull where fewer bytes than `needed` are free."""
    if needed > shutil.disk_usage(folder).free:
        raise _disk_full(folder, purpose, needed)


def _disk_full(folder: Path, purpose: str, needed: int) -> DiskFull:
    free = shutil.disk_usage(folder).free
    return DiskFull(
        f"{folder}: not enough space {purpose}: {describe_size(needed)} more are needed, {describe_size(free)} are "
        "free. Make room, or set ARHN_CACHE to a folder on another disk. What has arrived is kept."
    )


def describe_size(size: int) -> str:
    """A number of bytes, for people."""
    return f"{size / 1e6:,.0f} MB" if size >= 1_000_000 else f"{size:,} bytes"


__all__ = ["describe_size", "explain_errors", "require_space", "take_turns"]
