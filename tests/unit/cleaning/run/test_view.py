"""What is shown while a run goes on."""

import logging
import time
from io import StringIO

import pytest
from rich.console import Console

from arhn.cleaning.run import time_left as remaining
from arhn.cleaning.run import view as display
from arhn.cleaning.run.tally import Progress


def shown_within(seconds: float, text: str, find: object) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if text in find():  # type: ignore[operator]
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "LOG_EVERY", 0.02)
    monkeypatch.setattr(display, "SHOW_EVERY", 0.02)
    monkeypatch.setattr(remaining, "FIRST", 0.0)


@pytest.mark.usefixtures("quickly")
def test_answers_are_logged_before_the_first_group_is_done(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress()
    with (
        caplog.at_level(logging.INFO, "arhn.cleaning.run.view"),
        display.show_progress(Console(file=StringIO()), progress, 9),
    ):
        progress.stats.of("extract").asked = 7
        assert shown_within(60, "0/9 groups, 7 calls", lambda: caplog.text)
        time.sleep(0.2)
    assert len(caplog.records) == 1, "nothing has happened since"


@pytest.mark.usefixtures("quickly")
def test_the_time_left_is_told_before_the_first_group_is_written(caplog: pytest.LogCaptureFixture) -> None:
    progress, out = Progress(), StringIO()
    bar = display.show_progress(Console(file=out, force_terminal=True, width=120), progress, 9)
    with (
        caplog.at_level(logging.INFO, "arhn.cleaning.run.view"),
        display.show_progress(Console(file=StringIO()), progress, 9),
        bar,
    ):
        extract = progress.stats.of("extract")
        progress.stats.begun, progress.stats.expected = 2, 10
        extract.requests = extract.asked = 1
        assert shown_within(60, "1 call", out.getvalue)
        assert "left" not in out.getvalue(), "models are being opened"
        progress.started = True
        time.sleep(0.1)
        extract.requests = extract.asked = 20
        assert shown_within(60, "0:0", lambda: caplog.text)
        assert shown_within(60, "0:0", out.getvalue)
    assert "0/9" in out.getvalue()


@pytest.mark.usefixtures("quickly")
def test_a_bar_shows_answers_before_the_first_group_is_done() -> None:
    progress, out = Progress(), StringIO()
    with display.show_progress(Console(file=out, force_terminal=True, width=120), progress, 9):
        progress.stats.of("extract").asked = 7
        assert shown_within(60, "7 calls", out.getvalue)
