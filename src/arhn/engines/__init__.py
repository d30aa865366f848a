"""Engines: what answers requests. Import the one you need from its own module; heavy ones stay unloaded.

`ENGINES` holds the settings class of each by name; `settings_of(...).open()` is the engine. A new engine is a subclass
of `arhn.engines.settings.EngineSettings` and an entry here, or in the group `arhn.engines` of another package.
"""

from __future__ import annotations

import platform
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


#: What of an engine's settings both engines of this process have.
_OF_BOTH = {"name", "model", "context", "threads"}


def choose_engine(values: Mapping[str, Any]) -> str:
    """The engine that settings mean: the one they name.

    Else CTranslate2, for a model that 'arhn models' names on an x86 processor; there it reads two to five times as many
    prompt tokens a second (docs/log, 2026-11-28). For other files, on other processors, and with settings that only
    llama.cpp has, llama.cpp.
    """
    named = values.get("name")
    if named is not None:
        return str(named)
    from arhn import weights

    model = values.get("model") or weights.STARTER
    x86 = platform.machine().lower() in {"x86_64", "amd64"}
    return "ctranslate2" if x86 and model in weights.MODELS and values.keys() <= _OF_BOTH else "llamacpp"


def settings_of(values: Mapping[str, Any]) -> EngineSettings:
    """An engine's settings from their keys and values; `choose_engine` says whose.

    Raises:
        UsageError: there is no such engine.
        pydantic.ValidationError: a key that it doesn't have, or a value out of range.
    """
    return ENGINES.get(choose_engine(values)).model_validate(values)


__all__ = [
    "ALTERNATIVES",
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
    "choose_engine",
    "find_servers",
    "log_odds",
    "settings_of",
]
