"""What a cleaning run would ask, from a sample of its groups.

The pipeline itself runs over the sample, with an engine that counts and doesn't compute. What it is answered is
assumed, at a low, a middle and a high rate; what an earlier run's store holds is answered from there and costs nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from arhn.cleaning.auto_calibration import needs_assumptions
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.first_groups import open_groups
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import clean_groups
from arhn.cleaning.stats import StageStats, Stats
from arhn.engines import Engine
from arhn.errors import UsageError
from arhn.estimate.assumptions import Assumed, Rates
from arhn.estimate.counting import Cost, CountingEngine, StartingStore
from arhn.estimate.pilot import Pilot, Range
from arhn.estimate.reuse import Reuse
from arhn.estimate.sample import Sample
from arhn.estimate.tokens import Once, Tokenizer
from arhn.store import StoredAnswers
from arhn.types import CleanedGroup, Group

_RESAMPLES = 1000
_TAIL = 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class Counting:
    """How requests are counted. `reuse` makes a new, empty one for every count; `described` is that in words."""

    tokenizer: Tokenizer
    reuse: Callable[[], Reuse]
    described: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a run over all groups would take, and what that was worked out from.

    `stages`: the middle estimate by stage. `known`: sampled groups that the store answers altogether.
    `answering`: share of the sample's negatives that came out as answering.
    """

    groups: int
    sampled: int
    known: int
    passages: int
    low: Cost
    middle: Cost
    high: Cost
    stages: Mapping[str, Cost]
    answering: float
    pilot: Pilot

    def of(self, value: Callable[[Cost], float]) -> Range:
        """One number of it with its bounds."""
        return Range(low=value(self.low), middle=value(self.middle), high=value(self.high))


def estimate(
    sample: Sample,
    *,
    config: CleanConfig,
    models: Models,
    counting: Counting,
    pilot: Pilot | None = None,
    stored: StoredAnswers | None = None,
) -> Estimate:
    """Count over the sample and extrapolate by the number of passages.

    Bounds hold both what answers are assumed and a 95% bootstrap interval over the sampled groups: which of them have
    answering negatives is drawn, even where all were sampled.

    Args:
        models: whose names and abilities count; no LLM of them is asked.
        pilot: what an earlier run on such data found; unless given, what `stored` holds of these groups, else usual
            rates.
        stored: answers that cost nothing.

    Raises:
        UsageError: the method asks no LLM.
    """
    if models.engine is None:
        raise UsageError(f"method {config.method}: asks no LLM, so there is nothing to estimate")
    # Families as a run settles them; from fewer first groups, where the caller hasn't settled them.
    config, _ = open_groups(sample.first, config)
    counting = replace(counting, tokenizer=Once(counting.tokenizer))
    config, models = _decide_as_assumed(config, models)
    run = _Run(config=config, models=models, counting=counting, stored=stored)
    pilot = pilot or (_learn(run, sample) if stored else None) or Pilot.usual()
    rates = pilot.answering
    low, middle, high = (
        run.count(sample.groups, pilot.rates(share)) for share in (rates.low, rates.middle, rates.high)
    )
    return Estimate(
        groups=sample.total,
        sampled=len(sample.groups),
        known=sum(g.query_id not in middle.costs for g in sample.groups) if stored else 0,
        passages=sample.passages,
        low=_find_bound(sample, low.costs, _TAIL),
        middle=middle.total.times(sample.factor),
        high=_find_bound(sample, high.costs, 1 - _TAIL),
        stages={name: _read_cost(stage).times(sample.factor) for name, stage in middle.stats.stages.items()},
        answering=middle.answering,
        pilot=pilot,
    )


def _decide_as_assumed(config: CleanConfig, models: Models) -> tuple[CleanConfig, Models]:
    """For runs that make their own calibrations: assumed answers decide by themselves, for nothing is learnt from them.

    What such a calibration would spare by `triage` or `precision` isn't known before, and is counted.
    """
    if not needs_assumptions(config, models.engine.capabilities if models.engine else None):
        return config, models
    own = config.own_calibrations
    if own:
        return config.model_copy(update={"calibrations": (*own, "none")}), models
    update = {"calibrations": ("none",), "precision": None, "triage": None}
    return config.model_copy(update=update), replace(models, small_model=None, similarity=None)


