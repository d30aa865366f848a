"""What holds for all tests with invented data."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("thorough", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# What `make check` takes: a test without a number of its own gets a quarter of the invented examples.
settings.register_profile("quick", settings.get_profile("thorough"), max_examples=25)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "thorough"))


def at_most(examples: int) -> settings:
    """So many invented examples, or as many as the profile has if these are fewer."""
    return settings(max_examples=min(examples, settings().max_examples))


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and no cache of the user's: a test that looks for the hub fails at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARHN_CACHE", str(tmp_path / "cache"))
