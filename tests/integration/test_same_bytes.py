"""Outputs are what they were: `same_bytes.json` is what these runs wrote when it was made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration import same_bytes
from tests.integration.same_bytes import Record

EXPECTED: Record = json.loads(Path(__file__).with_name("same_bytes.json").read_bytes())
#: What has a test of its own, for it needs a library that not everybody has.
APART = {"ray", "calibrate"}
NAMES = sorted(EXPECTED.keys() - APART)
HOW = "see the module same_bytes for how to compare the files themselves"


def made(by: Callable[[Path], Record]) -> Record:
    """A record as it is read from a file."""
    with same_bytes.scratch() as folder:
        found: Record = json.loads(json.dumps(by(Path(folder))))
    return found


def differences(found: Any, expected: Any, where: str = "") -> list[str]:
    """What differs, one line each."""
    if isinstance(found, dict) and isinstance(expected, dict):
        names = sorted({*found, *expected})
        return [line for n in names for line in differences(found.get(n), expected.get(n), f"{where}/{n}")]
    return [] if found == expected else [f"{where}: {found}, not {expected}"]


@pytest.fixture(scope="module")
def found() -> Record:
    return made(same_bytes.record)


def test_the_same_runs_are_recorded(found: Record) -> None:
    assert sorted(found) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes(found: Record, name: str) -> None:
    assert differences(found[name], EXPECTED[name]) == [], HOW


def test_a_cluster_writes_what_one_process_does(found: Record) -> None:
    whole, cluster = ([*found[name]["files"].values()] for name in ("whole", "cluster"))
    assert cluster[:2] == whole[:2], "groups and decisions"
    assert found["cluster"]["partitions"] == EXPECTED["ray"]["partitions"]


# Starting Ray takes five seconds, on a busy machine a minute.
@pytest.mark.timeout(300)
def test_the_same_bytes_on_ray() -> None:
    pytest.importorskip("ray")
    assert differences(made(same_bytes.record_on_ray), {"ray": EXPECTED["ray"]}) == [], HOW


def test_the_same_calibration() -> None:
    pytest.importorskip("sklearn")
    assert differences(made(same_bytes.record_calibrating), {"calibrate": EXPECTED["calibrate"]}) == [], HOW
