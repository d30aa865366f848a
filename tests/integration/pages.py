"""A headless Chromium for the tests of pages, and a review served by a process of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SRC = Path(__file__).parents[2] / "src"
needs_browser = pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None, reason="needs Chromium and the package playwright"
)


@contextmanager
def open_browser() -> Iterator[Any]:
    """A browser of Playwright."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page whose complaints and requests are written down."""

    def __init__(self, browser: Any, **look: Any) -> None:
        self.page = browser.new_page(**look)
        self.page.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def require_sound(self, *, hosts: str) -> None:
        """No complaint, nothing from elsewhere, no script of others, nothing wider than the window."""
        assert not self.complaints
        assert not [address for address in self.requests if not re.match(hosts, address)]
        assert self.page.evaluate("window.hacked === undefined")
        assert self.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    def list_findings(self) -> list[str]:
        """What axe-core finds serious or critical."""
        import axe_playwright_python

        script = Path(str(axe_playwright_python.__file__)).with_name("axe.min.js").read_text("utf-8")
        self.page.evaluate(script)
        found = self.page.evaluate("axe.run()")["violations"]
        return [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")]


@contextmanager
def serve_review(output: str, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`arhn review` in a process of its own: the page's address, and the process."""
    command = [sys.executable, "-m", "arhn", "review", output, "--no-browser", *options]
    environment = {**os.environ, "PYTHONPATH": str(SRC), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address, "no address"
            yield address[0], process
        finally:
            process.kill()
