"""llama.cpp in this process, through xllamacpp: continuous batching over slots, llguidance constraints.

Prompts are built from tokens, not text: only the model's own template is read for control tokens, so that a
passage holding "<|im_end|>" or the like stays plain text. Requests that share their first messages go to the
slots that have those messages cached.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
import xllamacpp

from arhn.engines.grammars import write_lark
from arhn.engines.llamacpp.slots import Slots
from arhn.engines.protocol import (
    FAILURES_IN_A_ROW,
    Capabilities,
    Completion,
    Constraint,
    Message,
    Request,
    RequestFailed,
    split_lead,
)
from arhn.errors import EngineError

#: Stands for the user's message while the model's chat template is applied.
_CONTENT = "ARHN-CONTENT-5d0c9b7e"
#: Changes with the way answers are made of the same weights, so that a store doesn't mix them.
_METHOD = "llamacpp-2"
Tokens = tuple[int, ...]


class LlamaCppEngine:
    """A GGUF model on this machine.

    Args:
        path: the GGUF file.
        model: its identity (`weights.identity`), part of every store key.
        slots: requests decoded together. More than one may help on a GPU, but what is batched together changes
            log-probabilities in the second digit, so that runs no longer repeat to the byte (docs/log, 2026-11-23).
        context: tokens a request may take, prompt and answer.
        threads: CPU threads; the cores this process may use, unless given.
        gpu_layers: layers to put on a GPU; all that fit, unless given.
        lookahead: groups to choose the next request from, so that a passage of several of them is computed once. What
            was computed before changes log-probabilities in the second digit (docs/log, 2026-11-23).

    Raises:
        EngineError: llama.cpp can't load the file.
    """

    def __init__(
        self,
        path: Path,
        *,
        model: str,
        slots: int = 1,
        context: int = 4096,
        threads: int | None = None,
        gpu_layers: int | None = None,
        lookahead: int = 0,
    ) -> None:
        self.model = f"{model} {_METHOD}"
        self.capabilities = Capabilities(
            constraints=True, logprobs=True, concurrency=slots, context=context, lookahead=lookahead
        )
        key = secrets.token_hex(16)
        self._server = _start(_params(path, slots + 1, context, threads or _cores(), gpu_layers, key), path)
        self._http = httpx.Client(
            base_url=self._server.listening_address,
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
        )
        self._slots = self.unused_slots()
        self._pool = ThreadPoolExecutor(slots, "llamacpp")
        self._failures = 0
        self._tokenize_lock = threading.Lock()
        self._frame = lru_cache(maxsize=16)(self._frame_of)

    async def complete(self, request: Request) -> Completion:
        """The answer to one request; raises as `Engine.complete` does."""
        slot = await self._slots.acquire(request)
        try:
            completion = await asyncio.get_running_loop().run_in_executor(self._pool, self._complete, request, slot)
        except RequestFailed as error:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                raise EngineError(f"llama.cpp failed {self._failures} times in a row, at last with: {error}") from error
            raise
        finally:
            self._slots.release(slot)
        self._failures = 0
        return completion

    async def aclose(self) -> None:
        """Stop llama.cpp and free its memory."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._http.close()
        with _signals_kept():
            self._server = None

    def unused_slots(self) -> Slots:
        """As many slots as this engine has, as before its first request."""
        # One more than requests in flight: a second kind of prompt gets a slot of its own.
        slots = self.capabilities.concurrency
        return Slots(slots + 1, slots, nearest=self.capabilities.lookahead > 0)

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` is to this model, on its own."""
        return len(self._tokenize(text, special=False))

    def tokens(self, request: Request) -> Tokens:
        """A request's prompt as it would be computed; nothing is."""
        return self._prompt(request)[0]

    def _prompt(self, request: Request) -> tuple[Tokens, Constraint | None, str]:
        """The prompt, and what of the answer is still to be written, and what of it is a part of the prompt."""
        before, after = self._frame(request.prefix)
        prompt = before + self._tokenize(request.messages[-1].content, special=False) + after
        lead, constraint = split_lead(request.constraint)
        return prompt + self._tokenize(lead, special=False) if lead else prompt, constraint, lead

    def _complete(self, request: Request, slot: int) -> Completion:
        prompt, constraint, lead = self._prompt(request)
        if len(prompt) + request.max_tokens > self.capabilities.context:
            return Completion(text="", finish="context", prompt_tokens=len(prompt))
        completion = self._generate(
            prompt,
            slot,
            constraint,
            request.max_tokens,
            n_probs=request.alternatives,
            temperature=request.temperature,
            seed=request.seed,
        )
        return replace(completion, text=lead + completion.text)

    def _generate(
        self,
        prompt: Tokens,
        slot: int,
        constraint: Constraint | None,
        max_tokens: int,
        **settings: Any,
    ) -> Completion:
        body = {
            "prompt": list(prompt),
            "id_slot": slot,
            "cache_prompt": True,
            "n_predict": max_tokens,
            **settings,
        }
        if constraint is not None:
            body["grammar"] = "%llguidance {}\n" + write_lark(constraint)
        return _completion(self._server.handle_completions(body))

    def _frame_of(self, prefix: tuple[Message, ...]) -> tuple[Tokens, Tokens]:
        """The tokens before and after the user's message."""
        messages = [{"role": m.role, "content": m.content} for m in (*prefix, Message("user", _CONTENT))]
        # Reasoning models would think before they answer; templates that don't know the switch ignore it.
        body = {"messages": messages, "chat_template_kwargs": {"enable_thinking": False}}
        before, _, after = self._post("/apply-template", body)["prompt"].partition(_CONTENT)
        return self._tokenize(before, special=True, begin=True), self._tokenize(after, special=True)

    def _tokenize(self, text: str, *, special: bool, begin: bool = False) -> Tokens:
        body = {"content": text, "parse_special": special, "add_special": begin}
        return tuple(self._post("/tokenize", body)["tokens"])

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        try:
            # httpx.Client is shared by the pool's threads; one at a time costs under a millisecond.
            with self._tokenize_lock:
                response = self._http.post(path, json=body)
            response.raise_for_status()
            return response.json()
        except (httpx.HTTPError, ValueError) as error:
            raise RequestFailed(f"llama.cpp {path}: {error}") from error


def _completion(answer: Mapping[str, Any]) -> Completion:
    if "choices" not in answer:
        error = answer.get("error", answer)
        raise RequestFailed(str(error.get("message", error)))
    choice, usage = answer["choices"][0], answer["usage"]
    tokens = (choice["logprobs"] or {}).get("content", [])
    return Completion(
        text=choice["text"],
        finish="stop" if choice["finish_reason"] == "stop" else "length",
        first=_alternatives(tokens[0]) if tokens else {},
        prompt_tokens=usage["prompt_tokens"],
        cached_tokens=usage["prompt_tokens_details"]["cached_tokens"],
        completion_tokens=usage["completion_tokens"],
    )


def _alternatives(token: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for alternative in token["top_logprobs"]:
        found.setdefault(alternative["token"], round(alternative["logprob"], 5))
    return found


def _params(
    path: Path, slots: int, context: int, threads: int, gpu_layers: int | None, key: str
) -> xllamacpp.CommonParams:
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = False
    params.cache_ram_mib = 0
    params.verbosity = -1
    params.ui = params.endpoint_slots = False
    params.api_keys = [key]
    if gpu_layers is not None:
        params.n_gpu_layers = gpu_layers
    return params


def _start(params: xllamacpp.CommonParams, path: Path) -> xllamacpp.Server:
    with _signals_kept():
        try:
            return xllamacpp.Server(params)
        except Exception as error:
            raise EngineError(
                f"{path}: llama.cpp can't load this model ({error}). Is it a complete GGUF file of a text "
                "model that this llama.cpp knows, and does it fit in memory?"
            ) from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """llama.cpp's server takes over SIGINT and SIGTERM; give them back, so that Ctrl-C reaches Python."""
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
