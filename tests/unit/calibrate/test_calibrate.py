"""Fitting on synthetic groups whose parameters are known, then calibrating from files with a scripted engine."""

import io
import json
import math
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from arhn import formats
from arhn.calibrate.fit import (
    LEAST_GROUPS,
    LEAST_OF_A_CLASS,
    MOST_LOST,
    MOST_MISSED,
    Fit,
    LabelledGroup,
    auc,
    fit,
)
from arhn.calibrate.job import Fitting, calibrate
from arhn.calibrate.view import fit_view
from arhn.cleaning import prompts
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.calibration import Calibration, TriagePoint, load_calibrations
from arhn.cleaning.evidence.confidence import sigmoid
from arhn.cleaning.evidence.signals import QUERY, VERDICT
from arhn.cleaning.evidence.triage import find_likelihood, measure_triage
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import clean_groups
from arhn.cleaning.stats import Stats
from arhn.engines import Completion, Request, SpanOf
from arhn.engines.fake import FakeEngine, Script
from arhn.errors import BadRow, CalibrationError, EngineError, FileMissing, MissingDependency, OutputExists, UsageError
from arhn.families.family import Family
from arhn.retrieval.similarity import Similarity
from arhn.types import Group, Passage
from tests.conftest import (
    FakeSimilarity,
    answer_by_marks,
    calibrated,
    kind_of,
    passage,
    shown,
    verdict,
    without_logprobs,
)

pytest.importorskip("sklearn")

SLOPE, INTERCEPT = 1.2, -1.5


def synthetic(
    count: int, *, size: int = 12, seed: int = 0, spread: float = 3.0, similar: float | None = None
) -> list[LabelledGroup]:
    """Groups whose labels are drawn by a logistic of the difference from the group's own offset.

    Args:
        spread: standard deviation of the offsets.
        similar: weight of a similarity, which has an offset too; without one unless given.
    """
    rng = random.Random(seed)
    groups = []
    for i in range(count):
        offset, near = rng.gauss(1, spread), rng.gauss(0.5, 0.1)
        own = [rng.gauss(0, 2) for _ in range(size)]
        scores = [rng.gauss(0, 0.1) for _ in range(size)]
        chances = [chance(SLOPE * x + INTERCEPT + (similar or 0.0) * s) for x, s in zip(own, scores, strict=True)]
        groups.append(
            LabelledGroup(
                query_id=f"q{i}",
                signals={VERDICT: tuple(round(offset + x, 4) for x in own)}
                | ({} if similar is None else {QUERY: tuple(round(near + s, 6) for s in scores)}),
                labels=tuple(rng.random() < c for c in chances),
                positives=(round(offset + rng.gauss(3, 1), 4),),
            )
        )
    return groups


def alone(groups: Iterable[LabelledGroup]) -> list[LabelledGroup]:
    """Groups without a similarity."""
    return [replace(g, signals={VERDICT: g.signals[VERDICT]}) for g in groups]


def broken(group: LabelledGroup) -> LabelledGroup:
    """A group whose first answer broke."""
    return replace(group, signals={VERDICT: (None, *group.signals[VERDICT][1:])})


def chance(z: float) -> float:
    return 1 / (1 + math.exp(-z))


@cache
def fitted(similar: float | None = None) -> Fit:
    return fit(synthetic(300, similar=similar), model="m", prompt="p", family="question")


# Fitting


def test_known_parameters_are_found_again() -> None:
    calibration = fitted().calibration
    verdict_weight = calibration.signals[VERDICT]
    assert verdict_weight.weight == pytest.approx(SLOPE, rel=0.15)
    assert verdict_weight.centre == pytest.approx(1.0, abs=0.1)
    assert verdict_weight.prior == pytest.approx(1.0, abs=0.5)
    # Held against a mean that holds the own noise of the passages, the intercept shifts by little.
    assert calibration.intercept == pytest.approx(INTERCEPT, abs=0.3)
    assert (calibration.model, calibration.prompt, calibration.family) == ("m", "p", "question")
    assert (set(calibration.signals), calibration.scorer) == ({VERDICT}, "")


def test_nearly_all_log_odds_lie_within_the_spread() -> None:
    groups = synthetic(300)
    spread = fitted().calibration.signals[VERDICT].spread
    distances = [abs(odds - median(known(g))) for g in groups for odds in known(g)]
    assert sum(d <= spread + 1e-5 for d in distances) / len(distances) == pytest.approx(0.95, abs=0.001)


def test_where_queries_have_no_offset_none_is_taken_off() -> None:
    assert fit(synthetic(300, spread=0.0)).calibration.signals[VERDICT].centre == pytest.approx(0.0, abs=0.5)


