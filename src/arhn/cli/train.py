"""`arhn train`: groups in, a retriever or reranker out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import FILES, FromFormat, Split, make_console, make_count_option
from arhn.errors import describe_count

if TYPE_CHECKING:
    from arhn.config.settings import RefreshSettings
    from arhn.train.preparation import Prepared, Training
    from arhn.train.refresh.negatives import NewNegatives

_MODEL, _RUN, _SETTINGS = "Model", "Run", "Settings"
#: What `--set` sets of the config file; everything else is the recipe's.
_REFRESH = "refresh."


@dataclass(frozen=True, kw_only=True)
class Groups:
    """What is trained on."""

    decisions: Annotated[
        Path | None,
        typer.Option(
            "--decisions",
            metavar="FILE",
            help="What cleaning filtered, never a query's negative; beside the input unless given.",
            rich_help_panel=FILES,
        ),
    ] = None
    no_decisions: Annotated[
        bool, typer.Option("--no-decisions", help="Don't look for decisions.", rich_help_panel=FILES)
    ] = False
    from_format: FromFormat = None
    split: Split = None
    limit: Annotated[int | None, make_count_option("--limit", "Train on the first N groups only.", panel=FILES)] = None
    on_bad_row: Annotated[
        Literal["fail", "skip"], typer.Option("--on-bad-row", help="At a row that is no group.", rich_help_panel=FILES)
    ] = "fail"


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is trained."""

    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Such as e5-base or tiny, or a .toml file.",
            rich_help_panel=_MODEL,
        ),
    ]
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A folder or hub name to start from, in place of the recipe's.",
            rich_help_panel=_MODEL,
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="In place of the recipe's.", rich_help_panel=_MODEL)
    ] = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """How it is trained."""

    device: Annotated[
        Literal["cpu", "cuda", "mps"] | None,
        typer.Option("--device", help="The best there is, unless given.", rich_help_panel=_RUN),
    ] = None
    threads: Annotated[
        int | None, make_count_option("--threads", "CPU threads; PyTorch's choice unless given.", panel=_RUN)
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with a run that was stopped; do nothing where it is done.", rich_help_panel=_RUN
        ),
    ] = False
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a model that is there already.", rich_help_panel=_RUN)
    ] = False
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, show the plan, and train nothing.", rich_help_panel=_RUN),
    ] = False


def train(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A file of groups, a folder saved by datasets, or hf://org/name[:split].",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option("-o", "--output", metavar="FOLDER", help="The folder of the model.", rich_help_panel=FILES),
    ],
    groups: Groups,
    model: Model,
    run: Run,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="A TOML file; its [refresh] says how negatives are mined and cleaned again while training goes on.",
            rich_help_panel=_SETTINGS,
        ),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="In place of the recipe's, such as epochs=3; or of the file's, such as refresh.every=2. May be "
            "repeated.",
            rich_help_panel=_SETTINGS,
        ),
    ] = None,
) -> None:
    """Train a retriever or reranker on groups."""
    from arhn.train.job import train as start
    from arhn.train.preparation import prepare

    refresh = _read_refresh(config, sets or [])
    training = _make_training(source, output, groups, model, run, config, sets or [])
    prepared = prepare(training)
    negatives = None if refresh is None else _make_negatives(refresh, training, prepared)
    first = os.environ.get("RANK", "0") == "0"
    if first:
        _show(prepared)
    if first and refresh is not None and negatives is not None:
        checked = {**negatives.check(), **_list_options(refresh)}
        _show_refreshes(negatives, checked)
        prepared = replace(prepared, refreshing=checked)
    if run.dry_run:
        return
    from arhn.train.callbacks import ProgressLog

    record = start(training, prepared=prepared, on_epoch=negatives, on_log=ProgressLog(prepared))
    if first:
        steps = describe_count(record.steps, "step")
        make_console().print(f"{steps} in {record.seconds:,.0f} s: {output}", soft_wrap=True)


def _make_training(
    source: str, output: str, groups: Groups, model: Model, run: Run, config: Path | None, sets: Sequence[str]
) -> Training:
    from arhn.train.preparation import Training

    seed = [] if model.seed is None else [f"seed={model.seed}"]
    return Training(
        groups=source,
        recipe=model.recipe,
        output=output,
        settings=(*(each for each in sets if not each.startswith(_REFRESH)), *seed),
        model=model.model,
        decisions=groups.decisions,
        use_decisions=not groups.no_decisions,
        format=groups.from_format,
        split=groups.split,
        limit=groups.limit,
        on_bad_row=groups.on_bad_row,
        device=run.device,
        threads=run.threads,
        overwrite=run.overwrite,
        resume=run.resume,
        inputs={} if config is None else {"--config": config},
    )


