"""A training step against one of plain sentence-transformers, on the same batches.

    python -m bench.training --model sentence-transformers/all-MiniLM-L6-v2 --groups train.jsonl

A step is everything but reading: tokens, forward, backward, optimiser. `plain` is the library's collator and its
MultipleNegativesRankingLoss (with --mini-batch, the cached one) over columns of a query, a positive and negatives;
`arhn` is ours over the same texts. Both take turns in one process, on copies of one model, and the median of the
steps counts. Passages are made distinct, for a passage that a batch holds twice is embedded once by ours, which would
flatter it; --as-they-are leaves them. Peak memory is that of a process that does one of the two only.

Without --groups, passages are invented, of 20 to 120 words.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from arhn import formats
from arhn.train import base_model
from arhn.train.groups import gather
from arhn.train.plan import Example, Examples
from arhn.train.recipe import Recipe, load
from arhn.types import Group, Passage
from bench import output
from bench.overhead import peak_mib

Step = Callable[[list[Example]], None]


def make_groups(count: int, negatives: int) -> Iterator[Group]:
    rng = random.Random(0)
    words = ["".join(rng.choices("aeioulnrst", k=rng.randint(2, 8))) for _ in range(2000)]

    def passages(kind: str, i: int, number: int) -> tuple[Passage, ...]:
        return tuple(
            Passage(doc_id=f"{kind}{i}-{j}", text=" ".join(rng.choices(words, k=rng.randint(20, 120))))
            for j in range(number)
        )

    for i in range(count):
        query = " ".join(rng.choices(words, k=10))
        yield Group(query_id=str(i), query=query, positives=passages("p", i, 1), negatives=passages("n", i, negatives))


def make_distinct(group: Group) -> Group:
    """The group with passages that no other group has: ids and texts get the query's id."""

    def own(passages: tuple[Passage, ...]) -> tuple[Passage, ...]:
        return tuple(
            replace(p, doc_id=f"{group.query_id}-{p.doc_id}", text=f"{p.text} {group.query_id}") for p in passages
        )

    return replace(group, positives=own(group.positives), negatives=own(group.negatives))


def make_batches(a: argparse.Namespace, recipe: Recipe) -> list[list[Example]]:
    """Make batches of examples with equally many negatives, which the library's columns need."""
    found = (
        (g for g in formats.read(a.groups) if len(g.negatives) >= recipe.negatives)
        if a.groups
        else make_groups(a.batch * a.steps, recipe.negatives)
    )
    taken = islice(found, a.batch * a.steps)
    store = gather(taken if a.as_they_are else map(make_distinct, taken))
    examples = Examples(store, recipe)
    whole = [i for i in range(len(store)) if len(store[i].negatives) >= recipe.negatives]
    picked = [whole[i : i + a.batch] for i in range(0, len(whole) - a.batch + 1, a.batch)]
    if not picked:
        raise SystemExit(f"fewer than {a.batch} groups with {recipe.negatives} negatives")
    return [[examples[i, 0] for i in picked[n % len(picked)]] for n in range(a.steps)]


def make_library_step(model: Any, recipe: Recipe) -> Step:
    """A training step of sentence-transformers."""
    import torch
    from sentence_transformers.sentence_transformer import SentenceTransformerDataCollator, losses

    collator = SentenceTransformerDataCollator(preprocess_fn=model.preprocess)
    loss: Any = (
        losses.MultipleNegativesRankingLoss(model, scale=1 / recipe.temperature)
        if recipe.mini_batch is None
        else losses.CachedMultipleNegativesRankingLoss(
            model, scale=1 / recipe.temperature, mini_batch_size=recipe.mini_batch
        )
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)
    names = ["anchor", "positive", *(f"negative{i}" for i in range(recipe.negatives))]

    def step(examples: list[Example]) -> None:
        rows = [dict(zip(names, [e.query, *(p.text for p in e.passages)], strict=True)) for e in examples]
        batch = collator(rows)
        columns = [_features(batch, name, model.device) for name in names]
        loss(columns, torch.empty(0)).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def _features(batch: dict[str, Any], name: str, device: Any) -> dict[str, Any]:
    """The features of one column of a batch, moved to the model's device."""
    own = {key.removeprefix(f"{name}_"): value for key, value in batch.items() if key.startswith(f"{name}_")}
    return {key: value.to(device) if hasattr(value, "to") else value for key, value in own.items()}


