"""Hard negatives mined and cleaned again between epochs: what [refresh] in a config file of `arhn train` asks for.

For each refresh the model as it is by then searches the corpus. Positives of a query are those it has in the groups
in use, so that what a refresh relabelled stays one, and what cleaning ever filtered from a query is no candidate. New
negatives are judged beside the positives of the first groups, not those that were relabelled since: what is known of a
pair is then asked for in the same words, and comes from the response store.
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
from arhn.cleaning.pipeline import clean
from arhn.cleaning.run import failures
from arhn.cleaning.stats import Stats
from arhn.errors import TooManyFailures, UsageError
from arhn.files.jsonl import JsonlIfAny
from arhn.formats import Format, GroupWriter, read
from arhn.mine.counts import Counts
from arhn.mine.mining import mine
from arhn.retrieval.collection import Collection
from arhn.retrieval.corpus import Corpus
from arhn.train.prepare import Prepared, Training, groups_of, named
from arhn.train.refresh.corpus import CURRENT, Mining, fingerprint, open_corpus
from arhn.train.refresh.groups import GROUPS, SUMMARY
from arhn.train.refresh.record import Done, described
from arhn.types import CleanedGroup, Decision, Group, Reason

STORE = "responses.sqlite"

_MINED, _FAILURES = "epoch-{}.mined.jsonl.zst", "epoch-{}.failures.jsonl"
#: Seconds between two lines of the log.
_EVERY = 30.0
_LOG = logging.getLogger("arhn.train")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaning:
    """How a refresh cleans. `open_models` is called for each, and hands what it opens to the stack.

    `store` is in the model's folder unless given. With more than the share `max_failures` of requests that get no
    answer, the run stops.
    """

    config: CleanConfig = field(default_factory=CleanConfig)
    open_models: Callable[[ExitStack], Models]
    store: Path | None = None
    max_failures: float = failures.USUAL_LIMIT


class NewNegatives:
    """Groups with new negatives after every `every` epochs: to be given to `arhn.train.job.train` as `on_epoch`."""

    def __init__(self, every: int, training: Training, run: Prepared, mining: Mining, cleaning: Cleaning) -> None:
        """Args:
            every: epochs between two refreshes.
            training: what is trained on what.
            run: what `prepare` made of it.

        Raises:
            UsageError: there would be no refresh, a reranker would have to retrieve, or the groups can be read only
                once.
        """
        if not 1 <= every < run.recipe.epochs:
            raise UsageError(
                f"refreshing every {every} epochs: there are {run.recipe.epochs} epochs, and nothing is refreshed "
                "after the last. Refresh more often, or train longer: --set epochs=N"
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
        """After how many epochs groups are refreshed."""
        return list(range(self._every, self._run.recipe.epochs, self._every))

    @cached_property
    def opened(self) -> tuple[str, Corpus]:
        """The collection's name and its corpus. Raises as `open_corpus`."""
        return open_corpus(self._mining, groups_of(self._training), named(self._training))

    def check(self) -> dict[str, Any]:
        """Find out whether refreshes are possible: corpus, retrievers, LLM and store are opened once.

        Returns:
            What later runs that go on with this one must have in common with it, for `Prepared.refreshing`.

        Raises:
            as `open_corpus`; and what opening retrievers and models raises.
            UsageError, CalibrationError: cleaning asks for what these models don't have.
            StoreError, OutputNotWritable: the store can't be used.
        """
        _, corpus = self.opened
        searchers = self._mining.searchers(corpus, None, CURRENT)
        # The folder's own goes with the run that is replaced.
        if self._cleaning.store is not None or (self._training.resume and self.store.is_file()):
            store.check(self.store)
        with ExitStack() as stack:
            models = self._cleaning.open_models(stack)
            config = self._cleaning.config
            find_method(config)(config, models, lambda engine: Asker(engine, store.MemoryStore(), Stats()))
            mining = {"corpus": corpus.digest, "retrievers": [s.name for s in searchers.values()]}
            mining |= {"score_by": self._scorer, **self._mining.settings.model_dump(mode="json")}
            cleaning = {**_settings(self._cleaning.config), **models.names}
        return {
            "refresh_negatives": self._every,
            **{f"refresh_mining.{name}": value for name, value in mining.items()},
            **{f"refresh_cleaning.{name}": value for name, value in cleaning.items()},
        }

    def __call__(self, model: Any, epochs_done: int) -> Iterable[Group | CleanedGroup] | None:
        """The groups to go on with; None between refreshes. Made while they are read, by the main process."""
        return None if epochs_done % self._every else self._renewed(model, epochs_done)

    def _renewed(self, model: Any, epoch: int) -> Iterator[Group | CleanedGroup]:
        self._run.folder.groups.mkdir(exist_ok=True)
        done = Done(Counts(self._mining.settings))
        self._mine(model, epoch, done)
        with ExitStack() as stack:
            models = self._cleaning.open_models(stack)
            answers = self._answers(models, stack)
            failed = stack.enter_context(JsonlIfAny(self._place(epoch, _FAILURES), overwrite=True))
            yield from self._cleaned(epoch, done, models, answers, failed)
            failed.commit()
            self._finish(epoch, done, models)

    def _answers(self, models: Models, stack: ExitStack) -> store.ResponseStore:
        if not models.engines:
            return store.MemoryStore()
        return stack.enter_context(store.SqliteStore(self.store, model=models.engines[0].model))

    def _mine(self, model: Any, epoch: int, done: Done) -> None:
        """Write every group in use with new negatives, which may be none."""
        identity = f"{self._run.folder.path.name} after epoch {epoch}"
        if None in self._mining.retrievers.values():
            identity += f"@{fingerprint(model)}"
        queries, qrels = {}, {}
        for group in self._present(epoch):
            queries[group.query_id] = group.query
            qrels[group.query_id] = {passage.doc_id: 1 for passage in group.positives}
        name, corpus = self.opened
        searchers = self._mining.searchers(corpus, model, identity)
        done.retrievers = [searcher.name for searcher in searchers.values()]
        _LOG.info("after epoch %d: mining in %s with %s", epoch, name, ", ".join(done.retrievers))
        found = mine(
            Collection(name=name, queries=queries, qrels=qrels, corpus=corpus),
            [*searchers.values()],
            self._mining.settings,
            scorer=searchers[self._scorer],
            filtered=self._run.filtered.holds,
        )
        with GroupWriter(self._place(epoch, _MINED), Format.TEVATRON, overwrite=True) as writer:
            for group, mined in zip(self._present(epoch), found, strict=True):
                done.mined.add(mined)
                after = replace(group, negatives=mined.group.negatives if mined.group is not None else ())
                done.add_mined(group, after)
                writer.write(after)

    def _cleaned(
        self, epoch: int, done: Done, models: Models, answers: store.ResponseStore, failed: JsonlIfAny
    ) -> Iterator[Group | CleanedGroup]:
        """What was mined, cleaned; groups without a negative as they are."""
        waiting: deque[Group] = deque()

        def asked() -> Iterator[Group]:
            mined = read(self._place(epoch, _MINED), require_negatives=False)
            for first, group in zip(groups_of(self._training), mined, strict=True):
                waiting.append(group)
                if group.negatives:
                    yield replace(group, positives=first.positives)

        _LOG.info("after epoch %d: cleaning %d groups", epoch, done.mined.groups)
        told = time.monotonic()
        stream = clean(
            asked(),
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
                yield _with_positives(cleaned, waiting.popleft())
                if time.monotonic() - told >= _EVERY:
                    told = time.monotonic()
                    _LOG.info("%d of %d groups cleaned", done.progress.tally.groups, done.mined.groups)
        yield from waiting

    def _finish(self, epoch: int, done: Done, models: Models) -> None:
        """Write what was done; before that, refuse groups for which too much was left unanswered."""
        content = done.cleaning(self._cleaning.config, models, {"store": str(self.store.resolve())})
        if said := failures.describe_excess(content, self._cleaning.max_failures):
            raise TooManyFailures(
                f"the refresh after epoch {epoch}: {said}: {self._place(epoch, _FAILURES)}. Training stops here. The "
                "same command with --resume asks only these again; a larger refresh.cleaning.max_failures allows more"
            )
        counts = done.counts()
        done.write(self._place(epoch, SUMMARY), counts, content)
        _LOG.info("after epoch %d: %s", epoch, described(counts))

    def _present(self, epoch: int) -> Iterator[Group]:
        """The groups in use, in the order of the first ones; as at first where a refresh dropped a group."""
        written = (self._place(each, GROUPS) for each in reversed(range(1, epoch)))
        latest = next((path for path in written if path.is_file()), None)
        later = read(latest, require_negatives=False) if latest is not None else iter(())
        present = next(later, None)
        for group in groups_of(self._training):
            if present is None or present.query_id != group.query_id:
                yield group
                continue
            yield replace(group, positives=present.positives, negatives=present.negatives)
            present = next(later, None)

    @property
    def _scorer(self) -> str:
        return self._mining.score_by or next(iter(self._mining.retrievers))

    def _place(self, epoch: int, name: str) -> Path:
        return self._run.folder.groups / name.format(epoch)


def _with_positives(cleaned: CleanedGroup, mined: Group) -> CleanedGroup:
    """With the positives that the query has by now."""
    count = len(cleaned.group.positives)
    more = tuple(
        Decision(doc_id=passage.doc_id, action="keep", reason=Reason.POSITIVE) for passage in mined.positives[count:]
    )
    decisions = (*cleaned.decisions[:count], *more, *cleaned.decisions[count:])
    return replace(cleaned, group=mined, decisions=decisions)


def _settings(config: CleanConfig) -> Mapping[str, Any]:
    """What cleaning hangs on; of calibrations, which are long, their hash."""
    settings = config.model_dump(mode="json")
    calibrations = orjson.dumps(settings.pop("calibrations"), option=orjson.OPT_SORT_KEYS)
    return {**settings, "calibrations": hashlib.sha256(calibrations).hexdigest()}
