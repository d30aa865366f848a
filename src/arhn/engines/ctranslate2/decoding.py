"""An answer token by token, under a grammar.

CTranslate2 takes no grammar, but it calls back after every token, and gives the logits that the token was chosen from.
So it is left to decode freely as long as it chooses what the grammar allows and the sampling wants; where it doesn't,
the token that belongs there is chosen from the logits, and decoding goes on behind that in a new call. What comes out
is what decoding under the grammar gives. A new call reads the prompt again, but for its shared part; with a passage's
own words that happens once or twice an answer (docs/log, 2026-11-28).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from arhn.engines.ctranslate2.gguf_file import Floats
from arhn.engines.protocol import Finish


@dataclass(slots=True)
class Answer:
    """An answer as it grows. `first`: the logits of its first token; shape (tokens in the vocabulary,).

    `failure`: why the grammar can't go on.
    """

    tokens: list[int] = field(default_factory=list)
    finish: Finish | None = None
    first: Floats | None = None
    generated: int = 0
    failure: str = ""


class Decoding:
    """One answer: chooses its tokens, and says when CTranslate2 is to stop.

    Args:
        matcher: llguidance's state of the grammar; None where anything may be answered.
        ends: tokens that end an answer.
        temperature, seed: as a request has them.
    """

    def __init__(
        self, matcher: Any, *, ends: frozenset[int], max_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> None:
        self._matcher = matcher
        self._ends = ends
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._seed = seed
        self.answer = Answer()

    @property
    def left(self) -> int:
        """Tokens that the answer may still have."""
        return self._max_tokens - len(self.answer.tokens)

    def take(self, step: Any) -> bool:
        """Called back after each token. Returns whether this call must end."""
        answer = self.answer
        try:
            logits = np.array(step.logits, dtype=np.float32).reshape(-1)
            if answer.first is None:
                answer.first = logits
            token = self._choose(step.token_id, logits)
            self._append(token)
        except Exception as error:  # an exception would get lost in CTranslate2's thread
            answer.failure = f"{type(error).__name__}: {error}"
            return True
        return answer.finish is not None or token != step.token_id

    def _choose(self, proposed: int, logits: Floats) -> int:
        if not self._temperature:
            if self._matcher is None or self._allows(proposed):
                return proposed
            return int(np.argmax(self._mask(logits)))
        # The largest of the logits with noise of this kind is a sample (Gumbel-max).
        noise = np.random.Generator(np.random.PCG64([self._seed, len(self.answer.tokens)])).gumbel(size=len(logits))
        masked = logits if self._matcher is None else self._mask(logits)
        return int(np.argmax(masked / self._temperature + noise))

    def _allows(self, token: int) -> bool:
        if token in self._ends:
            return bool(self._matcher.is_accepting())
        return bool(self._matcher.validate_tokens([token]) == 1)

    def _mask(self, logits: Floats) -> Floats:
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed = bits[: len(logits)].astype(bool)
        # Tokens of control are no text, whatever a grammar says; an end is one where the grammar may end.
        ends = list(self._ends)
        allowed[ends] = self._matcher.is_accepting()
        if not allowed.any():
            raise ValueError(self._matcher.get_error() or "the grammar allows no token")
        masked: Floats = np.where(allowed, logits, -np.inf)
        return masked

    def _append(self, token: int) -> None:
        answer = self.answer
        answer.generated += 1
        if token in self._ends:
            answer.finish = "stop"
            return
        answer.tokens.append(token)
        if self._matcher is not None:
            if not self._matcher.consume_token(token):
                raise ValueError(self._matcher.get_error())
            if self._matcher.is_stopped():
                answer.finish = "stop"
                return
        if len(answer.tokens) >= self._max_tokens:
            answer.finish = "length"


def decode(
    generator: Any, shared: Sequence[str], rest: Sequence[str], texts: Sequence[str], decoding: Decoding, *, keep: bool
) -> Answer:
    """Let CTranslate2 decode until `decoding` has its answer.

    Args:
        shared, rest: the prompt, as texts of tokens.
        texts: of the vocabulary.
        keep: whether what was computed of `shared` is kept for other requests.
    """
    answer = decoding.answer
    while answer.finish is None and not answer.failure:
        before = answer.generated
        generator.generate_batch(
            [[*rest, *(texts[token] for token in answer.tokens)]],
            static_prompt=list(shared) or None,
            cache_static_prompt=keep,
            include_prompt_in_result=False,
            return_logits_vocab=True,
            end_token=[],
            max_length=decoding.left,
            callback=decoding.take,
        )
        if answer.generated == before and not answer.failure:
            answer.failure = "CTranslate2 gave no token"
    return answer


__all__ = ["Answer", "Decoding", "decode"]
