from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.cleaning.relabel import (
    MOST_RANKED,
    UNDECIDED,
    choose_action,
    decide,
    find_candidates,
    find_reasons,
    hold_back_unsure,
)
from arhn.types import Decision, Extraction, Group, Mode, Ranking, Reason
from tests.conftest import group

STATUSES = ("answer", "uncertain", "no_answer", "unknown")


def extraction(doc_id: str, status: str) -> Extraction:
    if status == "answer":
        return Extraction(doc_id=doc_id, status="answer", snippet="the", start=0, end=3)
    return Extraction(doc_id=doc_id, status=status)  # type: ignore[arg-type]


def judged(
    g: Group,
    extractions: Mapping[str, Extraction],
    ranking: Ranking | None,
    *,
    mode: Mode = Mode.RF,
    copies: Mapping[str, str] | None = None,
    partial: Collection[str] = (),
) -> tuple[Decision, ...]:
    return decide(
        g,
        find_reasons(g, extractions, ranking, held_back=dict.fromkeys(partial, Reason.PARTIAL)),
        mode=mode,
        copies=copies or {},
    )


def decided(
    positives: str,
    negatives: str,
    order: str | None,
    mode: Mode = Mode.RF,
    status: str = "ok",
    *,
    unstable: str = "",
    partial: str = "",
) -> list[tuple[str, Reason]]:
    """Statuses as letters (a, ?, n, u); `order`, `unstable` and `partial` name passages like "n0 p0 n1"."""
    letters = {"a": "answer", "?": "uncertain", "n": "no_answer", "u": "unknown"}
    g = group("g", positives=["the text"] * len(positives), negatives=["the text"] * len(negatives))
    extractions = {
        p.doc_id: extraction(p.doc_id, letters[s]) for p, s in zip(g.passages, positives + negatives, strict=True)
    }
    ranking = None
    if order is not None:
        ranking = Ranking(order=named(order), status=status, unstable=named(unstable))  # type: ignore[arg-type]
    decisions = judged(g, extractions, ranking, mode=mode, partial=named(partial))
    return [(d.action, d.reason) for d in decisions[len(positives) :]]


def named(passages: str) -> tuple[str, ...]:
    return tuple(f"g-{d}" for d in passages.split())


def test_above_relabels_below_filters_rest_stays() -> None:
    assert decided("a", "aan", "n0 p0 n1") == [
        ("relabel", Reason.RANKED_ABOVE),
        ("filter", Reason.RANKED_BELOW),
        ("keep", Reason.NO_ANSWER),
    ]


def test_modes_take_only_their_action() -> None:
    assert [a for a, _ in decided("a", "aa", "n0 p0 n1", Mode.R)] == ["relabel", "keep"]
    assert [a for a, _ in decided("a", "aa", "n0 p0 n1", Mode.F)] == ["keep", "filter"]


def test_drop_filters_whatever_answers_and_asks_for_no_ranking() -> None:
    g = group("g", negatives=["x", "y", "z"])
    statuses = dict(zip((p.doc_id for p in g.passages), ("no_answer", "answer", "uncertain", "unknown"), strict=True))
    extractions = {doc_id: extraction(doc_id, status) for doc_id, status in statuses.items()}
    reasons = find_reasons(g, extractions, None, ranks=False)
    assert [(d.action, d.reason) for d in decide(g, reasons, mode=Mode.DROP, copies={})] == [
        ("keep", Reason.POSITIVE_DOUBTFUL),
        ("filter", Reason.ANSWERS),
        ("keep", Reason.UNCERTAIN),
        ("keep", Reason.EXTRACTION_UNKNOWN),
    ]


def test_drop_takes_what_other_methods_find_better_too() -> None:
    assert {choose_action(r, Mode.DROP) for r in (Reason.JUDGED_BETTER, Reason.RANKED_ABOVE)} == {"filter"}
    assert {choose_action(r, Mode.DROP) for r in UNDECIDED} == {"keep"}


def held_back(positives: str, *, bar: float, confidences: Sequence[float | None] = (0.9, 0.5)) -> set[str]:
    """Of two negatives that rank above positives of these statuses (a, n), those that don't become positives."""
    g = group("g", positives=["p"] * len(positives), negatives=["x", "y"])
    extractions = {
        p.doc_id: extraction(p.doc_id, {"a": "answer", "n": "no_answer"}[s])
        for p, s in zip(g.positives, positives, strict=True)
    }
    for p, confidence in zip(g.negatives, confidences, strict=True):
        extractions[p.doc_id] = replace(extraction(p.doc_id, "answer"), confidence=confidence)
    order = (*(p.doc_id for p in g.negatives), *(p.doc_id for p in g.positives))
    found = hold_back_unsure(g, extractions, Ranking(order=order, status="ok"), bar=bar)
    assert set(found.values()) <= {Reason.UNSURE}
    return {d.removeprefix("g-") for d in found if d.startswith("g-n")}


