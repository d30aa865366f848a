"""What a run says in words when it ends: what changed, three changes, what its confidences rest on, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group as RenderGroup
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from arhn.cleaning.run.examples import Example
from arhn.cleaning.run.records import make_decision_rows
from arhn.cleaning.run.view import show_passage
from arhn.errors import describe_count
from arhn.texts.foreign import make_line

#: Characters of a query and of a passage that are shown.
_QUERY, _PASSAGE = 200, 320


def describe_changes(content: Mapping[str, Any]) -> str:
    """What changed, in one line, from the content of summary.json."""
    actions, reasons = content["negatives"]["action"], content["negatives"]["reason"]
    total = sum(actions.values())
    parts = [
        _count(actions.get("relabel", 0), "became a positive", "became positives"),
        _count(actions.get("filter", 0), "was dropped", "were dropped"),
    ]
    broken = sum(reasons.get(name, 0) for name in ("extraction_unknown", "ranking_failed", "judge_unknown"))
    more = {
        ("was too uncertain to touch", "were too uncertain to touch"): reasons.get("uncertain", 0),
        ("got a broken answer and stays", "got broken answers and stay"): broken,
        ("wasn't asked about", "weren't asked about"): reasons.get("spared", 0),
    }
    parts += [_count(n, *words) for words, n in more.items() if n]
    return f"Of {total:,} negatives, {', '.join(parts)}"


def describe_nothing(content: Mapping[str, Any]) -> Iterator[str]:
    """What wasn't done at all, and why: what is said first."""
    queries = content.get("too_long_queries", 0)
    if queries:
        fit, them = ("doesn't fit", "it") if queries == 1 else ("don't fit", "them")
        yield (
            f"{describe_count(queries, 'query')} {fit} the context of {content['settings']['context'] or 0:,} tokens; "
            f"nothing was asked about {them}: give more engine.context, or start the server with more"
        )
    actions, reasons = content["negatives"]["action"], content["negatives"]["reason"]
    if not actions or actions.get("relabel", 0) or actions.get("filter", 0):
        return
    precision, uncertain = content["settings"].get("precision"), reasons.get("uncertain", 0)
    if precision is not None and uncertain:
        yield (
            f"Nothing was changed: no negative reaches precision {precision:g} "
            f"({describe_count(uncertain, 'negative')} below it). A lower --precision, or a model that is surer, may "
            "find some"
        )
    if content["calibrations"] and reasons.keys() == {"undisputed"}:
        yield (
            "Nothing was changed: queries of these families are judged only with a calibration for this model, and "
            f"there is none ({', '.join(content['calibrations'])}). See 'arhn calibrate'"
        )


def describe_triage(content: Mapping[str, Any]) -> str:
    """How many negatives weren't asked about, and how far that can change decisions; empty where all were."""
    found = content.get("triage")
    if not found:
        return ""
    total = sum(content["negatives"]["status"].values())
    checked, answering, agreement = found["checked"], found["checked_answering"], found["agreement"]
    return (
        f"Triage: similarities or the small model found {found['spared']:,} of {total:,} negatives too unlikely to ask "
        f"about. Of {describe_count(checked, 'such negative')} asked about all the same, {answering} "
        f"{'answers' if answering == 1 else 'answer'}; so {agreement['low']:.1%} to {agreement['high']:.1%} of the "
        "decisions are as if all had been asked about (95%). triage = 1 asks about all"
    )


def _count(number: int, one: str, several: str) -> str:
    return f"1 {one}" if number == 1 else f"{f'{number:,}' if number else 'none'} {several}"


def examples_view(examples: Sequence[Example], content: Mapping[str, Any]) -> RenderableType:
    """Changed passages with query, positive, snippet, confidence, and the threshold that this passed."""
    return RenderGroup(*(_example(example, content) for example in examples))


def _example(example: Example, content: Mapping[str, Any]) -> RenderableType:
    group, rows = example.cleaned.group, list(make_decision_rows(example.cleaned))
    row = rows[example.place]
    best = min(range(len(group.positives)), key=lambda i: (rows[i]["rank"] or len(rows) + 1, i))
    word, style = {"relabel": ("became a positive", "green")}.get(row["action"], ("dropped", "red"))
    why = example.why if example.why != "closest call" else f"closest call, {word}"
    heading = Text.assemble((f"{why}: ", style), (make_line(group.query, _QUERY), "bold"))
    return RenderGroup(
        heading,
        Padding(Text("negative", style="italic"), (0, 0, 0, 2)),
        Padding(show_passage(group.passages[example.place], row, most=_PASSAGE), (0, 0, 0, 4)),
        Padding(Text("labelled positive", style="italic"), (0, 0, 0, 2)),
        Padding(show_passage(group.positives[best], rows[best], most=_PASSAGE), (0, 0, 0, 4)),
        Padding(Text(_describe_evidence(row, content), style="dim"), (0, 0, 1, 2)),
    )


def _describe_evidence(row: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    threshold = content["calibrations"].get(row["family"], {}).get("threshold")
    if row["confidence"] is None:
        return f"reason {row['reason']}; no confidence"
    passed = "" if threshold is None else f", needed {threshold:.2f}"
    return f"reason {row['reason']}, confidence {row['confidence']:.2f}{passed}"


def list_next_steps(output: str) -> Iterator[str]:
    """The commands that show more."""
    name = make_line(shlex.quote(output))
    yield f"All changes: arhn diff {name}"
    yield f"A report: arhn report {name}"
    yield f"Check a sample yourself: arhn review {name}"
