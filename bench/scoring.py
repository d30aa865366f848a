"""What the benches of label quality share: gold folders, metrics with intervals, costs.

A gold folder holds SPLIT.jsonl (or groups.jsonl) in any format that arhn reads, and gold.jsonl with one
{"query_id", "labels": {doc_id: "false_negative" | "ambiguous" | "true_negative"}} a group, or verdicts.jsonl with an
LLM's {"query_id", "better": [doc_id], "worse": [doc_id]}, of which both count as false negatives. Ambiguous
negatives count neither way. "Acted on" means relabelled or filtered.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from arhn import formats, weights
from arhn.agree import judgements
from arhn.agree.judgements import ABSTAINED, Judgements, Kind
from arhn.cleaning.evidence.signals import QUERY
from arhn.cleaning.relabel import choose_action
from arhn.cleaning.stats import Stats
from arhn.engines.llamacpp import LlamaCppEngine
from arhn.store import MemoryStore, ResponseStore, SqliteStore
from arhn.types import Action, CleanedGroup, Decision, Group, Mode, Passage, Reason

Gold = dict[str, dict[str, str]]
_RESAMPLES = 1000
#: Decided by equal texts, not by the mode.
_BY_TEXT = (Reason.DUPLICATE, Reason.EQUALS_POSITIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Negative:
    """A negative with a gold label. `score` is the confidence that it answers; None where there is none."""

    query_id: str
    false: bool
    acted_on: bool
    score: float | None


@dataclass(slots=True)
class Judged:
    """What a method made of the groups."""

    negatives: list[Negative] = field(default_factory=list)
    verbatim: list[bool] = field(default_factory=list)  # per answer that isn't a refusal
    unknown: int = 0
    extractions: int = 0
    stats: Stats = field(default_factory=Stats)
    seconds: float = 0.0

    def add(self, group: Group, gold: Gold, doc_id: str, acted_on: bool, score: float | None) -> None:
        label = gold[group.query_id].get(doc_id)
        if label in ("false_negative", "true_negative"):
            false = label == "false_negative"
            self.negatives.append(Negative(query_id=group.query_id, false=false, acted_on=acted_on, score=score))


def metrics(name: str, judged: Judged, groups: Sequence[Group], own_tokens: int) -> dict[str, Any]:
    """One column of the table."""
    false = sum(n.false for n in judged.negatives)
    low, high = interval(judged.negatives, f1)
    return {
        "name": name,
        "precision": precision(judged.negatives),
        "recall": recall(judged.negatives),
        "F1": f1(judged.negatives),
        "F1, 95% interval": f"{low:.2f}–{high:.2f}",
        "true negatives lost": lost(judged.negatives),
        "AUC of the confidence": auc(judged.negatives),
        "negatives without a confidence": sum(n.score is None for n in judged.negatives),
        "answers verbatim": sum(judged.verbatim) / len(judged.verbatim) if judged.verbatim else None,
        "unknown": judged.unknown / judged.extractions,
        "groups": len(groups),
        "false negatives": false,
        "true negatives": len(judged.negatives) - false,
        **costs(judged, len(groups), own_tokens),
    }


def costs(judged: Judged, groups: int, own_tokens: int) -> dict[str, Any]:
    """Calls, tokens and time; None where a store answered, for then they were paid in an earlier run."""
    total = judged.stats.total
    cold = total.reused < 0.1 * total.requests
    computed = total.prompt_tokens - total.cached_tokens
    numbers = {
        "calls a group": total.asked / groups,
        "computed prompt tokens a group": computed / groups,
        "computed / own prompt tokens": computed / own_tokens,
        "completion tokens a group": total.completion_tokens / groups,
        "groups a minute": 60 * groups / judged.seconds,
    }
    return numbers if cold else dict.fromkeys(numbers)


def quality(found: Sequence[Negative]) -> dict[str, Any]:
    """How right a method was about negatives."""
    low, high = interval(found, f1)
    least, most = interval(found, precision)
    acted = any(n.acted_on for n in found)
    return {
        "precision": precision(found) if acted else None,
        "95%": f"{least:.2f}–{most:.2f}" if acted else None,
        "recall": recall(found),
        "F1": f1(found),
        "F1, 95%": f"{low:.2f}–{high:.2f}",
        "TN lost": lost(found),
        "AUC": auc(found),
    }


def decided(cleaned: Sequence[CleanedGroup], gold: Gold, mode: Mode = Mode.RF) -> list[Negative]:
    """The negatives with a label that counts, and what a run in mode R+F would have made of them in `mode`."""
    rows = []
    for c in cleaned:
        labels = gold[c.group.query_id]
        scores = {e.doc_id: e.confidence for e in c.extractions} or {d: s[QUERY] for d, s in c.similarities.items()}
        for d in on_negatives(c):
            label = labels.get(d.doc_id)
            if label not in ("false_negative", "true_negative"):
                continue
            # Mode F doesn't ask whether an answer is full: it leaves all that ranks above the positive.
            reason = Reason.RANKED_ABOVE if mode is Mode.F and d.reason is Reason.PARTIAL else d.reason
            acted = (d.action if d.reason in _BY_TEXT else choose_action(reason, mode)) != "keep"
            rows.append(
                Negative(
                    query_id=c.group.query_id,
                    false=label == "false_negative",
                    acted_on=acted,
                    score=scores.get(d.doc_id),
                )
            )
    return rows


#: What an oracle does with a gold label where it does anything.
RELABEL: Mapping[str, Action] = {"false_negative": "relabel"}
_REASONS: Mapping[Action, Reason] = {
    "keep": Reason.UNDISPUTED,
    "relabel": Reason.JUDGED_BETTER,
    "filter": Reason.JUDGED_WORSE,
}


def oracle(groups: Sequence[Group], gold: Gold, actions: Mapping[str, Action] = RELABEL) -> list[CleanedGroup]:
    """What the gold labels say, as a method: the most that its actions can do. Other labels stay."""
    cleaned = []
    for g in groups:
        labels = gold[g.query_id]
        positives = tuple(Decision(doc_id=p.doc_id, action="keep", reason=Reason.POSITIVE) for p in g.positives)
        taken = [actions.get(labels.get(p.doc_id, ""), "keep") for p in g.negatives]
        negatives = tuple(
            Decision(doc_id=p.doc_id, action=action, reason=_REASONS[action])
            for p, action in zip(g.negatives, taken, strict=True)
        )
        cleaned.append(CleanedGroup(group=g, decisions=positives + negatives, extractions=()))
    return cleaned


def abstained(cleaned: Sequence[CleanedGroup]) -> float:
    """Share of the negatives that lay between the thresholds, or were judged by a broken answer."""
    reasons = [d.reason.value for c in cleaned for d in on_negatives(c)]
    return sum(reason in ABSTAINED for reason in reasons) / len(reasons)


def on_negatives(cleaned: CleanedGroup) -> list[Decision]:
    """Decisions about the negatives."""
    return list(cleaned.decisions[len(cleaned.group.positives) :])


def precision(negatives: Sequence[Negative]) -> float:
    acted_on = sum(n.acted_on for n in negatives)
    return sum(n.false and n.acted_on for n in negatives) / acted_on if acted_on else 0.0


def recall(negatives: Sequence[Negative]) -> float:
    false = sum(n.false for n in negatives)
    return sum(n.false and n.acted_on for n in negatives) / false if false else 0.0


def f1(negatives: Sequence[Negative]) -> float:
    p, r = precision(negatives), recall(negatives)
    return 2 * p * r / (p + r) if p + r else 0.0


def lost(negatives: Sequence[Negative]) -> float:
    true = sum(not n.false for n in negatives)
    return sum(n.acted_on and not n.false for n in negatives) / true if true else 0.0


def auc(negatives: Sequence[Negative]) -> float | None:
    """Probability that a false negative scores above a true one, ties half; None without both."""
    false = [n.score for n in negatives if n.false and n.score is not None]
    true = [n.score for n in negatives if not n.false and n.score is not None]
    if not false or not true:
        return None
    return sum((f > t) + 0.5 * (f == t) for f in false for t in true) / (len(false) * len(true))


def interval(negatives: Sequence[Negative], metric: Callable[[Sequence[Negative]], float]) -> tuple[float, float]:
    """95% bootstrap interval of a metric, resampling whole groups (negatives of a group aren't independent)."""
    by_group = defaultdict(list)
    for n in negatives:
        by_group[n.query_id].append(n)
    groups = list(by_group.values())
    rng = random.Random(0)
    found = sorted(metric([n for g in rng.choices(groups, k=len(groups)) for n in g]) for _ in range(_RESAMPLES))
    return found[int(0.025 * _RESAMPLES)], found[int(0.975 * _RESAMPLES)]


def shown(passage: Passage) -> str:
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def own_tokens(groups: Sequence[Group], engine: LlamaCppEngine) -> int:
    """Tokens of every query–passage pair's texts alone, without instructions or markup."""
    return sum(
        engine.count_tokens(group.query) + engine.count_tokens(shown(p)) for group in groups for p in group.passages
    )


def load(folder: Path, split: str, *, every: int = 1, limit: int | None = None) -> tuple[list[Group], Gold]:
    """Every n-th group of a split, from the first, that has gold labels; and those labels by query_id."""
    judged = load_judgements(folder)
    groups = [g for g in formats.read(data(folder, split)) if g.query_id in judged.groups]
    chosen = list(islice(groups[::every], limit))
    return chosen, {g.query_id: _labels(g, judged) for g in chosen}


def load_judgements(folder: Path) -> Judgements:
    """gold.jsonl, else verdicts.jsonl."""
    gold = folder / "gold.jsonl"
    return judgements.load(str(gold if gold.exists() else folder / "verdicts.jsonl"))


def _labels(group: Group, judged: Judgements) -> dict[str, str]:
    words = judged.groups[group.query_id]
    if judged.kind is Kind.GOLD:
        return dict(words)
    return {p.doc_id: "false_negative" if p.doc_id in words else "true_negative" for p in group.negatives}


def data(folder: Path, split: str) -> Path:
    """The file of a split, or the only file there is."""
    path = folder / f"{split}.jsonl"
    return path if path.exists() else folder / "groups.jsonl"


@contextmanager
def engine_for(
    model: str, slots: int = 1, *, threads: int | None = None, lookahead: int = 0
) -> Iterator[LlamaCppEngine]:
    path = weights.resolve(model)
    engine = LlamaCppEngine(path, model=weights.identity(path), slots=slots, threads=threads, lookahead=lookahead)
    try:
        yield engine
    finally:
        asyncio.run(engine.aclose())


@contextmanager
def store_at(path: Path | None, model: str) -> Iterator[ResponseStore]:
    if path is None:
        yield MemoryStore()
        return
    with SqliteStore(path, model=model) as store:
        yield store
