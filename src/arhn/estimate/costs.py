"""Time, GPU hours and money of what would be asked. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from arhn.engines.openai.budget import Prices
from arhn.estimate.counting import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What one GPU (or machine) does in a second: computed prompt tokens and written ones, or whole calls.

    `gpus` work side by side, each as fast; `price` is one GPU's for an hour.
    """

    prompt: float | None = None
    completion: float | None = None
    calls: float | None = None
    gpus: int = 1
    price: float | None = None

    @property
    def known(self) -> bool:
        """Whether time can be worked out from it."""
        return bool(self.prompt or self.completion or self.calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """`seconds` of the whole run, `gpu_hours` of all GPUs together; None where nothing is known to work it out from.

    `gpu_money` is what the GPUs cost, `token_money` what a provider takes for the tokens.
    """

    seconds: float | None = None
    gpu_hours: float | None = None
    gpu_money: float | None = None
    token_money: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """How fast and how dear calls and tokens are."""

    speed: Speed = field(default_factory=Speed)
    prices: Prices = field(default_factory=Prices)

    def bill(self, cost: Cost) -> Bill:
        """Time and money that so many calls and tokens take."""
        speed, prices = self.speed, self.prices
        cached = round(cost.prompt - cost.computed)
        money = prices.compute_cost(round(cost.prompt), cached, round(cost.completion)) if prices.known else None
        if not speed.known:
            return Bill(token_money=money)
        busy = (
            _per(cost.calls, speed.calls) + _per(cost.computed, speed.prompt) + _per(cost.completion, speed.completion)
        )
        hours = busy / 3600
        return Bill(
            seconds=busy / speed.gpus,
            gpu_hours=hours,
            gpu_money=None if speed.price is None else hours * speed.price,
            token_money=money,
        )


def _per(amount: float, rate: float | None) -> float:
    return amount / rate if rate else 0.0


__all__ = ["Bill", "Speed", "Tariff"]
