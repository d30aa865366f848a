"""Confidences, bands and calibrations: pure, and what is read from a calibration file."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from arhn.cleaning import prompts
from arhn.cleaning.evidence.calibration import (
    OWN_WORD,
    Calibration,
    CurvePoint,
    SignalWeight,
    find_calibration,
    load_calibrations,
    load_shipped,
)
from arhn.cleaning.evidence.confidence import (
    PRIOR_PASSAGES,
    add_spared,
    centre_group,
    find_band,
    make_confidences,
    predict_from,
    sigmoid,
    take_means,
    weigh,
)
from arhn.cleaning.evidence.signals import POSITIVE, QUERY, SENTENCE, VERDICT, Signals
from arhn.errors import CalibrationError
from tests.conftest import calibrated


def of(verdict: Sequence[float | None], query: Sequence[float | None] | None = None) -> Signals:
    """Signals of a group; without the query's similarity unless given."""
    return {VERDICT: verdict} if query is None else {VERDICT: verdict, QUERY: query}


def test_confidence_is_relative_to_the_group() -> None:
    calibration = calibrated(centre=1.0, prior=7.0)
    low, high = make_confidences(of([5.0, 9.0]), calibration)
    assert low is not None
    assert high is not None
    assert (find_band(low, calibration), find_band(high, calibration)) == ("no_answer", "answer")
    assert low == pytest.approx(1 - high, abs=1e-3)


def test_a_broken_answer_moves_no_neighbours_label() -> None:
    """Its log-odds are missing from the group's mean, so nothing in the group can be told."""
    assert make_confidences(of([9.0, None]), calibrated(centre=1.0)) == (None, None)
    [sure, unknown] = make_confidences(of([9.0, None]), OWN_WORD)
    assert sure == pytest.approx(0.9999, abs=1e-3)
    assert unknown is None


def test_passages_taken_in_later_are_held_against_the_mean_of_the_first() -> None:
    calibration = calibrated(centre=1.0)
    together = make_confidences(of([1.0, 3.0]), calibration)
    later = make_confidences(of([3.0]), calibration, means=take_means(of([1.0, 3.0]), calibration))
    assert later[0] == together[1]


def test_a_similarity_is_a_second_piece_of_evidence() -> None:
    calibration = calibrated({"weight": 10.0, "centre": 1.0, "prior": 0.5})
    near, far = make_confidences(of([0.0, 0.0], [0.9, 0.1]), calibration)
    assert near == pytest.approx(1 / (1 + math.exp(-4)), abs=1e-3)
    assert far == pytest.approx(1 / (1 + math.exp(4)), abs=1e-3)


def test_between_the_thresholds_nobody_can_tell() -> None:
    calibration = Calibration(threshold=0.8, lower=0.3)
    assert [find_band(c, calibration) for c in (0.8, 0.79, 0.3, 0.29)] == [
        "answer",
        "uncertain",
        "uncertain",
        "no_answer",
    ]
    with pytest.raises(ValueError, match="lower must not be above threshold"):
        Calibration(threshold=0.3, lower=0.8)


def test_the_own_word_of_the_llm_leaves_nothing_uncertain() -> None:
    assert [find_band(c, OWN_WORD) for c in make_confidences(of([0.1, -0.1]), OWN_WORD) if c is not None] == [
        "answer",
        "no_answer",
    ]


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=6), st.sampled_from([0.0, 1.0]))
def test_confidence_is_a_probability(given_odds: list[float | None], centre: float) -> None:
    found = make_confidences(of(given_odds), calibrated(weight=3.0, centre=centre, intercept=-1.0))
    assert len(found) == len(given_odds)
    nothing = bool(centre) and None in given_odds
    for c, o in zip(found, given_odds, strict=True):
        assert (c is None) == (o is None or nothing)
        assert c is None or 0 <= c <= 1


