"""README and docs: what they say about the tree is so, and the site builds."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from arhn import __version__
from arhn.cli import main
from arhn.cli.app import COMMANDS
from arhn.errors import ArhnError

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
READMES = [ROOT / "README.md", *sorted((ROOT / "demo").rglob("README.md"))]
PAGES = sorted(path for path in DOCS.rglob("*.md") if "log" not in path.relative_to(DOCS).parts)


def errors(kind: type[ArhnError] = ArhnError) -> set[tuple[int, str]]:
    """Exit code and name of every error of arhn, from `kind` down."""
    below = [each for each in kind.__subclasses__() if each.__module__ == kind.__module__]
    return {(kind.exit_code, kind.__name__)}.union(*map(errors, below))


def test_every_error_is_in_the_table_of_exit_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", (DOCS / "exit-codes.md").read_text("utf-8"), re.MULTILINE)
    listed = {(int(code), name) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert listed == errors()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", READMES, ids=lambda p: p.parent.name)
def test_links_of_a_readme_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" not in link:
            target, _, anchor = link.partition("#")
            there = (page.parent / target) if target else page
            assert there.exists(), link
            assert not anchor or anchor in anchors(there), link


def anchors(page: Path) -> set[str]:
    """What headings of a page are called in links."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda p: p.stem)
def test_python_examples_import_what_is_there(page: Path) -> None:
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module:
                module = import_module(node.module)
                assert [name.name for name in node.names if not hasattr(module, name.name)] == [], node.module


def commands() -> Iterator[tuple[Path, str]]:
    """Every `arhn` command of the pages: lines of blocks of code, and code between words."""
    for page in READMES + PAGES:
        text = page.read_text("utf-8")
        blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
        lines = [line for block in blocks for line in block.splitlines()]
        for line in lines + re.findall(r"`(arhn [^`]+)`", text):
            if command := re.match(r"\s*arhn .*?(?=\s+#|$)", line):
                yield page, command[0].strip()


@cache
def options_of(command: str) -> str:
    """The help of a command."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        assert main([*command.split(), "--help"]) == 0, command
    return shown.getvalue()


def test_help_names_no_file_that_a_wheel_lacks() -> None:
    assert not [name for name in COMMANDS if re.search(r"\bdocs/|\bdemo/|\bruns/", options_of(name))]


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_commands_have_the_options_that_pages_give_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # so that no option is broken
    unknown = [
        f"{page.name}: {command}"
        for page, command in commands()
        for option in re.findall(r"(?<!\S)(--?[a-z][\w-]*)", command)
        if not re.search(rf"{option}(?![\w-])", options_of(subcommand(command)))
    ]
    assert not unknown


def subcommand(command: str) -> str:
    """The words after `arhn` that name what is called."""
    words = command.split()
    return " ".join(words[1:3] if words[1] == "config" else words[1:2])


def test_config_files_of_the_pages_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = [
        {"query": "q", "passage": "an answer", "answer": "answer"},
        {"query": "q", "passage": "x", "answer": None},
    ]
    Path("mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in examples), "utf-8")
    file = tmp_path / "run.toml"
    for page in PAGES:
        for block in re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            file.write_text(block, "utf-8")
            assert main(["config", "show", "--config", str(file)]) == 0, f"{page.name}: {capsys.readouterr().err}"


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs the extra 'docs'")
def test_the_site_builds_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text("utf-8")
        fetched = re.findall(r'<(?:script|img|iframe|source)[^>]+src="?([^"\s>]+)', text)
        fetched += re.findall(r'<link[^>]+rel="?(?:stylesheet|icon|preload|preconnect)"?[^>]*href="?([^"\s>]+)', text)
        fetched += re.findall(r'<link[^>]+href="?([^"\s>]+)[^>]*rel="?(?:stylesheet|icon|preload|preconnect)', text)
        assert not [address for address in fetched if "//" in address], page
