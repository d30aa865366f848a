"""Engines: what answers requests. Import the one you need from its own module; heavy ones stay unloaded.

`ENGINES` holds the settings class of each by name; `settings_of(...).open()` is the engine. A new engine is a subclass
of `arhn.engines.settings.EngineSettings` and an entry here, or in the group `arhn.engines` of another package.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from arhn.engines.protocol import (
    ALTERNATIVES,
    Capabilities,
    Completion,
    Constraint,
    Engine,
    Finish,
    Matching,
    Message,
    OneOf,
    Permutation,
    Reporting,
    Request,
    RequestFailed,
    SpanOf,
    find_servers,
    log_odds,
)
from arhn.registry import Registry

if TYPE_CHECKING:
    from arhn.engines.settings import EngineSettings

ENGINES: Registry[type[EngineSettings]] = Registry(
    "engine",
    "arhn.engines",
    {name: f"arhn.engines.{name}.settings:Settings" for name in ("ctranslate2", "llamacpp", "openai", "vllm")},
)


#: The engine of settings that name none.
DEFAULT_ENGINE = "llamacpp"


def settings_of(values: Mapping[str, Any]) -> EngineSettings:
    """An engine's settings from their keys and values; `name` says whose, llama.cpp's unless given.

    Raises:
        UsageError: there is no such engine.
        pydantic.ValidationError: a key that it doesn't have, or a value out of range.
    """
    return ENGINES.get(str(values.get("name", DEFAULT_ENGINE))).model_validate(values)


__all__ = [
    "ALTERNATIVES",
    "DEFAULT_ENGINE",
    "ENGINES",
    "Capabilities",
    "Completion",
    "Constraint",
    "Engine",
    "Finish",
    "Matching",
    "Message",
    "OneOf",
    "Permutation",
    "Reporting",
    "Request",
    "RequestFailed",
    "SpanOf",
    "find_servers",
    "log_odds",
    "settings_of",
]
