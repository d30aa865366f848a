"""The right to write some outputs: their locks, and which files may be replaced.

Two processes that write one output would publish a mixture, or replace each other's. So whoever writes outputs claims
them first. A process that was stopped between the renames of several outputs leaves a journal beside the first of them:
what it had put in its place is no file of the user's, and the next process may replace it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import partial
from hashlib import blake2b
from pathlib import Path

from arhn.errors import OutputLocked, OutputNotWritable
from arhn.files.locks import locked

#: What a file was when it was made: device, inode, size and the time of its last change in nanoseconds.
Mark = tuple[int, int, int, int]

_LONGEST = 200  # bytes of a name that may get a prefix and a suffix; file systems allow 255
_TOKEN = 8
#: The endings of names that arhn gives files of its own beside an output.
_ENDINGS = (".partial", ".lock", ".publishing", ".old")
#: What SQLite puts beside a database.
_OF_SQLITE = ("-wal", "-shm", "-journal")


class Claim:
    """The right to write some outputs; nobody else has it until `close`.

    Args:
        paths: the outputs; beside the first the journal lies.
        overwrite: whether files that are there may be replaced.

    Raises:
        OutputLocked: another process is writing one of them.
        OutputNotWritable: a folder is missing or can't be written.
    """

    def __init__(self, *paths: str | os.PathLike[str], overwrite: bool = False) -> None:
        self._overwrite = overwrite
        shown = {real_place(path): os.fspath(path) for path in reversed(paths)}
        self._places = frozenset(shown)
        self.journal = name_working_file(real_place(paths[0]), "publishing")
        with ExitStack() as stack:
            for place in sorted(shown):
                stack.enter_context(locked(name_working_file(place, "lock"), partial(_make_error, shown[place])))
            # Under the locks: a process that is publishing has a journal, too.
            self._published = _read_journal(self.journal)
            for place in shown:
                _remove_left_over(place)
            self._locks = stack.pop_all()

    def covers(self, place: Path) -> bool:
        """Whether it is for this output."""
        return place in self._places or place == self.journal

    def may_replace(self, place: Path) -> bool:
        """Whether the file that is there now may be replaced."""
        if self._overwrite or place == self.journal:
            return True
        published = self._published.get(str(place))
        return published is not None and published == read_mark(place)

    def close(self) -> None:
        """Give it up."""
        self._locks.close()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def real_place(path: str | os.PathLike[str]) -> Path:
    """Where an output goes in the end; links are followed."""
    return Path(os.path.realpath(path))


def name_working_file(place: Path, ending: str, token: str = "") -> Path:  # nosec B107 - no password
    """A file of arhn's own beside an output; with a token, of one process only."""
    name = _stem(place)
    return place.with_name(f".{name}.{token}.{ending}" if token else f".{name}.{ending}")


def make_token() -> str:
    """What tells the files of one process from those of another."""
    return secrets.token_hex(_TOKEN // 2)


def is_working_file(path: Path, place: Path) -> bool:
    """Whether `path` has the name of a file that arhn makes beside the output `place`."""
    if path.parent != place.parent:
        return False
    start = f".{_stem(place)}."
    ours = path.name.startswith(start) and path.name.endswith(_ENDINGS)
    return ours or path.name in {place.name + ending for ending in _OF_SQLITE}


def read_mark(place: Path) -> Mark | None:
    """What tells the file that is there from any other; None where there is none."""
    try:
        found = place.stat()
    except OSError:
        return None
    size = 0 if stat.S_ISDIR(found.st_mode) else found.st_size
    return found.st_dev, found.st_ino, size, found.st_mtime_ns


def _stem(place: Path) -> str:
    name = os.fsencode(place.name)
    return place.name if len(name) <= _LONGEST else blake2b(name, digest_size=16).hexdigest()


def _make_error(shown: str) -> OutputLocked:
    return OutputLocked(f"{shown}: another arhn process is writing it. Wait for it to end, or write elsewhere")


def _read_journal(path: Path) -> Mapping[str, Mark]:
    """What a process that was stopped while it published had published by then, or was about to.

    Raises:
        OutputNotWritable: there is a file of that name that isn't a journal.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list):  # of an arhn that noted names only: nothing is known of their content
        return {}
    if not isinstance(found, dict) or not all(isinstance(mark, list) for mark in found.values()):
        raise OutputNotWritable(f"{path}: isn't arhn's, and stands where its journal belongs. Move it away")
    return {place: tuple(mark) for place, mark in found.items()}


def _remove_left_over(place: Path) -> None:
    """What a process that was killed left of this output; a folder that it was replacing comes back."""
    with suppress(OSError):
        for entry in os.scandir(place.parent):
            ending = _find_ending(entry.name, place)
            if ending is None or entry.is_symlink() or entry.stat().st_uid != _user():
                continue
            path = place.with_name(entry.name)
            if ending == "old" and not place.exists():
                path.rename(place)
            elif entry.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif ending == "partial":
                path.unlink()


def _find_ending(name: str, place: Path) -> str | None:
    """The ending of a name that a process gave a file of its own; None for any other name."""
    start, dot, ending = name.rpartition(".")
    prefix = f".{_stem(place)}."
    token = start.removeprefix(prefix)
    mine = dot and start.startswith(prefix) and len(token) == _TOKEN and not {*token} - {*"0123456789abcdef"}
    return ending if mine and ending in ("partial", "old") else None


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0
