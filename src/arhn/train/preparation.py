"""The preparation of a training run: recipe, groups, folder and device are checked before the first step."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from arhn.errors import DataError, NothingToTrain, UsageError, describe_count
from arhn.files.apart import Named, require_apart
from arhn.formats import OnBadRow, OnReject, Source, detect, read
from arhn.train import base_model, filtered_passages, manifest, recipe
from arhn.train.filtered_passages import FilteredPassages
from arhn.train.groups import GroupStore, gather
from arhn.train.model_folder import ModelFolder
from arhn.train.plan import Schedule
from arhn.train.recipe import Recipe
from arhn.types import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What to train, on what, and where to. Only the first three fields are required.

    `groups`: a file, a folder or a data set on the hub that `arhn.formats.read` reads, or groups in memory; `format`,
    `split`, `limit` (the first groups) and `on_bad_row` say how. `recipe`: a name, the path of a file, or a Recipe.
    `output`: the folder of the model. `settings`: `key=value` each, to change the recipe; `model`: to start from
    another model than the recipe's. `decisions`: the decisions file of cleaning, by default the one beside the groups;
    `use_decisions=False` ignores it. `device`: by default the best available. `threads`: of the CPU, by default
    PyTorch's choice. `overwrite`, `resume`: what to do with a run in the folder. `inputs`: other files
    that are read, by the flags that name them.
    """

    groups: str | os.PathLike[str] | Iterable[Group]
    recipe: str | Path | Recipe
    output: str | os.PathLike[str]
    settings: tuple[str, ...] = ()
    model: str | None = None
    decisions: Path | None = None
    use_decisions: bool = True
    format: str | None = None
    split: str | None = None
    limit: int | None = None
    on_bad_row: OnBadRow = "fail"
    device: str | None = None
    threads: int | None = None
    overwrite: bool = False
    resume: bool = False
    inputs: Named = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A checked run.

    `recipe` has all `changed` settings, `store` the groups in memory, and `filtered` what cleaning filtered. `groups`
    and `decisions` name the files that were read; `rejected` counts bad rows.
    """

    recipe: Recipe
    changed: tuple[str, ...]
    store: GroupStore
    filtered: FilteredPassages
    schedule: Schedule
    folder: ModelFolder
    device: str
    groups: manifest.InputFile
    decisions: manifest.InputFile | None
    rejected: int
    #: The settings of refreshes that the trained weights depend on, by name.
    refreshing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """What a run must have in common with this one to resume it."""
        return {
            "recipe": self.recipe.name,
            **self.recipe.learning_settings,
            "data": self.store.sha256,
            "refresh_negatives": None,
            **self.refreshing,
        }

    @property
    def steps(self) -> int:
        """The number of optimiser steps in the whole run."""
        return self.recipe.epochs * self.schedule.steps


def prepare(training: Training) -> Prepared:
    """Check a run and read its groups. The model is looked for, but not loaded.

    Raises:
        RecipeError, UsageError, MissingDependency: the recipe or the arguments are wrong, or a library is missing.
        IncompatibleVersions: libraries are installed in versions that do not work together.
        DeviceMissing: the device isn't available.
        ModelMissing, ModelUnavailable: there is no such model.
        OutputExists, OutputNotWritable: the folder can't be used.
        OtherRun: the folder to resume holds a run with other settings.
        DataError: groups or decisions can't be read, or don't belong together.
        NothingToTrain: there are too few groups.
    """
    _require_apart(training)
    chosen, changed = _load_recipe(training)
    base_model.require_libraries(chosen)
    device = base_model.require_device(chosen, training.device)
    base_model.require_available(chosen)
    folder = _open_folder(training)
    if training.resume and folder.holds_run:
        folder.require_same({"recipe": chosen.name, **chosen.learning_settings})
    source = _detect_source(training)
    decisions = _find_decisions(training)
    store, filtered, rejected = _gather(training, chosen, source, decisions)
    return Prepared(
        recipe=chosen,
        changed=changed,
        store=store,
        filtered=filtered,
        schedule=Schedule.for_groups(len(store), chosen, world_size()),
        folder=folder,
        device=device,
        groups=_describe_groups(training),
        decisions=manifest.InputFile(path=str(decisions), sha256=filtered.sha256[0]) if decisions else None,
        rejected=rejected,
    )


def reread_groups(training: Training) -> Iterator[Group]:
    """Read the groups of a run again, as `prepare` does."""
    return islice(_read_groups(training, _detect_source(training), lambda _: None), training.limit)


def name_groups(training: Training) -> str:
    """What messages call the groups of a run."""
    return os.fspath(training.groups) if isinstance(training.groups, (str, os.PathLike)) else "the groups given"


def rank() -> int:
    """This process's number among those that torchrun or accelerate started; 0 if it is the only one."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """The number of processes that torchrun or accelerate started; 1 if this is the only one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def _require_apart(training: Training) -> None:
    """Raises UsageError: the model would replace what it is made from. A resumed run replaces nothing."""
    if training.resume:
        return
    named = {
        "the groups": training.groups,
        "--decisions": training.decisions,
        "--recipe": training.recipe,
        "--model": training.model,
        **training.inputs,
    }
    inputs = {what: os.fspath(p) for what, p in named.items() if isinstance(p, (str, os.PathLike)) and Path(p).exists()}
    require_apart(inputs, {"--output": os.fspath(training.output)})


