"""Settings: what they accept, and how what they refuse is called."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from arhn.cleaning.config import ONLY_WITH, CleanConfig, RankerSettings
from arhn.cleaning.evidence.calibration import Calibration
from arhn.errors import CalibrationError, UsageError
from arhn.families.choice import FamilyMap
from arhn.families.family import Family

SOME: dict[str, Any] = {
    "mode": "R",
    "negatives": 4,
    "floor": 2,
    "floor_policy": "drop",
    "precision": 0.9,
    "triage": 0.98,
    "samples": 3,
    "show_answer": False,
    "ranker": {"name": "consistent", "by": "both", "shuffles": 4, "stable": 0.9},
    "fullness": False,
    "families": {"tickets": "duplicate", "*": "question"},
}


@pytest.mark.parametrize(
    ("settings", "where", "says"),
    [
        ({"ranker": {"name": "pivot", "shuffles": 4}}, "ranker.shuffles", "does nothing with ranker pivot, only with"),
        ({"ranker": {"stable": 1}}, "ranker.stable", "does nothing with ranker listwise, only with consistent"),
        ({"ranker": {"name": "consistent", "shuffles": 5}}, "ranker.shuffles", "multiple of 2"),
        ({"ranker": {"shuffle": 4}}, "ranker.shuffle", "Extra inputs are not permitted"),
        ({"ranker": {"by": "title"}}, "ranker.by", "'snippet', 'passage' or 'both'"),
        ({"method": "rlhn", "precision": 0.9}, "precision", "does nothing with method rlhn, only with arhn"),
        ({"method": "none", "ranker": {"name": "pivot"}}, "ranker", "does nothing with method none, only with arhn"),
        ({"method": "margin", "families": {"*": "title"}}, "families", "does nothing with method margin"),
        ({"margin": {"rule": "absolute"}}, "margin", "does nothing with method arhn, only with margin"),
        ({"method": "margin", "mode": "R"}, "mode", "method margin only filters"),
        ({"method": "margin", "margin": {"rule": "topk"}}, "margin.rule", "'absolute', 'relative' or 'perc'"),
        ({"floor": -1}, "floor", "greater than or equal to 0"),
        ({"families": 3}, "families", "FamilyMap"),
        ({"families": "nq=claim"}, "families", "FamilyMap"),
        ({"calibrations": [3]}, "calibrations.0", "Calibration"),
    ],
)
def test_what_is_refused_is_called_by_its_path(settings: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CleanConfig.model_validate(settings)
    error = caught.value.errors()[0]
    assert ".".join(map(str, error["loc"])).startswith(where)
    assert says in error["msg"]


def test_families_and_margins_that_do_not_fit() -> None:
    with pytest.raises(UsageError, match=r"families: 'ticket' isn't a family .* \(for subset 'tickets'\)"):
        CleanConfig.model_validate({"families": {"tickets": "ticket"}})
    with pytest.raises(UsageError, match="families: 3 doesn't name a subset"):
        CleanConfig.model_validate({"families": {3: "title"}})
    with pytest.raises(UsageError, match=r"margin.value: with rule 'relative', -1 is not in \[0, 2\]"):
        CleanConfig.model_validate({"method": "margin", "margin": {"rule": "relative", "value": -1}})


def test_families_are_a_table_or_a_map() -> None:
    for given in (SOME["families"], {"Tickets": "Duplicate", "*": "question"}, FamilyMap.of(SOME["families"])):
        config = CleanConfig.model_validate({"families": given})
        assert config.families == FamilyMap({"tickets": Family.DUPLICATE}, Family.QUESTION)
        assert config.model_dump(mode="json")["families"] == SOME["families"]


def test_calibrations_may_be_files(tmp_path: Path) -> None:
    own, other = (Calibration(model="m", prompt=prompt) for prompt in ("p", "q"))
    path = tmp_path / "c.json"
    path.write_bytes(orjson.dumps([own.model_dump(), other.model_dump()]))
    assert CleanConfig.model_validate({"calibrations": [str(path), own]}).calibrations == (own, other, own)
    with pytest.raises(CalibrationError, match="nowhere"):
        CleanConfig.model_validate({"calibrations": [tmp_path / "nowhere.json"]})


@pytest.mark.parametrize(
    "settings", [SOME, {}, {"method": "margin", "margin": {"rule": "absolute"}}, {"method": "rlhn"}, {"method": "none"}]
)
def test_what_a_run_records_can_be_run_again(settings: dict[str, Any]) -> None:
    """Although a record holds settings that the method doesn't look at: they are the defaults."""
    config = CleanConfig.model_validate(settings)
    assert CleanConfig.model_validate(config.model_dump(mode="json")) == config
    assert CleanConfig.model_validate_json(config.model_dump_json()) == config
    assert config.model_fields_set == set(settings)


def test_every_setting_says_what_it_does() -> None:
    for model in (CleanConfig, RankerSettings, type(CleanConfig().margin)):
        for name, field in model.model_fields.items():
            assert field.description, name
            assert field.description.endswith("."), name
    assert set(ONLY_WITH) <= set(CleanConfig.model_fields)
