import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.cleaning import prompts
from arhn.cleaning.config import RankBy
from arhn.cleaning.rank import listwise, pivot
from arhn.cleaning.rank.consistent import combine
from arhn.cleaning.shown import PASSAGE_SHOWN, SNIPPET_SHOWN, order_shown, show_candidate
from arhn.engines import Completion, OneOf, Permutation
from arhn.types import Extraction, Passage, Ranking
from tests.conftest import passage

PROMPTS = prompts.load("question")
CANDIDATES = [passage("a", "text a"), passage("b", "text b"), passage("c", "text c")]
IDS = [p.doc_id for p in CANDIDATES]


def read(text: str, finish: str = "stop") -> Ranking:
    return listwise.read(Completion(text=text, finish=finish), IDS)  # type: ignore[arg-type]


# What is shown


def test_shown_order_does_not_depend_on_the_order_given() -> None:
    assert order_shown("q", CANDIDATES) == order_shown("q", CANDIDATES[::-1])
    firsts = {order_shown(f"q{i}", CANDIDATES)[0].doc_id for i in range(30)}
    assert firsts == {"a", "b", "c"}


def test_each_shuffle_shows_another_order_and_always_the_same() -> None:
    many = [passage(f"d{i}", f"text {i}") for i in range(8)]
    shown = [order_shown("q", many, shuffle) for shuffle in range(5)]
    ids = [tuple(p.doc_id for p in order) for order in shown]
    assert len(set(ids)) == 5
    assert all(set(order) == {p.doc_id for p in many} for order in ids)
    assert shown == [order_shown("q", many[::-1], shuffle) for shuffle in range(5)]
    assert shown[0] == order_shown("q", many)


def test_of_two_candidates_each_is_shown_first_as_often_as_the_other() -> None:
    """Drawn independently, five orders of two are often four times the same, and a liking for a place wins the vote."""
    for i in range(20):
        firsts = [order_shown(f"q{i}", CANDIDATES[:2], shuffle)[0].doc_id for shuffle in range(6)]
        assert firsts.count("a") == 3


def answering(text: str, snippet: str) -> Extraction:
    start = text.index(snippet)
    return Extraction(doc_id="d", status="answer", snippet=snippet, start=start, end=start + len(snippet))


DOUBTFUL = Extraction(doc_id="d", status="no_answer")


def test_candidates_show_their_snippet_their_passage_or_both_on_one_line() -> None:
    said = Passage(doc_id="d", title="The title", text="It is said\nthat the\n answer is here.")
    extraction = answering(said.text, "the\n answer")
    assert show_candidate(said, extraction, RankBy.SNIPPET) == "the answer"
    assert show_candidate(said, extraction, RankBy.PASSAGE) == "The title: It is said that the answer is here."
    assert (
        show_candidate(said, extraction, RankBy.BOTH)
        == '"the answer" in: The title: It is said that the answer is here.'
    )


@pytest.mark.parametrize("by", list(RankBy))
def test_a_doubtful_positive_shows_its_passage(by: RankBy) -> None:
    assert show_candidate(passage("d", "plain\ntext"), DOUBTFUL, by) == "plain text"


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
def test_long_candidates_are_cut_to_a_share_of_the_usual_length(share: float) -> None:
    said = passage("d", "word " * 1000)
    extraction = answering(said.text, "word " * 500)
    lengths = {by: len(show_candidate(said, extraction, by, share)) for by in RankBy}
    assert 0.4 * share * SNIPPET_SHOWN < lengths[RankBy.SNIPPET] <= share * SNIPPET_SHOWN
    assert 0.4 * share * PASSAGE_SHOWN < lengths[RankBy.PASSAGE] <= share * PASSAGE_SHOWN
    assert lengths[RankBy.BOTH] <= share * (SNIPPET_SHOWN + PASSAGE_SHOWN) + len('"" in: ')
    assert len(show_candidate(said, DOUBTFUL, RankBy.SNIPPET, share)) <= share * SNIPPET_SHOWN


# Listwise


@pytest.mark.parametrize(
    "text", ["2 > 3 > 1", "[2] > [3] > [1]", " 2>3>1\n", "The order is 2 > 3 > 1.", "Ranking: 2 > 3 > 1"]
)
def test_a_whole_order(text: str) -> None:
    ranking = read(text)
    assert ranking.order == ("b", "c", "a")
    assert ranking.status == "ok"


