"""A few changed passages that are shown when a run ends, picked while its groups pass by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from arhn.types import CleanedGroup

Why = Literal["surest relabelled", "surest dropped", "closest call"]


class Example(NamedTuple):
    """A changed passage: the one at `place` among `cleaned.group.passages`."""

    why: Why
    cleaned: CleanedGroup
    place: int


@dataclass(slots=True)
class Examples:
    """The change to a positive that is surest, the dropped passage that is surest, and the change that is least sure.

    At most three groups are kept.
    """

    _best: dict[Why, tuple[float, Example]] = field(default_factory=dict)

    def add(self, cleaned: CleanedGroup) -> None:
        """Look at a group."""
        if not (cleaned.relabelled or cleaned.filtered):
            return
        confidences = {e.doc_id: e.confidence for e in cleaned.extractions}
        for place, decision in enumerate(cleaned.decisions):
            if decision.action != "keep":
                surest: Why = "surest relabelled" if decision.action == "relabel" else "surest dropped"
                confidence = confidences.get(decision.doc_id)
                self._compare(Example(surest, cleaned, place), -1.0 if confidence is None else confidence)
                if confidence is not None:
                    self._compare(Example("closest call", cleaned, place), -confidence)

    def _compare(self, example: Example, value: float) -> None:
        if example.why not in self._best or value > self._best[example.why][0]:
            self._best[example.why] = value, example

    @property
    def found(self) -> tuple[Example, ...]:
        """At most three, no passage twice."""
        seen: dict[tuple[str, int], Example] = {}
        for _, example in self._best.values():
            seen.setdefault((example.cleaned.group.query_id, example.place), example)
        return tuple(seen.values())


__all__ = ["Example", "Examples"]
