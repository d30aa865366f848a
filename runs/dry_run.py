"""What `runs/paper.sh --dry-run` prints: every step with what it takes, and a total.

Steps come from standard input, one a line: kind, `todo` or `done`, command, between tabs. All numbers come from the
data file of constants; the arithmetic of time and money is that of `arhn estimate`.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from arhn.cleaning.run.time_left import format_time
from arhn.estimate import Cost, Speed, Tariff

SOURCES = ("published", "measured", "assumed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command of the script. `done`: what it makes is there."""

    kind: str
    done: bool
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Takes:
    """What a step takes; `gpu_hours` of all GPUs together, `disk` in bytes, which stay."""

    calls: float = 0.0
    prompt: float = 0.0
    computed: float = 0.0
    completion: float = 0.0
    gpu_hours: float = 0.0
    hours: float = 0.0
    disk: float = 0.0

    def __add__(self, other: Takes) -> Takes:
        return Takes(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Takes)})


class Constants:
    """The data file, with the low, middle or high value of what has several."""

    def __init__(self, data: Mapping[str, Any], bound: str = "value") -> None:
        self._data = data
        self._bound = bound

    def at(self, bound: str) -> Constants:
        return Constants(self._data, bound)

    def __call__(self, *path: str) -> Any:
        entry: Any = self._data
        for name in path:
            entry = entry[name]
        return entry.get(self._bound, entry["value"])

    def tables(self, name: str) -> Mapping[str, Any]:
        """A table of tables."""
        found: Mapping[str, Any] = self._data[name]
        return found

    def assumed(self, plan: Plan) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The constants of this plan that aren't measured, with their names."""
        of_others = {*self._data["data"], *self._data["llms"], *self._data["prompts"]} - {
            plan.size,
            plan.llm,
            plan.method,
            "common",
        }
        for path, entry in entries(self._data):
            if entry["source"] == "assumed" and not of_others.intersection(path):
                yield ".".join(path), entry


