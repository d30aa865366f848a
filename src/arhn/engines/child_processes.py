"""Processes that a library starts for this one don't outlive it, even where it is killed and can't end them.

They are found by a mark in their environment, which child processes inherit, in `/proc`. Only Linux has that; elsewhere
nothing is done.
"""

from __future__ import annotations

import os
import secrets
import subprocess  # nosec B404 - fixed commands only
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

_NAME = "ARHN_STARTED"
#: Waits for the end of its standard input, which the system closes when the process that holds it ends; then kills
#: those with the mark until none is left.
_WAIT_AND_KILL = """
import os, pathlib, signal, sys, time
sys.stdin.read()
for _ in range(100):
    left = 0
    for environ in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if sys.argv[1].encode() in environ.read_bytes().split(bytes(1)):
                left += 1
                os.kill(int(environ.parent.name), signal.SIGKILL)
        except OSError:
            pass
    if not left:
        break
    time.sleep(0.1)
"""


class Guard:
    """A small process that kills those with `mark` in their environment when this one ends, or at `close`."""

    def __init__(self) -> None:
        # Python's own helper, which serves this process to its end, must not be started with the mark.
        resource_tracker.ensure_running()
        # With the second, titles that processes give themselves aren't written over their environment.
        self.mark = {_NAME: secrets.token_hex(16), "SPT_NOENV": "1"}
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a program of our own  # nosec B603 - a fixed command
            [sys.executable, "-I", "-S", "-c", _WAIT_AND_KILL, f"{_NAME}={self.mark[_NAME]}"],
            stdin=subprocess.PIPE,
            # A Ctrl-C must not reach it.
            start_new_session=True,
            # Without the mark of the process that started this one, whose guard would kill this guard.
            env={name: value for name, value in os.environ.items() if name != _NAME},
        )

    @contextmanager
    def marking(self) -> Iterator[None]:
        """Within the `with`, each process that is started has the mark, also where this process has one itself."""
        before = {name: os.environ.get(name) for name in self.mark}
        os.environ.update(self.mark)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def close(self) -> None:
        """Kill what is left, and wait for its end. May be called again."""
        self._process.communicate()


__all__ = ["Guard"]
