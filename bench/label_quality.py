"""How right the labels are: decisions against gold labels, beside the obvious implementation.

    python -m bench.label_quality FOLDER --split test --groups 60 --baseline naive

FOLDER holds SPLIT.jsonl (or groups.jsonl) in any format that arhn reads, and gold.jsonl with one
{"query_id", "labels": {doc_id: "false_negative" | "ambiguous" | "true_negative"}} a group. Ambiguous
negatives count neither way.

The baseline `naive` asks the same model about each passage in free text, unconstrained, and acts on every
negative for which it says something else than NO_ANSWER.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import closing
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
from arhn.types import Group
from bench import output

NAIVE = """Question: {query}

Passage: {passage}

If the passage answers the question, copy the answer from the passage word for word. Otherwise reply NO_ANSWER."""


@dataclass(slots=True)
class Judged:
    """What a method made of the negatives: (gold label, score of answering, acted on), and its snippets."""

    negatives: list[tuple[str, float, bool]] = field(default_factory=list)
    snippets: int = 0
    verbatim: int = 0
    unknown: int = 0
    extractions: int = 0
    stats: Stats = field(default_factory=Stats)
    seconds: float = 0.0

    def metrics(self, name: str, groups: int, own_tokens: int) -> dict[str, Any]:
        counted = [(g == "false_negative", score, acted) for g, score, acted in self.negatives if g != "ambiguous"]
        hit = sum(false and acted for false, _, acted in counted)
        acted_on = sum(acted for _, _, acted in counted)
        false = sum(f for f, _, _ in counted)
        stages = (self.stats.extract, self.stats.rank)
        computed = sum(s.prompt_tokens - s.cached_tokens for s in stages)
        precision = hit / acted_on if acted_on else 0.0
        recall = hit / false if false else 0.0
        return {
            "name": name,
            "precision": precision,
            "recall": recall,
            "F1": 2 * precision * recall / (precision + recall) if hit else 0.0,
            "true negatives lost": (acted_on - hit) / (len(counted) - false),
            "AUC of the confidence": auc([(f, s) for f, s, _ in counted]),
            "verbatim snippets": self.verbatim / self.snippets if self.snippets else None,
            "unknown": self.unknown / self.extractions,
            "groups": groups,
            "false negatives": false,
            "true negatives": len(counted) - false,
            "calls a group": sum(s.asked for s in stages) / groups,
            "computed prompt tokens a group": computed / groups,
            "computed / own prompt tokens": computed / own_tokens if computed else None,
            "completion tokens a group": sum(s.completion_tokens for s in stages) / groups,
            "groups a minute": 60 * groups / self.seconds,
        }


def auc(scored: Sequence[tuple[bool, float]]) -> float | None:
    """Probability that a positive scores above a negative, ties half; None with one class only."""
    positives = [s for is_positive, s in scored if is_positive]
    negatives = [s for is_positive, s in scored if not is_positive]
    if not positives or not negatives:
        return None
    wins = sum((p > n) + 0.5 * (p == n) for p in positives for n in negatives)
    return wins / (len(positives) * len(negatives))


def judge_arhn(
    groups: Sequence[Group], gold: dict[str, dict[str, str]], engine: LlamaCppEngine, store: ResponseStore
) -> Judged:
    judged = Judged()
    started = time.monotonic()
    for cleaned in clean(groups, engine=engine, config=CleanConfig(), store=store, stats=judged.stats):
        labels = gold[cleaned.group.query_id]
        actions = {d.doc_id: d.action for d in cleaned.decisions}
        texts = {p.doc_id: p.text for p in cleaned.group.passages}
        for e in cleaned.extractions:
            judged.extractions += 1
            judged.unknown += e.status == "unknown"
            if e.snippet is not None:
                judged.snippets += 1
                judged.verbatim += texts[e.doc_id][e.start : e.end] == e.snippet
            if e.doc_id in labels:
                judged.negatives.append((labels[e.doc_id], e.confidence or 0.0, actions[e.doc_id] != "keep"))
    judged.seconds = time.monotonic() - started
    return judged


async def judge_naive(
    groups: Sequence[Group], gold: dict[str, dict[str, str]], engine: LlamaCppEngine, store: ResponseStore
) -> Judged:
    judged = Judged()
    started = time.monotonic()
    asker = Asker(engine, store, judged.stats)
    for group in groups:
        requests = [
            Request(
                messages=(Message("user", NAIVE.format(query=group.query, passage=p.text)),),
                max_tokens=96,
                alternatives=40,
            )
            for p in group.passages
        ]
        for p, completion in zip(group.passages, await asker.ask("extract", requests), strict=True):
            judged.extractions += 1
            said = completion.text.strip() if completion else ""
            answers = bool(said) and "NO_ANSWER" not in said
            judged.unknown += not said
            judged.snippets += answers
            judged.verbatim += answers and said in p.text
            if p.doc_id in gold[group.query_id]:
                judged.negatives.append((gold[group.query_id][p.doc_id], float(answers), answers))
    judged.seconds = time.monotonic() - started
    return judged


def own_tokens(groups: Sequence[Group], engine: LlamaCppEngine) -> int:
    """Tokens of every query–passage pair's texts alone, without instructions or markup."""
    total = 0
    for group in groups:
        query = engine.count_tokens(group.query)
        for p in group.passages:
            total += query + engine.count_tokens(f"{p.title}\n{p.text}" if p.title else p.text)
    return total


def load(folder: Path, split: str, limit: int | None) -> tuple[list[Group], dict[str, dict[str, str]]]:
    """The first groups of a split that have gold labels, and those labels by query_id."""
    with (folder / "gold.jsonl").open(encoding="utf-8") as lines:
        gold = {row["query_id"]: row["labels"] for row in map(json.loads, lines)}
    path = folder / f"{split}.jsonl"
    source = path if path.exists() else folder / "groups.jsonl"
    return list(islice((g for g in formats.read(source) if g.query_id in gold), limit)), gold


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
    path = weights.resolve(a.model)
    engine = LlamaCppEngine(path, model=weights.identity(path), slots=a.slots)
    own = own_tokens(groups, engine)
    store: Any = SqliteStore(a.store, model=engine.model) if a.store else MemoryStore()
    rows = [judge_arhn(groups, gold, engine, store).metrics("arhn", len(groups), own)]
    if a.baseline:
        judged = asyncio.run(judge_naive(groups, gold, engine, store))
        rows.append(judged.metrics(a.baseline, len(groups), own))
    if a.store:
        with closing(store):
            pass
    asyncio.run(engine.aclose())
    output.show(f"{a.folder.name}, {a.split}, {len(groups)} groups, {path.name}", rows)
    settings = {"folder": a.folder.name, "split": a.split, "groups": len(groups), "model": engine.model}
    output.write(a.json, "label_quality", settings, rows)


if __name__ == "__main__":
    main()