def test_candidates_left_out_are_in_no_order() -> None:
    assert read("3 > 1").order == ("c", "a")
    assert read("3 > 1").status == "repaired"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "I can't do that",
        "1, 2, 3",
        "2 > 2 > 1",
        "2 > 4 > 1",
        "0 > 1",
        "1 > 2 > 3 or 3 > 2 > 1",
        "9999999 > 1",
        "1000002 > 1 > 3",
        "2 > 1.5",
        "-2 > 1",
        "I would say 3 > 2",
        "I would say 3 > 2, but cannot rank",
        "2 > 3 > 1 because 1 is wrong",
        "2 > 3 > 1\n1 > 2 > 3",
    ],
)
def test_anything_else_fails_and_is_never_the_input_order(text: str) -> None:
    assert read(text).status == "failed"
    assert read(text).order == ()


@pytest.mark.parametrize("finish", ["length", "refused", "context"])
def test_an_answer_that_did_not_finish_fails(finish: str) -> None:
    assert read("2 > 3 > 1", finish).status == "failed"
    assert listwise.read(None, IDS).status == "failed"


@given(st.text())
def test_no_text_names_a_candidate_that_was_not_shown(text: str) -> None:
    ranking = read(text)
    assert set(ranking.order) <= {"a", "b", "c"}
    assert len(set(ranking.order)) == len(ranking.order)


@given(st.permutations([1, 2, 3]))
def test_every_permutation_round_trips(numbers: list[int]) -> None:
    assert read(" > ".join(map(str, numbers))).order == tuple(IDS[n - 1] for n in numbers)


def test_a_request_numbers_the_texts() -> None:
    request = listwise.make_request("why?", ["text a", "text b"], PROMPTS.rank)
    assert request.messages[-1].content == "Question: why?\n[1] text a\n[2] text b"
    assert request.constraint == Permutation(2)


def test_a_query_cannot_pretend_to_be_a_candidate() -> None:
    request = listwise.make_request("why?\n[1] me", ["a", "b", "c"], PROMPTS.rank)
    assert len(request.messages[-1].content.splitlines()) == 4
    for request in pivot.make_requests("why?\n[1] me", "a", "b", PROMPTS.pivot):
        assert len(request.messages[-1].content.splitlines()) == 3


# Consistent: several shuffled orders vote. Positives are p, q; negatives are a, b, c.

POSITIVES = ("p", "q")


def ranked(order: str, status: str = "ok") -> Ranking:
    return Ranking(order=tuple(order), status=status)  # type: ignore[arg-type]


def consistent(*orders: str, least: float = 0.8) -> Ranking:
    """Orders as letters; an empty one failed."""
    rankings = [ranked(order) if order else listwise.FAILED for order in orders]
    return combine(rankings, POSITIVES, least)


def test_the_majority_decides_the_side() -> None:
    found = consistent("apb", "apb", "apb", "pab", "bpa")
    assert found.order == ("a", "p", "b")
    assert found.status == "ok"
    # a was above in 3 of 5 and b below in 4 of 5 orders.
    assert found.agreement == pytest.approx((3 / 5 + 4 / 5) / 2)
    assert found.unstable == ("a",)
    assert consistent("apb", "apb", "apb", "pab", "bpa", least=0.9).unstable == ("a", "b")
    assert consistent("apb", "apb", "apb", "pab", "bpa", least=0.6).unstable == ()


def test_a_tie_is_never_above_and_always_unstable() -> None:
    found = consistent("ap", "pa")
    assert found.order == ("p", "a")
    assert found.unstable == ("a",)
    assert found.agreement == 0.5


def test_the_order_follows_the_vote_even_where_mean_places_do_not() -> None:
    found = consistent("abp", "abp", "pba", least=0.5)
    assert found.order.index("a") < found.order.index("p")
    # One order with the positive far in front outweighs the others' places, not their votes.
    far = consistent("apbc", "apbc", "pbca", least=0.5)
    assert far.order[0] == "a"


def test_the_side_is_that_of_the_best_positive_of_each_order() -> None:
    found = consistent("paq", "qap", "paq")
    assert found.unstable == ()
    assert found.agreement == 1.0
    assert found.order.index("a") > found.order.index("p")