def test_confidences_are_good_on_groups_that_were_not_seen() -> None:
    found = fitted()
    assert found.auc > 0.85
    assert found.brier < 0.15
    assert found.calibration.fitted["auc"] == round(found.auc, 4)
    fresh = synthetic(200, seed=1)
    scored = [
        (confidence, label)
        for g in fresh
        for confidence, label in zip(confidences_of(g, found.calibration), map(bool, g.labels), strict=True)
    ]
    assert auc(scored) == pytest.approx(found.auc, abs=0.03)
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = [(c, label) for c, label in scored if low <= c < low + 0.2]
        assert sum(label for _, label in inside) / len(inside) == pytest.approx(
            sum(c for c, _ in inside) / len(inside), abs=0.1
        )


def known(group: LabelledGroup) -> list[float]:
    """Its log-odds, none of them broken."""
    return [odds for odds in group.signals[VERDICT] if odds is not None]


def confidences_of(group: LabelledGroup, c: Calibration) -> list[float]:
    """By the formula in the documentation of `Calibration`, with the mean of what lies within its spread."""
    odds = known(group)
    middle = median(odds)
    w = c.signals[VERDICT]
    near = [middle + max(-w.spread, min(w.spread, own - middle)) for own in odds]
    mean = (sum(near) + w.prior) / (len(odds) + 1)
    return [sigmoid(w.weight * (own - w.centre * mean) + c.intercept) for own in odds]


def test_reliability_counts_every_label_once() -> None:
    found = fitted()
    counted = found.calibration.fitted
    assert sum(b.count for b in found.reliability) == counted["false_negatives"] + counted["true_negatives"] == 3600
    assert sum(b.observed * b.count for b in found.reliability) == pytest.approx(counted["false_negatives"])
    for b in found.reliability:
        assert b.low <= b.mean <= b.high
        assert b.count > 0
        assert b.observed == pytest.approx(b.mean, abs=0.15)


def test_thresholds_fall_and_recalls_rise_along_the_curve() -> None:
    curve = fitted().calibration.curve
    assert all(a.threshold > b.threshold and a.recall < b.recall for a, b in pairwise(curve))
    assert curve[-1].recall == 1.0
    assert curve[0].precision > 0.9 > 0.4 > curve[-1].precision


def test_the_threshold_costs_few_true_negatives_and_lower_misses_few_false_ones() -> None:
    found = fitted()
    named = {t.name: t for t in found.thresholds}
    threshold, lower = named["threshold"], named["lower"]
    assert threshold.threshold == found.calibration.threshold
    assert 0 < threshold.lost <= MOST_LOST
    assert lower.threshold == found.calibration.lower <= found.calibration.threshold
    assert 1 - MOST_MISSED <= lower.recall <= 1 - MOST_MISSED + 0.02
    for point in found.calibration.curve:
        if point.threshold < threshold.threshold:
            # What would be better costs too much.
            f1 = 2 * point.precision * point.recall / (point.precision + point.recall)
            lost = point.recall * (1 / point.precision - 1) * odds_of_classes(found)
            assert f1 <= threshold.f1 or lost > MOST_LOST


def odds_of_classes(found: Fit) -> float:
    counted: dict[str, int] = found.calibration.fitted
    return counted["false_negatives"] / counted["true_negatives"]


def test_nearly_all_positives_are_above_doubt() -> None:
    groups = synthetic(300)
    positives = [odds for g in groups for odds in g.positives if odds is not None]
    under = sum(odds < fitted().calibration.doubtful for odds in positives)
    assert under == 30
    without = [replace(g, positives=(None,)) for g in groups]
    assert fit(without).calibration.doubtful == 0.0


def test_the_precisions_that_are_shown_can_be_asked_for() -> None:
    found = fitted()
    named = {t.name.removeprefix("precision "): t for t in found.thresholds if t.name.startswith("precision ")}
    assert {"0.5", "0.7", "0.9"} <= set(named)
    for precision, threshold in named.items():
        assert found.calibration.reach_precision(float(precision)).threshold == threshold.threshold
        assert threshold.precision >= float(precision)
    recalls = [t.recall for t in named.values()]
    assert recalls == sorted(recalls, reverse=True)


def test_a_similarity_that_tells_more_makes_confidences_better() -> None:
    fused = fitted(similar=20.0)
    assert fused.auc > fit(alone(synthetic(300, similar=20.0))).auc + 0.02
    query = fused.calibration.signals[QUERY]
    assert query.weight == pytest.approx(20.0, rel=0.2)
    assert query.centre == pytest.approx(1.0, abs=0.15)
    assert query.prior == pytest.approx(0.5, abs=0.05)