def test_what_is_not_sure_enough_is_no_positive() -> None:
    assert held_back("a", bar=0.0) == set()
    assert held_back("a", bar=0.6) == {"n1"}
    assert held_back("a", bar=0.95) == {"n0", "n1"}
    # One sampled answer is yes or no, without a degree.
    assert held_back("a", bar=0.0, confidences=(None, None)) == set()


def test_nothing_is_better_than_positives_that_may_be_none() -> None:
    assert held_back("nn", bar=0.0) == {"n0", "n1"}
    assert held_back("na", bar=0.0) == set()
    assert hold_back_unsure(group("g"), {}, None, bar=1.0) == {}


def test_unsure_ones_are_filtered_where_others_would_be_relabelled() -> None:
    assert {mode: choose_action(Reason.UNSURE, mode) for mode in (Mode.R, Mode.RF)} == {
        Mode.R: "keep",
        Mode.RF: "filter",
    }


def test_above_means_above_the_best_ranked_positive() -> None:
    assert [a for a, _ in decided("aa", "aa", "n0 p1 n1 p0")] == ["relabel", "filter"]


def test_a_failed_ranking_changes_nothing() -> None:
    assert decided("a", "aa", "", status="failed") == [("keep", Reason.RANKING_FAILED)] * 2


def test_a_ranking_without_the_positive_changes_nothing() -> None:
    assert decided("a", "aa", "n0 n1", status="repaired") == [("keep", Reason.RANKING_FAILED)] * 2


def test_a_candidate_left_out_of_a_repaired_ranking_stays() -> None:
    assert decided("a", "aa", "n1 p0", status="repaired") == [
        ("keep", Reason.RANKING_FAILED),
        ("relabel", Reason.RANKED_ABOVE),
    ]


def test_unknown_changes_nothing() -> None:
    assert decided("a", "u", None) == [("keep", Reason.EXTRACTION_UNKNOWN)]


def test_uncertain_changes_nothing() -> None:
    for mode in Mode:
        assert decided("?", "?a", "n1 p0", mode)[0] == ("keep", Reason.UNCERTAIN)


def test_what_ranks_above_in_some_orders_only_is_filtered() -> None:
    assert decided("a", "aa", "n0 p0 n1", unstable="n0 n1") == [
        ("filter", Reason.UNSTABLE),
        ("filter", Reason.RANKED_BELOW),
    ]
    assert decided("a", "a", "n0 p0", Mode.R, unstable="n0") == [("keep", Reason.UNSTABLE)]


def test_what_answers_in_part_is_filtered_not_relabelled() -> None:
    assert decided("a", "aa", "n0 n1 p0", partial="n0") == [
        ("filter", Reason.PARTIAL),
        ("relabel", Reason.RANKED_ABOVE),
    ]
    assert decided("a", "a", "n0 p0", Mode.R, partial="n0") == [("keep", Reason.PARTIAL)]


def test_an_uncertain_positive_is_compared_with() -> None:
    g = group("g", positives=["p"], negatives=["x", "y"])
    extractions = {"g-p0": extraction("g-p0", "uncertain"), "g-n0": extraction("g-n0", "answer")}
    extractions["g-n1"] = extraction("g-n1", "uncertain")
    assert [p.doc_id for p in find_candidates(g, extractions, {})] == ["g-p0", "g-n0"]
    ranking = Ranking(order=("g-n0", "g-p0"), status="ok")
    assert [d.reason for d in judged(g, extractions, ranking)] == [
        Reason.POSITIVE_DOUBTFUL,
        Reason.RANKED_ABOVE,
        Reason.UNCERTAIN,
    ]


def test_of_very_many_candidates_the_last_negatives_are_left_out_and_stay() -> None:
    g = group("g", negatives=[f"neg {i}" for i in range(MOST_RANKED + 5)])
    extractions = {p.doc_id: extraction(p.doc_id, "answer") for p in g.passages}
    found = find_candidates(g, extractions, {})
    assert [p.doc_id for p in found] == [p.doc_id for p in g.passages[:MOST_RANKED]]
    ranking = Ranking(order=tuple(p.doc_id for p in found), status="ok")
    assert [d.reason for d in judged(g, extractions, ranking)][MOST_RANKED:] == [Reason.RANKING_FAILED] * 6


def test_unused_negatives_are_left_out_in_every_mode() -> None:
    g = group("g", negatives=["x", "y"])
    found = {"g-p0": Reason.POSITIVE, "g-n0": Reason.NO_ANSWER}
    for mode in Mode:
        decisions = decide(g, found, mode=mode, copies={}, unused={"g-n1"})
        assert [(d.action, d.reason) for d in decisions[1:]] == [
            ("keep", Reason.NO_ANSWER),
            ("filter", Reason.UNUSED),
        ]


def test_positives_are_never_deleted() -> None:
    g = group("g", positives=["the text", "the text 2"], negatives=["the neg"])
    extractions = {"g-p0": extraction("g-p0", "no_answer"), "g-p1": extraction("g-p1", "unknown")}
    extractions["g-n0"] = extraction("g-n0", "no_answer")
    decisions = judged(g, extractions, None)
    assert [(d.action, d.reason) for d in decisions[:2]] == [
        ("keep", Reason.POSITIVE_DOUBTFUL),
        ("keep", Reason.EXTRACTION_UNKNOWN),
    ]