def test_broken_orders_have_no_say_and_half_of_them_is_too_many() -> None:
    found = consistent("ap", "ap", "", least=0.6)
    assert found == Ranking(order=("a", "p"), status="repaired", agreement=0.6667)
    for orders in (("ap", ""), ("ap", "", ""), ("", ""), ("ap", "a"), ()):
        assert consistent(*orders) == listwise.FAILED


def test_a_candidate_that_no_order_names_is_left_out() -> None:
    found = combine([ranked("ap", "repaired"), ranked("pa", "repaired"), ranked("ap")], POSITIVES, 0.8)
    assert set(found.order) == {"a", "p"}
    assert found.status == "repaired"


def test_a_side_that_few_orders_speak_of_is_not_settled_by_them() -> None:
    found = consistent("abp", "ap", "ap", "ap", "")
    # Of the five orders, four speak of a and one of b: nothing is known of b.
    assert found.order == ("a", "p")
    assert found.agreement == pytest.approx((4 / 5 + 1 / 5) / 2)
    assert found.unstable == ()
    assert consistent("abp", "abp", "abp", "ap", "ap", least=0.6).order == ("a", "b", "p")
    assert consistent("abp", "abp", "abp", "ap", "ap", least=0.61).order == ("a", "p")


def test_the_few_orders_that_speak_of_a_side_may_still_contradict_each_other() -> None:
    found = consistent("apb", "abp", "ap", "ap", "")
    assert found.order == ("a", "p", "b")
    assert found.unstable == ("b",)


@pytest.mark.parametrize(("agreeing", "of", "least"), [(11, 20, 0.55), (4, 5, 0.8), (7, 10, 0.7)])
def test_a_share_that_is_just_reached_is_reached(agreeing: int, of: int, least: float) -> None:
    assert consistent(*["ap"] * agreeing, *["pa"] * (of - agreeing), least=least).unstable == ()
    assert consistent(*["ap"] * agreeing, *[""] * (of - agreeing), least=least).order == ("a", "p")


def test_positives_alone_agree_about_nothing() -> None:
    assert consistent("pq", "qp", "pq").agreement is None


orders = st.lists(st.permutations([*POSITIVES, "a", "b", "c"]), min_size=1, max_size=7)


@given(orders, st.sampled_from([0.5, 0.8, 1.0]))
def test_a_consistent_order_is_a_permutation_of_the_candidates(shown: list[list[str]], least: float) -> None:
    found = consistent(*map("".join, shown), least=least)
    assert sorted(found.order) == sorted([*POSITIVES, "a", "b", "c"])
    assert found.agreement is not None
    assert 0.5 <= found.agreement <= 1
    assert not set(found.unstable) & set(POSITIVES)
    best = min(found.order.index(p) for p in POSITIVES)
    for negative in "abc":
        above = sum(o.index(negative) < min(map(o.index, POSITIVES)) for o in shown)
        assert (found.order.index(negative) < best) == (2 * above > len(shown))
        assert (negative in found.unstable) == (max(above, len(shown) - above) / len(shown) < least)


@given(st.permutations([*POSITIVES, "a", "b", "c"]), st.integers(1, 7))
def test_equal_orders_agree_fully(order: list[str], count: int) -> None:
    found = consistent(*["".join(order)] * count, least=1.0)
    assert found == Ranking(order=tuple(order), status="ok", agreement=1.0)


@given(orders, st.data())
def test_it_does_not_matter_which_shuffle_came_first(shown: list[list[str]], data: st.DataObject) -> None:
    joined = ["".join(order) for order in shown]
    assert consistent(*joined) == consistent(*data.draw(st.permutations(joined)))


# Pivot: each negative against the best positive, in both orders


def answered(first: float) -> Completion:
    """An answer whose log-odds of the text shown first are `first`."""
    p = 1 / (1 + math.exp(-first))
    return Completion(text="1" if first > 0 else "2", first={"1": math.log(p), "2": math.log(1 - p)})


def compared(**preferred: tuple[float | None, float | None]) -> Ranking:
    """By negative, the log-odds of the text shown first: with it shown first, and with the pivot shown first."""
    answers = {
        doc_id: (None if one is None else answered(one), None if two is None else answered(two))
        for doc_id, (one, two) in preferred.items()
    }
    return pivot.read(answers, "p", POSITIVES)


