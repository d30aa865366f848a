"""`arhn estimate`: what a cleaning run would take, before it begins."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import (
    FILES,
    Groups,
    JsonFile,
    Overwrite,
    make_amount_option,
    make_console,
    make_count_option,
)
from arhn.cli.flags.settings import ESTIMATE, read_settings
from arhn.config.opening import open_models, open_similarity
from arhn.config.settings import RunConfig
from arhn.config.values import Values
from arhn.errors import NothingLeft, UsageError
from arhn.files.apart import require_apart

if TYPE_CHECKING:
    from arhn.cleaning.config import CleanConfig
    from arhn.cleaning.models import Models
    from arhn.estimate import Estimate, Sample, Tariff

_SPEED = "Time and money: rates are of one GPU (or one machine without)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What an engine does in a second, and what it costs."""

    prompt: Annotated[
        float | None, make_amount_option("--prompt-rate", "Computed prompt tokens a second.", panel=_SPEED)
    ] = None
    completion: Annotated[
        float | None, make_amount_option("--completion-rate", "Written tokens a second.", panel=_SPEED)
    ] = None
    calls: Annotated[float | None, make_amount_option("--calls-per-second", "Instead of both.", panel=_SPEED)] = None
    gpus: Annotated[int, make_count_option("--gpus", "Side by side, each that fast.", panel=_SPEED)] = 1
    price: Annotated[float | None, make_amount_option("--gpu-price", "Money for an hour of one GPU.", panel=_SPEED)] = (
        None
    )

    def tariff(self, found: Estimate, config: RunConfig) -> Tariff:
        """Time and money; a pilot's own pace counts where no rate is given."""
        from arhn.estimate import Speed, Tariff

        rates = self.calls or self.prompt or self.completion
        calls = self.calls or (None if rates else found.pilot.rate)
        speed = Speed(prompt=self.prompt, completion=self.completion, calls=calls, gpus=self.gpus, price=self.price)
        return Tariff(speed=speed, prices=config.budget.prices)


def estimate(
    source: Groups,
    values: Values,
    sample: Annotated[int, make_count_option("--sample", "Groups that are looked at.", panel=FILES)] = 32,
    pilot: Annotated[
        Path | None,
        typer.Option(
            "--pilot",
            metavar="SUMMARY",
            help="Of an 'arhn clean' on such data: how often passages answered.",
            rich_help_panel=FILES,
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="FILE",
            help="The response store of an earlier run: what it answers costs nothing.",
            rich_help_panel=FILES,
        ),
    ] = None,
    characters: Annotated[
        float | None,
        make_amount_option(
            "--characters", "Characters per token, where there is no tokenizer. Default: 4.4.", panel=FILES
        ),
    ] = None,
    json: JsonFile = None,
    overwrite: Overwrite = False,
    *,
    rates: Rates,
) -> None:
    """Estimate what cleaning takes: calls, tokens, time, money."""
    from arhn.estimate import Pilot, choose_counting
    from arhn.estimate import estimate as estimated
    from arhn.store import StoredAnswers

    config = read_settings("estimate", values)
    require_apart({"the input": source, "--pilot": pilot, "--store": store, **values.files}, {"--json": json})
    _require_sound(config, rates, store)
    learnt = Pilot.of_summary(pilot) if pilot else None
    with ExitStack() as stack:
        stored = stack.enter_context(closing(StoredAnswers(store))) if store else None
        cleaning, groups = _draw_sample(source, config, sample)
        if not groups.total:
            raise NothingLeft("no group to clean: its rows are no groups", path=source)
        models = _open_models(config, stack)
        counted = choose_counting(config.engine, models.engine, characters, stack)
        found = estimated(groups, config=cleaning, models=models, counting=counted, pilot=learnt, stored=stored)
    _report((found, rates.tariff(found, config), counted), json, overwrite=overwrite)


def _report(estimate: tuple[Any, Any, Any], json: Path | None, *, overwrite: bool) -> None:
    """Print an estimate with its tariff and how its tokens were counted, and write it where a file is wanted."""
    from arhn.estimate import view as report

    if json:
        report.write(json, report.make_content(*estimate), overwrite=overwrite)
    out = make_console()
    out.print(report.view(*estimate))
    if json:
        out.print(str(json), soft_wrap=True)


def _require_sound(config: RunConfig, rates: Rates, store: Path | None) -> None:
    if rates.calls and (rates.prompt or rates.completion):
        raise UsageError("--calls-per-second: instead of --prompt-rate and --completion-rate, not with them")
    if not config.asks:
        raise UsageError(f"method {config.method}: asks no LLM, so there is nothing to estimate")
    if store and config.engine.missing:
        raise UsageError(f"--store: can't be used, because the model isn't known: {config.engine.missing}")


def _draw_sample(source: str, config: RunConfig, size: int) -> tuple[CleanConfig, Sample]:
    from arhn import formats
    from arhn.cleaning.first_groups import open_groups
    from arhn.estimate import spread
    from arhn.types import Group

    files = config.files

    def passages(group: Group) -> int:
        used = len(group.negatives) if config.negatives is None else min(config.negatives, len(group.negatives))
        return len(group.positives) + used

    found = formats.detect(source, split=files.split, format=files.format, skip_bad_rows=files.on_bad_row == "skip")
    read = islice(formats.read(found, on_bad_row=files.on_bad_row), files.limit)
    cleaning, groups = open_groups(read, config.cleaning)
    return cleaning, spread(groups, size, passages)


def _open_models(config: RunConfig, stack: ExitStack) -> Models:
    """The real ones; where they can't be opened yet, what stands for ones that do everything."""
    from arhn.cleaning.models import Models
    from arhn.estimate import Planned

    if not config.engine.missing:
        return open_models(config, stack)
    small = config.small_model
    return Models(
        engine=Planned(config.engine.model, config.engine.planned()),
        small_model=Planned(small.model, small.planned()) if small is not None else None,
        similarity=open_similarity(config.similarity),
    )


command = make_command(estimate, flags=ESTIMATE)
