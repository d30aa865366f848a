"""`arhn report`: what is in the page, hostile texts, several runs, gold labels, bad input."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from arhn import cli
from arhn.cleaning.run.finished import open_run
from arhn.report.gathering import gather
from tests.conftest import many
from tests.unit.finished import CONFIG_F, HOSTILE, clean, hostile_groups, with_subsets


class Page(HTMLParser):
    """Tags, ids, links and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            self.ids += [value] if name == "id" else []
            self.links += [value] if name in ("href", "src", "xlink:href") else []

    def handle_data(self, data: str) -> None:
        self.words += data


def report(*argv: str) -> Page:
    assert cli.main(["report", *argv, "--overwrite"]) == 0
    to = argv[argv.index("-o") + 1] if "-o" in argv else argv[0].replace(".jsonl", ".report.html")
    return Page(Path(to).read_text("utf-8"))


def require_self_contained(page: Page) -> None:
    assert not page.tags & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert not {name for name in page.attributes if name.startswith("on") or name == "style"}
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_everything_is_in_the_page(tmp_path: Path) -> None:
    output = clean(tmp_path, with_subsets(many(40)))
    page = report(output)
    require_self_contained(page)
    for words in ("What changed", "By subset and family", "odd", "even", "How sure", "Where changed passages ranked",
                  "Doubtful positives", "ranked_above", "ranked_below", "What it cost", "extract", "settings.mode",
                  "Answers more directly", "Of 280 negatives"):  # fmt: skip
        assert words in page.words, words


def test_counts_are_of_the_whole_run(tmp_path: Path) -> None:
    run = open_run(clean(tmp_path, with_subsets(many(30))), "report")
    found = gather(run)
    assert sum(n for (label, _, _), n in found.flow.items() if label == "negative") == 210
    for what, n in run.summary["negatives"]["reason"].items():
        assert sum(m for (label, _, r), m in found.flow.items() if (label, r) == ("negative", what)) == n
    assert {name: share.groups for name, share in found.subsets.items()} == {"even": 15, "odd": 15}
    reasons = [reason for reason, _, _ in found.list_examples()]
    assert set(reasons) == set(run.summary["negatives"]["reason"])


def test_hostile_texts_are_text(tmp_path: Path) -> None:
    output = clean(tmp_path, hostile_groups())
    to = tmp_path / "page.html"
    page = report(output, "-o", str(to), "--title", HOSTILE)
    require_self_contained(page)
    text = to.read_text("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\u2066-\u2069]", text)
    assert "{{ 7 * 7 }}" in page.words
    assert "<script>window.hacked" in page.words
    assert len(text) < 1_000_000
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]


def test_runs_side_by_side_with_gold_labels(tmp_path: Path) -> None:
    first, second = clean(tmp_path, many(10)), clean(tmp_path, many(10), "other.jsonl", config=CONFIG_F)
    gold = tmp_path / "gold.jsonl"
    gold.write_text('{"query_id": "q1", "labels": {"q1-n0": "false_negative", "q1-n1": "true_negative"}}\n')
    page = report(first, second, "--gold", str(gold))
    require_self_contained(page)
    for words in ("Side by side", "reason: ranked_above", "Against gold labels"):
        assert words in page.words, words


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    output = clean(tmp_path, many(10))
    pages = []
    for name in ("a.html", "b.html"):
        report(output, "-o", str(tmp_path / name))
        pages.append((tmp_path / name).read_bytes())
    assert pages[0] == pages[1]


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = clean(tmp_path, many(3))
    assert cli.main(["report", str(tmp_path / "none.jsonl")]) == 11
    assert "'arhn report' takes the output of 'arhn clean'" in capsys.readouterr().err
    assert cli.main(["report", output, "-o", output, "--overwrite"]) == 2
    assert cli.main(["report", output]) == 0
    assert cli.main(["report", output]) == 21
    (tmp_path / "train-cleaned.jsonl").write_bytes(b"")
    assert cli.main(["report", output, "--overwrite"]) in (10, 12)
    assert (tmp_path / "cleaned.report.html").exists(), "nothing lost"