def test_triage_agrees_fully_where_all_are_asked_about_and_less_where_fewer_are() -> None:
    found = fitted(similar=20.0).calibration
    agreement = {round(point.share, 2): point.agreement for point in found.triage}
    assert agreement[1.0] == 1.0
    assert agreement[0.05] < agreement[0.5] < agreement[0.75] < 1
    half = found.find_triage(agreement[0.5])
    assert half is not None
    assert half.share <= 0.51
    assert fit(synthetic(60)).calibration.triage == ()


def measured(groups: Iterable[LabelledGroup], calibration: Calibration) -> tuple[TriagePoint, ...]:
    asked = [(g.signals, find_likelihood(g.signals, calibration, g.flags)) for g in groups]
    return measure_triage(asked, calibration).triage


def test_triage_counts_what_would_be_found_otherwise() -> None:
    """One group, by hand: two of four are asked about, and one that answers is among the spared."""
    calibration = calibrated({"weight": 0.1}, threshold=0.5, lower=0.5)
    signals = {VERDICT: (2.0, -2.0, 2.0, -2.0), QUERY: (0.9, 0.8, 0.1, 0.2)}
    group = LabelledGroup(query_id="q", signals=signals, labels=(None,) * 4)
    agreement = {point.share: point.agreement for point in measured([group], calibration)}
    assert (agreement[0.5], agreement[0.75], agreement[1.0]) == (0.75, 0.75, 1.0)


def test_triage_goes_by_a_small_model_where_there_is_one() -> None:
    calibration = Calibration(threshold=0.5, lower=0.5)
    group = LabelledGroup(
        query_id="q",
        signals={VERDICT: (2.0, -2.0, 2.0, -2.0), QUERY: (0.9, 0.8, 0.1, 0.2)},
        labels=(None,) * 4,
        flags=(1.0, -1.0, 2.0, -2.0),
    )
    agreement = {point.share: point.agreement for point in measured([group], calibration)}
    assert (agreement[0.25], agreement[0.5], agreement[1.0]) == (0.75, 1.0, 1.0)
    assert measured(alone([group]), calibration) == measured([group], calibration)


def test_a_group_whose_flags_broke_says_nothing_of_a_share() -> None:
    """Asked about besides, the broken one would make a share look better than it is where none breaks."""
    calibration = Calibration(threshold=0.5, lower=0.5)
    group = LabelledGroup(query_id="q", signals={VERDICT: (-2.0, 2.0)}, labels=(None,) * 2, flags=(1.0, -1.0))
    half = replace(group, flags=(1.0, None))
    assert measured([group, half], calibration) == measured([group], calibration) != ()
    assert measured([half], calibration) == ()


def test_a_similarity_that_is_always_the_same_does_no_harm() -> None:
    groups = [replace(g, signals={**g.signals, QUERY: (0.5,) * len(g.labels)}) for g in synthetic(60)]
    found = fit(groups)
    assert found.calibration.signals[QUERY].weight == 0.0
    assert found.auc == pytest.approx(fit(synthetic(60)).auc, abs=0.01)


def test_ambiguous_passages_count_in_the_mean_only() -> None:
    groups = synthetic(60)
    hidden = [replace(g, labels=(None, *g.labels[1:])) for g in groups]
    found = fit(hidden)
    assert sum(b.count for b in found.reliability) == 60 * 11
    # Another mean would give other parameters.
    dropped = [replace(g, signals={VERDICT: g.signals[VERDICT][1:]}, labels=g.labels[1:]) for g in groups]
    assert fit(dropped).calibration.signals[VERDICT].prior != found.calibration.signals[VERDICT].prior


def test_groups_with_a_broken_answer_or_without_a_label_are_left_out() -> None:
    groups = synthetic(60)
    unlabelled = replace(groups[1], labels=(None,) * 12)
    found, whole = fit([broken(groups[0]), *groups, unlabelled]), fit(groups)
    assert (found.skipped_groups, whole.skipped_groups) == (2, 0)
    assert found.calibration == whole.calibration


# What can't be fitted on


