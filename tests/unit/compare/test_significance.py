import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.compare.significance import holm, interval, sign_flip
from tests.unit.conftest import at_most

scipy_stats = pytest.importorskip("scipy.stats")

# Sums of these are exact: scipy's tolerance is too small for sums that should be 0.
differences = st.lists(st.sampled_from([-1.0, -0.5, -0.125, 0.0, 0.125, 0.375, 0.5, 1.0]), min_size=2, max_size=12)


def scipys(values: np.ndarray, **kwargs: object) -> float:
    def mean(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        found: np.ndarray = np.mean(x - y, axis=axis)
        return found

    test = scipy_stats.permutation_test(
        (values, np.zeros_like(values)), mean, permutation_type="samples", vectorized=True, **kwargs
    )
    return float(test.pvalue)


@at_most(50)
@given(differences)
def test_few_queries_are_exact_as_scipys(values: list[float]) -> None:
    array = np.array(values)
    assert sign_flip([array]) == pytest.approx(scipys(array, n_resamples=np.inf), abs=1e-12)


@pytest.mark.parametrize(("seed", "shift"), [(0, 0.0), (1, 0.05), (2, 0.15), (3, 0.3)])
def test_many_queries_are_near_scipys(seed: int, shift: float) -> None:
    values = np.random.default_rng(seed).normal(shift, 1, 200)
    expected = scipys(values, n_resamples=20_000, rng=seed)
    # Two draws of that many differ by this much at most, nearly always.
    assert sign_flip([values], resamples=20_000) == pytest.approx(expected, abs=0.015)


def test_one_seed_gives_one_value_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 64)
    first = sign_flip([values], seed=3)
    assert sign_flip([values], seed=3) == first
    assert sign_flip([values], seed=4) != first
    monkeypatch.setattr("arhn.compare.significance._CHUNK", 64 * 7)
    assert sign_flip([values], seed=3) == pytest.approx(first, abs=0.02)


def test_no_difference_has_p_1_and_equal_queries_change_nothing() -> None:
    assert sign_flip([np.zeros(5)]) == 1.0
    some = np.array([0.1, 0.2, 0.3])
    assert sign_flip([np.concatenate([some, np.zeros(40)])]) == sign_flip([some]) == 2 / 8


def test_the_smallest_p_is_one_in_all_resamples() -> None:
    assert sign_flip([np.ones(500)], resamples=999) == 1 / 1000


@given(differences)
def test_the_sign_of_all_differences_makes_none(values: list[float]) -> None:
    array = np.array(values)
    assert sign_flip([array]) == sign_flip([-array])


def test_each_data_set_counts_the_same() -> None:
    # Alone the ten small differences are significant. Beside a data set whose one query says the opposite, no sign
    # pattern has a mean nearer to 0 than the one observed.
    many, one = np.full(10, 0.1), np.array([-1.0])
    assert sign_flip([many]) < 0.01
    assert sign_flip([many, one]) == 1.0


def test_uniform_under_the_null() -> None:
    random = np.random.default_rng(0)
    p = [sign_flip([random.normal(0, 1, 30)], resamples=500, seed=i) for i in range(400)]
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_holm_by_hand() -> None:
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 -> 0.02, 0.03, 0.06, and no smaller than the one before: 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_lowers_p_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert all(a <= 1 for a in adjusted)
    by_p = [a for _, a in sorted(zip(p, adjusted, strict=True))]
    assert by_p == sorted(by_p)


def test_an_interval_holds_the_mean_and_narrows_with_queries() -> None:
    random = np.random.default_rng(0)
    few, many = random.normal(0.5, 0.2, 50), random.normal(0.5, 0.2, 5000)
    for values in (few, many):
        low, high = interval([values])
        assert low < values.mean() < high
    assert interval([many])[1] - interval([many])[0] < 0.3 * (interval([few])[1] - interval([few])[0])


def test_an_interval_is_about_that_of_the_normal_law(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(0, 1, 400)
    half = 1.96 * values.std() / 20
    assert interval([values]) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    monkeypatch.setattr("arhn.compare.significance._CHUNK", 400)
    assert interval([values]) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_an_interval_over_data_sets_is_narrower_than_over_one() -> None:
    random = np.random.default_rng(2)
    sets = [random.normal(0.5, 0.2, 100) for _ in range(4)]
    low, high = interval(sets)
    assert high - low < 0.7 * (interval(sets[:1])[1] - interval(sets[:1])[0])
    assert low < np.mean([s.mean() for s in sets]) < high
