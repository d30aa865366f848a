"""Engines for one processor, side by side: speed, memory, start, and whether their verdicts agree.

    python -m bench.local_engines ../shared/data/xquad_windows ../shared/data/argkp -o local_engines.json

The same requests for a verdict go to each engine, alone and beside another job on every core, with one thread and with
two. Tokens are those of prompts that were computed, so without the instructions that an engine has cached. Agreement is
with the first engine: verdicts by the shipped calibration of their model, bands of confidence within each group; and
how far log-odds are apart. Each run is a process of its own, so that memory and start are its own. Ratios within one
run of this bench are worth quoting; a busy machine changes everything else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arhn import weights
from arhn.cleaning import prompts
from arhn.cleaning.evidence.calibration import OWN_WORD, find_calibration
from arhn.cleaning.evidence.confidence import find_band, make_confidences
from arhn.cleaning.extract.questions import read_verdict, request_verdict
from arhn.engines import Engine, Request, settings_of
from arhn.types import Passage

#: Settings of the engines, by what they are called here; the first is what the others are held against.
ENGINES: Mapping[str, Mapping[str, Any]] = {
    "llamacpp": {"name": "llamacpp"},
    "ctranslate2": {"name": "ctranslate2"},
}
FAMILIES = {"xquad_windows": "question", "argkp": "argument"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One engine, one way to run it. Tokens and seconds of all requests but the first, which reads the instructions."""

    engine: str
    model: str
    threads: int
    beside: bool
    start_seconds: float
    start_cpu_seconds: float
    memory_mb: int
    requests: int
    tokens: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Prompt tokens a second."""
        return self.tokens / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Prompt tokens a second of the processor's time."""
        return self.tokens / self.cpu_seconds


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group's requests for verdicts."""

    data: str
    requests: tuple[Request, ...]


def read_groups(folder: Path, count: int) -> list[Group]:
    """The first groups of a data set's train split."""
    prompt = prompts.load(FAMILIES[folder.name]).extract
    groups = []
    with (folder / "train.jsonl").open(encoding="utf-8") as lines:
        for _, line in zip(range(count), lines, strict=False):
            row = json.loads(line)
            passages = [
                Passage(doc_id=p["docid"], text=p["text"], title=p.get("title") or "")
                for p in (*row["positive_passages"], *row["negative_passages"])
            ]
            asked = tuple(request_verdict(row["query"], p, prompt) for p in passages)
            groups.append(Group(data=folder.name, requests=asked))
    return groups


def measure(name: str, model: str, threads: int, beside: bool, groups: Sequence[Group]) -> tuple[Row, list[Any]]:
    """Ask one engine everything, in this process; its log-odds by group and passage."""
    began, used = time.perf_counter(), time.process_time()
    engine = settings_of({**ENGINES[name], "model": model, "threads": threads}).open()
    start, start_cpu = time.perf_counter() - began, time.process_time() - used
    tokens, seconds, cpu, found = asyncio.run(_ask(engine, groups, threads if name == "ctranslate2" else 1))
    row = Row(
        engine=name,
        model=model,
        threads=threads,
        beside=beside,
        start_seconds=round(start, 2),
        start_cpu_seconds=round(start_cpu, 2),
        memory_mb=_peak_memory(),
        requests=sum(len(g.requests) for g in groups),
        tokens=tokens,
        seconds=round(seconds, 2),
        cpu_seconds=round(cpu, 2),
    )
    return row, found


async def _ask(engine: Engine, groups: Sequence[Group], at_once: int) -> tuple[int, float, float, list[Any]]:
    tokens, limit = 0, asyncio.Semaphore(at_once)
    for data in {g.data for g in groups}:  # the instructions
        await engine.complete(next(g.requests[0] for g in groups if g.data == data))

    async def ask(request: Request, data: str) -> float | None:
        nonlocal tokens
        async with limit:
            completion = await engine.complete(request)
        tokens += completion.prompt_tokens - completion.cached_tokens
        return read_verdict(completion, prompts.load(FAMILIES[data]).extract)

    began, used = time.perf_counter(), time.process_time()
    asked = [asyncio.gather(*(ask(r, g.data) for r in g.requests)) for g in groups]
    odds = [list(found) for found in await asyncio.gather(*asked)]
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    await engine.aclose()
    return tokens, seconds, cpu, odds