def test_a_copy_of_the_positive_is_filtered_or_relabelled_without_the_llm() -> None:
    g = group("g", negatives=["a copy"])
    extractions = {"g-p0": extraction("g-p0", "no_answer")}
    actions = {mode: judged(g, extractions, None, mode=mode, copies={"g-n0": "g-p0"})[1].action for mode in Mode}
    assert actions == {Mode.R: "relabel", Mode.F: "filter", Mode.RF: "filter", Mode.DROP: "filter"}


def test_one_copy_of_a_negative_is_enough() -> None:
    g = group("g", negatives=["first", "first"])
    extractions = {d: extraction(d, "answer") for d in ("g-p0", "g-n0")}
    ranking = Ranking(order=("g-n0", "g-p0"), status="ok")
    decisions = judged(g, extractions, ranking, copies={"g-n1": "g-n0"})
    assert [(d.action, d.reason) for d in decisions[1:]] == [
        ("relabel", Reason.RANKED_ABOVE),
        ("filter", Reason.DUPLICATE),
    ]


@pytest.mark.parametrize("reason", sorted(UNDECIDED))
def test_a_copy_of_what_is_undecided_is_undecided_for_the_same_reason(reason: Reason) -> None:
    g = group("g", negatives=["first", "first"])
    decisions = decide(g, {"g-p0": Reason.POSITIVE, "g-n0": reason}, mode=Mode.RF, copies={"g-n1": "g-n0"})
    assert [(d.action, d.reason) for d in decisions[1:]] == [("keep", reason)] * 2


def test_a_copy_of_what_is_known_not_to_answer_is_a_duplicate() -> None:
    g = group("g", negatives=["first", "first"])
    extractions = {"g-p0": extraction("g-p0", "answer"), "g-n0": extraction("g-n0", "no_answer")}
    decisions = judged(g, extractions, None, copies={"g-n1": "g-n0"})
    assert [(d.action, d.reason) for d in decisions[1:]] == [("keep", Reason.NO_ANSWER), ("filter", Reason.DUPLICATE)]


def test_a_broken_positive_is_not_compared_with() -> None:
    g = group("g", positives=["p", "q"], negatives=["x"])
    extractions = {"g-p0": extraction("g-p0", "unknown"), "g-n0": extraction("g-n0", "answer")}
    sound = {**extractions, "g-p1": extraction("g-p1", "no_answer")}
    assert [p.doc_id for p in find_candidates(g, sound, {})] == ["g-p1", "g-n0"]
    broken = {**extractions, "g-p1": extraction("g-p1", "unknown")}
    assert find_candidates(g, broken, {}) == ()
    assert judged(g, broken, None)[2].reason == Reason.RANKING_FAILED


def test_nothing_is_ranked_where_no_negative_answers() -> None:
    g = group("g", negatives=["x", "y"])
    extractions = {p.doc_id: extraction(p.doc_id, "no_answer") for p in g.negatives}
    assert find_candidates(g, extractions, {}) == ()


def test_candidates_are_positives_and_answering_negatives_each_once() -> None:
    g = group("g", positives=["p", "q"], negatives=["x", "x", "y"])
    extractions = {p.doc_id: extraction(p.doc_id, "answer") for p in g.passages}
    extractions["g-n2"] = extraction("g-n2", "unknown")
    found = find_candidates(g, extractions, {"g-n1": "g-n0"})
    assert [p.doc_id for p in found] == ["g-p0", "g-p1", "g-n0"]


@given(st.data())
def test_total_and_only_sound_answers_change_labels(data: st.DataObject) -> None:
    positives, negatives = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 4))
    g = group("g", positives=["the t"] * positives, negatives=["the t"] * negatives)
    extractions = {p.doc_id: extraction(p.doc_id, data.draw(st.sampled_from(STATUSES))) for p in g.passages}
    ids = data.draw(st.lists(st.sampled_from([p.doc_id for p in g.passages]), unique=True))
    some = st.sets(st.sampled_from([p.doc_id for p in g.passages]))
    unstable, partial = data.draw(some), data.draw(some)
    ranking = Ranking(order=tuple(ids), status="repaired", unstable=tuple(unstable))
    mode = data.draw(st.sampled_from(list(Mode)))
    decisions = judged(g, extractions, ranking, mode=mode, partial=partial)
    assert [d.doc_id for d in decisions] == [p.doc_id for p in g.passages]
    for p, d in product(g.passages, decisions):
        if p.doc_id == d.doc_id and d.action != "keep":
            assert p in g.negatives
            assert extractions[p.doc_id].status == "answer"
            assert p.doc_id in ids
            assert (d.action == "relabel" and mode.relabels) or (d.action == "filter" and mode.filters)
            assert d.action == "filter" or p.doc_id not in unstable | partial
