"""Stage 1, extraction: the questions whether a passage answers the query, and with which of its words.

Two questions. The verdict is the first token of the answer: its log-odds make the confidence (confidence.py), and
only where that says "answers" is the snippet asked for, as the continuation of the same prompt. Where a server
gives no log-probabilities, whole answers are asked for instead, once or several times. Pure: requests are made and
answers read here; verdicts.py asks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from arhn.cleaning.prompts import ExtractPrompt, Prompt
from arhn.cleaning.spans import Span, align, cut
from arhn.engines import ALTERNATIVES, Completion, Message, Request, SpanOf, log_odds
from arhn.types import Passage

#: Tokens of a snippet. Longer ones are cut off by the engine and so become `unknown`.
MAX_SNIPPET_TOKENS = 96
#: Tokens to leave for what stands around an answer when a passage is cut to fit.
MARKUP_TOKENS = 16
#: Of sampled answers: as far from greedy as the model itself is.
TEMPERATURE = 1.0
#: Characters of a known answer that are shown, and how many of them.
KNOWN_SHOWN = 200
MOST_KNOWN = 3
_LEAST_TEXT = 200


def request_verdict(query: str, passage: Passage, prompt: ExtractPrompt, *, known: str = "") -> Request:
    """Ask for the first token of the answer.

    Args:
        known: what the labelled positives answer, for a prompt that shows it.
    """
    return Request(messages=fill_in(query, passage, prompt, known), max_tokens=1, alternatives=ALTERNATIVES)


def request_snippet(query: str, passage: Passage, prompt: ExtractPrompt, *, known: str = "") -> Request:
    """Ask for the words that answer. The title is shown, but the snippet comes from the text."""
    return Request(
        messages=fill_in(query, passage, prompt, known),
        max_tokens=MAX_SNIPPET_TOKENS,
        constraint=SpanOf(" ".join(passage.text.split()), lead=prompt.lead, close=prompt.close),
    )


def request_answers(
    query: str, passage: Passage, prompt: ExtractPrompt, samples: int, *, known: str = ""
) -> tuple[Request, ...]:
    """Ask for whole answers: a single one is decoded greedily, several are sampled."""
    return tuple(
        Request(
            messages=fill_in(query, passage, prompt, known),
            max_tokens=MAX_SNIPPET_TOKENS,
            constraint=SpanOf(" ".join(passage.text.split()), prompt.no_answer, prompt.lead, prompt.close),
            temperature=TEMPERATURE if samples > 1 else 0.0,
            seed=seed,
        )
        for seed in range(samples)
    )


def fill_in(query: str, passage: Passage, prompt: Prompt, known: str = "") -> tuple[Message, ...]:
    """A prompt about a passage. `known`: what the labelled positives answer, for a prompt that shows it."""
    # On one line each: a passage can't add lines of its own to the prompt.
    shown = [" ".join(part.split()) for part in (passage.title, passage.text) if part.strip()]
    return prompt.messages(query=" ".join(query.split()), passage="\n".join(shown), known=known)


def find_known_answer(passages: Sequence[Passage], spans: Sequence[Span | None]) -> str:
    """What the labelled positives answer, on one line: their snippets, else the beginning of the first of them."""
    snippets = [p.text[span[0] : span[1]] for p, span in zip(passages, spans, strict=True) if span]
    shown = dict.fromkeys(cut(" ".join(s.split()), KNOWN_SHOWN) for s in snippets or [passages[0].text])
    return " / ".join(list(shown)[:MOST_KNOWN])


def shorten(passage: Passage, needed: int, available: int) -> Passage | None:
    """The passage cut to fit a context, at a sentence end where there is one; None where it can't be.

    Args:
        needed: tokens of the prompt that didn't fit.
        available: tokens that would.
    """
    share = min(0.9, 0.95 * available / needed) if 0 < available < needed else 0.7
    text = cut(passage.text, int(len(passage.text) * share))
    return replace(passage, text=text) if len(text) >= _LEAST_TEXT else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The LLM's verdict on one passage.

    `log_odds` (natural log) of an answer against none: from the first token, or from how many of several sampled
    answers hold a snippet; None where the answer was broken. `span` is known where whole answers were asked for.
    `shown` is the passage as the LLM saw it, `cut` says that this is a part of it.
    """

    shown: Passage
    log_odds: float | None
    span: Span | None = None
    cut: bool = False


def read_verdict(completion: Completion | None, prompt: ExtractPrompt) -> float | None:
    """Log-odds of an answer against none; None where the request failed or its first token is neither."""
    if completion is None or completion.finish not in ("stop", "length") or not completion.first:
        return None
    odds = log_odds(completion.first, prompt.lead, prompt.no_answer)
    return None if odds is None else round(odds, 4)


def read_snippet(completion: Completion | None, passage: Passage, prompt: ExtractPrompt) -> Span | None:
    """Where the snippet stands in the passage; None for a failed, unfinished or empty answer, or other words."""
    if completion is None or completion.finish != "stop":
        return None
    kind, span = _read(completion.text, passage.text, prompt)
    return span if kind == "span" else None


def read_answers(
    completions: Sequence[Completion | None], passage: Passage, prompt: ExtractPrompt
) -> tuple[float | None, Span | None]:
    """Log-odds and most frequent snippet of whole answers to one question.

    Broken answers don't vote; where half of them or more are broken, nothing is known. The log-odds are those of the
    votes with half a vote added to each side.
    """
    read = [_read(c.text, passage.text, prompt) for c in completions if c is not None and c.finish == "stop"]
    votes = Counter(kind for kind, _ in read)
    answering, denying = votes["span"], votes["no_answer"]
    if 2 * (answering + denying) <= len(completions):
        return None, None
    spans = Counter(span for _, span in read if span is not None)
    return round(math.log((answering + 0.5) / (denying + 0.5)), 4), spans.most_common(1)[0][0] if spans else None


_Kind = Literal["span", "no_answer", "unknown"]


def _read(text: str, passage: str, prompt: ExtractPrompt) -> tuple[_Kind, Span | None]:
    """Only the agreed word for "no answer", or what can be aligned to the text, counts."""
    written = text.strip()
    if written.rstrip(".").casefold() == prompt.no_answer.casefold():
        return "no_answer", None
    span = None if _is_lead_only(written, prompt) else align(_strip_frame(written, prompt), passage)
    return ("span", span) if span else ("unknown", None)


def _is_lead_only(written: str, prompt: ExtractPrompt) -> bool:
    """Whether nothing but the words in front of a snippet was written: a passage may hold these too."""
    return prompt.lead.casefold().startswith(written.casefold())


def _strip_frame(written: str, prompt: ExtractPrompt) -> str:
    """The snippet without what the prompt puts around it; free text that leaves that out is taken as it is."""
    lead, close = prompt.lead.strip(), prompt.close.strip()
    if lead and written.casefold().startswith(lead.casefold()):
        written = written[len(lead) :]
    return written.removesuffix(close) if close else written
