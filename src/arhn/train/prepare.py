"""What a training run needs to be known before its first step: its recipe, its groups, its folder, its device."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from arhn.errors import DataError, NothingToTrain, UsageError
from arhn.formats import OnBadRow, OnReject, Source, detect, read
from arhn.train import filtered as filtering
from arhn.train import manifest, models, recipe
from arhn.train.filtered import Filtered
from arhn.train.groups import GroupStore, gather
from arhn.train.output import Folder
from arhn.train.plan import Schedule
from arhn.train.recipe import Recipe
from arhn.types import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What to train, on what, and where to. Only the first three are needed.

    `groups`: a file, folder or data set on the hub that `arhn.formats.read` reads, or groups in memory. `recipe`: a
    name or the path of a file, or a Recipe. `output`: the folder of the model. `settings`: `key=value` each, in place
    of the recipe's. `decisions`: what cleaning left beside the groups; looked for there, unless given, and not used
    where `use_decisions` isn't set. `model`: in place of the recipe's.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that is known to be possible: its recipe with all settings, its groups in memory, its schedule."""

    recipe: Recipe
    changed: tuple[str, ...]
    store: GroupStore
    filtered: Filtered
    schedule: Schedule
    folder: Folder
    device: str
    groups: manifest.Source
    decisions: manifest.Source | None
    rejected: int
    #: How groups change between epochs, as far as what is learned hangs on it; by name.
    refreshing: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """What a run that is gone on with must have in common with this one."""
        return {
            "recipe": self.recipe.name,
            **self.recipe.lasting,
            "data": self.store.sha256,
            "refresh_negatives": None,
            **self.refreshing,
        }

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.recipe.epochs * self.schedule.steps


def prepare(training: Training) -> Prepared:
    """Check a run, and read its groups. The model is looked for, but not loaded.

    Raises:
        RecipeError, UsageError, MissingDependency, DeviceMissing, ModelMissing, OutputExists, OutputNotWritable: at
            once.
        OtherRun: the folder holds another run; what hangs on the groups is compared once they are read.
        DataError: groups or decisions that can't be read, or that don't belong together.
        NothingToTrain: too few of them.
    """
    chosen, changed = _recipe(training)
    models.require_libraries(chosen)
    device = models.require_device(chosen, training.device)
    models.require_there(chosen)
    folder = _folder(training)
    if training.resume and folder.is_ours:
        folder.require_same({"recipe": chosen.name, **chosen.lasting})
    source = _source(training)
    decisions = _decisions(training)
    store, filtered, rejected = _gathered(training, chosen, source, decisions)
    return Prepared(
        recipe=chosen,
        changed=changed,
        store=store,
        filtered=filtered,
        schedule=Schedule.of(len(store), chosen, world()),
        folder=folder,
        device=device,
        groups=_described(training),
        decisions=manifest.Source(path=str(decisions), sha256=filtered.sha256[0]) if decisions else None,
        rejected=rejected,
    )


def groups_of(training: Training) -> Iterator[Group]:
    """The groups of a run once more, read as `prepare` reads them."""
    return islice(_read(training, _source(training), lambda _: None), training.limit)


def named(training: Training) -> str:
    """What messages call the groups of a run."""
    return os.fspath(training.groups) if isinstance(training.groups, (str, os.PathLike)) else "the groups given"


def rank() -> int:
    """This process's number among those that torchrun or accelerate started; 0 alone."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _recipe(training: Training) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with its settings, and what was changed."""
    settings = training.settings
    if isinstance(training.recipe, Recipe):
        table = training.recipe.model_dump(exclude_none=True, exclude={"name"})
        chosen = recipe.parse(table, training.recipe.name, settings)
    else:
        chosen = recipe.load(training.recipe, settings)
    if training.model is None:
        return chosen, settings
    # The commit is one of the recipe's own model.
    given = any(setting.startswith("revision") for setting in settings)
    update = {"model": training.model} if given else {"model": training.model, "revision": None}
    return chosen.model_copy(update=update), (*settings, f"model={training.model}")


def _folder(training: Training) -> Folder:
    if training.overwrite and training.resume:
        raise UsageError("--overwrite and --resume: a run is replaced or gone on with, not both. Leave one out")
    folder = Folder(Path(training.output))
    if rank() == 0:  # the first process makes the folder, maybe before the others have looked
        folder.require_free(overwrite=training.overwrite, resume=training.resume)
    return folder


def _source(training: Training) -> Source | None:
    if not isinstance(training.groups, (str, os.PathLike)):
        return None
    return detect(
        training.groups, split=training.split, format=training.format, skip_bad_rows=training.on_bad_row == "skip"
    )


def _decisions(training: Training) -> Path | None:
    if not training.use_decisions:
        if training.decisions is not None:
            raise UsageError("--decisions and --no-decisions: they are used or not. Leave one out")
        return None
    if training.decisions is not None or not isinstance(training.groups, (str, os.PathLike)):
        return training.decisions
    return filtering.beside(os.fspath(training.groups))


def _gathered(
    training: Training, chosen: Recipe, source: Source | None, decisions: Path | None
) -> tuple[GroupStore, Filtered, int]:
    filtered, rejected = Filtered(), 0
    if decisions is not None:
        filtered.read(decisions)

    def reject(_: object) -> None:
        nonlocal rejected
        rejected += 1

    def groups() -> Iterator[Group]:
        for group in islice(_read(training, source, reject), training.limit):
            filtered.queries.discard(group.query_id)
            yield group

    judged = len(filtered.queries)
    try:
        store = gather(groups(), filtered, min_negatives=chosen.min_negatives)
    except NothingToTrain as error:
        raise NothingToTrain(f"{named(training)}: {error}") from None
    if judged and len(filtered.queries) == judged:
        raise DataError(
            f"none of its {judged:,} queries is in {named(training)}. Give the decisions that these groups were "
            "cleaned by, with the same query_id, or leave them out with --no-decisions",
            path=str(decisions),
        )
    return store, filtered, rejected


def _read(training: Training, source: Source | None, reject: OnReject) -> Iterable[Group]:
    if source is None:
        assert not isinstance(training.groups, (str, os.PathLike))
        return training.groups
    return read(source, on_bad_row=training.on_bad_row, rejects=reject, require_negatives=False)


def _described(training: Training) -> manifest.Source:
    if not isinstance(training.groups, (str, os.PathLike)):
        return manifest.Source()
    path = Path(training.groups)
    return manifest.Source(
        path=os.fspath(training.groups), sha256=filtering.sha256_of(path) if path.is_file() else None
    )
