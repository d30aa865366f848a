"""What a cleaning run would take: calls, tokens, time and money, before it begins (docs/estimate.md)."""

from arhn.estimate.costs import Bill, Speed, Tariff
from arhn.estimate.counting import Cost, CountingEngine, Planned
from arhn.estimate.estimate import Counting, Estimate, estimate
from arhn.estimate.pilot import Pilot
from arhn.estimate.reuse import BlockReuse, SlotReuse
from arhn.estimate.sample import Sample, spread
from arhn.estimate.tokenizers import choose_counting
from arhn.estimate.tokens import Characters, Gguf, Served

__all__ = [
    "Bill",
    "BlockReuse",
    "Characters",
    "Cost",
    "Counting",
    "CountingEngine",
    "Estimate",
    "Gguf",
    "Pilot",
    "Planned",
    "Sample",
    "Served",
    "SlotReuse",
    "Speed",
    "Tariff",
    "choose_counting",
    "estimate",
    "spread",
]