def _read_refresh(config: Path | None, sets: Sequence[str]) -> RefreshSettings | None:
    """How negatives are mined and cleaned again; None where they aren't.

    Raises:
        UsageError, CalibrationError: settings that aren't any, or don't fit.
    """
    ours = [each for each in sets if each.startswith(_REFRESH)]
    if config is None and not ours:
        return None
    from arhn.cli.flags.settings import read_settings
    from arhn.config.values import gather
    from arhn.errors import UsageError

    found = read_settings("train", gather(config, ours)).refresh
    if found is None:
        raise UsageError(f"--config {config}: has no [refresh], and nothing else of it is training's. Leave it out")
    return found


def _make_negatives(refresh: RefreshSettings, training: Training, prepared: Prepared) -> NewNegatives:
    """The refreshes of a run.

    Raises:
        UsageError: they don't go with it.
        MissingDependency, ModelMissing, DeviceMissing: a retriever that can't be used.
    """
    from arhn.config.refreshing import make_cleaning, make_mining
    from arhn.train.refresh.negatives import NewNegatives

    return NewNegatives(refresh.every, training, prepared, make_mining(refresh.mining), make_cleaning(refresh.cleaning))


def _list_options(refresh: RefreshSettings) -> dict[str, Any]:
    """What decides what retrievers find, and isn't in their names; None where it is as always."""
    mining = refresh.mining
    options = {**mining.bm25.model_dump(), "faiss_above": mining.models.faiss_above}
    usual = {
        **type(mining.bm25)().model_dump(),
        "faiss_above": type(mining.models)().faiss_above,
    }
    return {f"refresh_mining.{name}": None if value == usual[name] else value for name, value in options.items()}


def _show(run: Prepared) -> None:
    """What a run is about to do, in a few lines."""
    counts, schedule, out = run.store.counts, run.schedule, make_console()
    notes = f", {counts.no_negatives:,} with too few negatives" if counts.no_negatives else ""
    notes += f", {describe_count(run.rejected, 'bad row')}" if run.rejected else ""
    labels = f"{describe_count(counts.positives, 'positive')}, {describe_count(counts.negatives, 'negative')}"
    out.print(f"{describe_count(counts.used, 'group')}{notes}; {labels}")
    if counts.contradicted or counts.filtered:
        out.print(
            f"filtered by cleaning: {describe_count(counts.filtered, 'passage')}; left out because they are positives "
            f"of their query, or were filtered from it: {describe_count(counts.contradicted, 'negative')}"
        )
    if counts.sets:
        out.print(f"data sets: {', '.join(f'{name} ({n:,})' for name, n in counts.sets.most_common())}", soft_wrap=True)
    out.print(
        f"recipe {run.recipe.name}: {run.recipe.model} on {run.device}; {describe_count(run.recipe.epochs, 'epoch')} "
        f"of {describe_count(schedule.steps, 'step')}, up to {run.recipe.batch:,} queries a step; groups take "
        f"{run.store.bytes / 2**20:,.1f} MiB",
        soft_wrap=True,
    )


def _show_refreshes(negatives: NewNegatives, checked: Mapping[str, Any]) -> None:
    """What each refresh will do."""
    name, corpus = negatives.opened
    mining = {what.removeprefix("refresh_mining."): value for what, value in checked.items()}
    roles = (checked.get(f"refresh_cleaning.{role}") for role in ("model", "flagger", "similarity"))
    cleaners = ", ".join([f"method {checked['refresh_cleaning.method']}", *filter(None, roles)])
    epochs = negatives.epochs
    make_console().print(
        f"after epoch{'s' if len(epochs) > 1 else ''} {', '.join(map(str, epochs))}: mine again in {name} "
        f"({describe_count(len(corpus), 'passage')}) with {', '.join(mining['retrievers'])}, "
        f"{describe_count(mining['negatives'], 'negative')} a query "
        f"from the ranks {mining['range_min']}:{mining['range_max']}; clean by {cleaners}"
        + (f"; answers are kept in {negatives.store}" if "refresh_cleaning.model" in checked else ""),
        soft_wrap=True,
    )


command = make_command(train, resumes="The same command with --resume goes on from the last checkpoint")
