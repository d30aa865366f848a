"""The groups that bench/retriever.py trains on: as they are, cleaned by each method, by the gold labels, and with a
known share of false negatives."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from arhn import weights
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import clean_groups
from arhn.engines import Capabilities, Completion, Engine, Request
from arhn.engines.llamacpp import LlamaCppEngine
from arhn.errors import EngineError
from arhn.retrieval.collection import Collection
from arhn.retrieval.similarity import Similarity
from arhn.store import info
from arhn.types import Action, CleanedGroup, Group, Mode, Passage
from bench.methods import Scored
from bench.scoring import Gold, oracle, store_at

MODES = tuple(mode.value for mode in Mode)
#: All that `arms` makes, as tables show them.
NAMES = ("none", "margin", *MODES, "oracle")
#: The oracle of the table; those of the noise curve do one thing each.
BEST: Mapping[str, Action] = {"false_negative": "relabel", "ambiguous": "filter"}
FILTER: Mapping[str, Action] = {"false_negative": "filter"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Groups to train on, and what was filtered from queries, by query_id: no negatives of these any more."""

    name: str
    groups: Sequence[Group]
    filtered: Mapping[str, Sequence[Passage]]

    @classmethod
    def of(cls, name: str, cleaned: Iterable[CleanedGroup]) -> Arm:
        kept = [c for c in cleaned if not c.dropped]
        filtered = {c.group.query_id: c.filtered for c in kept if c.filtered}
        return cls(name=name, groups=[c.cleaned for c in kept], filtered=filtered)

    def labels(self, gold: Gold) -> dict[str, float]:
        """What is left among the negatives: the share of all false negatives, and of all true ones that are gone."""
        left = {(g.query_id, p.doc_id) for g in self.groups for p in g.negatives}
        of = {
            wanted: [(q, d) in left for q, labels in gold.items() for d, label in labels.items() if label == wanted]
            for wanted in ("false_negative", "true_negative")
        }
        false, true = (sum(found) / max(1, len(found)) for found in of.values())
        return {"FN left": false, "TN lost": 1 - true}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaners:
    """What the arms are cleaned with: an LLM with the store of its answers, and a similarity model."""

    llm: str
    store: Path | None
    stored_only: bool
    similarity: str


def arms(names: Sequence[str], groups: Sequence[Group], gold: Gold, cleaners: Cleaners) -> Iterator[Arm]:
    """The arms of the table, in the order of `names`.

    Raises:
        EngineError: `stored_only`, and an answer isn't in the store.
    """
    for name in names:
        if name == "none":
            yield Arm(name=name, groups=groups, filtered={})
        elif name == "margin":
            similarity = Scored(Similarity(cleaners.similarity), groups)
            yield Arm.of(name, clean_groups(groups, Models(similarity=similarity), config=CleanConfig(method="margin")))
        elif name == "oracle":
            yield Arm.of(name, oracle(groups, gold, BEST))
        else:
            yield Arm.of(name, _cleaned(Mode(name), groups, cleaners))


def _cleaned(mode: Mode, groups: Sequence[Group], cleaners: Cleaners) -> list[CleanedGroup]:
    with _on_demand(cleaners) as engine, store_at(cleaners.store, engine.model) as store:
        return list(clean_groups(groups, engine, config=CleanConfig(mode=mode), store=store))


@contextmanager
def _on_demand(cleaners: Cleaners) -> Iterator[Engine]:
    engine = _OnDemand(cleaners)
    try:
        yield engine
    finally:
        asyncio.run(engine.aclose())


