"""Calibrations from signals alone: scale, base rate, trust, and what becomes of odd input."""

from __future__ import annotations

import math
import random

import pytest

from arhn.cleaning.evidence.assume import (
    Transfer,
    assume,
    correlate,
    find_transfer,
    find_trust,
    load_transfer,
    standardize,
)
from arhn.cleaning.evidence.confidence import make_confidences
from arhn.cleaning.evidence.signals import SIMILARITIES, VERDICT, Signals
from arhn.errors import CalibrationError

ALL = (VERDICT, *SIMILARITIES)


def transfer(**changes: object) -> Transfer:
    usual: dict[str, object] = {
        "weights": {VERDICT: 1.0, "query": 1.0},
        "intercept": -2.0,
        "threshold": 0.5,
        "lower": 0.2,
        "relabel": 0.9,
    }
    return Transfer.model_validate(usual | changes)


def draw_groups(
    count: int, *, rate: float = 0.1, verdict: float = 2.0, query: float = 2.0, scale: float = 1.0, seed: int = 0
) -> tuple[list[Signals], list[list[bool]]]:
    """Groups of ten negatives whose false ones are `verdict` and `query` standard deviations above the others."""
    draw = random.Random(seed)
    signals: list[Signals] = []
    labels = []
    for _ in range(count):
        false = [draw.random() < rate for _ in range(10)]
        offset = draw.gauss(0, 5)
        signals.append(
            {
                VERDICT: [scale * (offset + draw.gauss(verdict * f, 1)) for f in false],
                "query": [0.1 * draw.gauss(query * f, 1) for f in false],
            }
        )
        labels.append(false)
    return signals, labels


def test_shipped_weights_cover_what_a_run_can_have() -> None:
    for names in ((VERDICT,), ALL):
        found = find_transfer(names)
        assert all(weight >= 0 for weight in found.weights.values())
        assert found.lower <= found.threshold <= found.relabel
    assert len(load_transfer()) == len({frozenset(t.weights) for t in load_transfer()})


def test_signals_without_weights_are_refused() -> None:
    with pytest.raises(CalibrationError, match="no weights for the signals query"):
        find_transfer(["query"], given=[transfer()])


def test_the_scale_of_a_signal_does_not_matter() -> None:
    # Of another model, say: log-odds fifty times as large.
    near, _ = draw_groups(40, scale=0.1)
    far, _ = draw_groups(40, scale=5.0)
    one, other = assume(near, transfer()).calibration, assume(far, transfer()).calibration
    for a, b in zip(near, far, strict=True):
        assert make_confidences(a, one) == pytest.approx(make_confidences(b, other), abs=2e-3)


def test_false_negatives_are_found_without_a_label() -> None:
    signals, labels = draw_groups(100, verdict=3.0, query=3.0)
    found = assume(signals, transfer())
    confidences = [c for g in signals for c in make_confidences(g, found.calibration)]
    flat = [label for group in labels for label in group]
    acted = [label for c, label in zip(confidences, flat, strict=True) if c is not None and c >= 0.5]
    assert sum(acted) / len(acted) > 0.7
    assert sum(acted) / sum(flat) > 0.5
    assert found.negatives == 1000
    assert found.groups == 100


def test_a_verdict_that_goes_with_nothing_counts_for_nothing() -> None:
    t = transfer()
    useful = assume(draw_groups(100, rate=0.3, verdict=3.0, query=3.0)[0], t)
    useless = assume(draw_groups(100, rate=0.3, verdict=0.0, query=3.0)[0], t)
    assert useful.trust > 0.3
    assert useless.trust < 0.1
    assert useless.calibration.signals[VERDICT].weight < useful.calibration.signals[VERDICT].weight


def test_trust_without_other_signals_is_full() -> None:
    assert find_trust({VERDICT: [1.0, -1.0]}, {VERDICT: 1.0}) == 1.0


def test_groups_that_lack_a_value_are_left_out() -> None:
    signals, _ = draw_groups(20)
    broken: Signals = {VERDICT: [1.0, None], "query": [0.5, 0.1]}
    empty: Signals = {VERDICT: [], "query": []}
    assert assume([*signals, broken, empty], transfer()) == assume(signals, transfer())
    with pytest.raises(CalibrationError, match="no group"):
        assume([broken, empty], transfer())


def test_a_signal_that_does_not_vary_has_no_weight() -> None:
    signals: list[Signals] = [{VERDICT: [1.0, 2.0, 4.0], "query": [0.0, 0.0, 0.0]} for _ in range(20)]
    assert assume(signals, transfer()).calibration.signals["query"].weight == 0.0


def test_groups_of_one_negative_and_of_two_hundred() -> None:
    draw = random.Random(3)
    one: list[Signals] = [{VERDICT: [draw.gauss(0, 1)], "query": [draw.random()]} for _ in range(50)]
    many: list[Signals] = [{VERDICT: [draw.gauss(0, 1) for _ in range(200)], "query": [draw.random()] * 200}]
    for signals in (one, many, [*one, *many]):
        found = assume(signals, transfer())
        assert all(c is not None for g in signals for c in make_confidences(g, found.calibration))


def test_correlation() -> None:
    assert correlate([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert correlate([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert correlate([1, 1, 1], [3, 2, 1]) == 0


def test_standardized_values_have_spread_one() -> None:
    signals, _ = draw_groups(30)
    for values in standardize(signals, (VERDICT, "query")).values.values():
        assert math.sqrt(sum(v * v for v in values) / len(values)) == pytest.approx(1)
