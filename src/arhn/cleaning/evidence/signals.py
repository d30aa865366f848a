"""The signals that speak for or against a passage, one number each; whatever is missing is None, never 0.

The LLM's verdict is log-odds; the others are cosine similarities in [-1, 1]. How like a known answer a negative is
tells false negatives from true ones about as well as a small LLM's verdict, and carries over between data sets
(docs/log, 2026-11-28).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

#: The LLM's log-odds (natural log) of an answer against none.
VERDICT: Final = "verdict"
#: Query against the passage.
QUERY: Final = "query"
#: The labelled positive that the passage is most like, against it.
POSITIVE: Final = "positive"
#: The labelled positives' sentence closest to the query, against the passage's sentence most like it.
SENTENCE: Final = "sentence"

#: Similarities that a `Similarity` gives of a group's negatives.
SIMILARITIES: Final = (QUERY, POSITIVE, SENTENCE)

#: By name, one value a passage, all in the passages' order.
Signals = Mapping[str, Sequence[float | None]]

__all__ = ["POSITIVE", "QUERY", "SENTENCE", "SIMILARITIES", "VERDICT", "Signals"]
