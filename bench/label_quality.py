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
import time
from collections.abc import Sequence
from pathlib import Path

from arhn import weights
from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.pipeline import clean_groups
from arhn.engines import Message, Request
from arhn.engines.llamacpp import LlamaCppEngine
from arhn.store import ResponseStore
from arhn.types import Group, Passage
from bench import output
from bench.scoring import Gold, Judged, data, engine_for, load, metrics, own_tokens, shown, store_at

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


def judge_arhn(groups: Sequence[Group], gold: Gold, engine: LlamaCppEngine, store: ResponseStore) -> Judged:
    judged = Judged()
    started = time.monotonic()
    for cleaned in clean_groups(groups, engine, config=CleanConfig(), store=store, stats=judged.stats):
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
            text = completion.text.strip() if completion else ""
            answers = bool(text) and "NO_ANSWER" not in text
            judged.extractions += 1
            judged.unknown += not text
            if answers:
                judged.verbatim.append(text in p.text)
            judged.add(group, gold, p.doc_id, answers, None)
    judged.seconds = time.monotonic() - started
    return judged


def _naive(group: Group, passage: Passage, template: Template) -> Request:
    system, user = template
    message = Message("user", user.format(query=group.query, passage=shown(passage)))
    return Request(messages=(Message("system", system), message) if system else (message,), max_tokens=96)


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
    groups, gold = load(a.folder, a.split, limit=a.groups)
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
