"""ARHN: extraction, ranking, decisions (arXiv 2604.11092), with calibrated confidences and abstention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.extract.stage import Evidence, Extracted, ExtractionStage
from arhn.cleaning.extract.verdicts import VerdictAsker
from arhn.cleaning.rank.stage import RankingStage
from arhn.cleaning.relabel import decide, floored, reasons
from arhn.cleaning.select import Parts, spares, take_apart, with_copies
from arhn.cleaning.setup import Task, samples_of, tasks_for, uncalibrated_tasks
from arhn.engines import Capabilities
from arhn.families.choice import family_of
from arhn.retrieval.similarity import Similarity
from arhn.types import CleanedGroup, Extraction, Group, Passage


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallModel:
    """A smaller model that is asked about every negative first: who asks it, and what it can do."""

    asker: Asker
    capabilities: Capabilities


class Arhn:
    """Cleans one group at a time; everything it asks goes through `asker`.

    Args:
        small_model: triage goes by what it says, else by `similarity`.
        calibrated: False where only `evidence` is wanted, to make a calibration from.

    Raises:
        CalibrationError: a precision, or a second signal, for which this model has no calibration.
    """

    def __init__(
        self,
        asker: Asker,
        config: CleanConfig,
        capabilities: Capabilities,
        similarity: Similarity | None = None,
        *,
        small_model: SmallModel | None = None,
        calibrated: bool = True,
    ) -> None:
        self._config = config
        if calibrated:
            self._tasks = tasks_for(
                config,
                asker.model,
                samples_of(config, capabilities),
                scorer=similarity.identity if similarity else "",
                small_model=small_model.asker.model if small_model else "",
            )
        else:
            self._tasks = uncalibrated_tasks()
        front = (
            None
            if small_model is None
            else VerdictAsker(small_model.asker, config, small_model.capabilities, stage="flag")
        )
        self._extraction = ExtractionStage(asker, config, capabilities, similarity, small_model=front)
        self._ranking = RankingStage(asker, config, capabilities)

    async def clean(self, group: Group) -> CleanedGroup:
        """Both stages and the decisions of one group."""
        config = self._config
        choice = family_of(group, config.families)
        task = self._tasks[choice.family]
        parts = take_apart(group, config.negatives)
        positives, negatives = _apart(group, parts)
        extracted = await self._extraction.extract(group.query, positives, negatives, task)
        extractions = with_copies({e.doc_id: e for e in extracted.extractions}, parts)
        ranking = await self._ranking.rank(group, extractions, parts.copies, task)
        extractions, held_back = await self._ranking.compare_fullness(group, extractions, ranking, task)
        found = reasons(group, extractions, ranking, held_back=held_back)
        decisions = decide(group, found, mode=config.mode, copies=parts.copies, unused=parts.unused_ids)
        kept = floored(group, decisions, config)
        if kept.wanted:
            taken = await self._backfill(group, parts, extractions, extracted, kept.wanted, task)
            kept = kept.backfilled(taken)
        return CleanedGroup(
            group=group,
            decisions=kept.decisions,
            extractions=tuple(extractions[p.doc_id] for p in group.passages if p.doc_id in extractions),
            ranking=ranking,
            similarities={p.doc_id: s for p, s in zip(negatives, extracted.similarities or (), strict=False)},
            below_floor=kept.below,
            dropped=kept.dropped,
            family=choice.family.value,
            family_from=choice.source,
        )

    async def evidence(self, group: Group) -> Evidence:
        """What the confidences of a group are made from: the negatives of `asked_negatives`, labels unseen."""
        task = self._tasks[family_of(group, self._config.families).family]
        positives, negatives = _apart(group, take_apart(group, self._config.negatives))
        return await self._extraction.evidence(group.query, positives, negatives, task)

    async def _backfill(
        self,
        group: Group,
        parts: Parts,
        extractions: dict[str, Extraction],
        extracted: Extracted,
        wanted: int,
        task: Task,
    ) -> frozenset[str]:
        """Ask unused negatives in their order until enough of them don't answer; returns those."""
        if extracted.means is None:
            return frozenset()
        taken: list[str] = []
        for passage in spares(parts):
            if len(taken) == wanted:
                break
            extraction = await self._extraction.another(group.query, passage, task, extracted)
            extractions[passage.doc_id] = extraction
            if extraction.status == "no_answer":
                taken.append(passage.doc_id)
        return frozenset(taken)


def asked_negatives(group: Group, limit: int | None) -> tuple[Passage, ...]:
    """The negatives that are asked about: the first `limit`, without copies of earlier passages."""
    return tuple(_apart(group, take_apart(group, limit))[1])


def _apart(group: Group, parts: Parts) -> tuple[Sequence[Passage], Sequence[Passage]]:
    """Positives and negatives that are asked about."""
    positives = {p.doc_id for p in group.positives}
    return [p for p in parts.asked if p.doc_id in positives], [p for p in parts.asked if p.doc_id not in positives]
