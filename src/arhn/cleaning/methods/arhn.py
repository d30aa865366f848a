"""ARHN: extraction, ranking, decisions (arXiv 2604.11092), with calibrated confidences and abstention."""

from __future__ import annotations

from collections.abc import Sequence

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.extract.stage import Evidence, Extracted, ExtractionStage
from arhn.cleaning.extract.verdicts import VerdictAsker
from arhn.cleaning.rank.fullness import FullnessStage
from arhn.cleaning.rank.stage import RankingStage
from arhn.cleaning.relabel import decide, finish, hold_against_floor, reasons
from arhn.cleaning.select import Parts, spares, take_apart, with_copies
from arhn.cleaning.setup import Task, samples_of, tasks_for, uncalibrated_tasks
from arhn.families.choice import family_of
from arhn.retrieval.similarity import Similarity
from arhn.types import CleanedGroup, Extraction, Group, Passage


class Arhn:
    """Cleans one group at a time; everything it asks goes through `asker`.

    Args:
        small_model: asks a smaller LLM about every negative first; triage goes by what it says, else by `similarity`.
        calibrated: False where only `evidence` is wanted, to make a calibration from.

    Raises:
        CalibrationError: a precision, or a second signal, for which this model has no calibration.
    """

    def __init__(
        self,
        asker: Asker,
        config: CleanConfig,
        similarity: Similarity | None = None,
        *,
        small_model: Asker | None = None,
        calibrated: bool = True,
    ) -> None:
        self._config = config
        if calibrated:
            self._tasks = tasks_for(
                config,
                asker.model,
                samples_of(config, asker.capabilities),
                scorer=similarity.identity if similarity else "",
                small_model=small_model.model if small_model else "",
            )
        else:
            self._tasks = uncalibrated_tasks()
        front = None if small_model is None else VerdictAsker(small_model, config, stage="flag")
        self._extraction = ExtractionStage(asker, config, similarity, small_model=front)
        self._ranking = RankingStage(asker, config)
        self._fullness = FullnessStage(asker, config)

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
        extractions, held_back = await self._fullness.compare(group, extractions, ranking, task)
        found = reasons(group, extractions, ranking, held_back=held_back)
        decisions = decide(group, found, mode=config.mode, copies=parts.copies, unused=parts.unused_ids)
        floored = hold_against_floor(group, decisions, floor=config.floor, policy=config.floor_policy)
        if floored.wanted:
            taken = await self._backfill(group, parts, extractions, extracted, floored.wanted, task)
            floored = floored.backfilled(taken)
        return finish(
            group,
            floored,
            extractions=extractions,
            ranking=ranking,
            similarities={p.doc_id: s for p, s in zip(negatives, extracted.similarities or (), strict=False)},
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
