"""Processes that were started for this one don't outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arhn.engines.child_processes import Guard

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
PARENT = """
import os, subprocess, sys, time
from arhn.engines.child_processes import Guard
guard = Guard()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, **guard.mark})
print(child.pid, flush=True)
time.sleep(60)
"""


def ended(pid: int, seconds: float = 20) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def started(guard: Guard | None) -> subprocess.Popen[bytes]:
    mark = guard.mark if guard else {}
    process = subprocess.Popen(SLEEP, env={**os.environ, **mark}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    return process


def test_closing_kills_what_is_left_and_nothing_else() -> None:
    guard, other = Guard(), Guard()
    mine, others, nobodys = started(guard), started(other), started(None)
    guard.close()
    guard.close()
    assert mine.wait(20) == -signal.SIGKILL
    assert others.poll() is None
    assert nobodys.poll() is None
    other.close()
    assert others.wait(20) == -signal.SIGKILL
    nobodys.kill()
    nobodys.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_they_die_with_a_parent_that_is_killed(number: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.stdout.close()
    os.kill(parent.pid, number)
    parent.wait()
    assert ended(child)


NESTED = """
import subprocess, sys, time
from arhn.engines.child_processes import Guard
guard = Guard()
with guard.marking():
    if len(sys.argv) > 1:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
    else:
        subprocess.Popen([sys.executable, __file__, "inside"])
time.sleep(60)
"""


def test_what_a_guarded_process_guards_dies_with_it(tmp_path: Path) -> None:
    """As vLLM in a worker of a local Ray cluster: the inner guard must outlive what it belongs to."""
    program = tmp_path / "nested.py"
    program.write_text(NESTED)
    parent = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.stdout.close()
    parent.kill()
    parent.wait()
    assert ended(child)


def test_a_mark_is_set_only_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARHN_STARTED", "another's")
    monkeypatch.delenv("SPT_NOENV", raising=False)
    guard = Guard()
    with guard.marking():
        assert guard.mark.items() <= os.environ.items()
    assert (os.environ["ARHN_STARTED"], "SPT_NOENV" in os.environ) == ("another's", False)
    guard.close()
