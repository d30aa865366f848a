"""ARHN: extraction, ranking, decisions (arXiv 2604.11092), with calibrated confidences and abstention."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from arhn.cleaning.auto_calibration import needs_assumptions
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.signals import Signals
from arhn.cleaning.extract.stage import Evidence, Extracted, ExtractionStage
from arhn.cleaning.extract.verdicts import VerdictAsker
from arhn.cleaning.methods.method import AskerFor, Basis, require_llm
from arhn.cleaning.models import Models, ModelsRecord
from arhn.cleaning.rank.fullness import FullnessStage
from arhn.cleaning.rank.stage import RankingStage
from arhn.cleaning.relabel import decide, find_reasons, finish, hold_against_floor, hold_back_unsure
from arhn.cleaning.select import Parts, add_copies, find_spares, take_apart
from arhn.cleaning.setup import is_judged, set_up, set_up_uncalibrated
from arhn.engines import Engine
from arhn.errors import UsageError
from arhn.families.choice import LEFT_ALONE, Choice, family_of
from arhn.types import CleanedGroup, Extraction, Group, Mode, Passage, Reason

#: Of a calibration, what a run looks something up in; summaries go without it.
_ONLY_LOOKED_UP = {"curve", "triage"}


class Arhn:
    """Cleans one group at a time.

    Args:
        models: the LLM; a small model and a similarity where there are any. Triage goes by the small model's verdicts,
            else by the similarity.
        calibrated: False where only `gather_evidence` is wanted, to make a calibration from.

    Raises:
        UsageError: there is no LLM, or the small model can't say how sure it is.
        CalibrationError: a precision, or a second signal, for which this model has no calibration.
    """

    asks_llm = True

    def __init__(self, config: CleanConfig, models: Models, asker_for: AskerFor, *, calibrated: bool = True) -> None:
        asker = asker_for(require_llm(models, config))
        small_model = _check_small_model(models)
        self._config = config
        self._setups = set_up(config, models.record) if calibrated else set_up_uncalibrated(config)
        first = None if small_model is None else VerdictAsker(asker_for(small_model), config, stage="flag")
        self._extraction = ExtractionStage(asker, config, models.similarity, small_model=first)
        self._ranking = RankingStage(asker, config)
        self._fullness = FullnessStage(asker, config)

    @classmethod
    def describe_basis(cls, config: CleanConfig, described: ModelsRecord, families: Sequence[str]) -> Basis:
        """Hashes of the families' prompts; and their calibrations, `calibrated` false where the LLM's word decided."""
        setups = set_up(config, described)
        return Basis(
            prompts={name: setups[name].prompts.hashes for name in families if name},
            calibrations={
                name: (setup := setups[name]).calibration.model_dump(mode="json", exclude=_ONLY_LOOKED_UP)
                | {"calibrated": setup.fitted, "source": setup.source}
                for name in families
                if name
            },
        )

    @classmethod
    def take_fingerprint(cls, config: CleanConfig, described: ModelsRecord) -> str:
        """Prompts and calibrations of every family, and what was decided for the data set as a whole.

        Without calibrations where the run is yet to make them.
        """
        assumes = needs_assumptions(config, described.capabilities)
        setups = set_up_uncalibrated(config) if assumes else set_up(config, described)
        return f"{setups!r} {config.families.opened!r}"

    async def clean(self, group: Group) -> CleanedGroup:
        """Both stages and the decisions of one group."""
        config = self._config
        choice = family_of(group, config.families)
        parts = take_apart(group, config.negatives)
        if choice.family == LEFT_ALONE:
            return _leave_alone(group, parts, config, choice)
        setup = self._setups[choice.family]
        if not is_judged(choice, setup):
            return _leave_alone(group, parts, config, choice)
        if group.query_id in config.judged:
            setup = replace(setup, triage=None)
        positives, negatives = _split_by_label(group, parts)
        extracted = await self._extraction.extract(group.query, positives, negatives, setup)
        extractions = add_copies({e.doc_id: e for e in extracted.extractions}, parts)
        ranks = config.mode is not Mode.DROP
        ranking = await self._ranking.rank(group, extractions, parts.copies, setup) if ranks else None
        bar = setup.calibration.relabel
        unsure = hold_back_unsure(group, extractions, ranking, bar=bar) if config.mode.relabels else {}
        extractions, held_back = await self._fullness.compare(group, extractions, ranking, setup, unsure)
        found = find_reasons(group, extractions, ranking, held_back={**held_back, **unsure}, ranks=ranks)
        decisions = decide(group, found, mode=config.mode, copies=parts.copies, unused=parts.unused_ids)
        floored = hold_against_floor(group, decisions, floor=config.floor, policy=config.floor_policy)
        if floored.wanted:
            another = partial(
                self._extraction.extract_another, group.query, positives, setup=setup, extracted=extracted
            )
            taken = await self._backfill(parts, extractions, extracted, floored.wanted, another)
            floored = floored.backfill(taken)
        return finish(
            group,
            floored,
            extractions=extractions,
            ranking=ranking,
            similarities=_by_passage(negatives, extracted.similarities),
            family=str(choice.family),
            family_from=choice.source,
        )

    async def gather_evidence(self, group: Group) -> Evidence:
        """What the confidences of a group are made from, of `find_asked_negatives`; labels aren't looked at."""
        family = family_of(group, self._config.families).family
        if family == LEFT_ALONE:
            return Evidence(positives=(), negatives={})
        setup = self._setups[family]
        positives, negatives = _split_by_label(group, take_apart(group, self._config.negatives))
        return await self._extraction.gather_evidence(group.query, positives, negatives, setup)

    async def _backfill(
        self,
        parts: Parts,
        extractions: dict[str, Extraction],
        extracted: Extracted,
        wanted: int,
        extract: Callable[[Passage], Awaitable[Extraction]],
    ) -> frozenset[str]:
        """Ask unused negatives in their order until enough of them don't answer; returns those."""
        if extracted.means is None:
            return frozenset()
        taken: list[str] = []
        for passage in find_spares(parts):
            if len(taken) == wanted:
                break
            extraction = await extract(passage)
            extractions[passage.doc_id] = extraction
            if extraction.status == "no_answer":
                taken.append(passage.doc_id)
        return frozenset(taken)