def test_a_precision_takes_the_lowest_threshold_that_reached_it() -> None:
    points = [(0.9, 0.95, 0.2), (0.7, 0.9, 0.5), (0.4, 0.6, 0.9)]
    curve = tuple(CurvePoint(threshold=t, precision=p, recall=r) for t, p, r in points)
    fitted = Calibration(threshold=0.6, lower=0.5, curve=curve)
    assert fitted.reach_precision(0.9).threshold == 0.7
    assert fitted.reach_precision(0.9).lower == 0.5
    assert (fitted.reach_precision(0.5).threshold, fitted.reach_precision(0.5).lower) == (0.4, 0.4)
    with pytest.raises(CalibrationError, match=r"at most 0\.95"):
        fitted.reach_precision(0.99)


def test_a_calibration_is_for_one_model_prompt_signal_and_scorer() -> None:
    fitted = Calibration(model="sha256:00", prompt="p", samples=5, scorer="s")
    assert find_calibration("m@sha256:00 llamacpp-2", "p", samples=5, scorer="s", given=[fitted]) is fitted
    for model, prompt, samples, scorer in (
        ("m@sha256:01", "p", 5, "s"),
        ("m@sha256:00", "q", 5, "s"),
        ("m@sha256:00", "p", 0, "s"),
        ("m@sha256:00", "p", 5, ""),
    ):
        assert find_calibration(model, prompt, samples=samples, scorer=scorer, given=[fitted]) is None


def test_a_servers_model_is_known_by_its_whole_name() -> None:
    small = Calibration(model="llama-3", prompt="p")
    assert find_calibration("llama-3", "p", given=[small]) is small
    for model in ("llama-3-70b", "my-llama-3", "llama-3 server-2"):
        assert find_calibration(model, "p", given=[small]) is None


def test_unknown_models_have_no_calibration() -> None:
    assert find_calibration("never-seen.gguf@sha256:00", prompts.load("question").check.hash) is None


def test_shipped_calibrations_are_for_the_prompts_in_use() -> None:
    """Whoever edits a prompt must fit again: a calibration for another prompt is silently none."""
    for calibration in load_shipped():
        assert calibration.model
        used = prompts.load(calibration.family)
        assert calibration.prompt in (used.check.hash, used.extract.hash)


def test_the_users_own_calibration_comes_first_and_one_without_a_model_is_for_none() -> None:
    first, second = (Calibration(model="m", prompt="p", threshold=t) for t in (0.7, 0.8))
    assert find_calibration("m", "p", given=[first, second]) is first
    assert find_calibration("m", "p", given=[Calibration(prompt="p")]) is None


# The group's mean


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=8), st.floats(-50, 50))
def test_a_mean_lies_between_the_groups_own_and_the_prior(odds: list[float], prior: float) -> None:
    mean = take_means(of(odds), calibrated(prior=prior))[VERDICT]
    own = sum(odds) / len(odds)
    assert min(own, prior) - 1e-9 <= mean <= max(own, prior) + 1e-9
    # The prior weighs as much as this many passages.
    assert mean - own == pytest.approx((prior - own) * PRIOR_PASSAGES / (len(odds) + PRIOR_PASSAGES), abs=1e-9)


def test_an_empty_group_has_the_mean_of_the_others_and_broken_answers_are_in_none() -> None:
    calibration = calibrated({"weight": 1.0, "prior": 0.4}, prior=-2.0)
    assert take_means(of([], []), calibration) == {VERDICT: -2.0, QUERY: 0.4}
    assert take_means(of([None, None], []), calibration) == {VERDICT: -2.0, QUERY: 0.4}
    assert take_means(of([4.0, None], [0.8]), calibration) == pytest.approx({VERDICT: 1.0, QUERY: 0.6})


def test_a_known_mean_spares_the_others_a_broken_answer() -> None:
    found = make_confidences(of([None, 3.0]), calibrated(centre=1.0), means={VERDICT: 3.0})
    assert found == (None, 0.5)


