"""What a run may spend on servers, and what it has spent. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arhn.engines.protocol import Completion
from arhn.errors import BudgetSpent, UsageError, describe_count


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Money per million tokens, in whatever currency the budget is in. `cached`: prompt tokens that the server had."""

    prompt: float = 0.0
    completion: float = 0.0
    cached: float | None = None

    def compute_cost(self, prompt: int, cached: int, completion: int) -> float:
        """What so many tokens cost, in the currency of the prices; `cached` are a part of `prompt`."""
        reread = self.prompt if self.cached is None else self.cached
        return ((prompt - cached) * self.prompt + cached * reread + completion * self.completion) / 1e6

    @property
    def known(self) -> bool:
        """Whether any price is given, so that money can be counted."""
        return bool(self.prompt or self.completion)


@dataclass(slots=True)
class Budget:
    """Limits of one run, shared by all the engines of it; None where there is no limit.

    A request is only sent if the most that it can cost still fits, so that no limit is passed (as far as a prompt's
    tokens can be guessed from its bytes). Requests that failed count as calls; the tokens of those aren't known.
    """

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    prices: Prices = field(default_factory=Prices)
    used_calls: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0
    _reserved_prompt: int = 0
    _reserved_completion: int = 0

    def __post_init__(self) -> None:
        if self.money is not None and not self.prices.known:
            raise UsageError("budget.money: needs prices. Give budget.prompt_price and budget.completion_price")

    @property
    def cost(self) -> float:
        """Money spent so far."""
        return self.prices.compute_cost(self.prompt, self.cached, self.completion)

    def reserve(self, prompt: int, completion: int) -> None:
        """Set aside what a request may take, and count its first call.

        Raises:
            BudgetSpent: it doesn't fit any more.
        """
        spent = self._name_exceeded(prompt, completion)
        if spent:
            raise BudgetSpent(
                f"the budget is spent: {spent}. Every answer so far is kept; the same command with a larger budget "
                "goes on from there"
            )
        self.used_calls += 1
        self._reserved_prompt += prompt
        self._reserved_completion += completion

    def release(self, prompt: int, completion: int) -> None:
        """Give back what was set aside."""
        self._reserved_prompt -= prompt
        self._reserved_completion -= completion

    def count_retry(self) -> bool:
        """Count one more try of a request; returns whether the budget has a call left for it."""
        if self.calls is not None and self.used_calls >= self.calls:
            return False
        self.used_calls += 1
        return True

    def record_answer(self, answer: Completion, guess: int) -> None:
        """Count the tokens of an answer.

        Args:
            guess: tokens of its prompt, where the server doesn't say.
        """
        self.prompt += answer.prompt_tokens or guess
        self.cached += answer.cached_tokens
        self.completion += answer.completion_tokens

    def report(self) -> Mapping[str, Any]:
        """What was spent, for the summary; money only where there are prices."""
        money = {"money": round(self.cost, 6)} if self.prices.known else {}
        return {"calls": self.used_calls, "tokens": self.prompt + self.completion, **money}

    def _name_exceeded(self, prompt: int, completion: int) -> str:
        """Which limit a request would pass."""
        if self.calls is not None and self.used_calls >= self.calls:
            return f"{self.used_calls:,} of {describe_count(self.calls, 'call')}"
        prompt, completion = prompt + self._reserved_prompt, completion + self._reserved_completion
        tokens = self.prompt + self.completion
        if self.tokens is not None and tokens + prompt + completion > self.tokens:
            return f"{tokens:,} of {describe_count(self.tokens, 'token')}, and no room for another request"
        if self.money is not None and self.cost + self.prices.compute_cost(prompt, 0, completion) > self.money:
            return f"{self.cost:.4f} of {self.money:g}, and no room for another request"
        return ""


__all__ = ["Budget", "Prices"]
