"""What holds for all tests with invented data."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and no cache of the user's: a test that looks for the hub fails at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARHN_CACHE", str(tmp_path / "cache"))
