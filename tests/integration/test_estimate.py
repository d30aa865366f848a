"""`arhn estimate` against a real run of a real model."""

import json
from pathlib import Path

import pytest

from arhn import formats, weights
from arhn.cli import main
from arhn.errors import ModelError
from tests.conftest import many

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def model() -> str:
    try:
        return str(weights.resolve(weights.STARTER))
    except ModelError as error:
        pytest.fail(f"the starter model is needed: {error}")


def test_prompts_are_counted_as_they_are_computed(model: str, tmp_path: Path) -> None:
    groups = tmp_path / "groups.jsonl"
    with formats.GroupWriter(str(groups), formats.Format.TEVATRON) as writer:
        for group in many(2, negatives=2):
            writer.write(group)
    flags = ["--model", model, "--threads", "1"]
    assert main(["clean", str(groups), "-o", str(tmp_path / "out.jsonl"), *flags]) == 0
    assert main(["estimate", str(groups), "--json", str(tmp_path / "estimate.json"), *flags]) == 0
    real = json.loads((tmp_path / "out.summary.json").read_text("utf-8"))["llm"]["extract"]
    found = json.loads((tmp_path / "estimate.json").read_text("utf-8"))["stages"]["extract"]
    # Both ask for six verdicts and the positives' snippets; which negatives answer is drawn.
    assert found["calls"] == pytest.approx(real["asked"], abs=4)
    each, estimated = real["prompt_tokens"] / real["asked"], found["prompt_tokens"] / found["calls"]
    assert estimated == pytest.approx(each, rel=0.02)
    assert found["computed_prompt_tokens"] < found["prompt_tokens"] * 0.8

    store = ["--store", str(tmp_path / "out.responses.sqlite"), "--json", str(tmp_path / "again.json")]
    assert main(["estimate", str(groups), *store, *flags]) == 0
    assert json.loads((tmp_path / "again.json").read_text("utf-8"))["calls"] == [0, 0, 0]
