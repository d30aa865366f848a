"""What a ranker is: it is given a group's candidates and puts them in the order of how directly they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import RankerSettings
from arhn.cleaning.prompts import FamilyPrompts
from arhn.types import Extraction, Passage, Ranking


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What is put in order: a query's labelled positives, and the negatives that answer it; at least one of each.

    `extractions`: by `doc_id`, with the words that answer. `prompts`: those of the query's family.
    """

    query: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]
    extractions: Mapping[str, Extraction]
    prompts: FamilyPrompts

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Positives, then negatives."""
        return self.positives + self.negatives


class Ranker(Protocol):
    """Puts candidates in order."""

    async def rank(self, candidates: Candidates) -> Ranking:
        """The order of the candidates' `doc_id`s, the most direct answer first.

        Where an answer was broken, the ranking is `failed`, or leaves candidates out: then their labels stay.
        """
        ...


#: Makes a ranker for a run: what asks the LLM (its model, its context), and the settings.
RankerMaker = Callable[[Asker, RankerSettings], Ranker]

__all__ = ["Candidates", "Ranker", "RankerMaker"]
