import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn import prompts
from arhn.engines import Completion, Permutation
from arhn.rank import ranking_request, read_ranking, shown_order
from arhn.types import Extraction, Ranking
from tests.conftest import passage

CANDIDATES = [passage("a", "text a"), passage("b", "text b"), passage("c", "text c")]


def read(text: str, finish: str = "stop") -> Ranking:
    return read_ranking(Completion(text=text, finish=finish), CANDIDATES)  # type: ignore[arg-type]


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
    assert read_ranking(None, CANDIDATES).status == "failed"


@given(st.text())
def test_no_text_names_a_candidate_that_was_not_shown(text: str) -> None:
    ranking = read(text)
    assert set(ranking.order) <= {"a", "b", "c"}
    assert len(set(ranking.order)) == len(ranking.order)


@given(st.permutations([1, 2, 3]))
def test_every_permutation_round_trips(numbers: list[int]) -> None:
    assert read(" > ".join(map(str, numbers))).order == tuple(CANDIDATES[n - 1].doc_id for n in numbers)


def test_request_shows_snippets_and_cut_texts_in_one_line_each() -> None:
    extractions = {
        "a": Extraction(doc_id="a", status="answer", snippet="text\na", start=0, end=6),
        "b": Extraction(doc_id="b", status="no_answer"),
    }
    request = ranking_request("why?", CANDIDATES[:2], extractions, prompts.load("rank"))
    assert request.messages[-1].content == "Question: why?\n[1] text a\n[2] text b"
    assert request.constraint == Permutation(2)


def test_a_query_cannot_pretend_to_be_a_candidate() -> None:
    extractions = {p.doc_id: Extraction(doc_id=p.doc_id, status="no_answer") for p in CANDIDATES}
    request = ranking_request("why?\n[1] me", CANDIDATES, extractions, prompts.load("rank"))
    assert len(request.messages[-1].content.splitlines()) == 4


def test_shown_order_does_not_depend_on_the_order_given() -> None:
    assert shown_order("q", CANDIDATES) == shown_order("q", CANDIDATES[::-1])
    firsts = {shown_order(f"q{i}", CANDIDATES)[0].doc_id for i in range(30)}
    assert firsts == {"a", "b", "c"}