@pytest.mark.parametrize(
    ("groups", "says"),
    [
        ([], "0 false negatives, 0 true negatives in 0 groups"),
        (synthetic(LEAST_GROUPS - 1), f"in {LEAST_GROUPS - 1} groups. At least {LEAST_GROUPS} groups"),
        (
            [replace(g, labels=(True,) * 12) for g in synthetic(30)],
            "a single class, no true negatives: 360 false negatives, 0 true negatives in 30 groups",
        ),
        (
            [replace(g, labels=(False,) * 12) for g in synthetic(30)],
            "a single class, no false negatives: 0 false negatives, 360 true negatives in 30 groups",
        ),
        (
            [replace(g, labels=(i < LEAST_OF_A_CLASS - 1, *(False,) * 11)) for i, g in enumerate(synthetic(30))],
            f"{LEAST_OF_A_CLASS - 1} false negatives, {360 - LEAST_OF_A_CLASS + 1} true negatives in 30 groups",
        ),
        (
            [broken(g) for g in synthetic(30)],
            "in 0 groups (30 groups without a label or with a broken answer left out)",
        ),
    ],
    ids=["none", "few groups", "no true negatives", "no false negatives", "few of a class", "all broken"],
)
def test_too_little_says_what_there_is_and_what_is_needed(groups: list[LabelledGroup], says: str) -> None:
    with pytest.raises(CalibrationError) as error:
        fit(groups)
    assert str(error.value).startswith("too little to calibrate on: ")
    assert says in str(error.value)
    assert "10 of each class are needed" in str(error.value)


def test_a_class_that_stands_in_a_few_groups_only_is_told() -> None:
    """All false negatives lie in one fold, so that the fit without it sees a single class."""
    groups = [replace(g, labels=tuple(i % 5 == 0 and o > 1 for o in known(g))) for i, g in enumerate(synthetic(30))]
    with pytest.raises(CalibrationError, match=r"one part of the groups holds a single class\. Label more groups"):
        fit(groups)


def test_log_odds_that_say_the_opposite_are_refused() -> None:
    opposite = [replace(g, labels=tuple(not label for label in g.labels)) for g in synthetic(60)]
    with pytest.raises(CalibrationError, match="log-odds don't tell false negatives from true ones"):
        fit(opposite)


def test_without_the_library_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingDependency, match=r"pip install 'arhn\[calibrate\]'"):
        fit(synthetic(30))


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.5, 0.9, 1.0]), st.booleans()), min_size=2, max_size=30))
def test_auc_is_the_share_of_pairs_in_order(scored: list[tuple[float, bool]]) -> None:
    false = [c for c, label in scored if label]
    true = [c for c, label in scored if not label]
    if false and true:
        pairs = [1.0 if f > t else 0.5 if f == t else 0.0 for f in false for t in true]
        assert auc(scored) == pytest.approx(sum(pairs) / len(pairs))


# Calibrating from files. Passages say their log-odds, and are false negatives by chance, as in `synthetic`.


def by_numbers(request: Request) -> Completion | str:
    """What the passage says: its log-odds, or an answer as likely as they make it."""
    said = re.search(r"^Passage: .* odds (-?\d+\.\d+)", shown(request), re.MULTILINE)
    match request.constraint:
        case None:
            assert said is not None
            odds = float(said[1])
            return verdict({"Yes": math.log(chance(odds)), "No": math.log(chance(-odds))})
        case SpanOf(_, "", lead, close):
            return f"{lead}odds{close}"
        case SpanOf(_, otherwise, lead, close):
            assert said is not None
            return f"{lead}odds{close}" if (request.seed + 0.5) / 5 < chance(float(said[1])) else otherwise
    return answer_by_marks(request)


def made(count: int, *, seed: int = 0, subset: str = "nq", size: int = 6) -> Iterator[tuple[Group, dict[str, bool]]]:
    """Groups with the labels of their negatives."""
    for labelled in synthetic(count, size=size, seed=seed, spread=1.5):
        name = f"{subset}-{labelled.query_id}"
        negatives = [
            passage(f"{name}-n{i}", f"{i} of {name} odds {o:.4f}") for i, o in enumerate(labelled.signals[VERDICT])
        ]
        group = Group(
            query_id=name,
            query=f"what is {name}?",
            positives=(passage(f"{name}-p", f"positive of {name} odds {labelled.positives[0]:.4f}"),),
            negatives=tuple(negatives),
            extra={"subset": subset},
        )
        yield group, dict(zip([p.doc_id for p in negatives], map(bool, labelled.labels), strict=True))


def gold(group: Group, labels: dict[str, bool]) -> list[dict[str, Any]]:
    words = {d: "false_negative" if label else "true_negative" for d, label in labels.items()}
    return [{"query_id": group.query_id, "labels": words}]


def verdicts(group: Group, labels: dict[str, bool]) -> list[dict[str, Any]]:
    false = [d for d, label in labels.items() if label]
    return [{"query_id": group.query_id, "better": false[::2], "worse": false[1::2]}]


def decisions(group: Group, labels: dict[str, bool]) -> list[dict[str, Any]]:
    common = {"query_id": group.query_id, "snippet": None}
    positives = [
        {**common, "doc_id": p.doc_id, "label": "positive", "action": "keep", "reason": "positive"}
        for p in group.positives
    ]
    reasons = {True: ("filter", "ranked_below"), False: ("keep", "no_answer")}
    return positives + [
        {**common, "doc_id": d, "label": "negative", "action": reasons[label][0], "reason": reasons[label][1]}
        for d, label in labels.items()
    ]