def test_the_whole_formula() -> None:
    query = {"weight": 4.0, "centre": 0.25, "prior": 0.6}
    calibration = calibrated(query, weight=2.0, centre=0.5, intercept=-1.0, prior=3.0)
    mean, similarity_mean = (1 + 5 + 3) / 3, (0.2 + 0.7 + 0.6) / 3
    expected = [
        1 / (1 + math.exp(-(2 * (odds - 0.5 * mean) + 4 * (similarity - 0.25 * similarity_mean) - 1)))
        for odds, similarity in ((1.0, 0.2), (5.0, 0.7))
    ]
    assert make_confidences(of([1.0, 5.0], [0.2, 0.7]), calibration) == pytest.approx(expected, abs=1e-4)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(0, 4))
def test_one_outlier_moves_its_neighbours_no_further_than_the_spread(odds: list[float], spread: float) -> None:
    calibration = calibrated(centre=1.0, spread=spread)
    mean = take_means(of([*odds, -100.0]), calibration)[VERDICT]
    assert mean >= median([*odds, -100.0]) * (len(odds) + 1) / (len(odds) + 2) - spread - 1e-9
    # However far out it lies, its neighbours can't tell.
    far, further = (make_confidences(of([*odds, out]), calibration)[:-1] for out in (-100.0, -1e6))
    assert far == further


def test_an_outlier_counts_as_if_it_lay_at_the_spread() -> None:
    calibration = calibrated(centre=1.0, spread=2.0)
    assert take_means(of([1.0, 0.0, -1.0, 0.0, -100.0]), calibration) == pytest.approx({VERDICT: -2 / 6})
    near, far = (make_confidences(of([1.0, 0.0, -1.0, 0.0, out]), calibration)[:-1] for out in (-2.0, -100.0))
    assert near == far


def test_a_sigmoid_has_four_digits_and_never_overflows() -> None:
    assert [sigmoid(z) for z in (-1e9, -60.0, 0.0, 60.0, 1e9)] == [0.0001, 0.0001, 0.5, 0.9999, 0.9999]
    assert sigmoid(0.00001) == 0.5


# What a calibration may say


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"threshold": 1.1}, "less than or equal to 1"),
        ({"threshold": -0.1, "lower": -0.1}, "greater than or equal to 0"),
        ({"threshold": 0.3}, "lower must not be above threshold, found 0.5 and 0.3"),
        ({"slope": float("nan")}, "finite"),
        ({"prior": float("inf")}, "finite"),
        ({"threshold": float("nan")}, "finite"),
        ({"samples": -1}, "greater than or equal to 0"),
        ({"slope": "steep"}, "valid number"),
        ({"center": 1.0}, "Extra inputs are not permitted"),
        ({"curve": [{"threshold": 2, "precision": 0.5, "recall": 0.5}]}, "less than or equal to 1"),
        ({"curve": [{"threshold": 0.5, "precision": float("nan"), "recall": 0.5}]}, "curve.0.precision"),
        ({"curve": [{"threshold": 0.5, "precision": 0.5}]}, "curve.0.recall"),
        ({"curve": [{"threshold": 0.5, "precision": 0.5, "recall": 0.5, "f1": 0.5}]}, "Extra inputs"),
    ],
)
def test_a_calibration_is_validated(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError) as error:
        Calibration.model_validate(fields)
    assert says in str(error.value)


def test_a_calibration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        OWN_WORD.threshold = 0.1


shares = st.floats(0, 1)
curves = st.lists(st.builds(CurvePoint, threshold=shares, precision=shares, recall=shares), max_size=6)


@given(curves, shares, shares, shares)
def test_a_precision_is_reached_or_refused(curve: list[CurvePoint], one: float, two: float, precision: float) -> None:
    lower, threshold = sorted((one, two))
    calibration = Calibration(family="claim", curve=tuple(curve), threshold=threshold, lower=lower)
    reached = [p.threshold for p in curve if p.precision >= precision]
    if not reached:
        with pytest.raises(CalibrationError, match=r"no threshold reaches it for claim .* at most \d\.\d\d\."):
            calibration.reach_precision(precision)
        return
    found = calibration.reach_precision(precision)
    assert found.threshold == min(reached)
    assert found.lower == min(lower, found.threshold)
    assert found == calibration.model_copy(update={"threshold": found.threshold, "lower": found.lower})