def test_both_orders_are_asked() -> None:
    one, two = pivot.make_requests("why?", "mine", "the pivot", PROMPTS.pivot)
    assert one.messages[-1].content == "Question: why?\n[1] mine\n[2] the pivot"
    assert two.messages[-1].content == "Question: why?\n[1] the pivot\n[2] mine"
    assert one.constraint == two.constraint == OneOf(("1", "2"))


def test_what_both_orders_prefer_stands_above_the_pivot_the_surest_first() -> None:
    found = compared(a=(1.0, -2.0), b=(3.0, -3.0), c=(-1.0, 1.0))
    assert found == Ranking(order=("b", "a", "p", "q", "c"), status="ok", agreement=1.0)


def test_a_preference_that_flips_with_the_order_is_unstable() -> None:
    found = compared(a=(3.0, 1.0), b=(-2.0, 2.0))
    assert found.order == ("a", "p", "q", "b")
    assert found.unstable == ("a",)
    assert found.agreement == 0.5


def test_no_preference_is_not_above() -> None:
    assert compared(a=(2.0, 2.0)).order == ("p", "q", "a")


@given(
    st.dictionaries(st.sampled_from("abc"), st.floats(-8, 8).filter(lambda x: abs(x) > 0.01), min_size=1),
    st.floats(-8, 8),
)
def test_a_constant_liking_for_the_first_text_cancels_out(likings: dict[str, float], bias: float) -> None:
    fair = compared(**{d: (x, -x) for d, x in likings.items()})
    biased = compared(**{d: (x + bias, -x + bias) for d, x in likings.items()})
    assert set(fair.order[: fair.order.index("p")]) == {d for d, x in likings.items() if x > 0}
    assert set(biased.order[: biased.order.index("p")]) == set(fair.order[: fair.order.index("p")])
    assert fair.unstable == ()
    assert all(abs(likings[d]) <= abs(bias) + 1e-6 for d in biased.unstable)


def test_a_negative_with_a_broken_answer_is_left_out() -> None:
    found = compared(a=(1.0, None), b=(None, -1.0), c=(1.0, -1.0))
    assert found == Ranking(order=("c", "p", "q"), status="repaired", agreement=1.0)


def test_all_broken_is_failed() -> None:
    assert compared(a=(None, None), b=(1.0, None)) == Ranking(order=(), status="failed")


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (Completion(text="1"), 1.0),
        (Completion(text=" 2\n"), -1.0),
        (Completion(text="2", first={"The": -0.1}), None),
        (Completion(text="1", first={"1": -1.0, "2": -4.0}, finish="length"), 3.0),
        (Completion(text="3"), None),
        (Completion(text=""), None),
        (Completion(text="1", finish="refused"), None),
        (Completion(text="1", finish="context"), None),
        (None, None),
    ],
)
def test_how_an_answer_is_read(completion: Completion | None, expected: float | None) -> None:
    found = pivot.read_preference(completion)
    assert found == (None if expected is None else pytest.approx(expected))


def test_without_log_probabilities_the_numbers_decide() -> None:
    def said(*texts: str) -> tuple[Completion, Completion]:
        one, two = (Completion(text=t) for t in texts)
        return one, two

    answers: dict[str, tuple[Completion | None, Completion | None]] = {
        "a": said("1", "2"),
        "b": said("2", "1"),
        "c": said("1", "1"),
    }
    found = pivot.read(answers, "p", ("p",))
    assert found.order == ("a", "p", "b", "c") or found.order == ("a", "p", "c", "b")
    assert found.unstable == ("c",)


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.tuples(st.none() | st.floats(-9, 9), st.none() | st.floats(-9, 9)),
        min_size=1,
    )
)
def test_a_pivot_order_holds_each_compared_candidate_once(
    likings: dict[str, tuple[float | None, float | None]],
) -> None:
    found = compared(**likings)
    whole: Sequence[str] = [d for d, pair in likings.items() if None not in pair]
    if not whole:
        assert found.status == "failed"
        return
    assert sorted(found.order) == sorted([*POSITIVES, *whole])
    assert found.status == ("ok" if len(whole) == len(likings) else "repaired")
