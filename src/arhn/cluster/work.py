"""What a worker does: it holds the models and cleans one partition after the other. Knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, aclosing
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from arhn import __version__
from arhn.cleaning.extract.stage import Evidence
from arhn.cleaning.models import Models, ModelsRecord
from arhn.cleaning.pipeline import aclean_groups, aevidence
from arhn.cleaning.stats import Failure, Gathered, Stats
from arhn.cluster.partitions import Outcome, Part, Partition
from arhn.errors import ArhnError
from arhn.store import SqliteStore
from arhn.types import CleanedGroup

OpenModels = Callable[[ExitStack], Models]
#: What the engines report of how they answered, by role.
Serving = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A partition that was cleaned: its part and its response store, as stored, and what the engines report."""

    part: bytes
    answers: bytes
    serving: Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Work that failed. `error` is one of ours where there is one, so that it can say what to do."""

    error: ArhnError
    expected: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A worker that can begin."""

    models: ModelsRecord
    version: str = field(default=__version__)


class Worker:
    """Cleans partitions with models that it opens once. It raises nothing: what goes wrong is its answer."""

    def __init__(self, open_models: OpenModels) -> None:
        self._open_models = open_models
        self._stack = ExitStack()
        self._models = Models()

    async def open(self) -> Ready | Failed:
        """Open the models."""
        try:
            self._models = self._open_models(self._stack)
        except Exception as error:
            return _make_failure(error)
        return Ready(models=self._models.record)

    async def clean(self, partition: Partition, answers: bytes | None) -> Done | Failed:
        """Clean a partition.

        Args:
            answers: the response store of an earlier try.
        """
        try:
            return await clean_partition(partition, self._models, answers)
        except Exception as error:
            return _make_failure(error)

    async def close(self) -> None:
        """Close the models."""
        for engine in self._models.engines:
            await engine.aclose()
        self._stack.close()


async def clean_partition(partition: Partition, models: Models, answers: bytes | None = None) -> Done:
    """Clean a partition, or gather its signals, with a response store of its own. Raises as `aclean_groups` does."""
    failures: list[Failure] = []
    stats = Stats(gathered=deepcopy(partition.gathered))
    config = partition.config
    with TemporaryDirectory(prefix="arhn-") as folder:
        place = Path(folder) / f"{partition.digest}.responses.sqlite"
        if answers is not None:
            place.write_bytes(answers)
        names = [engine.model for engine in models.engines] or [config.method]
        outcomes: list[Outcome] = []
        evidence: list[Evidence] = []
        with SqliteStore(place, model=names[0]) as store:
            work = partial(
                partial(aevidence, gathers=True) if partition.gathers else aclean_groups,
                partition.groups,
                models,
                config=config,
                store=store,
                stats=stats,
                on_failure=failures.append,
            )
            async with aclosing(work()) as stream:
                async for each in stream:
                    if isinstance(each, CleanedGroup):
                        outcomes.append(Outcome.of(each))
                    else:
                        evidence.append(each)
        part = Part(
            outcomes=tuple(outcomes),
            failures=tuple(failures),
            stats=stats,
            evidence=tuple(evidence),
            gathered=stats.gathered if partition.gathers else Gathered(),
        )
        return Done(part=part.pack(), answers=place.read_bytes(), serving=models.record.serving)


def _make_failure(error: Exception) -> Failed:
    if isinstance(error, ArhnError):
        return Failed(error=error)
    return Failed(error=ArhnError(f"{type(error).__name__}: {error}"), expected=False)


__all__ = ["Done", "Failed", "OpenModels", "Ready", "Serving", "Worker", "clean_partition"]
