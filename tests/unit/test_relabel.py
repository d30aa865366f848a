from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from arhn.relabel import candidates, decide
from arhn.types import Extraction, Mode, Ranking, Reason
from tests.conftest import group

STATUSES = ("answer", "no_answer", "unknown")


def extraction(doc_id: str, status: str) -> Extraction:
    if status == "answer":
        return Extraction(doc_id=doc_id, status="answer", snippet="the", start=0, end=3)
    return Extraction(doc_id=doc_id, status=status)  # type: ignore[arg-type]


def decided(
    positives: str, negatives: str, order: str | None, mode: Mode = Mode.RF, status: str = "ok"
) -> list[tuple[str, Reason]]:
    """Statuses as letters (a, n, u); `order` names passages like "n0 p0 n1"."""
    letters = {"a": "answer", "n": "no_answer", "u": "unknown"}
    g = group("g", positives=["the text"] * len(positives), negatives=["the text"] * len(negatives))
    extractions = {
        p.doc_id: extraction(p.doc_id, letters[s]) for p, s in zip(g.passages, positives + negatives, strict=True)
    }
    ranking = None
    if order is not None:
        ranking = Ranking(order=tuple(f"g-{d}" for d in order.split()), status=status)  # type: ignore[arg-type]
    decisions = decide(g, extractions, ranking, mode=mode, copies={})
    return [(d.action, d.reason) for d in decisions[len(positives) :]]


def test_above_relabels_below_filters_rest_stays() -> None:
    assert decided("a", "aan", "n0 p0 n1") == [
        ("relabel", Reason.RANKED_ABOVE),
        ("filter", Reason.RANKED_BELOW),
        ("keep", Reason.NO_ANSWER),
    ]


def test_modes_take_only_their_action() -> None:
    assert [a for a, _ in decided("a", "aa", "n0 p0 n1", Mode.R)] == ["relabel", "keep"]
    assert [a for a, _ in decided("a", "aa", "n0 p0 n1", Mode.F)] == ["keep", "filter"]


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


def test_positives_are_never_deleted() -> None:
    g = group("g", positives=["the text", "the text 2"], negatives=["the neg"])
    extractions = {"g-p0": extraction("g-p0", "no_answer"), "g-p1": extraction("g-p1", "unknown")}
    extractions["g-n0"] = extraction("g-n0", "no_answer")
    decisions = decide(g, extractions, None, mode=Mode.RF, copies={})
    assert [(d.action, d.reason) for d in decisions[:2]] == [
        ("keep", Reason.POSITIVE_DOUBTFUL),
        ("keep", Reason.EXTRACTION_UNKNOWN),
    ]


def test_a_copy_of_the_positive_is_filtered_or_relabelled_without_the_llm() -> None:
    g = group("g", negatives=["a copy"])
    extractions = {"g-p0": extraction("g-p0", "no_answer")}
    actions = {mode: decide(g, extractions, None, mode=mode, copies={"g-n0": "g-p0"})[1].action for mode in Mode}
    assert actions == {Mode.R: "relabel", Mode.F: "filter", Mode.RF: "filter"}


def test_a_copy_of_a_negative_shares_its_action() -> None:
    g = group("g", negatives=["first", "first"])
    extractions = {d: extraction(d, "answer") for d in ("g-p0", "g-n0")}
    ranking = Ranking(order=("g-n0", "g-p0"), status="ok")
    decisions = decide(g, extractions, ranking, mode=Mode.RF, copies={"g-n1": "g-n0"})
    assert [(d.action, d.reason) for d in decisions[1:]] == [
        ("relabel", Reason.RANKED_ABOVE),
        ("relabel", Reason.DUPLICATE),
    ]


def test_a_broken_positive_is_not_compared_with() -> None:
    g = group("g", positives=["p", "q"], negatives=["x"])
    extractions = {"g-p0": extraction("g-p0", "unknown"), "g-n0": extraction("g-n0", "answer")}
    sound = {**extractions, "g-p1": extraction("g-p1", "no_answer")}
    assert [p.doc_id for p in candidates(g, sound, {})] == ["g-p1", "g-n0"]
    broken = {**extractions, "g-p1": extraction("g-p1", "unknown")}
    assert candidates(g, broken, {}) == ()
    assert decide(g, broken, None, mode=Mode.RF, copies={})[2].reason == Reason.RANKING_FAILED


def test_nothing_is_ranked_where_no_negative_answers() -> None:
    g = group("g", negatives=["x", "y"])
    extractions = {p.doc_id: extraction(p.doc_id, "no_answer") for p in g.negatives}
    assert candidates(g, extractions, {}) == ()


def test_candidates_are_positives_and_answering_negatives_each_once() -> None:
    g = group("g", positives=["p", "q"], negatives=["x", "x", "y"])
    extractions = {p.doc_id: extraction(p.doc_id, "answer") for p in g.passages}
    extractions["g-n2"] = extraction("g-n2", "unknown")
    found = candidates(g, extractions, {"g-n1": "g-n0"})
    assert [p.doc_id for p in found] == ["g-p0", "g-p1", "g-n0"]


@given(st.data())
def test_total_and_only_sound_answers_change_labels(data: st.DataObject) -> None:
    positives, negatives = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 4))
    g = group("g", positives=["the t"] * positives, negatives=["the t"] * negatives)
    extractions = {p.doc_id: extraction(p.doc_id, data.draw(st.sampled_from(STATUSES))) for p in g.passages}
    ids = data.draw(st.lists(st.sampled_from([p.doc_id for p in g.passages]), unique=True))
    ranking = Ranking(order=tuple(ids), status="repaired")
    mode = data.draw(st.sampled_from(list(Mode)))
    decisions = decide(g, extractions, ranking, mode=mode, copies={})
    assert [d.doc_id for d in decisions] == [p.doc_id for p in g.passages]
    for p, d in product(g.passages, decisions):
        if p.doc_id == d.doc_id and d.action != "keep":
            assert p in g.negatives
            assert extractions[p.doc_id].status == "answer"
            assert p.doc_id in ids
            assert (d.action == "relabel" and mode.relabels) or (d.action == "filter" and mode.filters)
