"""A stand-in for the package vllm: the parts that arhn touches, in the shapes of vLLM 0.32, with a scripted model.

A token is a character; control tokens are one token each.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from arhn.engines.grammars import write_lark
from arhn.engines.probes import CONSTRAINTS

CONTROL = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
_CONTROL_IDS = {text: 0x110000 + i for i, text in enumerate(CONTROL)}
_SPLIT = re.compile("(" + "|".join(map(re.escape, CONTROL)) + ")")
_KEPT = dict(
    zip(
        map(write_lark, CONSTRAINTS),
        ('It says "grey heron"', "ochre-41", "2 > 1 > 4 > 3", "plate: 123, new"),
        strict=True,
    )
)


@dataclass
class Written:
    """What the model writes. `first`: the first token's alternatives by rank, the one that was sampled first; `rest`:
    the same of the tokens after it.
    """

    text: str
    finish: str | None = "stop"
    first: tuple[tuple[str, float, int], ...] = ()
    cached: int | None = 0
    rest: tuple[tuple[tuple[str, float, int], ...], ...] = ()


Script = Callable[[str, Any], "Written | Exception"]


def obedient(prompt: str, sampling: Any) -> Written:
    """A model without thoughts that keeps to the constraints which are tried."""
    grammar = sampling.structured_outputs and sampling.structured_outputs.grammar
    return Written(_KEPT.get(grammar, "Paris."))


@dataclass
class Vllm:
    """How the stand-in behaves, and what was asked of it."""

    script: Script = obedient
    derived: int = 32768
    thinks_in_template: bool = False
    fails: Exception | None = None
    logs: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    loops: set[int] = field(default_factory=set)
    aborted: int = 0
    shut_down: int = 0
    hold: bool = False

    @property
    def error_log(self) -> Path:
        """Where vLLM's processes log errors, by the configuration that they were given."""
        config = json.loads(Path(self.environment["VLLM_LOGGING_CONFIG_PATH"]).read_text())
        return Path(config["handlers"]["kept"]["filename"])


class EngineDeadError(Exception):
    def __init__(self) -> None:
        super().__init__("EngineCore encountered an issue. See stack trace (above) for the root cause.")


class EngineGenerateError(Exception):
    pass


class RequestOutputKind(Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass(kw_only=True)
class StructuredOutputsParams:
    json: str | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None


@dataclass(kw_only=True)
class SamplingParams:
    temperature: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 16
    logprobs: int | None = None
    structured_outputs: StructuredOutputsParams | None = None
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


class Tokenizer:
    """As Hugging Face's fast ones."""

    def __init__(self, thinks_in_template: bool) -> None:
        self._thinks = thinks_in_template

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        parts = [text] if split_special_tokens else _SPLIT.split(text)
        return [i for part in parts for i in ([_CONTROL_IDS[part]] if part in _CONTROL_IDS else map(ord, part))]

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool, enable_thinking: bool
    ) -> str:
        assert add_generation_prompt
        assert not tokenize
        assert not enable_thinking
        shown = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
        return f"{shown}<|im_start|>assistant\n" + ("<think>\n" if self._thinks else "")


def decoded(tokens: list[int]) -> str:
    """Control tokens in ⟦brackets⟧, so that they are told from the same characters."""
    names = {i: f"⟦{text}⟧" for text, i in _CONTROL_IDS.items()}
    return "".join(names.get(i) or chr(i) for i in tokens)


