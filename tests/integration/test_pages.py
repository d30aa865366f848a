"""Reports and reviews in a real browser: hostile texts, keys alone, a killed review, two reviewers and a dispute."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from arhn import cli
from arhn.agree.reviews import read_review
from tests.conftest import many
from tests.integration.pages import Watched, needs_browser, open_browser, serve_review
from tests.unit.finished import clean, hostile_groups, with_subsets

pytestmark = [needs_browser, pytest.mark.timeout(400)]
LOOKS = [
    {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    for width in (1280, 400)
    for scheme in ("light", "dark")
]


def test_a_report_shows_hostile_texts_and_runs_nothing(tmp_path: Path) -> None:
    output = clean(tmp_path, [*with_subsets(many(40)), *hostile_groups()])
    assert cli.main(["report", output]) == 0
    report = tmp_path / "cleaned.report.html"
    assert report.stat().st_size < 2_000_000
    with open_browser() as browser:
        for look in LOOKS:
            watched = Watched(browser, **look)
            watched.page.goto(report.as_uri())
            watched.require_sound(hosts="file:///")
            if look["viewport"]["width"] == 1280:  # type: ignore[index]
                assert watched.list_findings() == []
            watched.page.close()


def press(page: Any, key: str) -> None:
    """Press a key, and wait until the page has the next passage."""
    before = page.text_content("#count")
    page.keyboard.press(key)
    page.wait_for_function("before => document.querySelector('#count').textContent !== before", arg=before)


def answers(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "cleaned.review.jsonl").read_text("utf-8").split("\n")
    return [event for line in lines if line and "answer" in (event := json.loads(line))]


def test_a_review_by_keys_alone_survives_a_kill(tmp_path: Path) -> None:
    output = clean(tmp_path, [*many(12), *hostile_groups()])
    with open_browser() as browser:
        watched = Watched(browser, **LOOKS[0])
        page = watched.page
        with serve_review(output, "--sample", "20") as (address, process):
            page.goto(address)
            page.keyboard.type("Ann")
            page.keyboard.press("Enter")
            page.wait_for_selector("#card:not([hidden])")
            assert watched.list_findings() == []
            said = page.text_content("#main")
            assert "relabel" not in said, "blind to the decision"
            press(page, "1")
            assert "Yours: answers fully. arhn " in page.text_content("#said")
            page.keyboard.press("n")
            page.keyboard.type("1 note of 3 words")
            page.keyboard.press("Enter")
            press(page, "3")
            press(page, "u")
            press(page, "2")
            page.keyboard.press("h")
            process.kill()
            process.wait()
            before = answers(tmp_path)
            assert [event["answer"] for event in before] == ["fully", "no", "partly"]
            assert before[1]["note"] == "1 note of 3 words"
            page.keyboard.press("1")
            page.wait_for_function("() => document.querySelector('#wrong').textContent.includes('Nothing was lost')")
        watched.complaints.clear()  # of the server that is gone
        with serve_review(output, "--sample", "20") as (address, process):
            page.goto(f"{address}?reviewer=Ann")
            page.wait_for_selector("#card:not([hidden])")
            assert page.text_content("#count").startswith("2 of ")
            while page.is_visible("#card"):
                press(page, "4")
            watched.require_sound(hosts=r"http://127\.0\.0\.1:")
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            assert "became positive" in process.stdout.read()
    assert len(read_review(tmp_path / "cleaned.review.jsonl").finals) == len(answers(tmp_path)) - 1


def test_two_reviewers_and_a_dispute(tmp_path: Path) -> None:
    output = clean(tmp_path, many(4))
    with open_browser() as browser, serve_review(output, "--sample", "6", "--answers", "2") as (address, _):
        for name, keys in (("Ann", "1"), ("Ben", "3")):
            page = Watched(browser, **LOOKS[1]).page
            page.goto(f"{address}?reviewer={name}")
            page.wait_for_selector("#card:not([hidden])")
            while page.is_visible("#card"):
                press(page, keys)
        assert "6 in dispute" in page.text_content("#count") or "in dispute" in page.text_content("#count")
        page.keyboard.press("d")
        page.wait_for_selector("#card:not([hidden])")
        text = page.text_content("#disputed")
        assert "Ann: answers fully" in text
        assert "Ben: doesn't" in text
        press(page, "2")
        assert "Settled: partly" in page.text_content("#said")
        page.click("#results summary")
        page.wait_for_selector("#table table")
        assert "Kappa between people, 2 of them" in page.text_content("#table")
    found = read_review(tmp_path / "cleaned.review.jsonl")
    assert list(found.finals.values()) == ["partly"]
    assert sum(passage.disputed for passage in found.passages.values()) == len(found.passages) - 1
