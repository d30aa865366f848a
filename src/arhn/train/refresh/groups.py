"""Groups that change while a model is trained: between epochs, others may take the place of those there are.

What takes their place is written into the model's folder first (`groups/epoch-N.jsonl.zst`, and what cleaning filtered
beside it as `groups/epoch-N.decisions.jsonl`), and read from there: a run that is killed goes on with the same. Whoever
makes the groups may leave counts beside them (`groups/epoch-N.summary.json`) for the record of the run. What was
filtered from a query, before training or in any refresh, is never a negative of it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from arhn.errors import BadJson, NothingToTrain
from arhn.formats import GroupWriter, read
from arhn.train import filtered as filtering
from arhn.train import manifest
from arhn.train.filtered import Filtered
from arhn.train.groups import GroupStore, gather
from arhn.train.output import Folder
from arhn.train.recipe import Recipe
from arhn.types import CleanedGroup, Group, Passage

#: Called with the model and the number of epochs done. Returns the groups to go on with (a CleanedGroup also says what
#: was filtered), or None for those there are.
OnEpoch = Callable[[Any, int], Iterable[Group | CleanedGroup] | None]

GROUPS, SUMMARY = "epoch-{}.jsonl.zst", "epoch-{}.summary.json"
_DECISIONS = "epoch-{}.decisions.jsonl"


class Refreshing:
    """The groups of each epoch from the second on. `records` says what was refreshed."""

    def __init__(
        self, folder: Folder, recipe: Recipe, filtered: Filtered, on_epoch: OnEpoch | None, accelerator: Any
    ) -> None:
        self._folder = folder.groups
        self._recipe = recipe
        self._filtered = filtered
        self._on_epoch = on_epoch
        self._accelerator = accelerator
        self._first = True
        self.records: list[manifest.Refresh] = []

    def before(self, model: Any, epoch: int, begun: bool) -> GroupStore | None:
        """The groups that an epoch (from 0) begins with; None for those there are.

        `begun`: the epoch is gone on with in its middle, so that what it was to refresh is on the disk.
        """
        found = self._earlier(epoch) if self._first else None
        self._first = False
        if self._has(epoch):
            return self._read(epoch)
        if begun or not epoch or self._on_epoch is None:
            return found
        if self._accelerator.is_main_process:
            groups = self._on_epoch(model, epoch)
            if groups is not None:
                self._write(epoch, groups)
        self._accelerator.wait_for_everyone()
        return self._read(epoch) if self._has(epoch) else found

    def _has(self, epoch: int) -> bool:
        return self._place(epoch, GROUPS).is_file()

    def _earlier(self, epoch: int) -> GroupStore | None:
        """What the refreshes before an epoch left, in a run that is gone on with."""
        found = None
        for each in filter(self._has, range(1, epoch)):
            found = self._read(each)
        return found

    def _write(self, epoch: int, groups: Iterable[Group | CleanedGroup]) -> None:
        """Both files; the groups last, for they say that it is done."""
        self._folder.mkdir(exist_ok=True)
        dropped: dict[str, tuple[Passage, ...]] = {}
        with GroupWriter(self._place(epoch, GROUPS), "tevatron", overwrite=True) as writer:
            for each in groups:
                if isinstance(each, CleanedGroup):
                    dropped[each.group.query_id] = filtering.judged_out(each)
                    if each.dropped:
                        continue
                writer.write(each.cleaned if isinstance(each, CleanedGroup) else each)
            if not writer.written:
                raise NothingToTrain(
                    f"the groups that epoch {epoch} was to go on with: all of {len(dropped)} were dropped, having too "
                    "few negatives left. Lower the floor, mine more, or take another floor policy"
                )
            filtering.write(self._place(epoch, _DECISIONS), dropped, overwrite=True)

    def _read(self, epoch: int) -> GroupStore:
        decisions, path = self._place(epoch, _DECISIONS), self._place(epoch, GROUPS)
        if decisions.stat().st_size:
            self._filtered.read(decisions)
        try:
            store = gather(
                read(path, require_negatives=False), self._filtered, min_negatives=self._recipe.min_negatives
            )
        except NothingToTrain as error:
            raise NothingToTrain(f"the groups that epoch {epoch} was to go on with: {error}") from None
        self.records.append(
            manifest.Refresh(
                epoch=epoch,
                groups=manifest.Source(path=f"groups/{path.name}", sha256=filtering.sha256_of(path)),
                content_sha256=store.sha256,
                used=len(store),
                renewal=self._renewal(epoch),
            )
        )
        return store

    def _renewal(self, epoch: int) -> manifest.Renewal | None:
        """What a summary beside the groups says, if the refresh left one."""
        path = self._place(epoch, SUMMARY)
        if not path.is_file():
            return None
        try:
            return manifest.Renewal.model_validate(orjson.loads(path.read_bytes())["counts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadJson(f"isn't the summary of a refresh ({error}). Delete it", path=str(path)) from error

    def _place(self, epoch: int, name: str) -> Path:
        return self._folder / name.format(epoch)
