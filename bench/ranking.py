"""Rankers side by side: do they put answers above the rest, and does the order shown decide?

    python -m bench.ranking FOLDER --split train --every 12 --model qwen2.5-coder-0.5b

Candidates are chosen by the gold labels (bench/scoring.py): of every group with a false negative its first positive,
its false negatives and its first true negatives, at most 2; each shows the snippet that the LLM copies from it when it
must. So all rankers see the same.

"right": share of pairs of an answer (positive or false negative) and a true negative that are in the right order.
"first wins": how often the candidate shown first comes out first, and by chance; for pairs, is preferred.
"settled": mean share of the orders shown that put a negative on the same side of the positive. "FN above", "TN above":
negatives above the positive, which would be relabelled. "relabel precision": how many of these are false negatives.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from arhn import weights
from arhn.cleaning import prompts
from arhn.cleaning.asking import Asker
from arhn.cleaning.config import RankBy
from arhn.cleaning.extract.questions import find_known_answer, read_snippet, request_snippet
from arhn.cleaning.prompts import FamilyPrompts
from arhn.cleaning.rank import listwise, pivot
from arhn.cleaning.rank.consistent import combine
from arhn.cleaning.shown import order_shown, show_candidate
from arhn.cleaning.stats import Stats
from arhn.engines import Completion
from arhn.engines.llamacpp import LlamaCppEngine
from arhn.families.family import Family
from arhn.store import MemoryStore
from arhn.types import Extraction, Group, Passage, Ranking
from bench import output
from bench.scoring import Gold, data, engine_for, load, store_at

TRUE_NEGATIVES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What is ranked for one query: the positive first, then false negatives, then true ones."""

    query: str
    passages: tuple[Passage, ...]
    false: frozenset[str]
    snippets: Mapping[str, Extraction]

    @property
    def positive(self) -> str:
        return self.passages[0].doc_id

    def answers(self, doc_id: str) -> bool:
        return doc_id == self.positive or doc_id in self.false


@dataclass(slots=True)
class Counts:
    """What one ranker did."""

    right: list[bool] = field(default_factory=list)
    first_wins: list[bool] = field(default_factory=list)
    chance: list[float] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)
    above: dict[bool, list[bool]] = field(default_factory=lambda: defaultdict(list))
    failed: int = 0

    def add(self, candidates: Candidates, ranking: Ranking) -> None:
        if not ranking.order:
            self.failed += 1
            return
        place = {doc_id: i for i, doc_id in enumerate(ranking.order)}
        known = [p.doc_id for p in candidates.passages if p.doc_id in place]
        self.right += [
            place[a] < place[b] for a in known if candidates.answers(a) for b in known if not candidates.answers(b)
        ]
        for doc_id in known:
            if doc_id != candidates.positive and candidates.positive in place:
                self.above[doc_id in candidates.false].append(place[doc_id] < place[candidates.positive])

    def row(self, name: str, calls: float, tokens: float, seconds: float) -> dict[str, Any]:
        relabelled = sum(self.above[True]) + sum(self.above[False])
        return {
            "name": name,
            "right": _mean(self.right),
            "first wins": _mean(self.first_wins),
            "by chance": _mean(self.chance),
            "settled": _mean(self.settled),
            "FN above": _mean(self.above[True]),
            "TN above": _mean(self.above[False]),
            "relabel precision": sum(self.above[True]) / relabelled if relabelled else None,
            "failed": self.failed,
            "calls/group": calls,
            "computed tokens/group": tokens,
            "s/group": seconds,
        }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


async def candidates_of(group: Group, gold: Gold, asker: Asker, asked_with: FamilyPrompts) -> Candidates:
    labels = gold[group.query_id]
    false = [p for p in group.negatives if labels.get(p.doc_id) == "false_negative"]
    true = [p for p in group.negatives if labels.get(p.doc_id) == "true_negative"][:TRUE_NEGATIVES]
    best = group.positives[0]
    [completion] = await asker.ask("extract", [request_snippet(group.query, best, asked_with.extract)])
    span = read_snippet(completion, best, asked_with.extract)
    known = find_known_answer([best], [span])
    negatives = [*false, *true]
    requests = [request_snippet(group.query, p, asked_with.check, known=known) for p in negatives]
    spans = [
        read_snippet(c, p, asked_with.check)
        for c, p in zip(await asker.ask("extract", requests), negatives, strict=True)
    ]
    passages = (best, *negatives)
    return Candidates(
        query=group.query,
        passages=passages,
        false=frozenset(p.doc_id for p in false),
        snippets={p.doc_id: _extraction(p, s) for p, s in zip(passages, (span, *spans), strict=True)},
    )


def _extraction(passage: Passage, span: tuple[int, int] | None) -> Extraction:
    plain = Extraction(doc_id=passage.doc_id, status="answer")
    if span is None:
        return plain
    return replace(plain, snippet=passage.text[span[0] : span[1]], start=span[0], end=span[1])


