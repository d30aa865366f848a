"""Plans, answers on the disk, sessions, estimates, what is refused; reviews applied and compared."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bench import coverage

from arhn import cli
from arhn.agree.reviews import read_review
from arhn.cleaning.evidence.intervals import wilson
from arhn.cleaning.run.finished import open_run
from arhn.errors import DataError, DiskFull, OutputLocked, UsageError
from arhn.review.applying import apply_review, find_action
from arhn.review.estimates import FALSE, Stratum, Weighed, estimate_recall, estimate_share, find_threshold, kappa
from arhn.review.job import Review, open_session, read_outcome
from arhn.review.sampling import draw_plan, list_candidates, share_out
from arhn.review.server import make_app
from arhn.types import Mode
from tests.conftest import many
from tests.unit.finished import clean, hostile_groups


@pytest.fixture
def output(tmp_path: Path) -> str:
    return clean(tmp_path, many(12))


def answer_all(review: Review, answer: str = "fully", reviewer: str = "Ann") -> int:
    """Answer everything; how many that were."""
    with open_session(review) as session:
        count = 0
        while (number := session.find_next(reviewer)) is not None:
            session.answer(reviewer, number, answer, "", hinted=False)
            count += 1
    return count


# --- Which passages ---------------------------------------------------------------------------------


def test_a_plan_is_stratified_and_the_larger_one_holds_the_smaller(output: str) -> None:
    run = open_run(output, "review")
    small, large = draw_plan(run, 20, 1), draw_plan(run, 40, 1)
    assert len(small.items) == 20
    assert set(small.items) < set(large.items)
    assert sum(size for _, size in large.strata.values()) == sum(1 for _ in list_candidates(run))
    assert {item.stratum for item in small.items} == set(small.strata)
    assert draw_plan(run, 20, 1) == small != draw_plan(run, 20, 2)


def test_a_sample_is_shared_out() -> None:
    sizes, actions = (
        {"a": 900, "b": 100, "c": 10_000, "d": 3},
        {"a": "relabel", "b": "filter", "c": "keep", "d": "keep"},
    )
    drawn = share_out(sizes, actions, 100)
    assert sum(drawn.values()) == 100
    assert drawn["d"] == 3
    assert drawn["a"] + drawn["b"] == 50
    assert share_out(sizes, actions, 10**6) == sizes
    assert sum(share_out({"a": 20, "c": 10_000}, actions, 100).values()) == 100


def test_the_least_certain_come_first(output: str) -> None:
    with open_session(Review(output=output, active=True, sample=5)) as session:
        assert session.count("Ann")["wanted"] == 5
        assert not session.find_outcome().sampled
    with pytest.raises(UsageError, match="can't be mixed in"), open_session(Review(output=output)):
        pass


# --- Answers ----------------------------------------------------------------------------------------


def test_answers_are_on_the_disk_and_a_review_goes_on(output: str) -> None:
    review = Review(output=output, sample=10)
    with open_session(review) as session:
        first = session.find_next("Ann")
        assert first is not None
        said = session.answer("Ann", first, "fully", "a note", hinted=True)
        assert said.startswith("Yours: answers fully. arhn ")
        lines = review.place.read_text("utf-8").splitlines()
        assert json.loads(lines[-1])["answer"] == "fully"
        assert json.loads(lines[-1])["hinted"] is True
        with pytest.raises(OutputLocked, match="another 'arhn review' has it open"), open_session(review):
            pass
    with review.place.open("ab") as file:
        file.write(b'{"answer": "no", "query_i')  # killed while it wrote
    assert answer_all(review) == 9
    assert len(read_review(review.place).finals) == 10
    assert answer_all(Review(output=output, sample=15)) == 5


def test_undo(output: str) -> None:
    review = Review(output=output, sample=4)
    with open_session(review) as session:
        numbers = []
        for answer in ("fully", "no"):
            number = session.find_next("Ann")
            assert number is not None
            session.answer("Ann", number, answer, "", hinted=False)
            numbers.append(number)
        assert session.undo("Ben") is None
        assert session.undo("Ann") == numbers[1]
        assert session.undo("Ann") == numbers[0]
        assert session.undo("Ann") is None
        assert session.count("Ann")["done"] == 0
    assert not read_review(review.place).finals


def test_a_dispute_is_settled(output: str) -> None:
    review = Review(output=output, sample=3, answers=2)
    assert answer_all(review, "fully", "Ann") == 3
    assert answer_all(review, "no", "Ben") == 3
    assert answer_all(review, "no", "Cy") == 0
    with open_session(review) as session:
        assert session.count("Ann")["disputed"] == 3
        number = session.find_next("Ann", "adjudicate")
        item = session.describe(number, "adjudicate")
        assert item is not None
        assert [a["reviewer"] for a in item["answers"]] == ["Ann", "Ben"]
        assert session.describe(number)["answers"] == []  # type: ignore[index]
        assert number is not None
        session.adjudicate("Cy", number, "partly", "")
        assert session.undo("Cy", "adjudicate") == number
        session.adjudicate("Cy", number, "partly", "")
        outcome = session.find_outcome()
    assert (outcome.people, outcome.pairs, outcome.disputed) == (2, 3, 2)
    assert list(read_review(review.place).finals.values()) == ["partly"]


def test_nothing_counts_that_could_not_be_written(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    review = Review(output=output, sample=4)
    with open_session(review) as session:
        number = session.find_next("Ann")
        assert number is not None
        before = review.place.read_bytes()

        def fail(_: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", fail)
            with pytest.raises(DiskFull):
                session.answer("Ann", number, "fully", "", hinted=False)
        assert review.place.read_bytes() == before
        session.answer("Ann", number, "no", "", hinted=False)
    assert list(read_review(review.place).finals.values()) == ["no"]


# --- Bad input --------------------------------------------------------------------------------------


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"answer":"fully"', '"answer":"maybe"', "answer: found 'maybe', allowed: fully, partly, no, unsure"),
        ('"reviewer":"Ann"', '"reviewer":7', "reviewer: expected a string"),
        ('{"answer"', "{answer", "not JSON"),
        ('"query_id":"q', '"query_id":"other', "which isn't in its plan"),
        ('"review":1', '"review":2', "is a review of version 2"),
        ('{"review"', '{"revue"', "is no review"),
        ('{"plan":{"seed"', '{"plan":{"seeds', "not JSON"),
    ],
)
def test_an_edited_review_is_refused_and_kept(output: str, old: str, new: str, says: str) -> None:
    review = Review(output=output, sample=3)
    answer_all(review)
    edit(review.place, old, new)
    before = review.place.read_bytes()
    with pytest.raises(DataError, match=says):
        read_outcome(review)
    assert review.place.read_bytes() == before


def test_a_review_of_another_run_is_refused(output: str, tmp_path: Path) -> None:
    review = Review(output=output, sample=3)
    answer_all(review)
    other = clean(tmp_path, many(9), "other.jsonl")
    with pytest.raises(DataError, match="is a review of other decisions"):
        read_outcome(Review(output=other, file=review.place))
    with pytest.raises(DataError, match="is a review of other decisions"):
        apply_review(other, review.place, str(tmp_path / "x.jsonl"))


def test_changed_texts_are_refused(output: str, tmp_path: Path) -> None:
    review = Review(output=output, sample=30)
    answer_all(review)
    edit(tmp_path / "train-cleaned.jsonl", "holds nothing", "holds little")
    with pytest.raises(DataError, match=r"Has the (run's input|file) changed since"):
        read_outcome(review)


def test_a_port_in_use(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli.main(["review", output, "--port", port, "--no-browser"]) == 2
    assert "another program uses it. Leave --port out" in capsys.readouterr().err


# --- The server -------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}


def ask(review: Review, method: str, path: str, headers: Mapping[str, str], data: bytes = b"") -> tuple[int, Any, str]:
    """Status, headers and text of one request; TOKEN in a path stands for the token."""

    async def send() -> tuple[int, Any, str]:
        with open_session(review) as session:
            app = make_app(session, "secret", review.guideline_place)
            async with TestClient(TestServer(app)) as client:
                reply = await client.request(method, path, headers=headers, data=data, allow_redirects=False)
                return reply.status, reply.headers, await reply.text()

    return asyncio.run(send())


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/secret/", {}, 200),
        ("GET", "/secret/review.js", {}, 200),
        ("GET", "/", {}, 403),
        ("GET", "/wrong/", {}, 403),
        ("GET", "/secre\u0301t/", {}, 403),
        ("GET", "/secret/../job.py", {}, 403),
        ("GET", "/secret/job.py", {}, 404),
        ("GET", "/secret/", {"Host": "evil.example"}, 403),
        ("GET", "/secret/", {"Host": "127.0.0.1.evil.example:80"}, 403),
        ("GET", "/secret/", {"Host": "["}, 403),
        ("GET", "/secret/", {"Origin": "http://evil.example"}, 403),
        ("GET", "/secret/", {"Origin": "null"}, 403),
        ("GET", "/secret/", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/secret/api/next", {**JSON}, 400),
        ("POST", "/secret/api/next", {"Content-Type": "text/plain"}, 415),
        ("POST", "/secret/api/next", {**JSON, "Origin": "http://evil.example"}, 403),
        ("POST", "/wrong/api/next", {**JSON}, 403),
        ("POST", "/secret/api/nonsense", {**JSON}, 400),
        ("GET", "/secret/api/next", {}, 403),
        ("PUT", "/secret/", {}, 403),
    ],
)
def test_who_is_answered(output: str, method: str, path: str, headers: dict[str, str], status: int) -> None:
    found, sent, text = ask(Review(output=output, sample=3), method, path, headers)
    assert found == status, text
    assert "default-src 'none'" in sent["Content-Security-Policy"]
    assert "unsafe" not in sent["Content-Security-Policy"]
    assert sent["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("what", "given", "says"),
    [
        ("answer", {"reviewer": "Ann", "number": 99, "answer": "no"}, "there is no passage 99"),
        ("answer", {"reviewer": "Ann", "number": -1, "answer": "no"}, "there is no passage -1"),
        ("answer", {"reviewer": "Ann", "number": "0", "answer": "no"}, "expected a whole number"),
        ("answer", {"reviewer": "Ann", "number": 0, "answer": "yes"}, "allowed: fully, partly, no, unsure"),
        ("answer", {"reviewer": "", "number": 0, "answer": "no"}, "expected a name"),
        ("answer", {"reviewer": "x" * 61, "number": 0, "answer": "no"}, "expected a name"),
        ("answer", {"reviewer": "Ann", "number": 0, "answer": "no", "note": "x" * 3000}, "at most 2,000"),
        ("guideline", {"text": 7}, "expected a text"),
    ],
)
def test_wrong_requests_change_nothing(output: str, what: str, given: dict[str, Any], says: str) -> None:
    review = Review(output=output, sample=3)
    status, _, text = ask(review, "POST", f"/secret/api/{what}", JSON, json.dumps(given).encode())
    assert (status, says in text) == (400, True), text
    assert len(review.place.read_text("utf-8").splitlines()) == 2


def test_hostile_texts_are_made_visible(tmp_path: Path) -> None:
    review = Review(output=clean(tmp_path, hostile_groups()), sample=50)
    data = json.dumps({"reviewer": "A\x1b\u202enn"}).encode()
    status, _, text = ask(review, "POST", "/secret/api/next", JSON, data)
    assert status == 200
    shown = json.loads(text)["item"]
    assert not set("\x00\x1b\u202e\u2028") & set(shown["query"] + shown["candidate"]["before"])
    assert len(text) < 100_000


# --- What comes out ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "mode", "action"),
    [("fully", "R+F", "relabel"), ("fully", "F", "filter"), ("partly", "R+F", "filter"), ("partly", "R", "keep"),
     ("no", "F", "keep")],
)  # fmt: skip
def test_what_an_answer_does(answer: str, mode: str, action: str) -> None:
    assert find_action(answer, Mode(mode)) == action


def test_a_review_is_applied(output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer_all(Review(output=output, sample=30), "no")
    to = tmp_path / "reviewed.jsonl"
    assert cli.main(["apply-review", output, "-o", str(to)]) == 0
    assert "30 reviewed decisions, " in capsys.readouterr().out
    run = open_run(str(to), "diff")
    rows = [row for rows in run.read_rows() for row in rows.rows]
    reviewed = [row for row in rows if row["reason"] == "reviewed"]
    assert len(reviewed) == 30
    assert {(row["action"], row["answer"]) for row in reviewed} == {("keep", "no")}
    assert all(row["was"]["reason"] != "reviewed" for row in reviewed)
    assert run.summary["review"]["applied"] == 30
    assert run.summary["negatives"]["reason"]["reviewed"] == 30
    groups = [json.loads(line) for line in to.read_text("utf-8").splitlines()]
    kept = sum(row["action"] == "keep" and row["label"] == "negative" for row in rows)
    assert sum(len(group["negative_passages"]) for group in groups) == kept
    for command in (["diff", str(to)], ["diff", output, str(to)], ["inspect", str(to), "--group", "1"]):
        assert cli.main(command) == 0
    assert cli.main(["apply-review", output, "-o", str(to)]) == 21
    assert cli.main(["apply-review", output, "-o", output, "--overwrite"]) == 2


def test_a_review_is_compared_and_calibrates_as_gold(output: str, capsys: pytest.CaptureFixture[str]) -> None:
    review = Review(output=output, sample=20)
    with open_session(review):
        pass
    assert cli.main(["agree", output, str(review.place)]) == 10
    assert "has no answer yet that counts" in capsys.readouterr().err
    answer_all(review)
    assert cli.main(["agree", output, str(review.place)]) == 0
    assert "A against B: precision" in capsys.readouterr().out


# --- Statistics -------------------------------------------------------------------------------------


def test_wilson_is_the_textbook_interval() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert wilson(0, 10)[0] == 0
    assert wilson(10, 10)[1] == 1
    assert wilson(0, 0) == (0, 1)


def test_one_stratum_is_wilson_but_for_the_finite_population() -> None:
    found = estimate_share([Stratum(name="s", action="keep", size=10**9, answers={"fully": 40, "no": 60})], FALSE)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high) == pytest.approx(wilson(40, 100), abs=0.003)
    every = estimate_share([Stratum(name="s", action="keep", size=100, answers={"fully": 40, "no": 60})], FALSE)
    assert every is not None
    assert (every.low, every.value, every.high) == pytest.approx((0.4, 0.4, 0.4))


def test_who_can_t_tell_and_strata_without_answers_do_not_count() -> None:
    strata = [
        Stratum(name="a", action="keep", size=60, answers={"fully": 1, "no": 1, "unsure": 5}),
        Stratum(name="b", action="keep", size=40),
    ]
    found = estimate_share(strata, FALSE)
    assert found is not None
    assert (found.value, found.judged, found.covered) == (0.5, 2, 0.6)
    assert estimate_share(strata[1:], FALSE) is None
    assert estimate_recall(strata) is None


@pytest.mark.parametrize("name", ["a good run", "a poor run", "large"])
def test_intervals_hold_and_estimates_are_unbiased(name: str) -> None:
    found = coverage.simulate(coverage.SCENARIOS[name], 200, 400, seed=1)
    assert all(0.92 <= held <= 0.985 for held, _ in found.values()), found
    assert abs(found["precision"][1]) < 0.01
    assert abs(found["misses"][1]) < 0.005


def test_kappa() -> None:
    assert kappa({("a", "a"): 20, ("a", "b"): 5, ("b", "a"): 10, ("b", "b"): 15}) == pytest.approx(0.4)
    assert kappa({("a", "a"): 3}) is None
    assert kappa({}) is None


def test_the_threshold_of_a_precision() -> None:
    rng = random.Random(0)
    passages = [
        Weighed(confidence=c / 100, false=rng.random() < c / 100, weight=1.0) for c in range(100) for _ in range(20)
    ]
    found = find_threshold(passages, 0.9)
    assert found is not None
    assert 0.7 < found[0] < 0.9
    assert find_threshold([Weighed(confidence=0.9, false=False, weight=1)], 0.5) is None
    ties = [Weighed(confidence=0.8, false=True, weight=1), Weighed(confidence=0.8, false=False, weight=3)]
    assert find_threshold(ties, 0.5) is None