class _OnDemand:
    """An LLM that is loaded when an answer is missing from the store, or, with `stored_only`, never."""

    capabilities = Capabilities(constraints=True, logprobs=True, concurrency=1, context=4096)

    def __init__(self, cleaners: Cleaners) -> None:
        self._path = weights.resolve(cleaners.llm)
        self._identity = weights.identity(self._path)
        self._refusing = cleaners.stored_only
        self._engine: LlamaCppEngine | None = None
        self.model = self._known(cleaners.store) or self._loaded().model

    def _known(self, store: Path | None) -> str | None:
        """What the store calls the LLM, where it has answers of it."""
        models = info(store).models if store is not None and store.exists() else ()
        return next((m.model for m in models if m.model.startswith(f"{self._identity} ")), None)

    def _loaded(self) -> LlamaCppEngine:
        if self._refusing:
            raise EngineError(f"--stored-only: the store lacks an answer of {self._identity}; leave it out to ask")
        if self._engine is None:
            self._engine = LlamaCppEngine(self._path, model=self._identity, context=self.capabilities.context)
        return self._engine

    async def complete(self, request: Request) -> Completion:
        return await self._loaded().complete(request)

    async def aclose(self) -> None:
        if self._engine is not None:
            await self._engine.aclose()


class Noise:
    """Groups with a known share of false negatives, made from gold labels alone.

    Each keeps its positives and `negatives` negatives: its first true ones, some of which make room for passages
    that the complete qrels call relevant to the query. The same seed puts them in the same places at every level:
    a higher level only adds to them. Groups with fewer true negatives are left out.
    """

    def __init__(self, groups: Sequence[Group], gold: Gold, collection: Collection, negatives: int) -> None:
        self._negatives = negatives
        self._groups = [g for found in groups if len((g := _truly(found, gold, collection)).negatives) >= negatives]
        self._relevant = {g.query_id: _others(g, collection)[:negatives] for g in self._groups}
        self.slots = negatives * len(self._groups)

    @property
    def most(self) -> float:
        """The largest share of negatives that can be false."""
        return sum(map(len, self._relevant.values())) / self.slots

    def level(self, share: float, seed: int) -> Level:
        """Groups in which that share of all negatives is false, to the nearest passage."""
        pairs = [(q, p) for q, passages in self._relevant.items() for p in passages]
        random.Random(seed).shuffle(pairs)
        false: dict[str, list[Passage]] = {}
        for query_id, passage in pairs[: round(share * self.slots)]:
            false.setdefault(query_id, []).append(passage)
        return Level(
            groups=[self._noisy(g, false.get(g.query_id, [])) for g in self._groups],
            gold={g.query_id: {p.doc_id: "false_negative" for p in false.get(g.query_id, [])} for g in self._groups},
        )

    def _noisy(self, group: Group, false: Sequence[Passage]) -> Group:
        return replace(group, negatives=(*group.negatives[: self._negatives - len(false)], *false))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Noisy groups, and which of their negatives are false."""

    groups: Sequence[Group]
    gold: Gold

    @property
    def share(self) -> float:
        """Of the negatives that are false."""
        return sum(map(len, self.gold.values())) / sum(len(g.negatives) for g in self.groups)

    @property
    def hit(self) -> float:
        """The share of the groups that hold a false negative."""
        return sum(map(bool, self.gold.values())) / len(self.groups)

    def arms(self) -> tuple[Arm, ...]:
        """The noise as it is, all false negatives filtered, all of them relabelled; one arm where there is no noise."""
        none = Arm(name="none", groups=self.groups, filtered={})
        if not self.share:
            return (none,)
        filtered = oracle(self.groups, self.gold, FILTER)
        return none, Arm.of("filtered", filtered), Arm.of("relabelled", oracle(self.groups, self.gold))


def _truly(group: Group, gold: Gold, collection: Collection) -> Group:
    """The group with its true negatives only."""
    labels, relevant = gold[group.query_id], set(collection.positives(group.query_id))
    true = (p for p in group.negatives if labels.get(p.doc_id) == "true_negative" and p.doc_id not in relevant)
    return replace(group, negatives=tuple(true))


def _others(group: Group, collection: Collection) -> list[Passage]:
    """The relevant passages that aren't among the group's positives."""
    own = {p.doc_id for p in group.positives}
    wanted = [d for d in collection.positives(group.query_id) if d not in own]
    return collection.corpus.read_at(list(collection.corpus.find_positions(wanted).values()))