def _peak_memory() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3))


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy(beside: bool) -> Iterator[None]:
    """Another job on each core."""
    jobs = [multiprocessing.Process(target=_spin, daemon=True) for _ in range((os.cpu_count() or 1) if beside else 0)]
    for job in jobs:
        job.start()
    try:
        yield
    finally:
        for job in jobs:
            job.terminate()


def compare(model: str, groups: Sequence[Group], one: Sequence[Any], other: Sequence[Any], identity: str) -> list[Any]:
    """How verdicts and log-odds of two engines differ, a row for each data set."""
    rows = []
    for data in sorted({g.data for g in groups}):
        # Where none is shipped for a model and a family, what the LLM itself says.
        calibration = find_calibration(identity, prompts.load(FAMILIES[data]).extract.hash) or OWN_WORD
        same = total = 0
        apart: list[float] = []
        for group, first, second in zip(groups, one, other, strict=True):
            if group.data != data:
                continue
            apart += [b - a for a, b in zip(first, second, strict=True) if a is not None and b is not None]
            bands = [
                [None if c is None else find_band(c, calibration) for c in make_confidences(odds, calibration)]
                for odds in (first, second)
            ]
            same += sum(a == b for a, b in zip(*bands, strict=True))
            total += len(first)
        rows.append(
            {
                "model": model,
                "data": data,
                "verdicts": total,
                "agreement": round(same / total, 4),
                "log_odds_mean_apart": round(statistics.fmean(apart), 4),
                "log_odds_sd_apart": round(statistics.pstdev(apart), 4),
            }
        )
    return rows


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("data", type=Path, nargs="+", help=f"folders called {', '.join(FAMILIES)}")
    parser.add_argument("-o", "--output", type=Path, default=Path("local_engines.json"))
    parser.add_argument("--model", default="qwen2.5-coder-0.5b")
    parser.add_argument(
        "--groups", type=int, default=4, help="of each data set, in the first of the ways, which agreement is of"
    )
    parser.add_argument(
        "--ways", nargs="+", default=["1", "2", "1+busy", "2+busy"], help="threads, with +busy another job on each core"
    )
    parser.add_argument("--timed-groups", type=int, default=1, help="of each data set, for the other rows")
    arguments = parser.parse_args()
    groups = [g for folder in arguments.data for g in read_groups(folder, arguments.groups)]
    few = [g for folder in arguments.data for g in read_groups(folder, arguments.timed_groups)]
    rows: list[dict[str, Any]] = []
    odds: dict[str, list[Any]] = {}
    agreement: dict[str, list[Any]] = {}
    for way in arguments.ways:
        threads, beside = int(way.removesuffix("+busy")), way.endswith("+busy")
        for name in ENGINES:
            with busy(beside), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                asked = few if odds.keys() >= ENGINES.keys() else groups
                row, found = pool.submit(measure, name, arguments.model, threads, beside, asked).result()
            rows.append(asdict(row) | {"per_second": row.per_second, "per_cpu_second": row.per_cpu_second})
            odds.setdefault(name, found)
            print(
                f"{name:12} {way:7} {row.per_second:7.1f} tokens/s {row.per_cpu_second:7.1f} tokens/CPU s, "
                f"start {row.start_seconds} s ({row.start_cpu_seconds} CPU s), {row.memory_mb} MB",
                flush=True,
            )
        if not agreement:
            agreement = compare_all(arguments.model, groups, odds)
        arguments.output.write_text(
            json.dumps({"rows": rows, "agreement": agreement, "log_odds": odds}) + "\n", "utf-8"
        )


def compare_all(model: str, groups: Sequence[Group], odds: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Each engine against the first."""
    identity = weights.identity(weights.resolve(model))
    first, *others = ENGINES
    found = {name: compare(model, groups, odds[first], odds[name], identity) for name in others}
    for name, rows in found.items():
        for row in rows:
            print(name, row, flush=True)
    return found


if __name__ == "__main__":
    main()
