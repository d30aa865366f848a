"""Calibrations made in the run itself, from what its first groups show and without any labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.assume import LEAST_NEGATIVES, Assumption, assume, find_transfer
from arhn.cleaning.evidence.calibration import OWN_WORD, Calibration, find_doubtful
from arhn.cleaning.evidence.confidence import find_band, make_confidences
from arhn.cleaning.evidence.signals import SIMILARITIES, VERDICT, Signals
from arhn.cleaning.evidence.triage import find_likelihood, measure_triage
from arhn.cleaning.extract.stage import Evidence
from arhn.cleaning.models import ModelsRecord
from arhn.cleaning.setup import choose_prompt, count_samples, list_families
from arhn.engines import Capabilities
from arhn.errors import CalibrationError
from arhn.families.choice import family_of
from arhn.types import Group

#: The input's first groups that calibrations are made from: those that hold so many negatives, but no more than so many
#: groups. All their negatives are asked about, and weights were fitted on as few (docs/log, 2026-11-28).
FIRST_NEGATIVES, FIRST_GROUPS = 150, 100
#: A share of negatives acted on that no mined data has: then nothing is acted on.
MOST_ACTED_ON = 0.5


def needs_assumptions(config: CleanConfig, capabilities: Capabilities | None) -> bool:
    """Whether a run makes calibrations from its first groups: the method asks an LLM that says how sure it is.

    Args:
        capabilities: the LLM's; None without one.
    """
    if config.method != "arhn" or config.fallback != "auto" or capabilities is None:
        return False
    return count_samples(config, capabilities) != 1


def take_first(groups: Iterable[Group], config: CleanConfig) -> list[Group]:
    """The first groups that calibrations are made from; no more is read."""
    taken: list[Group] = []
    negatives = 0
    for group in islice(groups, FIRST_GROUPS):
        taken.append(group)
        negatives += min(len(group.negatives), config.negatives or len(group.negatives))
        if negatives >= FIRST_NEGATIVES:
            break
    return taken


def make_assumptions(
    first: Sequence[Group], evidence: Sequence[Evidence], config: CleanConfig, record: ModelsRecord
) -> CleanConfig:
    """The settings with a calibration for every family that has none of the user's own.

    A family with few negatives among the first groups goes by what all of them show. Where these are few, too, nothing
    can be learnt: then it is as with `shipped`, and similarities that no shipped calibration weighs don't count.

    Args:
        first: the input's first groups.
        evidence: what each of them shows.
    """
    assert record.capabilities is not None  # nosec B101 - narrows a type
    found = [(family_of(g, config.families).family, e) for g, e in zip(first, evidence, strict=True) if e.negatives]
    if _count(e for _, e in found) < LEAST_NEGATIVES:
        return config.model_copy(update={"calibrations": (*config.own_calibrations, "auto", "shipped")})
    own = {c.prompt for c in config.own_calibrations}
    by_family: dict[str, list[Evidence]] = defaultdict(list)
    for family, each in found:
        by_family[family].append(each)
    made = []
    for family in list_families(config):
        identity = {
            "model": record.names["model"],
            "prompt": choose_prompt(family, config).hash,
            "family": str(family),
            "samples": count_samples(config, record.capabilities),
            "scorer": record.names.get("similarity", ""),
            "flagger": record.names.get("flagger", ""),
        }
        if identity["prompt"] not in own:
            seen = by_family[family]
            enough = _count(seen) >= LEAST_NEGATIVES
            made.append(_make_calibration(seen if enough else [e for _, e in found], identity))
    config = config.model_copy(update={"calibrations": (*config.own_calibrations, *made, "none")})
    return config.remember_judged(group.query_id for group in first)


def _count(evidence: Iterable[Evidence]) -> int:
    """Negatives that were asked about."""
    return sum(len(each.negatives[VERDICT]) for each in evidence)


def _make_calibration(evidence: Sequence[Evidence], identity: Mapping[str, object]) -> Calibration:
    names = (VERDICT, *SIMILARITIES) if identity["scorer"] else (VERDICT,)
    signals = [e.negatives for e in evidence]
    try:
        assumption = assume(signals, find_transfer(names), **identity)
    except CalibrationError as error:
        return _stop(OWN_WORD.model_copy(update=dict(identity)), {"rate": 0.0, "stopped": str(error)})
    calibration = assumption.calibration
    calibration = calibration.model_copy(
        update={
            "doubtful": find_doubtful(e.positives for e in evidence),
            "fitted": _describe(assumption),
        }
    )
    asked = [(e.negatives, find_likelihood(e.negatives, calibration, e.flags)) for e in evidence]
    calibration = measure_triage(asked, calibration)
    acted_on = _measure_acted_on(signals, calibration)
    if acted_on > MOST_ACTED_ON:
        reason = f"{acted_on:.0%} of the negatives would be acted on"
        return _stop(calibration, {**calibration.fitted, "stopped": reason})
    return calibration


def _describe(assumption: Assumption) -> dict[str, float]:
    return {
        "groups": assumption.groups,
        "negatives": assumption.negatives,
        "rate": assumption.rate,
        "trust": round(assumption.trust, 4),
    }


def _stop(calibration: Calibration, fitted: Mapping[str, object]) -> Calibration:
    """One that abstains whatever precision is asked for, and says why."""
    return calibration.abstain().model_copy(update={"curve": (), "fitted": dict(fitted)})


def _measure_acted_on(groups: Sequence[Signals], calibration: Calibration) -> float:
    """Share of the negatives that are found to answer."""
    found = [c for g in groups for c in make_confidences(g, calibration)]
    acted_on = sum(c is not None and find_band(c, calibration) == "answer" for c in found)
    return acted_on / len(found) if found else 0.0


__all__ = ["MOST_ACTED_ON", "make_assumptions", "needs_assumptions", "take_first"]
