"""How right the labels are: decisions against gold labels, beside the obvious implementation.

    python -m bench.label_quality FOLDER --split test --groups 60 --baseline naive

FOLDER holds SPLIT.jsonl (or groups.jsonl) in any format that arhn reads, and gold.jsonl with one
{"query_id", "labels": {doc_id: "false_negative" | "ambiguous" | "true_negative"}} a group. Ambiguous
negatives count neither way. "Acted on" means relabelled or filtered (mode R+F).

The baseline `naive` asks the same model in free text, unconstrained and without examples, to copy the answer
or reply NO_ANSWER, and acts on every negative for which it says anything else. It is run twice: with question,
passage and instruction in one message, as prompts usually have them, and in the order that helps small models
most, the instruction as system message and the passage before the question. Each method gets an engine of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from arhn import formats, weights
from arhn.config import CleanConfig
from arhn.engines import Message, Request
from arhn.engines.llamacpp import LlamaCppEngine
from arhn.pipeline import Asker, Stats, clean
from arhn.store import MemoryStore, ResponseStore, SqliteStore
from arhn.types import Group, Passage
from bench import output

Gold = dict[str, dict[str, str]]
Template = tuple[str | None, str]

_ASK = "If the passage answers the question, copy the answer from the passage word for word. Otherwise reply NO_ANSWER."
_BEST = (
    "Copy the shortest span of the passage that answers the question, word for word. "
    "If the passage does not answer the question, write NO_ANSWER."
)
#: System message, if any, and user's message.
NAIVE = {
    "naive": (None, "Question: {query}\n\nPassage: {passage}\n\n" + _ASK),
    "naive, best order": (_BEST, "Passage: {passage}\nQuestion: {query}"),
}
_RESAMPLES = 1000


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
    stages = (judged.stats.extract, judged.stats.rank)
    cold = sum(s.reused for s in stages) < 0.1 * sum(s.requests for s in stages)
    computed = sum(s.prompt_tokens - s.cached_tokens for s in stages)
    numbers = {
        "calls a group": sum(s.asked for s in stages) / groups,
        "computed prompt tokens a group": computed / groups,
        "computed / own prompt tokens": computed / own_tokens,
        "completion tokens a group": sum(s.completion_tokens for s in stages) / groups,
        "groups a minute": 60 * groups / judged.seconds,
    }
    return numbers if cold else dict.fromkeys(numbers)


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


def judge_arhn(groups: Sequence[Group], gold: Gold, engine: LlamaCppEngine, store: ResponseStore) -> Judged:
    judged = Judged()
    started = time.monotonic()
    for cleaned in clean(groups, engine=engine, config=CleanConfig(), store=store, stats=judged.stats):
        actions = {d.doc_id: d.action for d in cleaned.decisions}
        texts = {p.doc_id: p.text for p in cleaned.group.passages}
        for e in cleaned.extractions:
            judged.extractions += 1
            judged.unknown += e.status == "unknown"
            if e.snippet is not None:
                judged.verbatim.append(e.snippet in texts[e.doc_id])
            judged.add(cleaned.group, gold, e.doc_id, actions[e.doc_id] != "keep", e.confidence)
    judged.seconds = time.monotonic() - started
    return judged


async def judge_naive(
    groups: Sequence[Group], gold: Gold, engine: LlamaCppEngine, store: ResponseStore, template: Template
) -> Judged:
    judged = Judged()
    started = time.monotonic()
    asker = Asker(engine, store, judged.stats)
    # All at once: the engine is as busy as it can be.
    asked = await asyncio.gather(*(asker.ask("extract", [_naive(g, p, template) for p in g.negatives]) for g in groups))
    for group, completions in zip(groups, asked, strict=True):
        for p, completion in zip(group.negatives, completions, strict=True):
            said = completion.text.strip() if completion else ""
            answers = bool(said) and "NO_ANSWER" not in said
            judged.extractions += 1
            judged.unknown += not said
            if answers:
                judged.verbatim.append(said in p.text)
            judged.add(group, gold, p.doc_id, answers, None)
    judged.seconds = time.monotonic() - started
    return judged


def _naive(group: Group, passage: Passage, template: Template) -> Request:
    system, user = template
    message = Message("user", user.format(query=group.query, passage=_shown(passage)))
    return Request(messages=(Message("system", system), message) if system else (message,), max_tokens=96)


def _shown(passage: Passage) -> str:
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text


def own_tokens(groups: Sequence[Group], engine: LlamaCppEngine) -> int:
    """Tokens of every query–passage pair's texts alone, without instructions or markup."""
    return sum(
        engine.count_tokens(group.query) + engine.count_tokens(_shown(p)) for group in groups for p in group.passages
    )


def load(folder: Path, split: str, limit: int | None) -> tuple[list[Group], Gold]:
    """The first groups of a split that have gold labels, and those labels by query_id."""
    with (folder / "gold.jsonl").open(encoding="utf-8") as lines:
        gold = {row["query_id"]: row["labels"] for row in map(json.loads, lines)}
    return list(islice((g for g in formats.read(data(folder, split)) if g.query_id in gold), limit)), gold


def data(folder: Path, split: str) -> Path:
    """The file of a split, or the only file there is."""
    path = folder / f"{split}.jsonl"
    return path if path.exists() else folder / "groups.jsonl"


@contextmanager
def engine_for(model: str, slots: int) -> Iterator[LlamaCppEngine]:
    path = weights.resolve(model)
    engine = LlamaCppEngine(path, model=weights.identity(path), slots=slots)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--groups", type=int, help="the first N; all unless given")
    parser.add_argument("--model", default=weights.STARTER)
    parser.add_argument("--baseline", choices=["naive"])
    parser.add_argument("--store", type=Path, help="keep answers here; a second run with it asks nothing")
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--json", type=Path, default=Path("bench/out/label_quality.json"))
    a = parser.parse_args()
    groups, gold = load(a.folder, a.split, a.groups)
    if not groups:
        parser.error(f"no group of {data(a.folder, a.split)} has gold labels in {a.folder / 'gold.jsonl'}")
    rows = []
    with engine_for(a.model, a.slots) as engine, store_at(a.store, engine.model) as store:
        own, model = own_tokens(groups, engine), engine.model
        rows.append(metrics("arhn", judge_arhn(groups, gold, engine, store), groups, own))
    for name, template in NAIVE.items() if a.baseline else ():
        with engine_for(a.model, a.slots) as engine, store_at(a.store, engine.model) as store:
            judged = asyncio.run(judge_naive(groups, gold, engine, store, template))
            rows.append(metrics(name, judged, groups, own))
    file = data(a.folder, a.split).name
    output.show(f"{a.folder.name}/{file}, {len(groups)} groups, {model}", rows)
    output.write(
        a.json, "label_quality", {"data": f"{a.folder.name}/{file}", "groups": len(groups), "model": model}, rows
    )


if __name__ == "__main__":
    main()