def install(patch: pytest.MonkeyPatch) -> Vllm:
    """Put the stand-in where `import vllm` finds it."""
    behaviour = Vllm()
    modules: dict[str, dict[str, Any]] = {
        "vllm": {"AsyncEngineArgs": _arguments_of(behaviour), "__version__": "0.32.0"},
        "vllm.sampling_params": {
            "SamplingParams": SamplingParams,
            "StructuredOutputsParams": StructuredOutputsParams,
            "RequestOutputKind": RequestOutputKind,
        },
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": _llm_of(behaviour)},
        "vllm.v1.engine.exceptions": {"EngineDeadError": EngineDeadError, "EngineGenerateError": EngineGenerateError},
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        patch.setitem(sys.modules, name, module)
    return behaviour


def _arguments_of(vllm: Vllm) -> type:
    @dataclass
    class AsyncEngineArgs:
        model: str = "Qwen/Qwen3-0.6B"
        tensor_parallel_size: int = 1
        pipeline_parallel_size: int = 1
        gpu_memory_utilization: float = 0.92
        max_model_len: int | None = None
        max_num_seqs: int | None = None
        max_num_batched_tokens: int | None = None
        enable_prefix_caching: bool | None = None
        tokenizer_mode: str = "auto"
        structured_outputs_config: Mapping[str, Any] | None = None
        reasoning_parser: str = ""
        max_logprobs: int = 20
        logprobs_mode: str = "raw_logprobs"
        disable_log_stats: bool = False
        enable_log_requests: bool = False
        dtype: str = "auto"
        quantization: str | None = None
        revision: str | None = None
        _api_process_count: int = 1

        def create_engine_config(self) -> Any:
            vllm.arguments = vars(self).copy()
            vllm.environment = dict(os.environ)
            if vllm.fails is not None and not vllm.logs:
                raise vllm.fails
            asked = self.max_model_len
            if asked is not None and asked > vllm.derived:
                # A pydantic ValidationError, which is a ValueError.
                raise ValueError(
                    f"1 validation error for ModelConfig\n  Value error, User-specified max_model_len ({asked}) is "
                    f"greater than the derived max_model_len (max_position_embeddings={vllm.derived}.0 or "
                    "model_max_length=None in model's config.json)."
                )
            dtype = "bfloat16" if self.dtype == "auto" else self.dtype
            return SimpleNamespace(
                model_config=SimpleNamespace(
                    max_model_len=asked or vllm.derived, dtype=f"torch.{dtype}", quantization=self.quantization
                )
            )

    return AsyncEngineArgs


def _llm_of(vllm: Vllm) -> type:
    import asyncio

    class AsyncLLM:
        @classmethod
        def from_vllm_config(cls, config: Any, *, disable_log_stats: bool, enable_log_requests: bool) -> AsyncLLM:
            assert disable_log_stats
            assert not enable_log_requests
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            if vllm.fails is not None:
                vllm.error_log.write_text(vllm.logs)
                raise vllm.fails
            return cls()

        def get_tokenizer(self) -> Tokenizer:
            return Tokenizer(vllm.thinks_in_template)

        def shutdown(self, timeout: float | None = None) -> None:
            assert timeout is not None
            vllm.shut_down += 1

        async def generate(
            self, prompt: Mapping[str, Any], sampling_params: SamplingParams, request_id: str
        ) -> AsyncGenerator[Any]:
            assert request_id
            assert prompt["type"] == "token"
            assert sampling_params.output_kind is RequestOutputKind.FINAL_ONLY
            vllm.loops.add(id(asyncio.get_running_loop()))
            text = decoded(prompt["prompt_token_ids"])
            vllm.asked.append((text, sampling_params))
            try:
                await asyncio.sleep(60 if vllm.hold else 0)
            except asyncio.CancelledError:
                vllm.aborted += 1
                raise
            written = vllm.script(text, sampling_params)
            if isinstance(written, Exception):
                raise written
            yield _output(request_id, prompt["prompt_token_ids"], written, sampling_params)

    return AsyncLLM


def _output(request_id: str, prompt: list[int], written: Written, sampling: SamplingParams) -> Any:
    tokens = list(map(ord, written.text))
    places = [
        {tokens[at] if not i else -i: Logprob(logprob, rank, token) for i, (token, logprob, rank) in enumerate(place)}
        for at, place in enumerate((written.first, *written.rest))
    ]
    answer = SimpleNamespace(
        index=0,
        text=written.text,
        token_ids=tokens,
        logprobs=places if sampling.logprobs is not None else None,
        finish_reason=written.finish,
    )
    return SimpleNamespace(
        request_id=request_id,
        prompt_token_ids=prompt,
        outputs=[answer],
        finished=True,
        num_cached_tokens=written.cached,
    )
