"""`runs/paper.sh`: its commands are ones that the command line takes, and its numbers come from its data file."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.unit.cli.parsing import parsed
from tests.unit.cli.parsing import settings as settings_of

RUNS = Path(__file__).parents[3] / "runs"
PAPER = tomllib.loads((RUNS / "paper.toml").read_text("utf-8"))

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")


def paper(tmp_path: Path, *flags: str, path: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"],
        "PYTHON": sys.executable,
        "WORK": str(tmp_path / "work"),
        "COLUMNS": "120",
        **settings,
    }
    command = ["bash", str(RUNS / "paper.sh"), *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def dry_run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dry_run", RUNS / "dry_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["dry_run"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"SIZE": "100K", "LLM": "Qwen/Qwen3-8B", "URL": "http://host:9000/v1", "METHOD": "arhn"},
        {"SIZE": "250K", "GPUS": "8", "TENSOR": "2", "BEIR": "/data/beir with a space", "GPU_PRICE": "2.5"},
    ],
)
def test_every_command_is_one_that_arhn_takes(tmp_path: Path, settings: dict[str, str]) -> None:
    shown = paper(tmp_path, "--dry-run", **settings)
    assert shown.returncode == 0, shown.stderr
    commands = [shlex.split(line.split("$ ", 1)[1]) for line in shown.stdout.splitlines() if line.startswith("   $ ")]
    ours = [command[command.index("arhn") + 1 :] for command in commands if "arhn" in command]
    assert [arguments[0] for arguments in ours] == [
        *["convert"] * 2,
        *["clean"] * 3,
        *["train"] * 5,
        *["evaluate"] * 5,
        "compare",
    ]
    for arguments in ours:
        parsed(arguments)
    assert "GPU hours" in shown.stdout
    assert ("money for GPUs" in shown.stdout) == ("GPU_PRICE" in settings)
    assert not (tmp_path / "work").exists()


def test_cleaning_flags_are_sound_together(tmp_path: Path) -> None:
    for method, alone in (("paper", False), ("arhn", True)):
        lines = paper(tmp_path, "--dry-run", METHOD=method).stdout.splitlines()
        cleaning = next(line for line in lines if "arhn clean" in line)
        config = settings_of(shlex.split(cleaning)[2:])
        assert config.show_answer is alone
        assert config.fullness is alone


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"SIZE": "1M"}, "expected 100K"), ({"METHOD": "x"}, "expected paper"), ({"LLM": "x/y"}, "doesn't know the LLM")],
)
def test_settings_that_do_not_fit(tmp_path: Path, settings: dict[str, str], said: str) -> None:
    shown = paper(tmp_path, "--dry-run", **settings)
    assert shown.returncode != 0
    assert said in shown.stderr


def test_another_flag(tmp_path: Path) -> None:
    assert paper(tmp_path, "--dryrun").returncode == 2


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    stub = tmp_path / "bin" / "arhn"
    stub.parent.mkdir()
    # Notes what it is asked, makes what it would make, and stops once in the middle.
    stub.write_text(
        '#!/usr/bin/env bash\necho "$@" >>"$LOG"\n'
        'if [ "$1" = train ] && [ ! -e "$LOG.stopped" ]; then touch "$LOG.stopped"; exit 1; fi\n'
        'while [ $# -gt 0 ]; do if [ "$1" = -o ]; then out=$2; fi; task=${task:-$1}; shift; done\n'
        'case "$task" in convert | clean) touch "$out" ;; train) mkdir -p "$out"; touch "$out/arhn.train.json" ;;\n'
        "esac\n",
        "utf-8",
    )
    stub.chmod(0o755)
    log = tmp_path / "log"
    run: dict[str, str] = {"path": str(stub.parent), "LOG": str(log), "URL": "http://host/v1", "SIZE": "100K"}
    assert paper(tmp_path, **run).returncode == 1
    assert [line.split()[0] for line in log.read_text("utf-8").splitlines()] == [
        *["convert"] * 2,
        *["clean"] * 3,
        "train",
    ]
    log.unlink()
    assert paper(tmp_path, **run).returncode == 0
    tasks = [line.split()[0] for line in log.read_text("utf-8").splitlines()]
    assert tasks == [*["train"] * 5, *["evaluate"] * 5, "compare"]
    again = paper(tmp_path, "--dry-run", **run)
    assert again.stdout.count("(done)") == 10


def test_every_constant_says_where_it_is_from(dry_run: ModuleType) -> None:
    found = dict(dry_run.entries(PAPER))
    assert len(found) > 40
    for path, entry in found.items():
        assert entry["source"] in dry_run.SOURCES, path
        assert len(entry["where"]) > 4, path
        assert set(entry) <= {"value", "low", "high", "source", "where"}, path
        if "low" in entry:
            assert entry["low"] <= entry["value"] <= entry["high"], path


def test_numbers_follow_the_data_file(dry_run: ModuleType) -> None:
    plan = dry_run.Plan(size="680K", llm="Qwen/Qwen3-32B", method="paper", gpus=8, sets=16)
    constants = dry_run.Constants(PAPER)
    cost = dry_run.asking(constants, plan)
    groups, positives, negatives = 648_766, 1.5, 15
    share = PAPER["answers"]["answering"]["value"]
    ranked = 1 - (1 - share) ** negatives
    assert cost.calls == pytest.approx(groups * (positives + negatives + positives + share * negatives + ranked))
    takes = dry_run.clean(constants, plan)
    rate = 989e12 * 0.4 / (2 * 32.8e9)
    assert takes.gpu_hours == pytest.approx((cost.computed / rate + cost.completion / 1000) / 3600)
    assert takes.hours == pytest.approx(takes.gpu_hours / 8)


def test_totals_leave_out_what_is_done(dry_run: ModuleType) -> None:
    plan = dry_run.Plan(size="100K", llm="Qwen/Qwen3-4B", method="arhn", gpus=1, sets=12)
    constants = dry_run.Constants(PAPER)

    def total(*done: bool) -> Any:
        found = dry_run.steps(
            f"{k}\t{'done' if d else 'todo'}\tarhn\n" for k, d in zip(("clean", "train"), done, strict=True)
        )
        return dry_run.total(found, constants, plan)

    everything, rest = total(False, False), total(True, False)
    assert rest.calls == 0 < everything.calls
    assert everything.gpu_hours - rest.gpu_hours == pytest.approx(dry_run.clean(constants, plan).gpu_hours)
    low, high = (dry_run.clean(constants.at(bound), plan) for bound in ("low", "high"))
    assert low.calls < dry_run.clean(constants, plan).calls < high.calls
