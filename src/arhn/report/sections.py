"""What one run's part of a report holds: its gathered numbers as tables, words, drawings and cards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arhn.agree.agreement import compare as compare_judgements
from arhn.agree.agreement import compute_scores
from arhn.agree.judgements import Judgements, load
from arhn.cleaning.run.calibration_notes import describe_calibrations
from arhn.cleaning.run.closing_words import describe_changes
from arhn.cleaning.run.finished import FinishedRun
from arhn.diff.changes import Change
from arhn.diff.rendering import list_evidence
from arhn.files import jsonl
from arhn.files.jsonl import read_row
from arhn.report import drawing
from arhn.report.gathering import BINS, Gathered, Share, gather
from arhn.report.meanings import MEANINGS
from arhn.report.page import flatten, make_card, mark_safe

_TENTHS = 10
#: Negatives that a subset needs to be named as one of the worst.
_ENOUGH = 30
#: The most reasons of failures that are listed.
_FAILURES = 20
SECTIONS = (
    ("subsets", "Subsets"),
    ("confidence", "Confidence"),
    ("ranks", "Ranks"),
    ("doubtful", "Doubtful positives"),
    ("examples", "Examples"),
    ("failures", "Failures"),
    ("cost", "Cost"),
    ("settings", "Settings"),
)


def make_section(run: FinishedRun, name: str, place: str, gold: Judgements | None) -> dict[str, Any]:
    """One run's part of the page.

    Args:
        place: begins the ids of this part.
        gold: labels to show beside the decisions.

    Raises:
        ArhnError: as `FinishedRun.join`; gold labels of other groups.
    """
    found, summary = gather(run), run.summary
    labels = gold.groups if gold is not None else {}
    overall = _add_up(found.subsets.values())
    worst = [(n, s) for n, s in found.subsets.items() if s.negatives >= _ENOUGH and s.interval[0] > _share(overall)]
    examples = list(_list_examples(found, place, labels))
    return {
        "id": place,
        "name": name,
        "sections": SECTIONS,
        "words": describe_changes(summary),
        "flow": _draw(drawing.draw_flow, _count_flow(found), f"{place}-flow"),
        "reasons": list(_list_reasons(found)),
        "gold": _compare(run, gold),
        "subsets": sorted(found.subsets.items(), key=lambda item: (-_share(item[1]), item[0])),
        "families": sorted(found.families.items()),
        "overall": overall,
        "worst": worst if len(found.subsets) > 1 else [],
        "worst_words": _describe_worst(worst, overall),
        **_describe_confidences(found, place),
        "calibration_lines": list(describe_calibrations(summary)),
        "evidence": list(_draw_evidence(found, place, examples)),
        **_describe_ranks(found, place),
        "doubtful_count": found.flow["positive", "keep", "positive_doubtful"],
        "doubtful": [make_card(c, f"{place}-d{i}", "") for i, c in enumerate(found.doubtful)],
        "examples": _group_examples(examples),
        "unknowns": list(_list_unknowns(summary)),
        "failures": list(_count_failures(summary)),
        "cost": list(_list_cost(summary)),
        "settings": list(_list_settings(summary)),
    }


def _add_up(shares: Any) -> Share:
    total = Share()
    for share in shares:
        for name in ("groups", "negatives", "relabelled", "filtered", "uncertain", "broken"):
            setattr(total, name, getattr(total, name) + getattr(share, name))
    return total


def _share(share: Share) -> float:
    return share.changed / share.negatives if share.negatives else 0.0


def _draw(draw: Any, *given: Any) -> Any:
    return mark_safe(draw(*given))


def _count_flow(found: Gathered) -> Counter[tuple[str, str]]:
    flow: Counter[tuple[str, str]] = Counter()
    for (label, action, _), n in found.flow.items():
        flow[label, action] += n
    return flow


def _list_reasons(found: Gathered) -> Iterator[tuple[str, str, str, int, str]]:
    totals: Counter[str] = Counter()
    for (label, _, _), n in found.flow.items():
        totals[label] += n
    for (label, action, reason), n in sorted(found.flow.items(), key=lambda item: (item[0][0], -item[1])):
        yield reason, label, action, n, f"{n / totals[label]:.1%}"


def _describe_worst(worst: Sequence[tuple[str, Share]], overall: Share) -> str:
    parts = [
        f"{name} ({s.changed:,} of {s.negatives:,} negatives changed, {_share(s):.0%}; "
        f"95% interval {s.interval[0]:.0%} to {s.interval[1]:.0%})"
        for name, s in sorted(worst, key=lambda item: -_share(item[1]))[:10]
    ]
    return f"Over all, {_share(overall):.1%} of the negatives changed. More is it in: {'; '.join(parts)}."


def _describe_confidences(found: Gathered, place: str) -> dict[str, Any]:
    kinds = [kind for kind in ("keep", "filter", "relabel", "positive") if any(found.confidences.get(kind, ()))]
    if not kinds:
        return {"confidences": "", "confidence_rows": [], "confidence_columns": [], "confidence_words": ""}
    thresholds = sorted(set(found.thresholds.values()))
    step = BINS // _TENTHS
    rows = [
        (f"{i / _TENTHS:.1f} to {(i + 1) / _TENTHS:.1f}",
         *(sum(found.confidences[kind][i * step : (i + 1) * step]) for kind in kinds))
        for i in range(_TENTHS)
    ]  # fmt: skip
    named = "; ".join(f"{name} {upper:.2f} and {lower:.2f}" for name, (upper, lower) in found.thresholds.items())
    return {
        "confidences": _draw(drawing.draw_confidences, found.confidences, thresholds, f"{place}-confidences"),
        "confidence_rows": rows,
        "confidence_columns": ["confidence", *(drawing.WORDS[kind] for kind in kinds)],
        "confidence_words": f"Confidences by what became of the passage. Thresholds: {named or 'none are recorded'}. "
        "A positive's confidence is on a scale of its own.",
    }


def _list_examples(found: Gathered, place: str, labels: Mapping[str, Mapping[str, str]]) -> Iterator[dict[str, Any]]:
    for i, (reason, how, change) in enumerate(found.list_examples()):
        gold = labels.get(change.row["query_id"], {}).get(change.row["doc_id"], "")
        yield {"reason": reason, "change": change, "card": make_card(change, f"{place}-e{i}", how, gold)}


def _group_examples(examples: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[Any]]]:
    reasons = dict.fromkeys(example["reason"] for example in examples)
    return [(r, MEANINGS.get(r, ""), [e["card"] for e in examples if e["reason"] == r]) for r in reasons]


def _draw_evidence(found: Gathered, place: str, examples: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every other number against the confidence, where enough passages have both."""
    places = {_identify(e["change"]): e["card"]["id"] for e in examples}
    words = {e["card"]["id"]: f"Example: {e['card']['word']}, {e['reason']}" for e in examples}
    changes = {_identify(c): c for c in (*found.points, *(e["change"] for e in examples))}
    names = Counter(name for c in changes.values() for name, _ in list_evidence(c.row))
    for name in (n for n, times in names.items() if n not in ("confidence", "log_odds") and times >= 3):
        points: dict[str, list[tuple[float, float, str]]] = {"keep": [], "filter": [], "relabel": []}
        for ids, change in changes.items():
            x, y = change.row.get(name), change.row["confidence"]
            if x is not None and y is not None:
                points[change.row["action"]].append((x, y, places.get(ids, "")))
        shown = name.replace("_", " ")
        total = sum(map(len, points.values()))
        svg = _draw(drawing.draw_evidence, points, (shown, "confidence"), f"{place}-{len(name)}{name}", words)
        caption = f"{shown.capitalize()} against confidence, {total:,} negatives. Ringed points lead to their example."
        yield {"svg": svg, "caption": caption}


