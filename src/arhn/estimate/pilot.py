"""What is assumed of answers, and where that comes from: an earlier run, or experience."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arhn.errors import UsageError
from arhn.estimate.assumptions import Rates, find_interval

#: Share of negatives that answer, where nothing is known of the data, with its bounds. Qwen2.5-Coder-0.5B found 8.5% of
#: 714 negatives from XQuAD to answer, GPT-4o (RLHN) 9.0% of 255 of FiQA; the bounds are wider than any we saw.
_SHARE, _LEAST, _MOST = 0.09, 0.03, 0.25
#: Words of a snippet; those of XQuAD have 3.8 on average (Qwen2.5-Coder-0.5B, 151 snippets).
_WORDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A number between its bounds."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """Something that an estimate takes for given; `source`: where it comes from."""

    what: str
    value: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """What answers are like. `seconds` of a call, all engines together, where a run has measured it."""

    answering: Range
    words: int
    source: str
    seconds: float | None = None

    @classmethod
    def usual(cls) -> Pilot:
        """What is assumed of data that nothing is known of."""
        return cls(answering=Range(low=_LEAST, middle=_SHARE, high=_MOST), words=_WORDS, source="no run: a guess")

    @classmethod
    def measured(cls, hits: int, of: int, *, words: int | None, source: str, seconds: float | None = None) -> Pilot:
        """Of a run that found `hits` of `of` negatives to answer; the bounds are 95% ones (Wilson)."""
        low, high = find_interval(hits, of)
        return cls(
            answering=Range(low=low, middle=hits / of, high=high),
            words=words or _WORDS,
            source=f"{source}, {hits} of {of} negatives",
            seconds=seconds,
        )

    @classmethod
    def of_summary(cls, path: Path) -> Pilot:
        """From the summary of an `arhn clean`.

        Raises:
            UsageError: the file isn't one, or is of a run without negatives that were asked about.
        """
        try:
            content = json.loads(path.read_text("utf-8"))
            statuses = content["negatives"]["status"]
            without = statuses.get("unknown", 0) + statuses.get("spared", 0)
            hits, of = statuses.get("answer", 0), sum(statuses.values()) - without
            asked = sum(stage["asked"] for stage in content["llm"].values())
            seconds = content["seconds"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"--pilot {path}: not a summary that 'arhn clean' wrote ({error!r})") from error
        if not of:
            raise UsageError(f"--pilot {path}: no negative was asked about in that run. Take another one")
        words = _find_words(content)
        return cls.measured(hits, of, words=words, source=str(path), seconds=seconds / asked if asked else None)

    @property
    def rate(self) -> float | None:
        """Calls a second, as measured."""
        return 1 / self.seconds if self.seconds else None

    def rates(self, answering: float) -> Rates:
        """What is assumed of answers where that share of negatives answers."""
        return Rates(answering=answering, words=self.words)

    @property
    def assumptions(self) -> tuple[Assumption, ...]:
        """All that is assumed, for people."""
        rates = self.answering
        return (
            Assumption(
                what="negatives that answer",
                value=f"{rates.middle:.1%} ({rates.low:.1%} to {rates.high:.1%})",
                source=self.source,
            ),
            Assumption(what="words of a snippet", value=str(self.words), source=self.source),
            Assumption(what="labelled positives that answer", value="all", source="assumed"),
            Assumption(what="answering negatives ranked above the positive", value="half", source="assumed"),
            Assumption(what="of those, answering in part only", value="half", source="assumed"),
        )


def _find_words(content: Mapping[str, Any]) -> int | None:
    """Words of a snippet, from its tokens (1.3 a word, and two around it); None where that can't be worked out.

    Of the extraction's requests one a passage is a verdict of one token; the others are snippets.
    """
    stage = content["llm"].get("extract", {})
    statuses = [content[label]["status"] for label in ("positives", "negatives")]
    verdicts = sum(sum(each.values()) - each.get("spared", 0) for each in statuses)
    snippets = stage.get("asked", 0) - verdicts
    if stage.get("reused") or snippets <= 0:
        return None
    tokens: float = (stage["completion_tokens"] - verdicts) / snippets
    return max(1, round((tokens - 2) / 1.3))


__all__ = ["Assumption", "Pilot", "Range"]