Rows = Callable[[Group, dict[str, bool]], list[dict[str, Any]]]


@dataclass
class Calibrating:
    """Calibrates in `folder`; `asked` are the requests of the last run, `skipped` the families without a fit."""

    folder: Path
    script: Script = by_numbers
    asked: list[Request] = field(default_factory=list)
    skipped: Mapping[str, str] = field(default_factory=dict)

    def write(self, *data: tuple[Group, dict[str, bool]], rows: Rows = gold) -> None:
        with formats.GroupWriter(self.folder / "groups.jsonl", "tevatron", overwrite=True) as writer:
            for group, _ in data:
                writer.write(group)
        lines = [json.dumps(row) for group, labels in data for row in rows(group, labels)]
        (self.folder / "gold.jsonl").write_text("\n".join(lines) + "\n", "utf-8")

    def fitting(self, **fields: Any) -> Fitting:
        places = {name: self.folder / place for name, place in (("gold", "gold.jsonl"), ("output", "c.json"))}
        return Fitting(**{"groups": str(self.folder / "groups.jsonl"), **places, **fields})

    def __call__(
        self,
        config: CleanConfig | None = None,
        *,
        engine: FakeEngine | None = None,
        similarity: Similarity | None = None,
        on_group: Callable[[int, int, Stats], None] | None = None,
        **fields: Any,
    ) -> Mapping[str, Fit]:
        engine = engine or FakeEngine(self.script)

        def open_models(_: ExitStack) -> Models:
            return Models(engine=engine, similarity=similarity)

        try:
            done = calibrate(self.fitting(**fields), config or CleanConfig(), open_models, on_group=on_group)
        finally:
            self.asked = engine.asked
        self.skipped = done.skipped
        return done.fits

    @property
    def written(self) -> tuple[Calibration, ...]:
        return load_calibrations(self.folder / "c.json")

    @property
    def names(self) -> set[str]:
        return {p.name for p in self.folder.iterdir() if not p.name.endswith(".lock")}


@pytest.fixture
def calibrating(tmp_path: Path) -> Calibrating:
    made_here = Calibrating(tmp_path)
    made_here.write(*made(60))
    return made_here


def test_a_fit_is_written_with_what_it_is_for(calibrating: Calibrating) -> None:
    done: list[tuple[int, int]] = []
    fits = calibrating(on_group=lambda now, total, stats: done.append((now, total)))
    [calibration] = calibrating.written
    found = fits[Family.QUESTION].calibration
    assert calibration == found.model_copy(update={"fitted": calibration.fitted})
    assert (calibration.model, calibration.family, calibration.samples) == ("fake", "question", 0)
    assert calibration.prompt == prompts.load("question").check.hash
    assert calibration.fitted["data"] == "groups.jsonl"
    assert calibration.fitted["groups"] == 60
    assert calibration.signals[VERDICT].weight == pytest.approx(SLOPE, rel=0.3)
    assert calibration.signals[VERDICT].centre == pytest.approx(1.0, abs=0.3)
    assert done == [(i, 60) for i in range(61)]
    # Verdict and snippet of the positive, verdicts of six negatives.
    assert len(calibrating.asked) == 60 * 8
    assert calibrating.names == {"groups.jsonl", "gold.jsonl", "c.json", "c.responses.sqlite"}


@pytest.mark.parametrize("rows", [verdicts, decisions])
def test_every_kind_of_labels_gives_the_same_fit(calibrating: Calibrating, rows: Rows) -> None:
    expected = calibrating()
    calibrating.write(*made(60), rows=rows)
    assert calibrating(overwrite=True) == expected


def test_what_is_ambiguous_or_abstained_from_is_no_label(calibrating: Calibrating) -> None:
    def hedged(group: Group, labels: dict[str, bool]) -> list[dict[str, Any]]:
        [found] = gold(group, labels)
        first, second, *_ = found["labels"]
        found["labels"][first] = "ambiguous"
        del found["labels"][second]
        return [found]

    def unsure(group: Group, labels: dict[str, bool]) -> list[dict[str, Any]]:
        found = decisions(group, labels)
        return [*found[:1], found[1] | {"action": "keep", "reason": "uncertain"}, *found[3:]]

    counted = []
    for rows in (hedged, unsure):
        calibrating.write(*made(60), rows=rows)
        counted.append(calibrating(overwrite=True)[Family.QUESTION].calibration.fitted)
    assert counted[0] == counted[1]
    assert counted[0]["false_negatives"] + counted[0]["true_negatives"] == 60 * 4


