"""An estimate for people and for programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from arhn.cleaning.run.time_left import format_time
from arhn.errors import describe_count
from arhn.estimate.costs import Bill, Tariff
from arhn.estimate.estimate import Counting, Estimate
from arhn.estimate.pilot import Assumption
from arhn.files.atomic import AtomicFile

SCHEMA = 1
_NUMBERS: tuple[tuple[str, str], ...] = (
    ("calls", "calls"),
    ("prompt", "prompt tokens"),
    ("computed", "… with prefix reuse"),
    ("completion", "completion tokens"),
)
_BILLED: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("seconds", "time (h:mm:ss)", format_time),
    ("gpu_hours", "GPU hours", "{:,.2f}".format),
    ("gpu_money", "money for GPUs", "{:,.2f}".format),
    ("token_money", "money for tokens", "{:,.2f}".format),
)

#: Numbers of a `Cost` by their names in JSON.
_KEYS = {
    "calls": "calls",
    "prompt": "prompt_tokens",
    "computed": "computed_prompt_tokens",
    "completion": "completion_tokens",
}


def list_assumptions(found: Estimate, tariff: Tariff, counting: Counting) -> tuple[Assumption, ...]:
    """Everything that the numbers depend on and that is assumed."""
    speed = tariff.speed
    rates = {
        "computed prompt tokens a second, of a GPU": speed.prompt,
        "written tokens a second, of a GPU": speed.completion,
        "calls a second, of a GPU": speed.calls,
    }
    source = found.pilot.source if speed.calls and speed.calls == found.pilot.rate else "given"
    return (
        *found.pilot.assumptions,
        Assumption(what="prompts counted by", value=counting.tokenizer.name, source=""),
        Assumption(what="prefix reuse", value=counting.described, source=""),
        *(Assumption(what=what, value=f"{rate:,.4g}", source=source) for what, rate in rates.items() if rate),
    )


def view(found: Estimate, tariff: Tariff, counting: Counting) -> RenderableType:
    """The tables on a terminal."""
    how = "all of them" if found.sampled == found.groups else f"from {found.sampled} of them"
    heading = f"{describe_count(found.groups, 'group')} with {describe_count(found.passages, 'passage')}, {how}"
    known = f"; {found.known} of the sampled ones cost nothing, the store answers them" if found.known else ""
    return Group(Text(heading + known), _numbers(found, tariff), _stages(found), _given(found, tariff, counting))


def _numbers(found: Estimate, tariff: Tariff) -> Table:
    table = Table(title="Estimate", title_justify="left")
    for column in ("", "low", "estimate", "high"):
        table.add_column(column, justify="right" if column else "left")
    costs = (found.low, found.middle, found.high)
    for name, shown in _NUMBERS:
        table.add_row(shown, *(f"{getattr(cost, name):,.0f}" for cost in costs))
    bills = [tariff.bill(cost) for cost in costs]
    for name, shown, form in _BILLED:
        if getattr(bills[1], name) is not None:
            table.add_row(shown, *(form(getattr(bill, name)) for bill in bills))
    return table


def _stages(found: Estimate) -> Table:
    table = Table(title="By stage", title_justify="left")
    for column in ("stage", *(shown for _, shown in _NUMBERS)):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, cost in found.stages.items():
        table.add_row(stage, *(f"{getattr(cost, name):,.0f}" for name, _ in _NUMBERS))
    return table


def _given(found: Estimate, tariff: Tariff, counting: Counting) -> Table:
    table = Table(title="Assumptions", title_justify="left", show_header=False)
    for each in list_assumptions(found, tariff, counting):
        table.add_row(Text(each.what), Text(each.value), Text(each.source))
    return table


def make_content(found: Estimate, tariff: Tariff, counting: Counting) -> dict[str, Any]:
    """All of it as JSON; every number a list of low, estimate and high."""
    costs = (found.low, found.middle, found.high)
    bills = [tariff.bill(cost) for cost in costs]
    return {
        "schema": SCHEMA,
        "groups": found.groups,
        "passages": found.passages,
        "sampled": found.sampled,
        "known": found.known,
        "answering": round(found.answering, 4),
        **{key: [round(getattr(cost, name)) for cost in costs] for name, key in _KEYS.items()},
        **{name: _listed(bills, name) for name, _, _ in _BILLED},
        "stages": {
            stage: {key: round(getattr(cost, name)) for name, key in _KEYS.items()}
            for stage, cost in found.stages.items()
        },
        "assumptions": [
            {"what": a.what, "value": a.value, "source": a.source} for a in list_assumptions(found, tariff, counting)
        ],
    }


def _listed(bills: list[Bill], name: str) -> list[float] | None:
    values = [getattr(bill, name) for bill in bills]
    return None if None in values else [round(value, 4) for value in values]


def write(path: Path, made: dict[str, Any], *, overwrite: bool) -> None:
    """Raises OutputExists, OutputNotWritable, DiskFull."""
    with AtomicFile(path, overwrite=overwrite) as file:
        file.write(orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


__all__ = ["list_assumptions", "make_content", "view", "write"]
