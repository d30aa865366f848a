"""Each way of asking an LLM less, on its own: what it saves, and how far verdicts agree with those of asking all.

    python -m bench.cheaper FOLDER --every 30 --model qwen2.5-coder-1.5b \
        --flag-model qwen2.5-coder-0.5b --similarity MODEL --work DIR
    python -m bench.cheaper FOLDER --groups 40 --lookahead 1000 --work DIR

Stage 1 only, of the groups of a gold folder (bench/scoring.py). Rows: every negative asked about in turn; with
--lookahead (a passage of several groups is read once); and triage, at each share of --shares, by similarity and by the
small model, whose own calls and tokens are rows too.

Calls and tokens are a group's, of a run with an empty store; "computed" prompt tokens weren't in the engine's cache.
"AUC": of log-odds minus their group's mean, false against true negatives by the gold labels. "agrees": as many
negatives as the first row finds (its calibration's threshold) are found in each row, the likeliest by log-odds minus
their group's mean; of all negatives, the share on which both say the same. So no row needs a calibration of its own.
"of found": of what the first row finds, the share that this one finds too.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import fmean
from typing import Any

from arhn import weights
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.calibration import Calibration, find_calibration
from arhn.cleaning.evidence.confidence import find_band, make_confidences
from arhn.cleaning.evidence.signals import VERDICT
from arhn.cleaning.evidence.triage import pick_likeliest
from arhn.cleaning.extract.stage import Evidence
from arhn.cleaning.methods.arhn import find_asked_negatives
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import aevidence
from arhn.cleaning.setup import choose_prompt
from arhn.cleaning.stats import Stats
from arhn.engines import Engine
from arhn.errors import CalibrationError
from arhn.families.family import Family
from arhn.retrieval.similarity import Similarity
from arhn.store import SqliteStore
from arhn.types import Group
from bench import output
from bench.methods import Costs
from bench.scoring import Gold, Judged, auc, engine_for, load

Odds = Sequence[float | None]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured on: groups, their gold labels, and what the first row finds, by group and negative."""

    groups: Sequence[Group]
    gold: Gold
    found: Sequence[Sequence[bool]]

    def row(self, name: str, odds: Sequence[Odds], costs: Row) -> Row:
        """What a way of asking found, by log-odds of every group's negatives; None for those not asked about."""
        scores = [_centred(each) for each in odds]
        marked = self._likeliest(scores)
        both = [(a, b) for of_a, of_b in zip(self.found, marked, strict=True) for a, b in zip(of_a, of_b, strict=True)]
        return {
            "name": name,
            **costs,
            "AUC": self._auc(scores),
            "agrees": fmean(a == b for a, b in both),
            "of found": sum(a and b for a, b in both) / max(1, sum(a for a, _ in both)),
        }

    def spared(self, name: str, full: Sequence[Odds], signal: Sequence[Odds], share: float, costs: Row) -> Row:
        """The first row's log-odds of the likeliest share of all negatives by another signal, and what it took."""
        centred = [_centred(each) for each in signal]
        ranked = sorted((value for each in centred for value in each if value is not None), reverse=True)
        cut = ranked[min(len(ranked), ceil(share * len(ranked))) - 1]
        asked = [pick_likeliest(each, cut) for each in centred]
        odds = [[o if i in of else None for i, o in enumerate(each)] for each, of in zip(full, asked, strict=True)]
        part = sum(map(len, asked)) / sum(map(len, full))
        return self.row(name, odds, {what: part * n for what, n in costs.items()})

    def _likeliest(self, scores: Sequence[Odds]) -> list[list[bool]]:
        ranked = sorted((s for each in scores for s in each if s is not None), reverse=True)
        wanted = sum(map(sum, self.found))
        lowest = ranked[min(wanted, len(ranked)) - 1] if wanted else float("inf")
        return [[s is not None and s >= lowest for s in each] for each in scores]

    def _auc(self, scores: Sequence[Odds]) -> float | None:
        judged = Judged()
        for group, each in zip(self.groups, scores, strict=True):
            lowest = min((s for s in each if s is not None), default=0.0)
            for passage, score in zip(find_asked_negatives(group, None), each, strict=True):
                # What isn't asked about counts as the least likely of its group.
                judged.add(group, self.gold, passage.doc_id, False, lowest if score is None else score)
        return auc(judged.negatives)


