"""Folders for the files of one call, in the user's cache: gone when nobody needs them any more."""

from __future__ import annotations

import os
import shutil
import weakref
from contextlib import ExitStack, suppress
from pathlib import Path

from arhn.errors import ArhnError, OutputLocked, OutputNotWritable
from arhn.files.claims import make_token
from arhn.files.locks import locked
from arhn.weights.cache import cache_root

#: Those that what was handed out reads from.
_UNTIL_EXIT: list[RunFolder] = []


class RunFolder:
    """A folder of this process alone. It is removed when this object is, or the process ends; what a killed process
    left, the next call removes.

    Raises:
        OutputNotWritable: the cache can't be written.
    """

    def __init__(self) -> None:
        root = cache_root() / "python"
        try:
            root.mkdir(parents=True, exist_ok=True)
            _sweep(root)
            self.path = root / make_token()
            stack = ExitStack()
            stack.enter_context(locked(_lock_of(self.path), _busy))
            self.path.mkdir()
        except OSError as error:
            raise OutputNotWritable(
                f"{root}: can't be written ({error.strerror}). Name another cache with ARHN_CACHE, or give output="
            ) from error
        self._end = weakref.finalize(self, _remove, self.path, stack, os.getpid())

    def keep_until_exit(self) -> None:
        """Keep it as long as the process lives."""
        _UNTIL_EXIT.append(self)


def _remove(path: Path, stack: ExitStack, owner: int) -> None:
    if os.getpid() == owner:  # not a copy of the process, such as a data loader's
        shutil.rmtree(path, ignore_errors=True)
        stack.close()


def _sweep(root: Path) -> None:
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            with suppress(ArhnError, OSError), locked(_lock_of(path), _busy):
                shutil.rmtree(path, ignore_errors=True)


def _lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _busy() -> ArhnError:
    return OutputLocked("another process uses this folder")


__all__ = ["RunFolder"]