def make_arhn_step(model: Any, recipe: Recipe) -> Step:
    """A training step of arhn."""
    import torch

    from arhn.train.trainers import make_collator, make_retriever_loss

    collator = make_collator(recipe, model)
    loss = make_retriever_loss(recipe, model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step(examples: list[Example]) -> None:
        batch = collator(examples)
        marks = {key: value.to(model.device) for key, value in batch.pop("marks").items()}
        names = dict.fromkeys(key.split("_", 1)[0] for key in batch)
        columns = [_features(batch, name, model.device) for name in names]
        loss(columns, marks).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


KINDS: dict[str, Callable[[Any, Recipe], Step]] = {"plain": make_library_step, "arhn": make_arhn_step}


def measure(a: argparse.Namespace, kinds: list[str]) -> dict[str, list[float]]:
    """Seconds of each step, by kind. The kinds take turns, and start in alternating order."""
    import torch

    if a.threads:
        torch.set_num_threads(a.threads)
    mini_batch = [f"mini_batch={a.mini_batch}"] if a.mini_batch else []
    recipe = load("tiny", [f"model={a.model}", f"negatives={a.negatives}", f"max_length={a.max_length}", *mini_batch])
    with base_model.silence_libraries():
        model = base_model.load(recipe)
    if a.device:
        model.to(a.device)
    steps = {kind: KINDS[kind](copy.deepcopy(model).train(), recipe) for kind in kinds}
    made = make_batches(a, recipe)
    for kind in kinds:
        steps[kind](made[0])  # the first step allocates
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number, examples in enumerate(made):
        for kind in kinds[:: 1 if number % 2 else -1]:
            started = time.perf_counter()
            steps[kind](examples)
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            seconds[kind].append(time.perf_counter() - started)
    return seconds


def peak(a: argparse.Namespace, kind: str) -> float:
    """Peak memory in MiB of a process that does a few steps of one kind."""
    command = [sys.executable, "-m", "bench.training", *sys.argv[1:], "--child", kind, "--steps", str(min(3, a.steps))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=load("tiny").model)
    parser.add_argument("--groups", help="a file of groups; invented ones unless given")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--negatives", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument(
        "--mini-batch", type=int, help="texts at once, with cached gradients; without them unless given"
    )
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device")
    parser.add_argument("--as-they-are", action="store_true", help="passages of several groups aren't made distinct")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--json", type=Path, default=Path("bench/out/training.json"))
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        measure(a, [a.child])
        print(peak_mib())
        return
    seconds = measure(a, list(KINDS))
    medians = {kind: statistics.median(each) for kind, each in seconds.items()}
    ratios = [one / other for one, other in zip(seconds["plain"], seconds["arhn"], strict=True)]
    rows = [
        {
            "name": kind,
            "seconds a step, median": medians[kind],
            "queries a second": a.batch / medians[kind],
            "throughput against plain": medians["plain"] / medians[kind],
            "its quartiles over steps": " to ".join(f"{q:.3f}" for q in statistics.quantiles(ratios, n=4)[::2])
            if kind == "arhn"
            else None,
            "peak memory, MiB": None if a.no_memory else peak(a, kind),
        }
        for kind in KINDS
    ]
    passages = a.batch * (1 + a.negatives)
    output.show(f"{a.steps} training steps of {a.batch} queries and {passages} passages, {a.model}", rows)
    settings = {key: value for key, value in vars(a).items() if key not in ("json", "child")}
    output.write(a.json, "training", settings, rows)


if __name__ == "__main__":
    main()