def _by_passage(passages: Sequence[Passage], signals: Signals) -> dict[str, dict[str, float]]:
    """The signals of each passage, by `doc_id`."""
    return {
        p.doc_id: {name: value for name, values in signals.items() if (value := values[i]) is not None}
        for i, p in enumerate(passages if signals else ())
    }


def _leave_alone(group: Group, parts: Parts, config: CleanConfig, choice: Choice) -> CleanedGroup:
    """A group whose row names a task that no family fits, or whose family isn't judged: labels stay."""
    reasons = {p.doc_id: Reason.POSITIVE for p in group.positives}
    reasons |= {p.doc_id: Reason.UNDISPUTED for p in group.negatives}
    decisions = decide(group, reasons, mode=config.mode, copies=parts.copies, unused=parts.unused_ids)
    floored = hold_against_floor(group, decisions, floor=config.floor, policy=config.floor_policy)
    return finish(group, floored, family=str(choice.family), family_from=choice.source)


def _check_small_model(models: Models) -> Engine | None:
    small_model = models.small_model
    if small_model is not None and not small_model.capabilities.logprobs:
        raise UsageError(
            f"small_model: {small_model.model} gives no log-probabilities, so it can't say which negatives are "
            "likelier to answer. Use another model or server, or triage by --similarity"
        )
    return small_model


def find_asked_negatives(group: Group, limit: int | None) -> tuple[Passage, ...]:
    """The negatives that are asked about: the first `limit`, without copies of earlier passages."""
    return tuple(_split_by_label(group, take_apart(group, limit))[1])


def _split_by_label(group: Group, parts: Parts) -> tuple[Sequence[Passage], Sequence[Passage]]:
    """Positives and negatives that are asked about."""
    positives = {p.doc_id for p in group.positives}
    return [p for p in parts.asked if p.doc_id in positives], [p for p in parts.asked if p.doc_id not in positives]
