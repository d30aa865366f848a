import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from arhn.cleaning.margin_rule import DEFAULTS, RANGES, Margin, Rule, find_dropped
from arhn.errors import UsageError

RULES: tuple[Rule, ...] = ("absolute", "relative", "perc")

score = st.floats(-1, 1).map(lambda x: round(x, 6))
scores = st.lists(score, max_size=8)
positives = st.lists(score, min_size=1, max_size=4)


def values(rule: Rule) -> st.SearchStrategy[float]:
    return st.floats(*RANGES[rule])


margins = st.sampled_from(RULES).flatmap(lambda rule: st.builds(Margin, rule=st.just(rule), value=values(rule)))


def dropped(rule: Rule, value: float, positives: list[float], negatives: list[float]) -> list[float]:
    margin = Margin(rule=rule, value=value)
    return [s for s, drop in zip(negatives, find_dropped(positives, negatives, margin), strict=True) if drop]


def test_absolute_drops_from_a_score_on_whatever_the_positive() -> None:
    assert dropped("absolute", 0.7, [0.9], [0.69, 0.7, 0.95]) == [0.7, 0.95]
    assert dropped("absolute", 0.7, [0.1], [0.69, 0.7, 0.95]) == [0.7, 0.95]


def test_relative_drops_what_comes_within_a_margin_of_the_positive() -> None:
    assert dropped("relative", 0.05, [0.8], [0.749999, 0.75, 0.9]) == [0.75, 0.9]


def test_perc_drops_from_a_share_of_the_positive_on() -> None:
    assert dropped("perc", 0.95, [0.8], [0.759999, 0.76, 0.9]) == [0.76, 0.9]


@pytest.mark.parametrize(("rule", "value"), [("relative", 0.1), ("perc", 0.9)])
def test_a_score_right_on_the_threshold_is_dropped_despite_the_noise_of_floats(rule: Rule, value: float) -> None:
    for millis in range(1, 1001):
        positive = millis / 1000
        on = positive - value if rule == "relative" else positive * value
        assert dropped(rule, value, [positive], [round(on, 6)]) == [round(on, 6)]


@pytest.mark.parametrize("rule", ["relative", "perc"])
def test_the_lowest_of_several_positives_counts(rule: Rule) -> None:
    margin = Margin(rule=rule)
    assert margin.threshold([0.9, 0.4, 0.6]) == margin.threshold([0.4])


def test_perc_stays_below_a_positive_that_is_below_zero() -> None:
    margin = Margin(rule="perc", value=0.9)
    assert margin.threshold([-0.5]) == -0.55  # the product would be -0.45, above the positive itself
    assert find_dropped([-0.5], [-0.5, -0.6], margin) == (True, False)
    assert margin.threshold([0.0]) == 0.0


def test_each_rule_has_the_papers_value() -> None:
    assert [Margin(rule=rule).value for rule in RULES] == [0.7, 0.05, 0.95]
    assert Margin() == Margin(rule="perc", value=DEFAULTS["perc"])
    assert Margin.model_validate({"rule": "relative", "value": None}).value == 0.05


@pytest.mark.parametrize(
    ("rule", "value"), [("perc", 95), ("perc", -0.1), ("relative", -0.01), ("relative", 2.1), ("absolute", 1.5)]
)
def test_a_value_out_of_range_says_what_is_allowed(rule: Rule, value: float) -> None:
    with pytest.raises(UsageError, match=rf"{rule}.*{value:g} is not in \["):
        Margin(rule=rule, value=value)


@pytest.mark.parametrize(
    "settings",
    [{"rule": "topk"}, {"rule": []}, {"margin": 0.1}, {"value": "high"}, {"value": math.nan}, {"value": math.inf}],
)
def test_unknown_rules_and_keys_and_what_is_no_number_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Margin.model_validate(settings)


@pytest.mark.parametrize("rule", RULES)
def test_no_positive_is_an_error(rule: Rule) -> None:
    with pytest.raises(UsageError, match="at least one positive"):
        find_dropped([], [0.5], Margin(rule=rule))


@pytest.mark.parametrize(
    ("p", "n"), [([math.nan], [0.5]), ([0.5], [math.nan]), ([math.inf], [0.5]), ([0.5, -math.inf], [])]
)
def test_scores_that_are_no_numbers_are_refused(p: list[float], n: list[float]) -> None:
    with pytest.raises(UsageError, match="expected a finite number"):
        find_dropped(p, n, Margin())


@given(st.data(), st.sampled_from(RULES), positives, scores)
def test_a_stricter_value_never_drops_fewer(data: st.DataObject, rule: Rule, p: list[float], n: list[float]) -> None:
    low, high = sorted((data.draw(values(rule)), data.draw(values(rule))))
    strict, loose = (high, low) if rule == "relative" else (low, high)
    of_strict, of_loose = (find_dropped(p, n, Margin(rule=rule, value=value)) for value in (strict, loose))
    assert all(s or not lo for s, lo in zip(of_strict, of_loose, strict=True))


@given(st.data(), margins, positives, scores)
def test_order_does_not_matter(data: st.DataObject, margin: Margin, p: list[float], n: list[float]) -> None:
    order = data.draw(st.permutations(range(len(n))))
    expected = find_dropped(p, n, margin)
    assert find_dropped(data.draw(st.permutations(p)), [n[i] for i in order], margin) == tuple(
        expected[i] for i in order
    )


@given(margins, positives, scores)
def test_a_higher_score_is_dropped_wherever_a_lower_one_is(margin: Margin, p: list[float], n: list[float]) -> None:
    ordered = find_dropped(p, sorted(n), margin)
    assert list(ordered) == sorted(ordered)


@given(margins.filter(lambda m: m.rule != "absolute"), positives, scores)
def test_what_scores_as_high_as_a_positive_is_always_dropped(margin: Margin, p: list[float], n: list[float]) -> None:
    assert all(drop for s, drop in zip(n, find_dropped(p, n, margin), strict=True) if s >= min(p))


@given(margins, positives, scores, score)
def test_another_positive_never_keeps_what_was_dropped(
    margin: Margin, p: list[float], n: list[float], q: float
) -> None:
    before, after = find_dropped(p, n, margin), find_dropped([*p, q], n, margin)
    assert all(a or not b for b, a in zip(before, after, strict=True))


@given(margins)
def test_settings_survive_json(margin: Margin) -> None:
    assert Margin.model_validate_json(margin.model_dump_json()) == margin
