"""docs/contributing.md: the ten everyday changes, each with its files, held against the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CHANGES = (
    "A data set format",
    "A ranker",
    "A prompt",
    "A family of queries",
    "A flag of `arhn clean`",
    "A field of the summary",
    "An LLM backend",
    "The default floor policy",
    "A metric",
    "How confidence is centred",
)


def changes() -> dict[str, list[str]]:
    """The paths that the page names, by change."""
    page = (ROOT / "docs" / "contributing.md").read_text("utf-8")
    parts = re.split(r"^### \d+\. (.+)$", page, flags=re.MULTILINE)[1:]
    texts = (re.split(r"^#", text, maxsplit=1, flags=re.MULTILINE)[0] for text in parts[1::2])
    return {name: re.findall(r"`([\w<>./-]+/[\w<>.-]+)`", text) for name, text in zip(parts[::2], texts, strict=True)}


def matches(path: str) -> list[Path]:
    """Files at `path`; where it has a name in angle brackets, those of which it is an example."""
    return sorted(ROOT.glob(re.sub(r"<\w+>", "[a-z]*", path)))


def test_the_ten_are_there() -> None:
    assert tuple(changes()) == CHANGES


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_touches_two_files_of_the_source_at_most(change: str) -> None:
    source = [path for path in changes()[change] if path.startswith("src/")]
    assert 1 <= len(source) <= 2
    assert len(set(source)) == len(source)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_names_its_tests(change: str) -> None:
    assert any(path.startswith("tests/") for path in changes()[change])


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_change_names_exists_or_has_an_example(change: str) -> None:
    missing = [path for path in changes()[change] if not matches(path)]
    assert not missing, f"{change}: {missing}"
