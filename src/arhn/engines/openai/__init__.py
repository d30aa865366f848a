"""Any OpenAI-compatible server: wire, servers, adaptive concurrency, probes, answers."""

from typing import TYPE_CHECKING

from arhn.libraries import lazily

if TYPE_CHECKING:
    from arhn.engines.openai.engine import OpenAIEngine, connect, open_engine
    from arhn.engines.openai.settings import BudgetSettings, Key, Settings, Timeouts

__all__ = ["BudgetSettings", "Key", "OpenAIEngine", "Settings", "Timeouts", "connect", "open_engine"]

__getattr__ = lazily(
    __name__,
    {
        **{name: f"{__name__}.engine:{name}" for name in ("OpenAIEngine", "connect", "open_engine")},
        **{name: f"{__name__}.settings:{name}" for name in ("BudgetSettings", "Key", "Settings", "Timeouts")},
    },
)