# Signals that are more than one, missing or many


def test_all_signals_count_against_their_own_means() -> None:
    weights = {
        VERDICT: SignalWeight(weight=2.0, centre=1.0, prior=1.0),
        POSITIVE: SignalWeight(weight=3.0, centre=0.5, prior=0.2),
        SENTENCE: SignalWeight(weight=-1.0),
    }
    signals = {VERDICT: [4.0, -2.0], POSITIVE: [0.9, 0.1], SENTENCE: [0.5, 0.6]}
    expected = [sigmoid(2 * (v - 1) + 3 * (p - 0.5 * 0.4) - s) for v, p, s in zip(*signals.values(), strict=True)]
    assert make_confidences(signals, Calibration(signals=weights)) == pytest.approx(expected)


def test_signals_that_a_calibration_does_not_weigh_change_nothing() -> None:
    more = {**of([1.0, -1.0]), QUERY: [0.3, None], SENTENCE: [0.9, 0.8]}
    assert make_confidences(more, calibrated(centre=1.0)) == make_confidences(of([1.0, -1.0]), calibrated(centre=1.0))


def test_a_passage_that_lacks_a_signal_has_no_confidence_and_the_others_have_theirs() -> None:
    calibration = calibrated({"weight": 2.0, "prior": 0.5})
    found = make_confidences(of([1.0, 1.0, None], [0.9, None, 0.9]), calibration)
    assert found == (sigmoid(1.0 + 1.8), None, None)


def test_a_mean_that_lacks_a_similarity_moves_no_neighbours_label() -> None:
    calibration = calibrated({"weight": 2.0, "centre": 1.0})
    assert make_confidences(of([1.0, 1.0], [0.9, None]), calibration) == (None, None)


def test_a_group_without_the_signal_of_its_calibration_is_an_error() -> None:
    with pytest.raises(KeyError, match="query"):
        make_confidences(of([1.0]), calibrated({"weight": 2.0}))


def test_a_single_negative_is_held_against_the_prior_as_much_as_against_itself() -> None:
    [found] = make_confidences(of([3.0], [0.6]), calibrated({"weight": 4.0, "centre": 1.0}, centre=1.0, prior=1.0))
    assert found == sigmoid(3.0 - 2.0 + 4 * (0.6 - 0.3))


@pytest.mark.parametrize("centre", [0.0, 1.0])
def test_of_200_negatives_each_is_held_against_all(centre: float) -> None:
    odds, similarities = [i / 10 - 10 for i in range(200)], [i / 200 for i in range(200)]
    calibration = calibrated({"weight": 4.0, "centre": centre}, centre=centre)
    found = make_confidences(of(odds, similarities), calibration)
    means = centre * sum(odds) / 201, centre * sum(similarities) / 201
    assert found == pytest.approx(
        [sigmoid(o - means[0] + 4 * (s - means[1])) for o, s in zip(odds, similarities, strict=True)], abs=2e-4
    )
    assert list(found) == sorted(c for c in found if c is not None)


# Calibrations written before signals had names


OLDER = st.fixed_dictionaries(
    {},
    optional={
        "slope": st.floats(0.01, 20),
        "centre": st.floats(-2, 2),
        "intercept": st.floats(-9, 9),
        "similarity": st.just(0.0) | st.floats(0.01, 50),
        "similarity_centre": st.floats(-2, 2),
        "prior": st.floats(-3, 3),
        "similarity_prior": st.floats(-1, 1),
        "spread": st.floats(0, 5),
    },
)


