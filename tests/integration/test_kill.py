"""kill -9 at random moments: the same bytes in the end, and no answer asked for twice."""

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from arhn import formats
from arhn.cleaning.models import Models
from arhn.cleaning.run import Files, Job, run
from arhn.engines.fake import FakeEngine
from tests.conftest import answer_by_marks, many

ROOT = Path(__file__).parents[2]
KILLS = 10

RUN = """
import os, signal, sys, threading
from arhn.engines.fake import FakeEngine
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.models import Models
from tests.conftest import answer_by_marks

log = os.open("answered.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
answers, kill_after, delay = 0, int(sys.argv[1]), float(sys.argv[2])

def script(request):
    global answers
    answers += 1
    if answers == kill_after:
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    answer = answer_by_marks(request)
    os.write(log, request.key("fake").hex().encode() + b"\\n")
    return answer

job = Job(input="train.jsonl", files=Files.beside("cleaned.jsonl"))
run(job, lambda _: Models(engine=FakeEngine(script, delay=0.002)))
"""


def runs(folder: Path, kill_after: int, delay: float) -> int:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-c", RUN, str(kill_after), str(delay)]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True)
    assert done.returncode in (0, -9), done.stderr.decode()
    return done.returncode


PUBLISH = """
import os, sys
from arhn.engines.fake import FakeEngine
from arhn.files.atomic import AtomicFile
from arhn.cleaning.run import Files, Job, run
from arhn.cleaning.models import Models
from tests.conftest import answer_by_marks

rename = AtomicFile._publish

def killed_before(file):
    if file.path.name == sys.argv[1]:
        os._exit(9)
    rename(file)

AtomicFile._publish = killed_before
job = Job(input="train.jsonl", files=Files.beside("cleaned.jsonl"))
run(job, lambda _: Models(engine=FakeEngine(answer_by_marks)))
"""


@pytest.mark.parametrize("name", ["cleaned.decisions.jsonl", "cleaned.summary.json", "cleaned.jsonl"])
def test_a_kill_between_the_renames(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with formats.GroupWriter(tmp_path / "train.jsonl", "tevatron") as writer:
        for group in many(12):
            writer.write(group)
    whole = Job(input=str(tmp_path / "train.jsonl"), files=Files.beside(str(tmp_path / "whole.jsonl")))
    run(whole, lambda _: Models(engine=FakeEngine(answer_by_marks)))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    command = [sys.executable, "-c", PUBLISH, name]
    assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == 9
    assert not (tmp_path / "cleaned.jsonl").exists()
    engine = FakeEngine(answer_by_marks)
    again = Job(input=str(tmp_path / "train.jsonl"), files=Files.beside("cleaned.jsonl"))
    monkeypatch.chdir(tmp_path)
    run(again, lambda _: Models(engine=engine))
    assert engine.asked == []
    for part in ("", ".decisions"):
        assert (tmp_path / f"cleaned{part}.jsonl").read_bytes() == (tmp_path / f"whole{part}.jsonl").read_bytes()


def stored(folder: Path) -> set[str]:
    with sqlite3.connect(folder / "cleaned.responses.sqlite") as db:
        return {key.hex() for (key,) in db.execute("SELECT key FROM answers")}


def test_ten_kills(tmp_path: Path) -> None:
    with formats.GroupWriter(tmp_path / "train.jsonl", "tevatron") as writer:
        for group in many(400):
            writer.write(group)
    whole = Job(input=str(tmp_path / "train.jsonl"), files=Files.beside(str(tmp_path / "whole.jsonl")))
    run(whole, lambda _: Models(engine=FakeEngine(answer_by_marks)))
    rng = random.Random()
    log = tmp_path / "answered.log"
    known: set[str] = set()
    answered = 0
    for _ in range(KILLS):
        assert runs(tmp_path, rng.randint(1, 300), rng.uniform(0, 0.02)) == -9
        assert not (tmp_path / "cleaned.jsonl").exists()
        new = log.read_text().split()[answered:] if log.exists() else []
        answered += len(new)
        # What was stored when the process died is never asked for again,
        assert not known & set(new)
        # and at most one answer, the one being handed over at that instant, wasn't stored yet.
        assert len(set(new) - stored(tmp_path)) <= 1
        known = stored(tmp_path)
    assert runs(tmp_path, 0, 0) == 0
    for name in ("", ".decisions"):
        assert (tmp_path / f"cleaned{name}.jsonl").read_bytes() == (tmp_path / f"whole{name}.jsonl").read_bytes()