def test_groups_without_a_label_that_counts_are_not_asked_about(calibrating: Calibrating) -> None:
    def some(group: Group, labels: dict[str, bool]) -> list[dict[str, Any]]:
        [found] = gold(group, labels)
        return [found if int(group.query_id[4:]) % 2 else {**found, "labels": dict.fromkeys(labels, "ambiguous")}]

    calibrating.write(*made(60), rows=some)
    fits = calibrating()
    assert fits[Family.QUESTION].calibration.fitted["groups"] == 30
    assert fits[Family.QUESTION].skipped_groups == 0
    assert len(calibrating.asked) == 30 * 8
    # Nor do they count as groups before it is asked.
    calibrating.write(*made(38), rows=some)
    with pytest.raises(CalibrationError, match="in 19 groups"):
        calibrating(overwrite=True)
    assert calibrating.asked == []


def test_each_kind_of_query_has_a_calibration_of_its_own(calibrating: Calibrating) -> None:
    alone = calibrating()[Family.QUESTION]
    few = list(made(5, seed=2, subset="arguana"))
    calibrating.write(*made(60), *made(40, seed=1, subset="fever"), *few)
    fits = calibrating(overwrite=True)
    assert set(fits) == {Family.QUESTION, Family.CLAIM}
    assert fits[Family.QUESTION] == alone
    assert [c.family for c in calibrating.written] == ["question", "claim"]
    assert fits[Family.CLAIM].calibration.prompt == prompts.load("claim").check.hash
    assert fits[Family.CLAIM].calibration.fitted["groups"] == 40
    # What is too little is told, and the LLM isn't asked about it.
    [(family, why)] = calibrating.skipped.items()
    assert family is Family.ARGUMENT
    assert why.startswith("too little to calibrate on: ")
    assert "in 5 groups" in why
    assert not any("arguana" in shown(r) for r in calibrating.asked)


def test_a_kind_of_query_that_cannot_be_told_spoils_no_other(calibrating: Calibrating) -> None:
    opposite = [(g, {d: not label for d, label in ls.items()}) for g, ls in made(40, seed=1, subset="fever")]
    calibrating.write(*made(60), *opposite)
    assert set(calibrating()) == {Family.QUESTION}
    assert [c.family for c in calibrating.written] == ["question"]
    assert "don't tell false negatives from true ones" in calibrating.skipped[Family.CLAIM]


def test_where_no_kind_of_query_has_enough_each_says_what_it_has(calibrating: Calibrating) -> None:
    calibrating.write(*made(5), *made(6, subset="fever"))
    with pytest.raises(CalibrationError) as error:
        calibrating()
    assert "gold.jsonl: claim: too little" in str(error.value)
    assert "in 6 groups" in str(error.value)
    assert "; question: too little" in str(error.value)
    assert "in 5 groups" in str(error.value)
    assert calibrating.asked == []
    assert calibrating.names == {"groups.jsonl", "gold.jsonl"}


def test_limit_takes_the_first_labelled_groups(calibrating: Calibrating) -> None:
    assert calibrating(limit=30)[Family.QUESTION].calibration.fitted["groups"] == 30
    assert len(calibrating.asked) == 30 * 8
    assert not any("nq-q30" in shown(r) for r in calibrating.asked)
    with pytest.raises(CalibrationError, match="in 19 groups"):
        calibrating(limit=19, overwrite=True)


def test_only_negatives_that_are_used_count(calibrating: Calibrating) -> None:
    found = calibrating(CleanConfig(negatives=4))[Family.QUESTION].calibration.fitted
    assert found["false_negatives"] + found["true_negatives"] == 60 * 4
    assert len(calibrating.asked) == 60 * 6


def test_copies_are_asked_about_once_and_labelled_once(calibrating: Calibrating) -> None:
    def doubled(group: Group) -> Group:
        copies = [Passage(doc_id=f"{p.doc_id}-copy", text=f" {p.text}") for p in (*group.positives, group.negatives[0])]
        return replace(group, negatives=(*group.negatives, *copies))

    expected = calibrating()
    data = [(doubled(g), labels | {f"{g.query_id}-p-copy": True}) for g, labels in made(60)]
    calibrating.write(*data)
    assert calibrating(overwrite=True) == expected


def test_a_second_run_asks_nothing_and_writes_the_same(calibrating: Calibrating) -> None:
    fits = calibrating()
    first = (calibrating.folder / "c.json").read_bytes()
    with pytest.raises(OutputExists):
        calibrating()
    assert calibrating.asked == []
    assert calibrating(overwrite=True) == fits
    assert calibrating.asked == []
    assert (calibrating.folder / "c.json").read_bytes() == first


