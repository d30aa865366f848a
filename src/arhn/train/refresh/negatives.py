"""Hard negatives mined and cleaned again between epochs: what [refresh] in a config file of `arhn train` asks for.

In each refresh the model in training searches the corpus. A query's positives are those of the groups in use, so that a
passage relabelled in a refresh stays a positive, and a passage that cleaning ever filtered from a query isn't a
candidate. New negatives are judged beside the positives of the first groups, without those relabelled since: prompts
for a pair that was judged before are then the same, and are answered from the response store.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from arhn import store
from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.methods.method import find_method
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import clean_groups
from arhn.cleaning.run import failures
from arhn.cleaning.stats import Stats
from arhn.errors import TooManyFailures, UsageError, describe_count
from arhn.files.jsonl import JsonlIfAny
from arhn.formats import GroupWriter, read
from arhn.mine.counts import MiningCounts
from arhn.mine.mining import mine
from arhn.retrieval.collection import Collection
from arhn.retrieval.corpus import Corpus
from arhn.train.preparation import Prepared, Training, name_groups, reread_groups
from arhn.train.refresh.epoch_groups import GROUPS, SUMMARY
from arhn.train.refresh.mining_corpus import CURRENT, Mining, hash_weights, open_corpus
from arhn.train.refresh.summary import RefreshTally, describe
from arhn.types import CleanedGroup, Decision, Group, Reason

STORE = "responses.sqlite"

_MINED, _FAILURES = "epoch-{}.mined.jsonl.zst", "epoch-{}.failures.jsonl"
#: Seconds between two lines of the log.
_EVERY = 30.0
_LOG = logging.getLogger("arhn.train")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaning:
    """How refreshes clean.

    `open_models` opens the models for each refresh, and registers on the stack what must be closed. `store` is the file
    of the response store, by default in the model's folder. If more than the share `max_failures` of requests gets no
    answer, training stops.
    """

    config: CleanConfig = field(default_factory=CleanConfig)
    open_models: Callable[[ExitStack], Models]
    store: Path | None = None
    max_failures: float = failures.USUAL_LIMIT


class NewNegatives:
    """Refreshes the negatives of groups after every `every` epochs: pass it to `arhn.train.job.train` as `on_epoch`."""

    def __init__(self, every: int, training: Training, run: Prepared, mining: Mining, cleaning: Cleaning) -> None:
        """Check that refreshes fit the run; nothing is opened yet.

        Args:
            every: epochs between two refreshes.
            training: what to train, on what.
            run: what `prepare` returned for it.
            mining: how to mine.
            cleaning: how to clean.

        Raises:
            UsageError: there would be no refresh, a reranker would have to retrieve, or the groups can be read only
                once.
        """
        if not 1 <= every < run.recipe.epochs:
            raise UsageError(
                f"refreshing every {describe_count(every, 'epoch')}, of {run.recipe.epochs} in all: nothing is "
                "refreshed after the last. Refresh more often, or train longer: --set epochs=N"
            )
        if run.recipe.kind == "reranker" and None in mining.retrievers.values():
            raise UsageError(
                f"recipe {run.recipe.name!r} trains a reranker, which can't search a corpus for negatives. Name a "
                "retriever: bm25, or a sentence-transformers model"
            )
        if isinstance(training.groups, Iterator):
            raise UsageError("groups that can be read only once can't be refreshed. Give a list, or a file")
        self._every = every
        self._training = training
        self._run = run
        self._mining = mining
        self._cleaning = cleaning
        self.store = cleaning.store or run.folder.groups / STORE

    @property
    def epochs(self) -> list[int]:
        """The numbers of epochs after which groups are refreshed."""
        return list(range(self._every, self._run.recipe.epochs, self._every))

    @cached_property
    def opened(self) -> tuple[str, Corpus]:
        """The collection's name and its corpus, opened on first access. Raises as `open_corpus` does."""
        return open_corpus(self._mining, reread_groups(self._training), name_groups(self._training))

    def check(self) -> dict[str, Any]:
        """Check that refreshes are possible: corpus, retrievers, LLM and store are opened once.

        Returns:
            The settings that must be the same to resume the run, for `Prepared.refreshing`.

        Raises:
            what `open_corpus` raises, and what opening retrievers and models raises.
            UsageError, CalibrationError: the models don't fit the settings of cleaning.
            StoreError, OutputNotWritable: the store can't be used.
        """
        _, corpus = self.opened
        searchers = self._mining.open_searchers(corpus, None, CURRENT)
        # A store in the folder of a run that is replaced will be removed.
        if self._cleaning.store is not None or (self._training.resume and self.store.is_file()):
            store.check(self.store)
        with ExitStack() as stack:
            models = self._cleaning.open_models(stack)
            config = self._cleaning.config
            find_method(config)(config, models, lambda engine: Asker(engine, store.MemoryStore(), Stats()))
            mining = {"corpus": corpus.digest, "retrievers": [s.name for s in searchers.values()]}
            mining |= {"score_by": self._scorer, **self._mining.settings.model_dump(mode="json")}
            cleaning = {**_cleaning_settings(self._cleaning.config), **models.names}
        return {
            "refresh_negatives": self._every,
            **{f"refresh_mining.{name}": value for name, value in mining.items()},
            **{f"refresh_cleaning.{name}": value for name, value in cleaning.items()},
        }

    def __call__(self, model: Any, epochs_done: int) -> Iterable[Group | CleanedGroup] | None:
        """See `OnEpoch`. Groups are mined and cleaned while the main process reads them; None between refreshes."""
        return None if epochs_done % self._every else self._refresh(model, epochs_done)

    def _refresh(self, model: Any, epoch: int) -> Iterator[Group | CleanedGroup]:
        self._run.folder.groups.mkdir(exist_ok=True)
        done = RefreshTally(MiningCounts(self._mining.settings))
        self._mine(model, epoch, done)
        with ExitStack() as stack:
            models = self._cleaning.open_models(stack)
            answers = self._open_store(models, stack)
            failed = stack.enter_context(JsonlIfAny(self._path(epoch, _FAILURES), overwrite=True))
            yield from self._clean(epoch, done, models, answers, failed)
            failed.commit()
            self._finish(epoch, done, models)

    def _open_store(self, models: Models, stack: ExitStack) -> store.ResponseStore:
        if not models.engines:
            return store.MemoryStore()
        return stack.enter_context(store.SqliteStore(self.store, model=models.engines[0].model))

    def _mine(self, model: Any, epoch: int, done: RefreshTally) -> None:
        """Write the groups in use with their new negatives, of which there may be none."""
        identity = f"{self._run.folder.path.name} after epoch {epoch}"
        if None in self._mining.retrievers.values():
            identity += f"@{hash_weights(model)}"
        queries, qrels = {}, {}
        for group in self._read_present(epoch):
            queries[group.query_id] = group.query
            qrels[group.query_id] = {passage.doc_id: 1 for passage in group.positives}
        name, corpus = self.opened
        searchers = self._mining.open_searchers(corpus, model, identity)
        done.retrievers = [searcher.name for searcher in searchers.values()]
        _LOG.info("after epoch %d: mining in %s with %s", epoch, name, ", ".join(done.retrievers))
        found = mine(
            Collection(name=name, queries=queries, qrels=qrels, corpus=corpus),
            [*searchers.values()],
            self._mining.settings,
            scorer=searchers[self._scorer],
            filtered=self._run.filtered.contains,
        )
        with GroupWriter(self._path(epoch, _MINED), "tevatron", overwrite=True) as writer:
            for group, mined in zip(self._read_present(epoch), found, strict=True):
                done.mined.add(mined)
                after = replace(group, negatives=mined.group.negatives if mined.group is not None else ())
                done.add_mined(group, after)
                writer.write(after)

    def _clean(
        self, epoch: int, done: RefreshTally, models: Models, answers: store.ResponseStore, failed: JsonlIfAny
    ) -> Iterator[Group | CleanedGroup]:
        """Clean the mined groups; those without a negative stay as they are."""
        waiting: deque[Group] = deque()

        def read_mined() -> Iterator[Group]:
            mined = read(self._path(epoch, _MINED), require_negatives=False)
            for first, group in zip(reread_groups(self._training), mined, strict=True):
                waiting.append(group)
                if group.negatives:
                    yield replace(group, positives=first.positives)

        _LOG.info("after epoch %d: cleaning %d groups", epoch, done.mined.groups)
        logged = time.monotonic()
        stream = clean_groups(
            read_mined(),
            models,
            config=self._cleaning.config,
            store=answers,
            stats=done.progress.stats,
            on_failure=failed.add,
        )
        with closing(stream):
            for cleaned in stream:
                while waiting[0].query_id != cleaned.group.query_id:
                    yield waiting.popleft()
                done.add_cleaned(cleaned)
                yield _restore_positives(cleaned, waiting.popleft())
                if time.monotonic() - logged >= _EVERY:
                    logged = time.monotonic()
                    _LOG.info("%d of %d groups cleaned", done.progress.tally.groups, done.mined.groups)
        yield from waiting

    def _finish(self, epoch: int, done: RefreshTally, models: Models) -> None:
        """Write the summary; but if too many requests got no answer, raise TooManyFailures."""
        content = done.summarize_cleaning(self._cleaning.config, models, {"store": str(self.store.resolve())})
        if reason := failures.describe_excess(content, self._cleaning.max_failures):
            raise TooManyFailures(
                f"the refresh after epoch {epoch}: {reason}: {self._path(epoch, _FAILURES)}. Training stops here. The "
                "same command with --resume asks only these again; a larger refresh.cleaning.max_failures allows more"
            )
        counts = done.make_counts()
        done.write(self._path(epoch, SUMMARY), counts, content)
        _LOG.info("after epoch %d: %s", epoch, describe(counts))

    def _read_present(self, epoch: int) -> Iterator[Group]:
        """The groups in use, in the order of the first groups. A group that a refresh dropped is as it was at first."""
        written = (self._path(each, GROUPS) for each in reversed(range(1, epoch)))
        latest = next((path for path in written if path.is_file()), None)
        later = read(latest, require_negatives=False) if latest is not None else iter(())
        present = next(later, None)
        for group in reread_groups(self._training):
            if present is None or present.query_id != group.query_id:
                yield group
                continue
            yield replace(group, positives=present.positives, negatives=present.negatives)
            present = next(later, None)

    @property
    def _scorer(self) -> str:
        return self._mining.score_by or next(iter(self._mining.retrievers))

    def _path(self, epoch: int, name: str) -> Path:
        return self._run.folder.groups / name.format(epoch)


def _restore_positives(cleaned: CleanedGroup, mined: Group) -> CleanedGroup:
    """A cleaned group with all positives that its query has in the mined group."""
    count = len(cleaned.group.positives)
    more = tuple(
        Decision(doc_id=passage.doc_id, action="keep", reason=Reason.POSITIVE) for passage in mined.positives[count:]
    )
    decisions = (*cleaned.decisions[:count], *more, *cleaned.decisions[count:])
    return replace(cleaned, group=mined, decisions=decisions)


def _cleaning_settings(config: CleanConfig) -> Mapping[str, Any]:
    """The settings of cleaning, with a hash instead of the long calibrations."""
    settings = config.model_dump(mode="json")
    calibrations = orjson.dumps(settings.pop("calibrations"), option=orjson.OPT_SORT_KEYS)
    return {**settings, "calibrations": hashlib.sha256(calibrations).hexdigest()}