def _identify(change: Change) -> tuple[str, str]:
    return change.row["query_id"], change.row["doc_id"]


def _describe_ranks(found: Gathered, place: str) -> dict[str, Any]:
    kinds = [kind for kind in ("positive", "relabel", "filter") if found.ranks.get(kind)]
    if not kinds:
        return {"ranks": "", "rank_rows": [], "rank_columns": []}
    ranks = sorted({rank for kind in kinds for rank in found.ranks[kind]})[:40]
    return {
        "ranks": _draw(drawing.draw_ranks, found.ranks, f"{place}-ranks"),
        "rank_rows": [(str(rank), *(found.ranks[kind][rank] for kind in kinds)) for rank in ranks],
        "rank_columns": ["rank", *(drawing.WORDS[kind] for kind in kinds)],
    }


def _list_unknowns(summary: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    groups = summary["groups"]
    for label in ("negatives", "positives"):
        yield f"{label} with a broken extraction", summary[label]["status"].get("unknown", 0)
    for reason in ("ranking_failed", "fullness_unknown", "judge_unknown", "uncertain", "spared"):
        if n := summary["negatives"]["reason"].get(reason):
            yield f"negatives: {reason}", n
    yield "rankings failed", summary["ranking"].get("failed", 0)
    yield "rankings repaired", summary["ranking"].get("repaired", 0)
    yield "passages cut to the model's context", summary["cut_passages"]
    for what in ("dropped", "below_floor", "rejected_rows"):
        yield (
            {"dropped": "groups dropped", "below_floor": "groups below the floor"}.get(what, "rows rejected"),
            groups[what],
        )
    yield "requests without an answer", sum(stage["failed"] for stage in summary["llm"].values())


def _count_failures(summary: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    path = summary["files"].get("failures")
    if not path or "://" in path or not Path(path).is_file():
        return
    reasons = Counter(str(read_row(record).get("reason")) for record in jsonl.read(Path(path)))
    yield from reasons.most_common(_FAILURES)


def _list_cost(summary: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    names = ("requests", "asked", "reused", "failed", "prompt_tokens", "cached_tokens", "completion_tokens")
    for stage, counts in summary["llm"].items():
        yield stage, *(counts[name] for name in names), f"{counts['seconds']:,.1f}"


def _list_settings(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("model", "flagger", "similarity"):
        if name in summary:
            yield name, str(summary[name])
    for name in ("versions", "files", "settings", "calibrations", "prompts", "serving"):
        yield from flatten(summary.get(name) or {}, f"{name}.")
    yield "seconds", str(summary["seconds"])


def _compare(run: FinishedRun, gold: Judgements | None) -> dict[str, Any] | None:
    if gold is None:
        return None
    agreement = compare_judgements(load(str(run.decisions)), gold)
    scores = compute_scores(agreement) or {}
    view = agreement.found
    size = len(view.classes)
    names = [name.replace("_", " ") for name in view.classes]
    rows = [(name, *view.counts[i * size : (i + 1) * size]) for i, name in enumerate(names)]
    words = ", ".join(f"{name} {'–' if value is None else f'{value:.2f}'}" for name, value in scores.items())
    kappa = "–" if view.kappa is None else f"{view.kappa:.2f}"
    return {
        "caption": "False negatives found, by the gold labels",
        "columns": ["arhn", *(f"gold: {name}" for name in names)],
        "rows": rows,
        "words": f"Of the false negatives: {words}; kappa {kappa}.",
    }
