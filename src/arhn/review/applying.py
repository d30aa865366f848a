"""`arhn apply-review`: what people answered overrides a run's decisions, in new files beside each other as a run's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from arhn.agree.reviews import Ids, Reviewed, read_review
from arhn.cleaning.run.files import Files
from arhn.cleaning.run.finished import FinishedRun, Joined, Row, open_run
from arhn.errors import DataError
from arhn.files.apart import require_apart
from arhn.files.atomic import AtomicFile, publish_together
from arhn.files.claims import Claim
from arhn.files.jsonl import JsonlFile
from arhn.formats import GroupWriter, detect
from arhn.review.journal import read_plans, take_fingerprint
from arhn.review.session import find_shown, require_same_texts
from arhn.types import Group, Mode, Reason

#: The action that an answer stands for, where the run's mode has it. One who can't tell leaves the decision as it is.
_ACTIONS = {"fully": ("relabel", "filter"), "partly": ("filter", "keep"), "no": ("keep",)}


@dataclass(slots=True)
class Applied:
    """What applying a review did: `counts` by (action before, action after) of the reviewed passages."""

    files: Files
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    disputed: int = 0
    unsure: int = 0
    written: int = 0
    dropped: int = 0


def find_action(answer: str, mode: Mode) -> str:
    """The action that an answer stands for in a mode."""
    allowed = {"keep"} | ({"relabel"} if mode.relabels else set()) | ({"filter"} if mode.filters else set())
    return next((action for action in _ACTIONS[answer] if action in allowed), "keep")


def override(joined: Joined, finals: Mapping[Ids, str], mode: Mode) -> list[dict[str, Any]]:
    """The decisions on a group with people's answers in place of the LLM's.

    Each reviewed row says what the person answered and what had been decided. A copy of a reviewed passage follows it.
    """
    rows: list[dict[str, Any]] = []
    by_text: dict[tuple[str, str, str], str] = {}
    for passage, row in zip(joined.group.passages, joined.rows, strict=True):
        answer = finals.get((row["query_id"], row["doc_id"]))
        text = row["label"], " ".join(passage.title.split()), " ".join(passage.text.split())
        if answer in _ACTIONS and row["label"] == "negative":
            action = find_action(answer, mode)
            by_text[text] = action
            was = {"action": row["action"], "reason": row["reason"]}
            rows.append({**row, "action": action, "reason": Reason.REVIEWED.value, "answer": answer, "was": was})
        elif row["reason"] == Reason.DUPLICATE.value and text in by_text:
            rows.append({**row, "action": by_text[text]})
        else:
            rows.append(dict(row))
    return rows


def apply_review(
    output: str,
    review: Path,
    to: str,
    *,
    format: str | None = None,  # noqa: A002  # the users' word
    overwrite: bool = False,
) -> Applied:
    """Write a run anew with a review's answers in it: the groups, the decisions and the summary.

    Args:
        output: of the run that was reviewed.
        to: where the groups go; the other files are called after it.
        format: of the groups; that of the run's output unless given.

    Raises:
        DataError: a review of another run, or of other texts, or an input that has changed.
        OutputError: an output that can't be written; nothing has appeared then.
    """
    run, reviewed, files = open_run(output, "apply-review"), read_review(review), Files.beside(to)
    require_apart(
        {**run.inputs, "the review": review},
        {"--output": to, "the decisions": files.decisions, "the summary": files.summary},
    )
    _require_same_run(run, reviewed)
    source = detect(run.files.input, split=run.files.split, format=run.files.input_format, skip_bad_rows=True)
    applied = Applied(files=files)
    applied.disputed = sum(passage.disputed for passage in reviewed.passages.values())
    applied.unsure = sum(final == "unsure" for final in reviewed.finals.values())
    with ExitStack() as stack:
        claim = stack.enter_context(Claim(to, files.decisions, files.summary, overwrite=overwrite))
        summary = AtomicFile(files.summary, overwrite=claim)
        stack.callback(summary.abort)
        decisions = JsonlFile(files.decisions, overwrite=claim)
        stack.callback(decisions.abort)
        kind = format or run.summary["files"]["output_format"]
        groups = GroupWriter(to, kind, like=source, overwrite=claim)
        stack.callback(groups.abort)
        tally: Counter[tuple[str, str, str]] = Counter()
        for joined, rows in _override_all(run, reviewed, applied):
            for row in rows:
                decisions.write(row)
                _count(tally, row)
            cleaned = _make_group(joined.group, rows, run)
            if cleaned is None:
                applied.dropped += 1
            else:
                groups.write(cleaned)
        applied.written = groups.written
        content = _summarize(run, reviewed, applied, tally, groups.format)
        summary.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        publish_together([decisions, summary, groups], claim)
    return applied


def _require_same_run(run: FinishedRun, reviewed: Reviewed) -> None:
    if reviewed.header["decisions"] != take_fingerprint(run):
        raise DataError(
            f"is a review of other decisions than those of {run.output}: it was begun on "
            f"{reviewed.header.get('output')!r}. Give that run",
            path=str(reviewed.path),
        )
    items, _, texts = read_plans(reviewed)
    require_same_texts(items, find_shown(run, items), texts, str(reviewed.path))


def _override_all(
    run: FinishedRun, reviewed: Reviewed, applied: Applied
) -> Iterator[tuple[Joined, list[dict[str, Any]]]]:
    finals, mode = reviewed.finals, Mode(run.summary["settings"].get("mode", Mode.RF))
    for joined in run.join():
        rows = override(joined, finals, mode)
        for before, after in zip(joined.rows, rows, strict=True):
            if after["reason"] == Reason.REVIEWED.value:
                applied.counts[before["action"], after["action"]] += 1
        yield joined, rows


def _make_group(group: Group, rows: Sequence[Row], run: FinishedRun) -> Group | None:
    """The group to train on; None where the run drops groups with so few negatives."""
    actions = {row["doc_id"]: row["action"] for row in rows}
    positives = group.positives + tuple(p for p in group.negatives if actions[p.doc_id] == "relabel")
    negatives = tuple(p for p in group.negatives if actions[p.doc_id] == "keep")
    settings = run.summary["settings"]
    if settings.get("floor_policy") == "drop" and len(negatives) < int(settings.get("floor", 0)):
        return None
    return replace(group, positives=positives, negatives=negatives)


def _count(tally: Counter[tuple[str, str, str]], row: Row) -> None:
    if row["reason"] == Reason.UNUSED.value:
        return
    for what in ("action", "reason", "status"):
        if row[what] is not None:
            tally[f"{row['label']}s", what, row[what]] += 1


def _summarize(
    run: FinishedRun, reviewed: Reviewed, applied: Applied, tally: Counter[tuple[str, str, str]], kind: str
) -> dict[str, Any]:
    """The run's summary with the new counts and files, and what was reviewed."""
    counted: dict[str, dict[str, dict[str, int]]] = {
        label: {what: {} for what in ("action", "reason", "status")} for label in ("positives", "negatives")
    }
    for (label, what, value), n in tally.most_common():
        counted[label][what][value] = n
    files = applied.files
    places = {"output": files.locate("output"), "output_format": kind, "decisions": files.locate("decisions")}
    return {
        **run.summary,
        **counted,
        "files": {**run.summary["files"], **places},
        "groups": {**run.summary["groups"], "written": applied.written, "dropped": applied.dropped},
        "review": {
            "file": str(reviewed.path.resolve()),
            "of": run.summary["files"].get("output"),
            "answers": sum(len(passage.answers) for passage in reviewed.passages.values()),
            "reviewers": len({who for passage in reviewed.passages.values() for who in passage.answers}),
            "applied": sum(applied.counts.values()),
            "changed": sum(n for (before, after), n in applied.counts.items() if before != after),
            "disputed": applied.disputed,
            "unsure": applied.unsure,
        },
    }
