"""Which negatives are asked about, and what sparing the others costs."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.cleaning.evidence.calibration import Calibration, TriagePoint
from arhn.cleaning.evidence.signals import POSITIVE, QUERY, VERDICT
from arhn.cleaning.evidence.triage import (
    CHECKED_ONE_IN,
    find_likelihood,
    is_checked,
    measure_triage,
    pick_likeliest,
)
from arhn.errors import CalibrationError
from tests.conftest import calibrated

FUSED = calibrated({"weight": 2.0, "centre": 1.0, "prior": 0.5})


def test_likelihood_is_what_similarities_add_to_the_confidence() -> None:
    signals = {VERDICT: (None, None, None), QUERY: (0.9, 0.1, None), POSITIVE: (0.0, 0.0, 0.0)}
    mean = (0.9 + 0.1 + 0.5) / 3  # with the prior's one passage
    likely = find_likelihood(signals, FUSED)
    assert likely is not None
    assert likely[0] == pytest.approx(2 * (0.9 - mean))
    assert likely[1] == pytest.approx(2 * (0.1 - mean))
    assert likely[2] is None


def test_a_small_model_goes_before_similarities() -> None:
    signals = {VERDICT: (0.0, 0.0, 0.0), QUERY: (0.9, 0.1, 0.2)}
    assert find_likelihood(signals, FUSED, (3.0, None, 1.0)) == [1.0, None, -1.0]
    assert find_likelihood(signals, FUSED, (None, None, None)) == [None, None, None]
    assert find_likelihood(signals, Calibration()) is None


@given(st.lists(st.none() | st.floats(-5, 5), max_size=12), st.floats(-5, 5))
def test_those_from_the_cut_on_are_asked_about_and_those_without_a_value(
    likelihood: list[float | None], cut: float
) -> None:
    asked = pick_likeliest(likelihood, cut)
    assert list(asked) == sorted(set(asked))
    assert all((i in asked) == (value is None or value >= cut) for i, value in enumerate(likelihood))


def test_a_few_are_checked_always_the_same_ones() -> None:
    texts = [f"passage {n}" for n in range(4000)]
    found = [is_checked("q", text) for text in texts]
    assert found == [is_checked("q", text) for text in texts]
    assert sum(found) == pytest.approx(4000 / CHECKED_ONE_IN, rel=0.2)
    assert found != [is_checked("another", text) for text in texts]
    assert isinstance(is_checked("\ud800", "\udfff"), bool)


def test_a_cut_that_agrees_by_luck_is_not_taken() -> None:
    """Agreement falls with the share; where a smaller one is better than a larger one, that is chance."""
    shares = ((1.0, 1.0), (0.75, 0.97), (0.5, 0.99))
    points = tuple(TriagePoint(cut=-s, share=s, agreement=a) for s, a in shares)
    assert Calibration(triage=points).find_triage(0.98) is None
    assert Calibration(triage=points).find_triage(0.97) == points[2]
    with pytest.raises(CalibrationError, match="doesn't say what sparing negatives by this signal costs"):
        Calibration().find_triage(0.98)


def test_what_is_foretold_is_spared_and_what_is_not_is_asked_about() -> None:
    """The verdict follows the similarity, so that a low one tells that no verdict would make it an answer."""
    rng = random.Random(1)
    groups = []
    for _ in range(60):
        query = [rng.choice((0.2, 0.8)) + rng.uniform(-0.1, 0.1) for _ in range(8)]
        verdicts = [10 * (q - 0.5) + rng.gauss(0, 1) for q in query]
        groups.append({VERDICT: tuple(verdicts), QUERY: tuple(query)})
    calibration = calibrated({"weight": 4.0, "centre": 1.0, "prior": 0.5}, threshold=0.9, lower=0.5)
    found = measure_triage([(g, find_likelihood(g, calibration)) for g in groups], calibration)
    point = found.find_triage(0.99)
    assert point is not None
    assert point.share < 0.65
    assert [p.share for p in found.triage] == sorted((p.share for p in found.triage), reverse=True)


def test_nothing_to_tell_likely_negatives_by_says_nothing() -> None:
    signals = {VERDICT: (1.0, -1.0)}
    assert measure_triage([(signals, None)], Calibration()) == Calibration()
    constant = measure_triage([(signals, (0.0, 0.0))], Calibration())
    assert [p.share for p in constant.triage] == [1.0]
