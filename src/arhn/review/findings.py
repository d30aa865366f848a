"""What a review says about a run: precision by action, estimates over the whole set, agreement, a threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from arhn.agree.reviews import ANSWERS, Ids, Reviewed
from arhn.cleaning.evidence.intervals import wilson
from arhn.review.estimates import (
    FALSE,
    RIGHT,
    Estimate,
    Stratum,
    Weighed,
    estimate_recall,
    estimate_share,
    find_threshold,
    kappa,
)
from arhn.review.sampling import Item

_WORDS = {"relabel": "became positive", "filter": "dropped", "keep": "stays negative"}
#: Answers below which no threshold is named.
_ENOUGH = 20
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`answers` counts final answers by action. `shares` are estimates over the whole set by what is estimated; None
    without a random sample or answers in it. `threshold`: (lowest confidence that reaches `precision`, precision there,
    answers), None where none does. Kappas are None where they are undefined.
    """

    answers: Mapping[str, Counter[str]]
    shares: Mapping[str, Estimate | None]
    kappa_model: float | None
    kappa_people: float | None
    people: int
    pairs: int
    disputed: int
    precision: float
    threshold: tuple[float, float, int] | None
    sampled: bool


def find_outcome(
    reviewed: Reviewed,
    items: Sequence[Item],
    strata: Mapping[str, tuple[str, int]],
    rows: Mapping[Ids, Row],
    precision: float = 0.9,
) -> Outcome:
    """What is known by now.

    Args:
        rows: the run's decisions on the passages that are asked about.
        precision: the one to find a threshold for.
    """
    finals = reviewed.finals
    answers: dict[str, Counter[str]] = {action: Counter() for action in RIGHT}
    by_stratum: dict[str, Counter[str]] = {name: Counter() for name in strata}
    for item in items:
        final = finals.get((item.query_id, item.doc_id))
        if final is not None:
            answers[rows[item.query_id, item.doc_id]["action"]][final] += 1
            if item.stratum:
                by_stratum[item.stratum][final] += 1
    known = [Stratum(name=n, action=a, size=size, answers=by_stratum[n]) for n, (a, size) in strata.items()]
    weighed = list(_weigh(items, finals, known, rows))
    pairs = _pair_people(reviewed)
    return Outcome(
        answers=answers,
        shares=_estimate(known),
        kappa_model=kappa(_pair_with_model(weighed, rows)),
        kappa_people=kappa(pairs),
        people=len({who for passage in reviewed.passages.values() for who in passage.answers}),
        pairs=round(sum(pairs.values())),
        disputed=sum(passage.disputed for passage in reviewed.passages.values()),
        precision=precision,
        threshold=find_threshold([w for w, _ in weighed if w.confidence >= 0], precision),
        sampled=bool(strata),
    )


def _estimate(strata: Sequence[Stratum]) -> dict[str, Estimate | None]:
    found = {
        f"precision: {_WORDS[action]}": estimate_share((s for s in strata if s.action == action), right)
        for action, right in RIGHT.items()
    }
    changed = [s for s in strata if s.action != "keep"]
    return {
        **found,
        "precision of false negatives found": estimate_share(changed, FALSE),
        "recall of false negatives": estimate_recall(strata),
    }


def _weigh(
    items: Sequence[Item], finals: Mapping[Ids, str], strata: Sequence[Stratum], rows: Mapping[Ids, Row]
) -> Iterator[tuple[Weighed, Ids]]:
    """The judged passages of the random sample, each with the number of passages that it stands for."""
    weights = {s.name: s.size / s.judged for s in strata if s.judged}
    for item in items:
        ids = item.query_id, item.doc_id
        final = finals.get(ids)
        if final in (None, "unsure") or item.stratum not in weights:
            continue
        confidence = rows[ids]["confidence"]
        value = -1.0 if confidence is None else confidence
        yield Weighed(confidence=value, false=final in FALSE, weight=weights[item.stratum]), ids


def _pair_with_model(weighed: Sequence[tuple[Weighed, Ids]], rows: Mapping[Ids, Row]) -> dict[tuple[str, str], float]:
    """Whether a person calls a passage a false negative, and whether the run does, weighted to the whole set."""
    pairs: dict[tuple[str, str], float] = {}
    for passage, ids in weighed:
        pair = str(passage.false), str(rows[ids]["action"] != "keep")
        pairs[pair] = pairs.get(pair, 0.0) + passage.weight
    return pairs


def _pair_people(reviewed: Reviewed) -> Counter[tuple[str, str]]:
    """Answers of every two people on the same passage; those who can't tell are left out."""
    pairs: Counter[tuple[str, str]] = Counter()
    for passage in reviewed.passages.values():
        said = sorted((who, answer) for who, answer in passage.answers.items() if answer != "unsure")
        pairs.update((a, b) for (_, a), (_, b) in combinations(said, 2))
    return pairs


def list_tables(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """The outcome as tables of words: {caption, columns, rows}."""
    rows = []
    for action, counts in outcome.answers.items():
        judged = sum(n for answer, n in counts.items() if answer != "unsure")
        right = sum(counts[answer] for answer in RIGHT[action])
        shown = f"{right / judged:.0%}, {_interval(*wilson(right, judged))}" if judged else "–"
        rows.append([_WORDS[action], *(str(counts[answer]) for answer in ANSWERS), shown])
    yield {
        "caption": "Answers by what arhn did (right: fully where it became positive, fully or partly where it was "
        "dropped, doesn't where it stays; Wilson's 95% interval)",
        "columns": ["arhn", "fully", "partly", "doesn't", "can't tell", "right"],
        "rows": rows,
    }
    estimates = [
        [name, f"{e.value:.1%}", _interval(e.low, e.high), str(e.judged), f"{e.covered:.0%}"]
        for name, e in outcome.shares.items()
        if e is not None
    ]
    if estimates:
        yield {
            "caption": "Estimated over the whole set, from the random sample's strata",
            "columns": ["", "estimate", "95% interval", "answers", "of the set covered"],
            "rows": estimates,
        }


def list_lines(outcome: Outcome) -> Iterator[str]:
    """The rest of the outcome in words."""
    if outcome.kappa_model is not None:
        yield f"Kappa of people and arhn (false negative or not, over the whole set): {outcome.kappa_model:.2f}"
    if outcome.pairs:
        value = "undefined" if outcome.kappa_people is None else f"{outcome.kappa_people:.2f}"
        yield f"Kappa between people, {outcome.people} of them, on {outcome.pairs:,} pairs of answers: {value}"
    if outcome.disputed:
        yield f"{outcome.disputed:,} passages are in dispute and don't count yet: settle them on the page (key d)"
    if outcome.sampled and _count_judged(outcome) < _ENOUGH:
        return
    if outcome.threshold is not None:
        threshold, precision, answers = outcome.threshold
        yield (
            f"A confidence of {threshold:.2f} or more would have had an estimated precision of {precision:.0%} "
            f"(asked for: {outcome.precision:.0%}; {answers:,} answers)"
        )
    elif outcome.sampled and any(outcome.answers.values()):
        yield f"No threshold on the confidence reaches a precision of {outcome.precision:.0%} on these answers"
    if not outcome.sampled:
        yield "These passages were picked, not drawn at random: nothing is estimated over the whole set"


def _count_judged(outcome: Outcome) -> int:
    return sum(n for counts in outcome.answers.values() for answer, n in counts.items() if answer != "unsure")


def _interval(low: float, high: float) -> str:
    return f"{low:.0%} to {high:.0%}"
