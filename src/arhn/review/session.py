"""A review while people answer: who is asked what next, what an answer does, what is undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from arhn.agree.reviews import Answered, Ids
from arhn.cleaning.run.finished import FinishedRun
from arhn.diff.changes import find_best_positive
from arhn.errors import DataError, UsageError
from arhn.review.findings import Outcome, find_outcome
from arhn.review.journal import Journal, hash_texts
from arhn.review.sampling import Item
from arhn.texts.excerpt import take_excerpt
from arhn.texts.foreign import make_line, make_visible

#: Characters of a passage and of a query that the page shows.
_PASSAGE, _QUERY = 20_000, 4_000
_WORDS = {"fully": "answers fully", "partly": "partly", "no": "doesn't", "unsure": "can't tell"}
_DONE = {"relabel": "made it a positive", "filter": "dropped it", "keep": "left it a negative"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A passage to ask about as the page shows it, and the decision on it, which it doesn't show before the answer."""

    query: str
    candidate: Mapping[str, Any]
    positive: Mapping[str, Any]
    row: Mapping[str, Any]
    text: str


def find_shown(run: FinishedRun, items: list[Item]) -> dict[Ids, Shown]:
    """The passages to ask about with their texts, by ids. Raises ArhnError as `FinishedRun.join`."""
    wanted: dict[int, set[str]] = {}
    for item in items:
        wanted.setdefault(item.place, set()).add(item.doc_id)
    found = {}
    for joined in run.join(run.read_rows_at({item.place: item.line for item in items})):
        best = find_best_positive(joined)
        positive, group = joined.group.passages[best], joined.group
        for passage, row in zip(group.passages, joined.rows, strict=True):
            if passage.doc_id in wanted[joined.place]:
                found[group.query_id, passage.doc_id] = Shown(
                    query=make_visible(group.query[:_QUERY]),
                    candidate=_show(passage.title, passage.text, row),
                    positive=_show(positive.title, positive.text, joined.rows[best]),
                    row=row,
                    text=hash_texts((group.query, passage.title, passage.text, positive.text)),
                )
    return found


def _show(title: str, text: str, row: Mapping[str, Any]) -> dict[str, Any]:
    excerpt = take_excerpt(text, row["start"], row["end"], most=_PASSAGE)
    return {"title": make_line(title, 300), **asdict(excerpt)}


class Session:
    """A review's passages, answers and progress.

    Args:
        wanted: answers that every passage should get, each from another reviewer.
        precision: the one to find a threshold for.
    """

    def __init__(
        self,
        journal: Journal,
        items: list[Item],
        strata: Mapping[str, tuple[str, int]],
        shown: Mapping[Ids, Shown],
        *,
        wanted: int = 1,
        precision: float = 0.9,
    ) -> None:
        self._journal = journal
        self._items = items
        self._strata = strata
        self._shown = shown
        self._wanted = wanted
        self._precision = precision

    def find_next(self, reviewer: str, mode: str = "answer") -> int | None:
        """The number of the next passage for a reviewer, or the next dispute; None where there is none."""
        for number, item in enumerate(self._items):
            found = self._find(item)
            if mode == "adjudicate":
                if found.disputed:
                    return number
            elif reviewer not in found.answers and len(found.answers) < self._wanted:
                return number
        return None

    def answer(self, reviewer: str, number: int, answer: str, note: str, hinted: bool) -> str:
        """Count an answer once it is on the disk; what arhn had decided, in words.

        Raises:
            UsageError: no such passage, or no such answer.
            ArhnError: it can't be written.
        """
        self._add("answer", reviewer, number, answer, note, {"hinted": True} if hinted else {})
        row = self._shown[self._ids(number)].row
        confidence = "" if row["confidence"] is None else f", confidence {row['confidence']:.2f}"
        return f"Yours: {_WORDS[answer]}. arhn {_DONE[row['action']]} ({row['reason'].replace('_', ' ')}{confidence})."

    def adjudicate(self, reviewer: str, number: int, answer: str, note: str) -> str:
        """Settle a dispute. Raises as `answer`."""
        self._add("adjudicated", reviewer, number, answer, note, {})
        return f"Settled: {_WORDS[answer]}."

    def _add(self, what: str, reviewer: str, number: int, answer: str, note: str, more: Mapping[str, Any]) -> None:
        if not 0 <= number < len(self._items):
            raise UsageError(f"there is no passage {number}")
        if answer not in _WORDS:
            raise UsageError(f"found {answer!r}, allowed: {', '.join(_WORDS)}")
        query_id, doc_id = self._ids(number)
        noted = {"note": note} if note else {}
        self._journal.add({what: answer, "query_id": query_id, "doc_id": doc_id, "reviewer": reviewer, **noted, **more})

    def undo(self, reviewer: str, mode: str = "answer") -> int | None:
        """Take a reviewer's last answer (or settlement) back; its passage, None where there is none."""
        what = "adjudicated" if mode == "adjudicate" else "answer"
        ids = self._journal.reviewed.find_last(what, reviewer)
        if ids is None:
            return None
        self._journal.add({"undo": what, "query_id": ids[0], "doc_id": ids[1], "reviewer": reviewer})
        return next(i for i, item in enumerate(self._items) if (item.query_id, item.doc_id) == ids)

    def describe(self, number: int | None, mode: str = "answer") -> dict[str, Any] | None:
        """A passage as the page gets it: without the decision; with the answers where a dispute is to be settled."""
        if number is None:
            return None
        shown = self._shown[self._ids(number)]
        found = self._find(self._items[number])
        answers = [
            {"reviewer": make_line(who, 60), "words": _WORDS[said], "note": make_line(found.notes.get(who, ""), 2000)}
            for who, said in found.answers.items()
        ]
        return {
            "number": number,
            "query": shown.query,
            "candidate": shown.candidate,
            "positive": shown.positive,
            "answers": answers if mode == "adjudicate" else [],
        }

    def count(self, reviewer: str) -> dict[str, int]:
        """Answers that are there and that are wanted in all, this reviewer's, and disputes."""
        every = [self._find(item) for item in self._items]
        return {
            "done": sum(min(self._wanted, len(found.answers)) for found in every),
            "wanted": self._wanted * len(self._items),
            "mine": sum(reviewer in found.answers for found in every),
            "disputed": sum(found.disputed for found in every),
        }

    def find_outcome(self) -> Outcome:
        """What is known by now."""
        rows = {ids: shown.row for ids, shown in self._shown.items()}
        return find_outcome(self._journal.reviewed, self._items, self._strata, rows, self._precision)

    def _ids(self, number: int) -> Ids:
        return self._items[number].query_id, self._items[number].doc_id

    def _find(self, item: Item) -> Answered:
        return self._journal.reviewed.passages.get((item.query_id, item.doc_id)) or Answered()


def require_same_texts(items: list[Item], shown: Mapping[Ids, Shown], texts: Mapping[Ids, str], path: str) -> None:
    """Check that texts are those that were planned. Raises DataError."""
    for item in items:
        ids = item.query_id, item.doc_id
        if ids not in shown or shown[ids].text != texts[ids]:
            raise DataError(
                f"the texts of query_id {ids[0]!r}, doc_id {ids[1]!r} aren't those that the review was begun with. Has "
                "the run's input changed since?",
                path=path,
            )
