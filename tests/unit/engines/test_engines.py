"""The registry of engines: settings by name, and those of another package."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from arhn.engines import ENGINES, settings_of
from arhn.engines.settings import EngineSettings
from arhn.engines.vllm import Settings
from arhn.errors import UsageError


@pytest.mark.parametrize("name", ["ctranslate2", "llamacpp", "openai", "vllm"])
def test_every_engine_has_settings_that_say_what_they_are(name: str) -> None:
    settings = settings_of({"name": name, "model": "m"})
    assert isinstance(settings, EngineSettings)
    assert (settings.name, settings.model) == (name, "m")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert all(field.description for field in type(settings).model_fields.values())
    assert settings.planned().constraints


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_named_models_are_for_ctranslate2_on_an_x86_processor(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert settings_of({}).name == "ctranslate2"
    assert settings_of({"model": "qwen2.5-coder-0.5b", "threads": 2}).name == "ctranslate2"
    # Other files may be of models that it can't convert, and these settings are llama.cpp's.
    assert settings_of({"model": "m.gguf"}).name == "llamacpp"
    assert settings_of({"slots": 2}).name == "llamacpp"
    assert settings_of({"name": "llamacpp"}).name == "llamacpp"


def test_on_other_processors_llamacpp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    assert settings_of({}).name == "llamacpp"


def test_an_unknown_engine() -> None:
    with pytest.raises(UsageError, match=r"'opnai' is no engine. Did you mean 'openai'\?"):
        settings_of({"name": "opnai"})


@pytest.mark.parametrize(
    "values",
    [{"urls": ["http://x"]}, {"slots": 0}, {"context": 1.5}, {"name": "vllm", "gpu_memory": 1.5}, {"threads": 0}],
)
def test_keys_and_values_that_an_engine_does_not_have(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings_of(values)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="there already"):
        ENGINES.register("vllm", Settings)
