"""A calibration without gold labels: weights that carried over between data sets, and this data set's own scale.

Each signal is centred within its group and divided by its spread over the run's first groups. Shipped weights
(transfer.json, fitted on other data sets by bench/transfer.py) make a confidence of it, and how far the LLM's verdict
goes with the other signals says how much it counts. Guessing the share of false negatives besides, by
expectation-maximisation (Saerens et al. 2002), made it worse (docs/log, 2026-11-28). Pure; pipeline.py gathers the
evidence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from arhn.cleaning.evidence.calibration import Calibration, CurvePoint, SignalWeight
from arhn.cleaning.evidence.confidence import fit_centring, sigmoid, take_means
from arhn.cleaning.evidence.signals import VERDICT, Signals
from arhn.errors import CalibrationError

#: With fewer negatives than this their own spread says little.
LEAST_NEGATIVES = 30


class Transfer(BaseModel):
    """Weights for one set of signals, each a multiple of the signal's spread in the run.

    That of the verdict beside other signals is multiplied by `find_trust`. `curve`: what thresholds gave on data that
    the weights weren't fitted on, where they gave least.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weights: dict[str, float]
    intercept: float
    threshold: float = Field(gt=0, lt=1)
    lower: float = Field(ge=0, lt=1)
    relabel: float = Field(gt=0, le=1)
    curve: tuple[CurvePoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """What was assumed of one family of queries, and from how much.

    `rate`: the share of the negatives that are false if the confidences are right. `trust`: see `find_trust`.
    """

    calibration: Calibration
    groups: int
    negatives: int
    rate: float
    trust: float


@cache
def load_transfer() -> tuple[Transfer, ...]:
    """The weights that come with arhn."""
    rows = json.loads(files("arhn.cleaning.evidence").joinpath("transfer.json").read_text("utf-8"))
    return tuple(Transfer.model_validate(row) for row in rows)


def find_transfer(names: Iterable[str], given: Sequence[Transfer] | None = None) -> Transfer:
    """The weights for exactly these signals. Raises CalibrationError where there are none."""
    wanted = frozenset(names)
    for transfer in load_transfer() if given is None else given:
        if frozenset(transfer.weights) == wanted:
            return transfer
    raise CalibrationError(f"there are no weights for the signals {', '.join(sorted(wanted))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardized:
    """Signals of all negatives of a run, centred on their groups and divided by their spread.

    `values`: by signal, in the order of groups and passages; all 0 for a signal that doesn't vary. `scales`: the spread
    (root mean square of the centred values). `centring`: as `fit_centring` gives it.
    """

    values: dict[str, list[float]]
    scales: dict[str, float]
    centring: dict[str, dict[str, float]]
    groups: int


def standardize(groups: Sequence[Signals], names: Sequence[str]) -> Standardized:
    """These signals on the run's own scale. Groups that lack a value are left out.

    Raises:
        CalibrationError: no group is left.
    """
    usable = [{name: g[name] for name in names} for g in groups if is_complete(g, names)]
    if not usable:
        raise CalibrationError("no group has all its signals")
    centring = {name: fit_centring(name, [g[name] for g in usable]) for name in names}
    centred = _centre(usable, centring)
    scales = {name: math.sqrt(fmean(value * value for value in values)) for name, values in centred.items()}
    values = {
        name: [value / scales[name] if scales[name] else 0.0 for value in values] for name, values in centred.items()
    }
    return Standardized(values=values, scales=scales, centring=centring, groups=len(usable))


def assume(groups: Sequence[Signals], transfer: Transfer, **identity: Any) -> Assumption:
    """A calibration for data of which only the signals are known.

    Args:
        groups: signals of each group's negatives. Groups that lack a value are left out.
        identity: fields of `Calibration` that say what it is for.

    Raises:
        CalibrationError: no group is left.
    """
    found = standardize(groups, tuple(transfer.weights))
    trust = find_trust(found.values, transfer.weights)
    weights = {name: weight * (trust if name == VERDICT else 1.0) for name, weight in transfer.weights.items()}
    sums = [
        transfer.intercept + math.fsum(weights[name] * value for name, value in zip(weights, values, strict=True))
        for values in zip(*(found.values[name] for name in weights), strict=True)
    ]
    rate = fmean(sigmoid(z) for z in sums)
    signals = {}
    for name, weight in weights.items():
        scale = found.scales[name]
        numbers = {"weight": weight / scale if scale else 0.0, "centre": 1.0, **found.centring[name]}
        signals[name] = SignalWeight(**{key: round(number, 5) for key, number in numbers.items()})
    calibration = Calibration(
        **identity,
        signals=signals,
        intercept=transfer.intercept,
        threshold=transfer.threshold,
        lower=transfer.lower,
        relabel=transfer.relabel,
        curve=transfer.curve,
    )
    return Assumption(
        calibration=calibration, groups=found.groups, negatives=len(sums), rate=round(rate, 4), trust=trust
    )


def is_complete(group: Signals, names: Sequence[str]) -> bool:
    """Whether a group has negatives, and all these signals of them."""
    return bool(group[names[0]]) and not any(None in group[name] for name in names)


def _centre(groups: Sequence[Signals], centring: Mapping[str, Mapping[str, float]]) -> dict[str, list[float]]:
    """All negatives' differences from their group's means, by signal."""
    priors = Calibration(signals={name: SignalWeight(weight=1.0, **parts) for name, parts in centring.items()})
    found: dict[str, list[float]] = {name: [] for name in centring}
    for group in groups:
        means = take_means(group, priors)
        for name, values in found.items():
            values += [value - means[name] for value in group[name] if value is not None]
    return found


def find_trust(values: Mapping[str, Sequence[float]], weights: Mapping[str, float]) -> float:
    """How far the verdict can be trusted here, 0 to 1: its correlation with the other signals' weighted sum.

    1 where there are no other signals. Good judges correlate more, and so the weight follows the model without a label:
    the weight that fits two models of different size is the same multiple of it (docs/log, 2026-11-28).

    Args:
        values: standardized.
        weights: of all signals.
    """
    others = [name for name in weights if name != VERDICT]
    if VERDICT not in weights or not others:
        return 1.0
    sums = [
        math.fsum(weights[name] * value for name, value in zip(others, row, strict=True))
        for row in zip(*(values[name] for name in others), strict=True)
    ]
    return max(0.0, correlate(values[VERDICT], sums))


def correlate(one: Sequence[float], other: Sequence[float]) -> float:
    """Pearson's correlation; 0 where one of them is constant."""
    mean, other_mean = fmean(one), fmean(other)
    both = math.fsum((a - mean) * (b - other_mean) for a, b in zip(one, other, strict=True))
    size = math.fsum((a - mean) ** 2 for a in one) * math.fsum((b - other_mean) ** 2 for b in other)
    return both / math.sqrt(size) if size else 0.0


__all__ = [
    "Assumption",
    "Standardized",
    "Transfer",
    "assume",
    "correlate",
    "find_transfer",
    "find_trust",
    "load_transfer",
    "standardize",
]