@dataclass(slots=True)
class _Counts:
    """One count over some groups."""

    costs: dict[str, Cost]
    stats: Stats
    cleaned: list[CleanedGroup]

    @property
    def total(self) -> Cost:
        return sum(self.costs.values(), Cost())

    @property
    def answering(self) -> float:
        hits, of = count_answering(self.cleaned)
        return hits / of if of else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    config: CleanConfig
    models: Models
    counting: Counting
    stored: StoredAnswers | None

    def count(self, groups: Sequence[Group], rates: Rates) -> _Counts:
        """Clean them with assumed answers."""
        assumed = Assumed({g.query_id: g for g in groups}, rates, self.config)
        engine, small = (self._make_counting(e, assumed) for e in (self.models.engine, self.models.small_model))
        models = replace(self.models, engine=engine, small_model=small)
        stats = Stats()
        cleaned = self._clean(groups, models, stats)
        costs: dict[str, Cost] = {}
        for each in filter(None, (engine, small)):
            for query, cost in each.costs.items():
                costs[query] = costs.get(query, Cost()) + cost
        return _Counts(costs, stats, cleaned)

    def _clean(self, groups: Sequence[Group], models: Models, stats: Stats) -> list[CleanedGroup]:
        return list(clean_groups(groups, models, config=self.config, store=StartingStore(self.stored), stats=stats))

    def _make_counting(self, engine: Engine | None, assumed: Assumed) -> CountingEngine | None:
        if engine is None:
            return None
        counting = self.counting
        return CountingEngine(
            engine.model,
            engine.capabilities,
            tokenizer=counting.tokenizer,
            reuse=counting.reuse(),
            assumed=assumed,
        )


def _learn(run: _Run, sample: Sample) -> Pilot | None:
    """Rates from the groups that the store answers altogether; None where there is none."""
    groups = {g.query_id: g for g in (*sample.first, *sample.groups)}
    counts = run.count(tuple(groups.values()), Pilot.usual().rates(Pilot.usual().answering.middle))
    known = [c for c in counts.cleaned if c.group.query_id not in counts.costs]
    hits, of = count_answering(known)
    if not of:
        return None
    words = [len(e.snippet.split()) for c in known for e in c.extractions if e.snippet]
    return Pilot.measured(hits, of, words=round(sum(words) / len(words)) if words else None, source="the store")


def count_answering(cleaned: Sequence[CleanedGroup]) -> tuple[int, int]:
    """How many negatives answer, and how many were asked about."""
    statuses = [
        e.status
        for c in cleaned
        for e in c.extractions
        if e.doc_id in {p.doc_id for p in c.group.negatives} and e.status != "unknown"
    ]
    return sum(status == "answer" for status in statuses), len(statuses)


def _find_bound(sample: Sample, costs: Mapping[str, Cost], share: float) -> Cost:
    """A quantile of each number over what other samples of as many groups might have given."""
    of = [costs.get(g.query_id, Cost()) for g in sample.groups]
    if len(of) < 2:
        return sum(of, Cost()).times(sample.factor)
    rng = random.Random(0)  # noqa: S311 - no secret depends on it  # nosec B311 - no secret depends on it
    draws = [rng.choices(range(len(of)), k=len(of)) for _ in range(_RESAMPLES)]
    factors = [sample.passages / max(1, sum(sample.weights[i] for i in drawn)) for drawn in draws]
    at = min(_RESAMPLES - 1, int(share * _RESAMPLES))

    def quantile(name: str) -> float:
        amounts: list[float] = [getattr(cost, name) for cost in of]
        sums = (sum(amounts[i] for i in drawn) for drawn in draws)
        return sorted(total * factor for total, factor in zip(sums, factors, strict=True))[at]

    return Cost(**{f.name: quantile(f.name) for f in fields(Cost)})


def _read_cost(stage: StageStats) -> Cost:
    return Cost(
        calls=stage.asked,
        prompt=stage.prompt_tokens,
        computed=stage.prompt_tokens - stage.cached_tokens,
        completion=stage.completion_tokens,
    )


__all__ = ["Counting", "Estimate", "count_answering", "estimate"]