async def listwise_rows(
    groups: Sequence[Candidates], engine: LlamaCppEngine, asked_with: FamilyPrompts, by: RankBy, shuffles: int
) -> list[dict[str, Any]]:
    """The single ranking, and the vote over all of them."""
    single, voted, stats = Counts(), Counts(), Stats()
    asker = Asker(engine, MemoryStore(), stats)
    started = time.monotonic()
    for c in groups:
        rankings = []
        for shuffle in range(shuffles):
            shown = order_shown(c.query, c.passages, shuffle)
            texts = [show_candidate(p, c.snippets[p.doc_id], by) for p in shown]
            [completion] = await asker.ask("rank", [listwise.make_request(c.query, texts, asked_with.rank)])
            ranking = listwise.read(completion, [p.doc_id for p in shown])
            rankings.append(ranking)
            single.add(c, ranking)
            if ranking.order:
                single.first_wins.append(ranking.order[0] == shown[0].doc_id)
                single.chance.append(1 / len(shown))
        vote = combine(rankings, [c.positive], 0.8)
        voted.add(c, vote)
        if vote.agreement is not None:
            single.settled.append(vote.agreement)
            voted.settled.append(vote.agreement)
    costs = _costs(stats, len(groups), time.monotonic() - started)
    return [
        single.row(f"listwise, {by}", *(cost / shuffles for cost in costs)),
        voted.row(f"consistent ({shuffles}), {by}", *costs),
    ]


async def pivot_row(
    groups: Sequence[Candidates], engine: LlamaCppEngine, asked_with: FamilyPrompts, by: RankBy
) -> dict[str, Any]:
    counts, stats = Counts(), Stats()
    asker = Asker(engine, MemoryStore(), stats)
    started = time.monotonic()
    for c in groups:
        texts = {p.doc_id: show_candidate(p, c.snippets[p.doc_id], by) for p in c.passages}
        answers: dict[str, tuple[Completion | None, Completion | None]] = {}
        for p in c.passages[1:]:
            pair = pivot.make_requests(c.query, texts[p.doc_id], texts[c.positive], asked_with.pivot)
            one, two = await asker.ask("rank", pair)
            answers[p.doc_id] = (one, two)
            preferred = [
                odds > 0 for completion in (one, two) if (odds := pivot.read_preference(completion)) is not None
            ]
            counts.first_wins += preferred
            counts.chance += [0.5] * len(preferred)
        ranking = pivot.read(answers, c.positive, (c.positive,))
        counts.add(c, ranking)
        if ranking.agreement is not None:
            counts.settled.append(ranking.agreement)
    return counts.row(f"pivot, {by}", *_costs(stats, len(groups), time.monotonic() - started))


def _costs(stats: Stats, groups: int, seconds: float) -> tuple[float, float, float]:
    total = stats.total
    computed = total.prompt_tokens - total.cached_tokens
    return total.asked / groups, computed / groups, seconds / groups


async def measure(
    groups: Sequence[Group], gold: Gold, engine: LlamaCppEngine, store: Any, a: argparse.Namespace
) -> list[dict[str, Any]]:
    asked_with = prompts.load(Family.QUESTION)
    asker = Asker(engine, store, Stats())
    chosen = [await candidates_of(g, gold, asker, asked_with) for g in groups]
    rows: list[dict[str, Any]] = []
    for by in map(RankBy, a.rank_by):
        rows += await listwise_rows(chosen, engine, asked_with, by, a.shuffles)
        rows.append(await pivot_row(chosen, engine, asked_with, by))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path)
    add("--split", default="train")
    add("--every", type=int, default=1, metavar="N", help="every N-th group, from the first")
    add("--groups", type=int, help="at most that many with a false negative")
    add("--model", default=weights.STARTER)
    add("--rank-by", default=[by.value for by in RankBy], type=lambda text: text.split(","))
    add("--shuffles", type=int, default=4)
    add("--store", type=Path, help="keep snippets here")
    add("--json", type=Path, default=Path("bench/out/ranking.json"))
    a = parser.parse_args()
    groups, gold = load(a.folder, a.split, every=a.every)
    groups = [g for g in groups if "false_negative" in gold[g.query_id].values()][: a.groups]
    with engine_for(a.model, 1) as engine, store_at(a.store, engine.model) as store:
        rows = asyncio.run(measure(groups, gold, engine, store, a))
        model = engine.model
    file = f"{a.folder.name}/{data(a.folder, a.split).name}"
    output.show_lines(f"{file}: {len(groups)} groups with a false negative, {model}", rows)
    output.write(a.json, "ranking", {"data": file, "groups": len(groups), "model": model}, rows)


if __name__ == "__main__":
    main()