def entries(data: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every constant of a data file, with its path."""
    for name, entry in data.items():
        if "value" in entry:
            yield (*path, name), entry
        else:
            yield from entries(entry, (*path, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is run: on which data, with which LLM and how many GPUs."""

    size: str
    llm: str
    method: str
    gpus: int
    sets: int


def asking(c: Constants, plan: Plan) -> Cost:
    """What cleaning all groups asks the LLM."""
    groups = c("data", plan.size, "groups")
    positives, negatives = c("group", "positives"), c("group", "negatives")
    answering, passages = c("answers", "answering"), positives + negatives
    text = passage_tokens(c, plan)
    question = c("prompts", plan.method, "around") + c("group", "query_tokens")
    frame, snippet, block = (
        c("prompts", plan.method, "frame"),
        c("answers", "snippet_tokens"),
        c("prompts", "common", "block"),
    )
    verdict = Cost(calls=1, prompt=frame + question + text, computed=question + text, completion=1)
    quotation = Cost(calls=1, prompt=verdict.prompt, computed=block, completion=snippet)
    ranked = 1 - (1 - answering) ** negatives
    shown = positives * ranked + answering * negatives
    lines = shown * (snippet + 4)
    rank = Cost(
        calls=ranked,
        prompt=ranked * c("prompts", "common", "rank") + lines,
        computed=ranked * c("group", "query_tokens") + lines,
        completion=4 * shown,
    )
    asked = verdict.times(passages) + quotation.times(positives + answering * negatives) + rank
    if c("prompts", plan.method, "fullness"):
        full = Cost(calls=1, prompt=c("prompts", "common", "fullness") + text, computed=question + text, completion=2)
        asked += full.times(c("prompts", "common", "fullness_share") * answering * negatives)
    return asked.times(groups)


def passage_tokens(c: Constants, plan: Plan) -> float:
    """Tokens of a passage: the text of a group, whose bytes are known, over its passages."""
    group = c("data", plan.size, "bytes") / c("data", plan.size, "groups")
    passages = c("group", "positives") + c("group", "negatives")
    return float(group * c("group", "text") / c("group", "characters_per_token") / passages)


def fetch(c: Constants, plan: Plan) -> Takes:
    return Takes(disk=c("data", plan.size, "bytes") * c("disk", "compressed") + c("data", plan.size, "download"))


def clean(c: Constants, plan: Plan) -> Takes:
    cost = asking(c, plan)
    largest = max(llm["parameters"]["value"] for llm in c.tables("llms").values())
    parameters = c("llms", plan.llm, "parameters")
    speed = Speed(
        prompt=c("gpu", "tflops") * 1e12 * c("gpu", "reading") / (2 * parameters),
        completion=c("gpu", "writing") * largest / parameters,
        gpus=plan.gpus,
    )
    hours = Tariff(speed=speed).bill(cost).gpu_hours or 0.0
    kept = again(c, plan).disk + cost.calls * c("disk", "answer")
    return Takes(
        calls=cost.calls,
        prompt=cost.prompt,
        computed=cost.computed,
        completion=cost.completion,
        gpu_hours=hours,
        hours=hours / plan.gpus,
        disk=kept,
    )


def again(c: Constants, plan: Plan) -> Takes:
    """The answers are in the store: nothing is asked, groups and decisions are written."""
    passages = c("group", "positives") + c("group", "negatives")
    decisions = c("data", plan.size, "groups") * passages * c("disk", "decision")
    return Takes(disk=c("data", plan.size, "bytes") * c("disk", "compressed") + decisions)


def serve(c: Constants, plan: Plan) -> Takes:
    return Takes(disk=c("llms", plan.llm, "parameters") * c("disk", "weight"))


def train(c: Constants, plan: Plan) -> Takes:
    # More negatives in a group don't lengthen its training, but shorten its passages: not a bound.
    passage = min(c("retriever", "max_tokens"), passage_tokens(c.at("value"), plan))
    query = c("group", "query_tokens") + (1 + c("retriever", "negatives")) * passage
    tokens = c("data", plan.size, "groups") * c("retriever", "epochs") * query
    flops = 2 * c("retriever", "passes") * c("retriever", "parameters") * tokens
    return _computing(c, flops, c("gpu", "training"), plan.gpus, c("retriever", "bytes"))


def evaluate(c: Constants, plan: Plan) -> Takes:
    passages = c("evaluation", f"passages_{plan.sets}")
    flops = 2 * c("retriever", "parameters") * passages * c("evaluation", "passage_tokens")
    kept = c("evaluation", f"queries_{plan.sets}") * 1000 * c("evaluation", "run_line")
    return _computing(c, flops, c("gpu", "encoding"), 1, kept)


def _computing(c: Constants, flops: float, share: float, gpus: int, disk: float) -> Takes:
    hours = flops / (c("gpu", "tflops") * 1e12 * share) / 3600
    return Takes(gpu_hours=hours, hours=hours / gpus, disk=disk)


KINDS: Mapping[str, Callable[[Constants, Plan], Takes]] = {
    "fetch": fetch,
    "serve": serve,
    "clean": clean,
    "again": again,
    "train": train,
    "evaluate": evaluate,
    "compare": lambda *_: Takes(),
}


def once(c: Constants, plan: Plan) -> Takes:
    """What is on the disk for a time only, or for all steps: checkpoints, and the evaluation's passages."""
    checkpoints = c("disk", "checkpoint") * c("disk", "checkpoints") * c("retriever", "bytes")
    texts = (
        c("evaluation", f"passages_{plan.sets}")
        * c("evaluation", "passage_tokens")
        * c("group", "characters_per_token")
    )
    return Takes(disk=checkpoints + texts)


def steps(lines: Iterable[str]) -> list[Step]:
    """The script's steps."""
    split = (line.rstrip("\n").split("\t") for line in lines)
    return [Step(kind=kind, done=state == "done", command=command.strip()) for kind, state, command in split]


def total(found: Iterable[Step], c: Constants, plan: Plan) -> Takes:
    """What is still to be done."""
    return sum((KINDS[s.kind](c, plan) for s in found if not s.done), once(c, plan))


def show(console: Console, found: list[Step], c: Constants, plan: Plan, price: float | None) -> None:
    for number, step in enumerate(found, start=1):
        console.print(f"{number}. {step.kind}{' (done)' if step.done else ''}: {_said(step, c, plan)}", soft_wrap=True)
        console.print(f"   $ {step.command}", soft_wrap=True)
    console.print(_totals(found, c, plan, price))
    table = Table("constant", "value", "source", "where", title="Assumed", title_justify="left")
    for path, entry in c.assumed(plan):
        values = [entry[bound] for bound in ("value", "low", "high") if bound in entry]
        shown = " / ".join(f"{v:,}" if isinstance(v, int | float) else str(v) for v in values)
        table.add_row(path, shown, entry["source"], entry["where"])
    console.print(table)


def _said(step: Step, c: Constants, plan: Plan) -> str:
    takes = KINDS[step.kind](c, plan)
    prompts = f"{takes.prompt:,.0f} prompt tokens ({takes.computed:,.0f} with prefix reuse)"
    parts = [
        f"{takes.calls:,.0f} calls, {prompts}, {takes.completion:,.0f} written" if takes.calls else "",
        f"{takes.gpu_hours:,.1f} GPU hours" if takes.gpu_hours else "no GPU",
        f"{takes.disk / 1e9:,.1f} GB" if takes.disk else "",
    ]
    return ", ".join(filter(None, parts))


def _totals(found: list[Step], c: Constants, plan: Plan, price: float | None) -> Table:
    low, middle, high = (total(found, c.at(bound), plan) for bound in ("low", "value", "high"))
    table = Table(
        "total", "low", "estimate", "high", title=f"{plan.size}, {plan.llm}, {plan.gpus} GPUs", title_justify="left"
    )
    rows: list[tuple[str, Callable[[Takes], str]]] = [
        ("LLM calls", lambda t: f"{t.calls:,.0f}"),
        ("prompt tokens", lambda t: f"{t.prompt:,.0f}"),
        ("… with prefix reuse", lambda t: f"{t.computed:,.0f}"),
        ("completion tokens", lambda t: f"{t.completion:,.0f}"),
        ("GPU hours", lambda t: f"{t.gpu_hours:,.1f}"),
        ("time (h:mm:ss)", lambda t: format_time(t.hours * 3600)),
        ("disk, GB", lambda t: f"{t.disk / 1e9:,.0f}"),
    ]
    if price is not None:
        rows.append(("money for GPUs", lambda t: f"{t.gpu_hours * price:,.2f}"))
    for name, form in rows:
        table.add_row(name, form(low), form(middle), form(high))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("constants", type=Path)
    parser.add_argument("--size", required=True)
    parser.add_argument("--llm", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--sets", type=int, choices=(12, 16), required=True)
    parser.add_argument("--gpu-price", type=float)
    a = parser.parse_args()
    constants = Constants(tomllib.loads(a.constants.read_text("utf-8")))
    if a.llm not in constants.tables("llms"):
        known = ", ".join(constants.tables("llms"))
        sys.exit(f'{a.constants}: doesn\'t know the LLM {a.llm!r}, only {known}. Add a table [llms."{a.llm}"] to it')
    plan = Plan(size=a.size, llm=a.llm, method=a.method, gpus=a.gpus, sets=a.sets)
    show(Console(highlight=False, markup=False), steps(sys.stdin), constants, plan, a.gpu_price)


if __name__ == "__main__":
    main()