@given(OLDER, st.lists(st.tuples(st.floats(-20, 20), st.floats(-1, 1)), min_size=1, max_size=8))
def test_an_older_calibration_gives_the_confidences_it_gave(
    fields: dict[str, float], passages: list[tuple[float, float]]
) -> None:
    calibration = Calibration.model_validate({"scorer": "s", **fields})
    odds, similarities = [o for o, _ in passages], [s for _, s in passages]
    slope, centre, prior = fields.get("slope", 1.0), fields.get("centre", 0.0), fields.get("prior", 0.0)
    spread, middle = fields.get("spread", 1000.0), median(odds)
    mean = (math.fsum(max(middle - spread, min(middle + spread, o)) for o in odds) + prior) / (len(odds) + 1)
    similarity, similarity_centre = fields.get("similarity", 0.0), fields.get("similarity_centre", 0.0)
    similarity_mean = (math.fsum(similarities) + fields.get("similarity_prior", 0.0)) / (len(similarities) + 1)
    expected = [
        sigmoid(
            slope * (o - centre * mean)
            + similarity * (s - similarity_centre * similarity_mean)
            + fields.get("intercept", 0.0)
        )
        for o, s in passages
    ]
    assert make_confidences(of(odds, similarities), calibration) == pytest.approx(expected, abs=2e-4)
    # Written anew, it has names and is the same.
    again = calibration.model_dump(mode="json")
    assert not {"slope", "similarity", "prior"} & again.keys()
    assert Calibration.model_validate(again) == calibration


def test_an_older_calibration_without_a_similarity_needs_none() -> None:
    older = {"slope": 2.0, "similarity": 0.0, "similarity_centre": 0.0, "similarity_prior": 0.0, "spread": 0.5}
    assert Calibration.model_validate(older) == calibrated(weight=2.0, spread=0.5)
    assert Calibration.model_validate({"threshold": 0.7}).signals == OWN_WORD.signals


# Calibration files

FITTED = Calibration(
    model="sha256:0123456789abcdef",
    prompt="p",
    family="question",
    signals={VERDICT: SignalWeight(weight=1.25)},
    threshold=0.75,
    curve=(CurvePoint(threshold=0.75, precision=0.9, recall=0.5),),
    fitted={"groups": 100, "when": "2026-11-23"},
)


def written(path: Path, *calibrations: Calibration) -> Path:
    path.write_text(json.dumps([c.model_dump(mode="json") for c in calibrations]), "utf-8")
    return path


def test_a_calibration_file_round_trips(tmp_path: Path) -> None:
    other = FITTED.model_copy(update={"family": "claim", "prompt": "q"})
    assert load_calibrations(written(tmp_path / "c.json", FITTED, other)) == (FITTED, other)


def row(**fields: object) -> str:
    return json.dumps([{"model": "m", "prompt": "p", **fields}])


NOT_OURS = "Expected a file that 'arhn calibrate' wrote"
BAD_FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", f"not JSON (Expecting value: line 1 column 1 (char 0)). {NOT_OURS}"),
    "prose": ("threshold: 0.5", "not JSON"),
    "cut": (row()[:-3], "not JSON"),
    "not UTF-8": (b'[{"model": "\xe9"}]', "not JSON ('utf-8' codec can't decode"),
    "too deep": ("[" * 200_000, "not JSON"),
    "an object": ("{}", "expected a list of calibrations as 'arhn calibrate' writes it"),
    "nothing": ("[]", "expected a list of calibrations"),
    "numbers": ("[5]", f"not a calibration: Input should be a valid dictionary or instance of Calibration. {NOT_OURS}"),
    "an unknown key": (row(center=1.0), "not a calibration: center: Extra inputs are not permitted"),
    "a wrong type": (row(slope="steep"), "not a calibration: slope: Input should be a valid number"),
    "a weight of a wrong type": (
        row(signals={"verdict": {"weight": "steep"}}),
        "not a calibration: signals: verdict: weight: Input should be a valid number",
    ),
    "no weight": (row(signals={"verdict": {"centre": 1.0}}), "signals: verdict: weight: Field required"),
    "an unknown signal": (
        row(signals={"vedrict": {"weight": 1.0}}),
        "signals: Value error, expected at least one of verdict, query, positive, sentence, found vedrict",
    ),
    "no signal": (row(signals={}), "expected at least one of verdict, query, positive, sentence, found none"),
    "weights in both forms": (row(signals={"verdict": {"weight": 1.0}}, slope=1.0), "slope: Extra inputs"),
    "similarities of nobody": (
        row(signals={"verdict": {"weight": 1.0}, "sentence": {"weight": 2.0}}),
        "weighs similarities, but without the scorer they come from. Make it anew with 'arhn calibrate'",
    ),
    "older similarities of nobody": (row(slope=1.0, similarity=2.0), "weighs similarities, but without the scorer"),
    "not a number": (row(slope=float("nan")), "slope: Input should be a finite number"),
    "a bad point": (row(curve=[{"threshold": 0.5}]), "not a calibration: curve: 0: precision: Field required"),
    "thresholds in the wrong order": (row(threshold=0.2, lower=0.9), "lower must not be above threshold"),
    "no model": (row(model=""), "a calibration without model and prompt. Make it anew with 'arhn calibrate'"),
    "no prompt": (row(prompt=""), "a calibration without model and prompt"),
}