def test_what_was_answered_before_the_engine_died_is_not_asked_again(calibrating: Calibrating) -> None:
    left = iter(range(100))

    def dying(request: Request) -> Completion | str:
        if next(left, None) is None:
            raise EngineError("gone")
        return by_numbers(request)

    with pytest.raises(EngineError, match="gone"):
        calibrating(engine=FakeEngine(dying))
    assert calibrating.names == {"groups.jsonl", "gold.jsonl", "c.responses.sqlite"}
    calibrating()
    assert len(calibrating.asked) == 60 * 8 - 100


def test_a_store_elsewhere_is_shared_with_clean(calibrating: Calibrating) -> None:
    fitting = calibrating.fitting(output=calibrating.folder / "x.json")
    assert fitting.answers.name == "x.responses.sqlite"
    calibrating(store=calibrating.folder / "mine.sqlite")
    assert calibrating.names == {"groups.jsonl", "gold.jsonl", "c.json", "mine.sqlite"}


def test_a_broken_answer_leaves_its_group_out(calibrating: Calibrating) -> None:
    def broken(request: Request) -> Completion | str:
        odd = kind_of(request) == "verdict" and "Passage: 3 of nq-q7 " in shown(request)
        return verdict({"Sorry": -0.1, "I": -3.0}) if odd else by_numbers(request)

    found = calibrating(engine=FakeEngine(broken))[Family.QUESTION]
    assert found.skipped_groups == 1
    assert found.calibration.fitted["groups"] == 59


def test_log_odds_that_say_the_opposite_write_nothing(calibrating: Calibrating) -> None:
    calibrating.write(*((g, {d: not label for d, label in labels.items()}) for g, labels in made(60)))
    with pytest.raises(CalibrationError, match="don't tell false negatives from true ones"):
        calibrating()
    assert calibrating.names == {"groups.jsonl", "gold.jsonl", "c.responses.sqlite"}


# What was written is used by `clean`


@pytest.mark.parametrize("precision", [None, 0.6])
@pytest.mark.parametrize("show_answer", [True, False])
def test_clean_takes_the_calibration(calibrating: Calibrating, show_answer: bool, precision: float | None) -> None:
    calibrating(CleanConfig(show_answer=show_answer))
    [calibration] = calibrating.written
    used = calibration if precision is None else calibration.reach_precision(precision)
    config = CleanConfig(show_answer=show_answer, precision=precision, calibrations=(*calibrating.written, "none"))
    data = list(made(40, seed=3))
    acted: list[bool] = []
    for (group, labels), cleaned in zip(
        data, clean_groups([g for g, _ in data], FakeEngine(by_numbers), config=config), strict=True
    ):
        own = {e.doc_id: e for e in cleaned.extractions}
        evidence = LabelledGroup(
            query_id=group.query_id,
            signals={VERDICT: tuple(own[p.doc_id].log_odds for p in group.negatives)},
            labels=tuple(labels.values()),
        )
        expected = confidences_of(evidence, calibration)
        assert [own[p.doc_id].confidence for p in group.negatives] == pytest.approx(expected, abs=2e-4)
        for p in group.negatives:
            found = own[p.doc_id]
            assert found.confidence is not None
            assert (found.status == "answer") == (found.confidence >= used.threshold)
            assert (found.status == "no_answer") == (found.confidence < used.lower)
            if found.status == "answer":
                acted.append(labels[p.doc_id])
    assert len(acted) > 10
    assert sum(acted) / len(acted) > (precision or 0.5) - 0.15


def test_a_precision_beyond_the_labelled_groups_is_refused(calibrating: Calibrating) -> None:
    calibrating()
    best = max(point.precision for point in calibrating.written[0].curve)
    worse = tuple(
        c.model_copy(update={"curve": tuple(p for p in c.curve if p.precision < 0.9)}) for c in calibrating.written
    )
    assert best > 0.9
    config = CleanConfig(precision=0.95, calibrations=worse)
    with pytest.raises(CalibrationError, match=r"precision 0\.95: no threshold reaches it for question"):
        list(clean_groups([g for g, _ in made(1)], FakeEngine(by_numbers), config=config))


# Other signals


@dataclass
class Halves(FakeSimilarity):
    """A similarity that goes by the passage's number: later ones are nearer."""

    identity: str = "halves@1"

    def scores(self, query: str, passages: Sequence[Passage]) -> tuple[float, ...]:
        return tuple(round(int(p.text[0]) / 10, 6) if p.text[0].isdecimal() else 0.9 for p in passages)


HALVES = cast("Similarity", Halves())


