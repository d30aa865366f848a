"""`arhn card` and `arhn push`: the header, what is said, hostile names, what is uploaded and what isn't."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from arhn import cli
from arhn.card.job import Card, read_card
from arhn.card.pushing import list_uploads
from arhn.review.job import Review, open_session
from tests.conftest import many
from tests.unit.finished import HOSTILE, clean


@pytest.fixture
def output(tmp_path: Path) -> str:
    return clean(tmp_path, many(6))


def header(card: str) -> dict[str, Any]:
    """The header: each line is a name and a JSON value, which YAML reads as well."""
    assert card.startswith("---\n")
    pairs = (line.partition(": ") for line in card.split("---\n")[1].splitlines())
    return {name: json.loads(value) if value[0] in '"[' else value for name, _, value in pairs}


def test_a_card_says_what_was_done(output: str) -> None:
    card = read_card(Card(output=output, title="Mine", license="cc-by-4.0", languages=("en",)))
    found = header(card)
    assert (found["pretty_name"], found["license"], found["language"]) == ("Mine", "cc-by-4.0", ["en"])
    assert found["size_categories"] == ["n<1K"]
    assert found["configs"][0]["data_files"] == [{"split": "train", "path": "data/cleaned.jsonl"}]
    for words in ("6 groups of a query", "became positives", "ranked\\_above", "not calibrated", "Nobody has checked",
                  "No person has checked a sample", "| mode |"):  # fmt: skip
        assert words in card, words
    assert "not stated" in read_card(Card(output=output))


def test_a_card_shows_the_review(output: str) -> None:
    with open_session(Review(output=output, sample=8)) as session:
        while (number := session.find_next("Ann")) is not None:
            session.answer("Ann", number, "fully", "a private note", hinted=False)
    card = read_card(Card(output=output))
    assert "1 person judged a sample" in card
    assert "precision\\: became positive" in card
    assert "private note" not in card
    assert "Ann" not in card


def test_hostile_names_are_text(output: str) -> None:
    card = read_card(Card(output=output, title=f'{HOSTILE}"\n---\nevil: yes', license=HOSTILE))
    assert header(card)["pretty_name"].startswith("<script>")
    assert "evil" not in header(card)
    body = card.split("---\n", 2)[2]
    assert "<script" not in body
    assert "](javascript" not in body


def test_nothing_of_this_machine_is_uploaded(output: str, tmp_path: Path) -> None:
    uploads = {u.place: u.content for u in list_uploads(output, "card")}
    assert set(uploads) == {"data/cleaned.jsonl", "arhn/cleaned.decisions.jsonl", "arhn/summary.json", "README.md"}
    summary = uploads["arhn/summary.json"]
    assert isinstance(summary, bytes)
    assert str(tmp_path).encode() not in summary
    assert json.loads(summary)["files"]["input"] == "train-cleaned.jsonl"
    assert not {"config", "serving"} & json.loads(summary).keys()


def test_a_dry_run_shows_all_of_it(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["push", output, "me/mine", "--dry-run"]) == 0
    text = capsys.readouterr().out
    for words in ("data/cleaned.jsonl: ", "README.md:", "pretty_name", "Nothing was uploaded", "me/mine, private"):
        assert words in text, words


@pytest.mark.parametrize("name", ["mine", "a/b/c", "../x", "me/", "-/x"])
def test_a_name_that_is_none(output: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["push", output, "--dry-run", "--", name]) == 2
    assert "expected the name of a data set" in capsys.readouterr().err


class Refused(Exception):
    """What a hub answers."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status} Client Error\nmore")
        self.response = SimpleNamespace(status_code=status)


class LocalTokenNotFoundError(Exception):
    """As huggingface_hub calls it."""


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (LocalTokenNotFoundError("no token"), 101, "Run: hf auth login"),
        (Refused(401), 101, "Run: hf auth login"),
        (Refused(403), 101, "may not write there (403 Client Error)"),
        (Refused(500), 100, "the hub didn't take it"),
        (ConnectionError("no route"), 100, "no route"),
        (None, 0, "https://hub/commit"),
    ],
)
def test_a_push(
    output: str,
    error: Exception | None,
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made: list[Any] = []

    class Api:
        def whoami(self) -> None:
            if error is not None:
                raise error

        def create_repo(self, *given: Any, **more: Any) -> None:
            made.append((given, more))

        def create_commit(self, _: str, operations: list[Any], **__: Any) -> Any:
            made.append(operations)
            return SimpleNamespace(commit_url="https://hub/commit")

    hub = SimpleNamespace(HfApi=Api, CommitOperationAdd=lambda **given: given)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert cli.main(["push", output, "me/mine"]) == code
    found = capsys.readouterr()
    assert says in found.out + found.err
    assert bool(made) == (error is None)
    if made:
        assert made[0][1]["private"] is True
        assert [operation["path_in_repo"] for operation in made[1]][-1] == "README.md"