@pytest.mark.parametrize(("content", "says"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_calibration_file_says_what_is_wrong(tmp_path: Path, content: str | bytes, says: str) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CalibrationError) as error:
        load_calibrations(path)
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)


@pytest.mark.parametrize("make", [lambda _: None, Path.mkdir], ids=["missing", "a folder"])
def test_a_calibration_file_that_cannot_be_read(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "c.json")
    with pytest.raises(CalibrationError, match=r"c\.json: can't be read \(.*\)\. Check the path"):
        load_calibrations(tmp_path / "c.json")


def test_points_of_older_files_are_left_out() -> None:
    """They say the share of each group to ask about, and not from which cut on."""
    assert Calibration.model_validate({"triage": [{"share": 0.5, "agreement": 0.9}]}) == Calibration()
    with pytest.raises(ValidationError, match="cut"):
        Calibration.model_validate({"triage": [{"cut": 1.0, "share": 0.5, "agreement": 0.9}, {"share": 0.5}]})


def test_spared_ones_have_the_lowest_log_odds_of_the_others() -> None:
    assert add_spared([1.0, None, -2.0], 5) == (1.0, None, -2.0, -2.0, -2.0)
    assert add_spared([None], 2) == (None, None)


def test_a_group_is_centred_on_all_its_passages_or_on_none() -> None:
    centred = calibrated({"weight": 1.0, "prior": 0.5}, centre=1.0, prior=1.0)
    similarities = [0.5, 0.7, 0.3]
    assert centre_group(of([1.0, 3.0], similarities), centred, size=3) == take_means(
        of([1.0, 3.0, 1.0], similarities), centred
    )
    alone = calibrated(centre=1.0, prior=1.0)
    assert centre_group(of([1.0, 3.0]), alone) == take_means(of([1.0, 3.0]), alone)
    assert centre_group(of([1.0, None]), alone) is None
    assert centre_group(of([1.0, None]), OWN_WORD) == take_means(of([1.0]), OWN_WORD)


@pytest.mark.parametrize("similarity", [None, 0.6])
def test_weights_say_what_the_regression_says(similarity: float | None) -> None:
    """A calibration's confidence is the sigmoid of what was fitted."""
    values = {VERDICT: 2.0} if similarity is None else {VERDICT: 2.0, QUERY: similarity}
    means = {VERDICT: 1.5, QUERY: 0.4}
    coefficients = [0.8, -0.3, *([] if similarity is None else [2.0, 0.5])]
    weights = weigh(list(values), coefficients, {name: {"prior": 0.0} for name in values})
    fitted = sum(c * x for c, x in zip(coefficients, predict_from(values, means), strict=True)) + 0.25
    signals = {name: [value] for name, value in values.items()}
    found = make_confidences(signals, Calibration(signals=weights, intercept=0.25), means=means)
    assert found == (sigmoid(fitted),)