def test_a_similarity_is_fused_and_clean_needs_the_same(calibrating: Calibrating) -> None:
    fits = calibrating(similarity=HALVES)
    [calibration] = calibrating.written
    assert calibration.scorer == "halves@1"
    assert calibration.signals[QUERY].prior == pytest.approx(0.25)
    assert fits[Family.QUESTION].calibration.signals[VERDICT].weight > 0
    groups = [g for g, _ in made(3)]
    config = CleanConfig(calibrations=calibrating.written)
    fused = list(clean_groups(groups, Models(engine=FakeEngine(by_numbers), similarity=HALVES), config=config))
    assert all(set(c.similarities) == {p.doc_id for p in g.negatives} for c, g in zip(fused, groups, strict=True))
    with pytest.raises(CalibrationError, match="calibrations: there is no calibration for fake"):
        list(clean_groups(groups, FakeEngine(by_numbers), config=config))


def test_sampled_answers_are_calibrated_for_their_number(calibrating: Calibrating) -> None:
    config = CleanConfig(samples=5)
    calibrating(config, engine=without_logprobs(by_numbers))
    [calibration] = calibrating.written
    assert calibration.samples == 5
    groups = [g for g, _ in made(3)]
    used = config.model_copy(update={"calibrations": calibrating.written})
    list(clean_groups(groups, without_logprobs(by_numbers), config=used))
    with pytest.raises(CalibrationError, match="log-probabilities"):
        list(clean_groups(groups, FakeEngine(by_numbers), config=used.model_copy(update={"samples": 0})))


def test_a_single_answer_cannot_be_calibrated(calibrating: Calibrating) -> None:
    with pytest.raises(
        CalibrationError, match=r"gives no log-probabilities.*Let several answers vote: --set samples=5"
    ):
        calibrating(engine=without_logprobs(by_numbers))
    assert calibrating.asked == []
    assert calibrating.names == {"groups.jsonl", "gold.jsonl"}


# What is wrong is told before the LLM is asked


def test_labels_of_other_groups(calibrating: Calibrating) -> None:
    calibrating.write(*made(60))
    text = (calibrating.folder / "gold.jsonl").read_text().replace("nq-", "other-")
    (calibrating.folder / "gold.jsonl").write_text(text)
    with pytest.raises(CalibrationError) as error:
        calibrating()
    assert "none of its 60 groups (query_id 'other-q0', ...) has a labelled negative in" in str(error.value)
    assert calibrating.names == {"groups.jsonl", "gold.jsonl"}


@pytest.mark.parametrize("field", ["gold", "groups"])
def test_no_input_is_replaced(calibrating: Calibrating, field: str) -> None:
    place = calibrating.folder / f"{field}.jsonl"
    with pytest.raises(UsageError, match=r"--output .*would replace the input"):
        calibrating(overwrite=True, output=place)
    with pytest.raises(UsageError, match=r"--store .*would replace the input"):
        calibrating(overwrite=True, store=place)
    with pytest.raises(UsageError, match="would replace"):
        calibrating(overwrite=True, store=calibrating.folder / "c.json")


@pytest.mark.parametrize("name", ["", ".", "..", "/"])
def test_an_output_without_a_name(calibrating: Calibrating, name: str) -> None:
    with pytest.raises(UsageError, match="has no file name to write to"):
        calibrating(output=Path(name))
    with pytest.raises(UsageError, match="has no file name to write to"):
        calibrating(store=Path(name))


def test_bad_labels(calibrating: Calibrating) -> None:
    (calibrating.folder / "gold.jsonl").write_text('{"query_id": "nq-q0", "labels": {"nq-q0-n0": "false"}}\n')
    with pytest.raises(BadRow, match=r"gold\.jsonl, line 1: labels\.nq-q0-n0: expected 'false_negative' or"):
        calibrating()
    (calibrating.folder / "gold.jsonl").unlink()
    with pytest.raises(FileMissing):
        calibrating()


# How it is shown


def test_a_fit_is_shown_with_all_its_numbers() -> None:
    shown_to = io.StringIO()
    fit_ = fitted(similar=20.0)
    scored = replace(fit_, calibration=fit_.calibration.model_copy(update={"scorer": "s"}), skipped_groups=3)
    Console(width=120, file=shown_to).print(fit_view(scored))
    text = " ".join(shown_to.getvalue().split())
    assert "question: 300 groups" in text
    assert f"AUC {fit_.auc:.3f}" in text
    assert "its group mean)" in text
    assert "3 groups without a usable label" in text
    for threshold in fit_.thresholds:
        assert f"{threshold.threshold:.3f}" in text
    for b in fit_.reliability:
        assert f"{b.low:.2f}–{b.high:.2f}" in text
