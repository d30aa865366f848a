"""Stage 1, extraction: per passage, the verbatim snippet that answers the query, or none.

A pure module: it makes requests, reads answers, and settles a group's extractions together; the pipeline
asks. Log-odds carry an offset per query (LOG.md, 2026-11-23), so a confidence is made within its group.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Literal

from arhn.engines import Completion, Request, SpanOf, log_odds
from arhn.prompts import Prompt
from arhn.spans import Span, align, cut
from arhn.types import Extraction, Passage

#: Tokens of a snippet. Longer ones are cut off by the engine and so become `unknown`.
MAX_SNIPPET_TOKENS = 96
#: First-token alternatives to keep. Where neither verdict is among them, the last one bounds it.
ALTERNATIVES = 40
_LEAST_TEXT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How a model's answers with one prompt become confidences and statuses.

    confidence = sigmoid(slope * (log_odds - centre * group mean of log_odds) + intercept). With `by`
    `confidence`, a passage answers where that is at least `threshold` and there is a snippet; with `text`, where
    the LLM copied a snippet at all. `bias` is added to the logit of the no-answer token while decoding,
    so that passages near the border come with a snippet; log-odds are taken without it.
    """

    by: Literal["confidence", "text"]
    slope: float = 1.0
    centre: float = 0.0
    intercept: float = 0.0
    threshold: float = 0.5
    bias: float = 0.0


#: For models without a fitted calibration: the LLM's own word, as in the paper.
BY_TEXT = Calibration(by="text")


@cache
def _fitted() -> tuple[tuple[str, str, Calibration], ...]:
    data = tomllib.loads(files("arhn").joinpath("calibrations.toml").read_text("utf-8"))
    rows = [(row.pop("sha256"), row.pop("prompt"), row) for row in data["calibration"]]
    return tuple((sha256, prompt, Calibration(by="confidence", **row)) for sha256, prompt, row in rows)


def calibration_for(model: str, prompt: Prompt) -> Calibration:
    """The calibration fitted for these weights (by the SHA-256 in `model`) and this very prompt, else `BY_TEXT`."""
    for sha256, prompt_hash, calibration in _fitted():
        if prompt_hash == prompt.hash and f"@sha256:{sha256[:16]}" in model:
            return calibration
    return BY_TEXT


def extraction_request(query: str, passage: Passage, prompt: Prompt, calibration: Calibration) -> Request:
    """Ask one passage for its snippet. The title is shown, but the snippet comes from the text."""
    shown = f"{passage.title}\n{passage.text}" if passage.title else passage.text
    return Request(
        messages=prompt.messages(query=query, passage=shown),
        max_tokens=MAX_SNIPPET_TOKENS,
        constraint=SpanOf(passage.text, prompt.no_answer, prompt.lead, prompt.close),
        alternatives=ALTERNATIVES,
        bias=((prompt.no_answer, calibration.bias),) if calibration.bias else (),
    )


def shorter(passage: Passage, needed: int, available: int) -> Passage | None:
    """The passage cut to fit a context, at a sentence end where there is one; None where it can't be.

    Args:
        needed: tokens of the prompt that didn't fit.
        available: tokens that would.
    """
    share = min(0.9, 0.95 * available / needed) if 0 < available < needed else 0.7
    text = cut(passage.text, int(len(passage.text) * share))
    return replace(passage, text=text) if len(text) >= _LEAST_TEXT else None


AnswerKind = Literal["span", "no_answer", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the LLM wrote about one passage: a span of its text, that there is none, or nothing usable."""

    doc_id: str
    kind: AnswerKind
    span: Span | None = None
    log_odds: float | None = None
    cut: bool = False


def read_answer(completion: Completion | None, passage: Passage, prompt: Prompt, *, was_cut: bool = False) -> Answer:
    """Read a completion against the passage it was asked of.

    Only a finished answer that is the agreed word for "no answer", or can be aligned to the text, counts;
    anything else, the empty answer included, is `unknown`.
    """
    if completion is None or completion.finish not in ("stop", "length"):
        return Answer(doc_id=passage.doc_id, kind="unknown", cut=was_cut)
    odds = log_odds(completion.first, prompt.lead, prompt.no_answer) if completion.first else None
    # The first token of an answer that was cut off is sound, and so is its share in the group's mean.
    kind, span = _read(completion.text, passage.text, prompt) if completion.finish == "stop" else ("unknown", None)
    return Answer(
        doc_id=passage.doc_id, kind=kind, span=span, log_odds=None if odds is None else round(odds, 4), cut=was_cut
    )


def _read(text: str, passage: str, prompt: Prompt) -> tuple[AnswerKind, Span | None]:
    written = text.strip()
    if written.rstrip(".").casefold() == prompt.no_answer.casefold():
        return "no_answer", None
    span = None if _only_lead(written, prompt) else align(_bare(written, prompt), passage)
    return ("span", span) if span else ("unknown", None)


def _only_lead(written: str, prompt: Prompt) -> bool:
    """Whether nothing but the words in front of a snippet was written: a passage may hold these too."""
    return prompt.lead.casefold().startswith(written.casefold())


def _bare(written: str, prompt: Prompt) -> str:
    """The snippet without what the prompt puts around it; free text that leaves that out is taken as it is."""
    lead, close = prompt.lead.strip(), prompt.close.strip()
    if lead and written.casefold().startswith(lead.casefold()):
        written = written[len(lead) :]
    return written.removesuffix(close) if close else written


def settle(
    answers: Sequence[Answer],
    passages: Sequence[Passage],
    calibration: Calibration,
    *,
    mean: float | None = None,
) -> tuple[Extraction, ...]:
    """The extractions of one group, their confidences made against the group's mean log-odds.

    Args:
        answers: one per passage, in the same order.
        mean: the group's mean log-odds if known from before (passages taken in later don't move it).
    """
    if mean is None:
        mean = mean_log_odds(answers)
    settled = (_settled(a, p, calibration, mean) for a, p in zip(answers, passages, strict=True))
    if calibration.by == "confidence" and 0 < sum(a.log_odds is None for a in answers) < len(answers):
        # A mean that lacks a broken answer would move its neighbours' labels: the whole group abstains.
        return tuple(replace(e, status="unknown", snippet=None, start=None, end=None) for e in settled)
    return tuple(settled)


def mean_log_odds(answers: Sequence[Answer]) -> float:
    """Mean over the answers that have log-odds; 0 where none has."""
    known = [a.log_odds for a in answers if a.log_odds is not None]
    return math.fsum(known) / len(known) if known else 0.0


def _settled(answer: Answer, passage: Passage, calibration: Calibration, mean: float) -> Extraction:
    confidence = _confidence(answer.log_odds, calibration, mean)
    common = Extraction(
        doc_id=answer.doc_id,
        status="unknown",
        confidence=confidence,
        log_odds=answer.log_odds,
        cut=answer.cut,
    )
    if answer.kind == "unknown":
        return common
    if answer.span is None or not _answers(confidence, calibration):
        return replace(common, status="no_answer")
    start, end = answer.span
    return replace(common, status="answer", snippet=passage.text[start:end], start=start, end=end)


def _answers(confidence: float | None, calibration: Calibration) -> bool:
    return calibration.by == "text" or confidence is None or confidence >= calibration.threshold


def _confidence(log_odds: float | None, calibration: Calibration, mean: float) -> float | None:
    if log_odds is None:
        return None
    z = calibration.slope * (log_odds - calibration.centre * mean) + calibration.intercept
    return round(1 / (1 + math.exp(-max(-60.0, min(60.0, z)))), 4)
