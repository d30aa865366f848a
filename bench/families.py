"""How well a model judges each family of queries, on a folder of labelled groups.

    python -m bench.families demo/families --model qwen2.5-coder-0.5b [--store FILE] [--json FILE]

FOLDER holds FAMILY.jsonl for one family or more, and gold.jsonl with the labels of their negatives (bench/scoring.py).
Every group is judged by the prompts of its file's family, whatever its query's form, in mode R+F and with the
positives' answer shown. Two rows a family: by the LLM's own word, and by the calibration that comes with arhn for this
model and the prompts of questions, as if it had been fitted for this family's.

If there, partial.jsonl has questions that ask for more than one thing, and partial.gold.jsonl one
{"query_id", "full": {doc_id: "full" | "partial" | "none"}} a group. Whether it answers all of the question is then
asked of every passage that is "full" or "partial", the positives included: one row. There "AUC" is the probability that
a full answer is found fuller than a partial one, "accuracy" the share on the right side of 0.5, a broken answer on
neither.

"FN", "TN", "full", "partial": how many count. "abstained": negatives between the thresholds, or judged by a broken
answer; of partial answers, only the latter. "asked": what neither the store nor an earlier row had answered.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from arhn import formats, weights
from arhn.cleaning import prompts
from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.calibration import Calibration, find_calibration
from arhn.cleaning.pipeline import clean_groups
from arhn.cleaning.rank.fullness import read_fullness, request_fullness
from arhn.cleaning.setup import choose_prompt
from arhn.cleaning.stats import Stats
from arhn.engines import Engine
from arhn.families.choice import FamilyMap
from arhn.families.family import Family
from arhn.store import ResponseStore
from arhn.types import Group
from bench import output
from bench.scoring import Gold, Negative, abstained, auc, decided, engine_for, interval, load, quality, store_at

_DEFAULTS = CleanConfig()


def calibrations(family: Family, model: str) -> dict[str, Calibration]:
    """What makes confidences of a family's log-odds, by the name of its row."""
    prompt = choose_prompt(family, _DEFAULTS).hash
    found = {"own word": Calibration(model=model, prompt=prompt, family=family.value)}
    question = find_calibration(model, choose_prompt(Family.QUESTION, _DEFAULTS).hash)
    if question is not None:
        found["question's calibration"] = question.model_copy(update={"prompt": prompt, "family": family.value})
    return found


def family_rows(
    family: Family, groups: Sequence[Group], gold: Gold, engine: Engine, store: ResponseStore
) -> Iterator[dict[str, Any]]:
    for name, calibration in calibrations(family, engine.model).items():
        config = CleanConfig(calibrations=(calibration,), families=FamilyMap(default=family))
        stats = Stats()
        cleaned = list(clean_groups(groups, engine, config=config, store=store, stats=stats))
        found = decided(cleaned, gold)
        false = sum(n.false for n in found)
        yield {
            "name": f"{family}, {name}",
            "family": ", ".join(sorted({c.family or "" for c in cleaned})),
            "groups": len(groups),
            **quality(found),
            "abstained": abstained(cleaned),
            "FN": false,
            "TN": len(found) - false,
            "asked": stats.total.asked,
        }


async def partial_row(
    groups: Sequence[Group], gold: Mapping[str, Mapping[str, str]], engine: Engine, store: ResponseStore
) -> dict[str, Any]:
    prompt = prompts.load(Family.QUESTION).fullness
    stats = Stats()
    asker = Asker(engine, store, stats)
    # As if they were negatives: "false" is labelled full, "acted on" is found full.
    found = []
    for group in groups:
        asked = [p for p in group.passages if gold[group.query_id].get(p.doc_id) in ("full", "partial")]
        requests = [request_fullness(group.query, p, prompt) for p in asked]
        for p, completion in zip(asked, await asker.ask("fullness", requests), strict=True):
            score = read_fullness(completion)
            full = gold[group.query_id][p.doc_id] == "full"
            acted_on = score is not None and score >= 0.5
            found.append(Negative(query_id=group.query_id, false=full, acted_on=acted_on, score=score))
    low, high = interval(found, _accuracy)
    return {
        "name": "partial answers",
        "family": Family.QUESTION.value,
        "groups": len(groups),
        "AUC": auc(found),
        "abstained": fmean(n.score is None for n in found),
        "accuracy": _accuracy(found),
        "accuracy, 95%": f"{low:.2f}–{high:.2f}",
        "full": sum(n.false for n in found),
        "partial": sum(not n.false for n in found),
        "asked": stats.total.asked,
    }


def _accuracy(found: Sequence[Negative]) -> float:
    return fmean(n.score is not None and n.acted_on == n.false for n in found)


def load_partial(folder: Path, limit: int | None) -> tuple[list[Group], dict[str, dict[str, str]]]:
    """The first groups whose passages are labelled full or partial, and those labels by query_id; none if not there."""
    file, labels = folder / "partial.jsonl", folder / "partial.gold.jsonl"
    if not (file.exists() and labels.exists()):
        return [], {}
    rows = map(json.loads, labels.read_text("utf-8").splitlines())
    gold = {row["query_id"]: row["full"] for row in rows}
    return list(islice((g for g in formats.read(file) if g.query_id in gold), limit)), gold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path)
    add("--groups", type=int, help="the first N of every file; all unless given")
    add("--model", default=weights.STARTER)
    add("--store", type=Path, help="keep answers here; a second run with it asks nothing")
    add("--json", type=Path, default=Path("bench/out/families.json"))
    a = parser.parse_args()
    there = [family for family in Family if (a.folder / f"{family}.jsonl").exists()]
    labelled = {family: load(a.folder, family, limit=a.groups) for family in there}
    labelled = {family: (groups, gold) for family, (groups, gold) in labelled.items() if groups}
    partial, full = load_partial(a.folder, a.groups)
    if not labelled and not partial:
        parser.error(f"{a.folder}: no group of {', '.join(f'{f}.jsonl' for f in Family)} or partial.jsonl has labels")
    rows: list[dict[str, Any]] = []
    with engine_for(a.model, 1) as engine, store_at(a.store, engine.model) as store:
        model = engine.model
        if len(calibrations(Family.QUESTION, model)) == 1:
            print(f"{model}: no calibration for questions comes with arhn, so there are no such rows", file=sys.stderr)
        for family, (groups, gold) in labelled.items():
            rows += family_rows(family, groups, gold, engine, store)
        if partial:
            rows.append(asyncio.run(partial_row(partial, full, engine, store)))
    count = sum(len(groups) for groups, _ in labelled.values()) + len(partial)
    output.show_lines(f"{a.folder.name}: {count} groups, {model}", rows)
    output.write(a.json, "families", {"data": a.folder.name, "groups": count, "model": model}, rows)


if __name__ == "__main__":
    main()