def _load_recipe(training: Training) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with all changes, and these changes."""
    settings = training.settings
    if isinstance(training.recipe, Recipe):
        table = training.recipe.model_dump(exclude_none=True, exclude={"name"})
        chosen = recipe.parse(table, training.recipe.name, settings)
    else:
        chosen = recipe.load(training.recipe, settings)
    if training.model is None:
        return chosen, settings
    # The recipe's revision belongs to the recipe's model.
    given = any(setting.startswith("revision") for setting in settings)
    update = {"model": training.model} if given else {"model": training.model, "revision": None}
    return chosen.model_copy(update=update), (*settings, f"model={training.model}")


def _open_folder(training: Training) -> ModelFolder:
    if training.overwrite and training.resume:
        raise UsageError("--overwrite and --resume: a run is either replaced or resumed. Leave one out")
    folder = ModelFolder(Path(training.output))
    if rank() == 0:  # the first process makes the folder, maybe before the others get here
        folder.require_free(overwrite=training.overwrite, resume=training.resume)
    return folder


def _detect_source(training: Training) -> Source | None:
    if not isinstance(training.groups, (str, os.PathLike)):
        return None
    return detect(
        training.groups, split=training.split, format=training.format, skip_bad_rows=training.on_bad_row == "skip"
    )


def _find_decisions(training: Training) -> Path | None:
    if not training.use_decisions:
        if training.decisions is not None:
            raise UsageError("--decisions and --no-decisions: decisions are either used or not. Leave one out")
        return None
    if training.decisions is not None or not isinstance(training.groups, (str, os.PathLike)):
        return training.decisions
    return filtered_passages.find_beside(os.fspath(training.groups))


def _gather(
    training: Training, chosen: Recipe, source: Source | None, decisions: Path | None
) -> tuple[GroupStore, FilteredPassages, int]:
    filtered, rejected = FilteredPassages(), 0
    if decisions is not None:
        filtered.read(decisions)

    def reject(_: object) -> None:
        nonlocal rejected
        rejected += 1

    def groups() -> Iterator[Group]:
        for group in islice(_read_groups(training, source, reject), training.limit):
            filtered.queries.discard(group.query_id)
            yield group

    judged = len(filtered.queries)
    try:
        store = gather(groups(), filtered, min_negatives=chosen.min_negatives)
    except NothingToTrain as error:
        raise NothingToTrain(f"{name_groups(training)}: {error}") from None
    if judged and len(filtered.queries) == judged:
        raise DataError(
            f"none of its {describe_count(judged, 'query')} is in {name_groups(training)}. Give the decisions from the "
            "cleaning of these groups, with the same query_ids, or ignore decisions with --no-decisions",
            path=str(decisions),
        )
    return store, filtered, rejected


def _read_groups(training: Training, source: Source | None, reject: OnReject) -> Iterable[Group]:
    if source is None:
        assert not isinstance(training.groups, (str, os.PathLike))  # nosec B101 - narrows a type
        return training.groups
    return read(source, on_bad_row=training.on_bad_row, rejects=reject, require_negatives=False)


def _describe_groups(training: Training) -> manifest.InputFile:
    if not isinstance(training.groups, (str, os.PathLike)):
        return manifest.InputFile()
    path = Path(training.groups)
    return manifest.InputFile(
        path=os.fspath(training.groups), sha256=filtered_passages.hash_file(path) if path.is_file() else None
    )
