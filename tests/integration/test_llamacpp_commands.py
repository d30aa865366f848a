"""`arhn clean` with a real model, and what `arhn inspect` and `arhn estimate` make of that run."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from arhn import formats
from arhn.cli import main
from arhn.errors import OutputExists
from arhn.types import Group
from tests.conftest import passage, put_in
from tests.integration.conftest import FERRY, PAINT, QUERY

pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]

BOLTS = passage("bolts", "Four thousand bolts hold it. The last of them was gilded, and was stolen twice.")
BOATS = passage("boats", "The boats of the town are red.")
GROUPS = (
    Group(query_id="q", query=QUERY, positives=(FERRY,), negatives=(PAINT, passage("copy", FERRY.text))),
    Group(query_id="r", query="How many bolts hold it?", positives=(BOLTS,), negatives=(BOATS, PAINT)),
)


class Ran(NamedTuple):
    """A folder with groups and what `clean` made of them, the flags that it had, and what it said."""

    folder: Path
    flags: tuple[str, ...]
    said: str = ""

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text("utf-8"))

    def clean(self) -> int:
        return main(["clean", str(self.folder / "in.jsonl"), "-o", str(self.folder / "out.jsonl"), *self.flags])

    def estimate(self, name: str, *more: str) -> Any:
        assert (
            main(["estimate", str(self.folder / "in.jsonl"), "--json", str(self.folder / name), *self.flags, *more])
            == 0
        )
        return self.read(name)


@pytest.fixture(scope="module")
def ran(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("ran")
    with formats.GroupWriter(folder / "in.jsonl", "tevatron") as writer:
        for group in GROUPS:
            writer.write(group)
    ran = Ran(folder, ("--model", str(starter), *put_in("engine.slots=1", "engine.context=1024")))
    with redirect_stdout(io.StringIO()) as said:
        assert ran.clean() == 0
    return ran._replace(said=said.getvalue())


def test_a_file_is_cleaned(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    assert "LLM calls" in ran.said
    content = ran.read("out.summary.json")
    # Two positives' and three negatives' verdicts, and a snippet of each that answers; the copy is decided without.
    assert 5 <= content["llm"]["extract"]["asked"] <= 10
    assert main(["inspect", str(ran.folder / "out.jsonl"), "--query-id", "q"]) == 0
    assert "equals_positive" in capsys.readouterr().out
    assert ran.clean() == OutputExists.exit_code


def test_prompts_are_counted_as_they_are_computed(ran: Ran) -> None:
    real = ran.read("out.summary.json")["llm"]["extract"]
    found = ran.estimate("estimate.json")["stages"]["extract"]
    # Both ask for five verdicts and the positives' snippets; which negatives answer is drawn.
    assert found["calls"] == pytest.approx(real["asked"], abs=3)
    each, estimated = real["prompt_tokens"] / real["asked"], found["prompt_tokens"] / found["calls"]
    assert estimated == pytest.approx(each, rel=0.02)
    assert found["computed_prompt_tokens"] < found["prompt_tokens"] * 0.8


def test_what_the_run_stored_costs_nothing(ran: Ran) -> None:
    assert ran.estimate("again.json", "--store", str(ran.folder / "out.responses.sqlite"))["calls"] == [0, 0, 0]
