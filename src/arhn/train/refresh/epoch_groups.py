"""The groups of each epoch, which a refresh may replace between epochs.

New groups are first written to the model's folder (`groups/epoch-N.jsonl.zst`, and what cleaning filtered as
`groups/epoch-N.decisions.jsonl`), and then read from there, so that a resumed run uses the same. The refresh may also
write counts (`groups/epoch-N.summary.json`) for the manifest of the run. A passage that was filtered from a query,
before training or in any refresh, is never a negative of it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from arhn.errors import BadJson, NothingToTrain
from arhn.formats import GroupWriter, read
from arhn.train import filtered_passages, manifest
from arhn.train.filtered_passages import FilteredPassages
from arhn.train.groups import GroupStore, gather
from arhn.train.model_folder import ModelFolder
from arhn.train.recipe import Recipe
from arhn.types import CleanedGroup, Group, Passage

#: Called with the model and the number of epochs done. Returns the groups for the next epochs (a CleanedGroup also
#: holds what was filtered), or None to keep the present ones.
OnEpoch = Callable[[Any, int], Iterable[Group | CleanedGroup] | None]

GROUPS, SUMMARY = "epoch-{}.jsonl.zst", "epoch-{}.summary.json"
_DECISIONS = "epoch-{}.decisions.jsonl"


class EpochGroups:
    """Prepares the groups of each epoch. `records` describes the refreshes, for the manifest."""

    def __init__(
        self,
        folder: ModelFolder,
        recipe: Recipe,
        filtered: FilteredPassages,
        on_epoch: OnEpoch | None,
        accelerator: Any,
    ) -> None:
        self._folder = folder.groups
        self._recipe = recipe
        self._filtered = filtered
        self._on_epoch = on_epoch
        self._accelerator = accelerator
        self._first = True
        self.records: list[manifest.Refresh] = []

    def prepare(self, model: Any, epoch: int, started: bool) -> GroupStore | None:
        """The groups for an epoch, None to keep the present ones.

        Args:
            model: the model in training.
            epoch: the number of the epoch, from 0.
            started: an earlier process started the epoch, so it isn't refreshed again: its groups, if it has new ones,
                are on disk.
        """
        found = self._read_earlier(epoch) if self._first else None
        self._first = False
        if self._has(epoch):
            return self._read(epoch)
        if started or not epoch or self._on_epoch is None:
            return found
        if self._accelerator.is_main_process:
            groups = self._on_epoch(model, epoch)
            if groups is not None:
                self._write(epoch, groups)
        self._accelerator.wait_for_everyone()
        return self._read(epoch) if self._has(epoch) else found

    def _has(self, epoch: int) -> bool:
        return self._path(epoch, GROUPS).is_file()

    def _read_earlier(self, epoch: int) -> GroupStore | None:
        """The groups of the last refresh before an epoch, in a resumed run; None if there was none."""
        found = None
        for each in filter(self._has, range(1, epoch)):
            found = self._read(each)
        return found

    def _write(self, epoch: int, groups: Iterable[Group | CleanedGroup]) -> None:
        """Write both files; the groups last, because they mark the refresh as complete."""
        self._folder.mkdir(exist_ok=True)
        dropped: dict[str, tuple[Passage, ...]] = {}
        with GroupWriter(self._path(epoch, GROUPS), "tevatron", overwrite=True) as writer:
            for each in groups:
                if isinstance(each, CleanedGroup):
                    dropped[each.group.query_id] = filtered_passages.list_filtered(each)
                    if each.dropped:
                        continue
                writer.write(each.cleaned if isinstance(each, CleanedGroup) else each)
            if not writer.written:
                raise NothingToTrain(
                    f"the groups that epoch {epoch} was to go on with: all of {len(dropped)} were dropped, having too "
                    "few negatives left. Lower the floor, mine more, or take another floor policy"
                )
            filtered_passages.write_decisions(self._path(epoch, _DECISIONS), dropped, overwrite=True)

    def _read(self, epoch: int) -> GroupStore:
        decisions, path = self._path(epoch, _DECISIONS), self._path(epoch, GROUPS)
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
                groups=manifest.InputFile(path=f"groups/{path.name}", sha256=filtered_passages.hash_file(path)),
                content_sha256=store.sha256,
                used=len(store),
                renewal=self._read_counts(epoch),
            )
        )
        return store

    def _read_counts(self, epoch: int) -> manifest.RefreshCounts | None:
        """The counts in the summary beside the groups, None if there is none."""
        path = self._path(epoch, SUMMARY)
        if not path.is_file():
            return None
        try:
            return manifest.RefreshCounts.model_validate(orjson.loads(path.read_bytes())["counts"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadJson(f"isn't the summary of a refresh ({error}). Delete it", path=str(path)) from error

    def _path(self, epoch: int, name: str) -> Path:
        return self._folder / name.format(epoch)
