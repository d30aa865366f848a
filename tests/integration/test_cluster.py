"""`arhn clean --ray` on a real Ray cluster on this machine: the same bytes, whoever is killed on the way."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from arhn import cli, formats
from tests.conftest import many, put_in, until
from tests.served import Served
from tests.serving import Asked, Reply, Server

ray = pytest.importorskip("ray")
# Starting Ray takes five seconds, on a busy machine a minute.
pytestmark = pytest.mark.timeout(300)

GROUPS, SIZE = 60, 5
#: Seconds that the server takes for an answer.
DELAY = 0.02


class Slow:
    """Counts what it answers."""

    def __init__(self) -> None:
        self.served = Served()

    def __call__(self, asked: Asked) -> Reply:
        return replace(self.served(asked), delay=DELAY if asked.method == "POST" else 0.0)

    @property
    def answered(self) -> int:
        return self.served.answered.total()


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster, which this process is connected to."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(
        address="local",
        num_cpus=8,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        configure_logging=False,
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()


class Whole(NamedTuple):
    """A folder with groups and what one process made of them, and how many answers that took."""

    folder: Path
    answers: int


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    with formats.GroupWriter(folder / "train.jsonl", "tevatron") as writer:
        for group in many(GROUPS):
            writer.write(group)
    served = Served()
    with Server(served) as server:
        assert cli.main(clean(folder, folder / "x.jsonl", server)) == 0
    return Whole(folder, served.answered.total())


def clean(folder: Path, output: Path, server: Server, *flags: str) -> list[str]:
    source = str(folder / "train.jsonl")
    engine = ("--engine", "openai", "--url", server.url, "--calibration", "none")
    return ["clean", source, "-o", str(output), *engine, *flags]


def on_ray(address: str, workers: int = 2) -> list[str]:
    return ["--ray", address, *put_in(f"cluster.workers={workers}", f"cluster.partition={SIZE}")]


def same(one: Path, other: Path) -> bool:
    names = ("x.jsonl", "x.decisions.jsonl")
    return [(one / n).read_bytes() for n in names] == [(other / n).read_bytes() for n in names]


def workers() -> list[int]:
    """The processes of our workers."""
    titles = ((int(p.name), p / "cmdline") for p in Path("/proc").iterdir() if p.name.isdecimal())
    return [pid for pid, title in titles if title.exists() and title.read_bytes().startswith(b"ray::Worker")]


def test_a_worker_is_killed(cluster: str, whole: Whole, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = tmp_path / "x.work"
    killed: list[int] = []

    def kill() -> None:
        until(lambda: len(list(parts.glob("*.part"))) >= 2)
        killed.extend(workers()[:1])
        os.kill(killed[0], signal.SIGKILL)

    killing = threading.Thread(target=kill)
    with Server(Slow()) as server:
        killing.start()
        assert cli.main(clean(whole.folder, tmp_path / "x.jsonl", server, *on_ray(cluster))) == 0
    killing.join()
    assert killed
    assert "another worker takes its place" in caplog.text
    assert same(tmp_path, whole.folder)
    assert len(list(parts.glob("*.part"))) == GROUPS // SIZE
    content, expected = (orjson.loads((f / "x.summary.json").read_bytes()) for f in (tmp_path, whole.folder))
    for what in ("groups", "positives", "negatives", "ranking", "families", "model", "settings"):
        assert content[what] == expected[what]
    assert content["llm"]["extract"]["requests"] == expected["llm"]["extract"]["requests"]
    [counts] = content["serving"]["model"]["servers"].values()
    assert counts["answered"] > 0
    until(lambda: not workers())


def test_the_driver_is_killed_and_started_again(cluster: str, whole: Whole, tmp_path: Path) -> None:
    slow = Slow()
    with Server(slow) as server:
        command = clean(whole.folder, tmp_path / "x.jsonl", server, *on_ray(cluster))
        code = "import sys; from arhn.cli import main; sys.exit(main(sys.argv[1:]))"
        driver = subprocess.Popen([sys.executable, "-c", code, *command], stderr=subprocess.PIPE)
        until(lambda: len(list((tmp_path / "x.work").glob("*.part"))) >= 3)
        driver.kill()
        driver.communicate()
        until(lambda: not workers())
        assert not (tmp_path / "x.jsonl").exists()
        begun = slow.answered
        assert cli.main(command) == 0
    assert same(tmp_path, whole.folder)
    again = slow.answered - whole.answers
    content = orjson.loads((tmp_path / "x.summary.json").read_bytes())
    assert sum(stage["reused"] for stage in content["llm"].values()) > 0
    # Two partitions of each of two workers were in work, and both runs asked their probes.
    assert again < begun
    assert again < whole.answers * 2 * 2 * SIZE / GROUPS + 100


LOCAL = """
import os, time
from arhn.cluster.connect import connect
with connect("local", 1) as ray:
    print(ray.get(ray.remote(lambda: os.environ["ARHN_STARTED"]).remote()), flush=True)
    time.sleep(300)
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")
def test_a_local_cluster_ends_with_a_driver_that_is_killed() -> None:
    def left() -> list[str]:
        """Names of the processes that were started for the cluster."""
        return [name(p) for p in Path("/proc").iterdir() if p.name.isdecimal() and mark in read(p / "environ")]

    def name(process: Path) -> str:
        return read(process / "cmdline").decode(errors="replace")

    def read(file: Path) -> bytes:
        try:
            return file.read_bytes()
        except OSError:  # ended, or another user's
            return b""

    driver = subprocess.Popen([sys.executable, "-c", LOCAL], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    mark = driver.stdout.readline().strip()
    assert mark
    assert any("Agent" in each for each in left())
    driver.kill()
    driver.wait()
    driver.stdout.close()
    until(lambda: not left(), seconds=20)


def test_the_server_is_not_there(cluster: str, whole: Whole, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Server(Served()) as server:
        server.stop()
        started = time.monotonic()
        assert cli.main(clean(whole.folder, tmp_path / "x.jsonl", server, *on_ray(cluster))) == 35
    assert time.monotonic() - started < 200, "a server that goes away in a run is waited for for 300"
    assert server.url.removesuffix("/v1") in capfd.readouterr().err
    assert [p for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == []


def test_flags_that_do_nothing(whole: Whole, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Server(Served()) as server:
        for flags, said in (
            (
                put_in("cluster.workers=2"),
                "cluster (--set cluster.workers=2): workers: does nothing without an address (--ray)",
            ),
            ([*on_ray("local"), "--store", "s"], "store (--store s): on a cluster the answers are kept by partition"),
            (
                [*on_ray("local"), *put_in("budget.calls=3")],
                "budget (--set budget.calls=3): isn't kept to on a cluster",
            ),
        ):
            assert cli.main(clean(whole.folder, tmp_path / "x.jsonl", server, *flags)) == 2
            assert said in capfd.readouterr().err