def _centred(odds: Odds) -> list[float | None]:
    known = [o for o in odds if o is not None]
    mean = fmean(known) if known else 0.0
    return [None if o is None else o - mean for o in odds]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What asking about the negatives of all groups gave, and a group's costs of it."""

    evidence: Sequence[Evidence]
    costs: Row

    @property
    def odds(self) -> list[Odds]:
        return [e.negatives[VERDICT] for e in self.evidence]


class Asking:
    """Asks about groups in one way or another; answers are kept in `work`, a store for each way."""

    def __init__(self, groups: Sequence[Group], work: Path) -> None:
        self._groups = groups
        self._work = work

    def asked(self, engine: Engine, name: str, small_model: Engine | None = None) -> Asked:
        self._work.mkdir(parents=True, exist_ok=True)
        with SqliteStore(self._work / f"{name}.sqlite", model=engine.model) as store:
            costs = Costs(store)
            models = Models(engine=engine, small_model=small_model)
            evidence = asyncio.run(self._evidence(models, costs))
        found = {what.removesuffix("/group"): n for what, n in costs.of(len(self._groups)).items()}
        prompt = sum(c.prompt_tokens for c in costs.seen.values()) / len(self._groups)
        return Asked(evidence=evidence, costs={"calls": found.pop("calls"), "prompt tokens": prompt, **found})

    async def _evidence(self, models: Models, store: Costs) -> list[Evidence]:
        stream = aevidence(self._groups, models=models, config=CleanConfig(), store=store, stats=Stats())
        return [each async for each in stream]


def table(a: argparse.Namespace, groups: Sequence[Group], gold: Gold) -> list[Row]:
    asking = Asking(groups, a.work)
    with engine_for(a.model, threads=a.threads) as engine:
        full = asking.asked(engine, "full")
        bench = Bench(groups=groups, gold=gold, found=_found(full, _calibration(engine)))
        rows = [bench.row("every negative in turn", full.odds, full.costs)]
    if a.lookahead:
        with engine_for(a.model, threads=a.threads, lookahead=a.lookahead) as engine:
            ahead = asking.asked(engine, f"lookahead_{a.lookahead}")
        rows.append(bench.row(f"lookahead {a.lookahead}", ahead.odds, ahead.costs))
    if a.similarity:
        signal: Sequence[Odds] = list(
            Similarity(a.similarity).many((g.query, find_asked_negatives(g, None)) for g in groups)
        )
        rows += [bench.spared(f"similar {s:.0%}", full.odds, signal, s, full.costs) for s in a.shares]
    if a.flag_model:
        with (
            engine_for(a.model, threads=a.threads) as engine,
            engine_for(a.flag_model, threads=a.threads) as small_model,
        ):
            both = asking.asked(engine, "full", small_model=small_model)
        small = [e.flags or () for e in both.evidence]
        costs = {what: n - full.costs[what] for what, n in both.costs.items()}
        rows.append(bench.row("small model alone", small, costs))
        rows += [bench.spared(f"small's {s:.0%}", full.odds, small, s, full.costs) for s in a.shares]
    return rows


def _calibration(engine: Engine) -> Calibration:
    found = find_calibration(engine.model, choose_prompt(Family.QUESTION, CleanConfig()).hash)
    if found is None:
        raise CalibrationError(f"{engine.model}: has no calibration for questions")
    return found


def _found(full: Asked, calibration: Calibration) -> list[list[bool]]:
    return [
        [
            c is not None and find_band(c, calibration) == "answer"
            for c in make_confidences({VERDICT: odds}, calibration)
        ]
        for odds in full.odds
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path)
    add("--split", default="test")
    add("--every", type=int, default=1, metavar="N", help="every N-th group, from the first")
    add("--groups", type=int, help="at most that many; all unless given")
    add("--model", default=weights.STARTER)
    add("--flag-model", metavar="MODEL", help="a smaller one")
    add("--similarity", metavar="MODEL")
    add("--lookahead", type=int, metavar="N", help="says something where groups are neighbours: not with --every")
    add("--shares", default=[0.75, 0.5, 0.25], type=lambda text: [float(s) for s in text.split(",")])
    add("--threads", type=int)
    add("--work", type=Path, required=True, help="where answers are kept; a second run with it asks nothing")
    add("--json", type=Path, default=Path("bench/out/cheaper.json"))
    a = parser.parse_args()
    groups, gold = load(a.folder, a.split, every=a.every, limit=a.groups)
    rows = table(a, groups, gold)
    settings = {name: str(value) for name, value in vars(a).items() if name != "json"} | {"asked": len(groups)}
    output.show_lines(f"{len(groups)} groups", rows)
    output.write(a.json, "cheaper", settings, rows)


if __name__ == "__main__":
    main()
