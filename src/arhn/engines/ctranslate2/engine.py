"""CTranslate2 in this process: 8-bit arithmetic with whatever instructions this processor has for it.

Each request is computed alone, on one thread, so that an answer doesn't depend on what is asked beside it, and no
thread waits for another. The messages that requests of a kind share are computed once.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import ctranslate2
import llguidance
import numpy as np

from arhn.engines.ctranslate2.conversion import VERSION, read_record
from arhn.engines.ctranslate2.decoding import Answer, Decoding, decode
from arhn.engines.ctranslate2.gguf_file import Floats
from arhn.engines.ctranslate2.vocabulary import Tokens, Vocabulary
from arhn.engines.grammars import write_lark
from arhn.engines.protocol import (
    FAILURES_IN_A_ROW,
    Capabilities,
    Completion,
    Constraint,
    Request,
    RequestFailed,
    split_lead,
)
from arhn.errors import EngineError

#: Changes with the way answers are made of the same weights, so that a store doesn't mix them.
_METHOD = f"ctranslate2-{VERSION}"
#: Kinds of prompt whose shared part is kept; CTranslate2 never forgets one.
_MOST_KEPT = 32


class CTranslate2Engine:
    """A model that was converted to 8 bits (conversion.py), on this machine's processor.

    Args:
        folder: the converted model.
        model: the identity of its GGUF file (`weights.identity`), part of every store key.
        context: tokens a request may take, prompt and answer.
        threads: requests computed at once, each on a thread; the cores this process may use, unless given.

    Raises:
        EngineError: CTranslate2 can't load the model.
    """

    def __init__(self, folder: Path, *, model: str, context: int = 4096, threads: int | None = None) -> None:
        self.model = f"{model} {_METHOD}"
        threads = threads or _cores()
        self.capabilities = Capabilities(constraints=True, logprobs=True, concurrency=threads, context=context)
        self._vocabulary = Vocabulary(read_record(folder))
        self._generator = _load(folder, threads)
        self._pool = ThreadPoolExecutor(threads, "ctranslate2")
        self._kept: dict[Tokens, bool] = {}
        self._lock = threading.Lock()
        self._failures = 0

    async def complete(self, request: Request) -> Completion:
        """The answer to one request; raises as `Engine.complete` does."""
        try:
            completion = await asyncio.get_running_loop().run_in_executor(self._pool, self._complete, request)
        except RequestFailed as error:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                raise EngineError(
                    f"CTranslate2 failed {self._failures} times in a row, at last with: {error}"
                ) from error
            raise
        self._failures = 0
        return completion

    async def aclose(self) -> None:
        """Wait for what is being computed, and free the model's memory."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._generator.unload_model()

    def count_tokens(self, text: str) -> int:
        """How many tokens `text` is to this model, on its own."""
        return self._vocabulary.count(text)

    def tokens(self, request: Request) -> Tokens:
        """A request's prompt as it would be computed; nothing is."""
        shared, rest = self._vocabulary.make_prompt(request)
        return (*shared, *rest)

    def count_shared(self, request: Request) -> int:
        """Tokens that a request's prompt begins with like all of its kind; computed once for all of them."""
        return len(self._vocabulary.make_prompt(request)[0])

    def _complete(self, request: Request) -> Completion:
        shared, rest = self._vocabulary.make_prompt(request)
        length = len(shared) + len(rest)
        if length + request.max_tokens > self.capabilities.context:
            return Completion(text="", finish="context", prompt_tokens=length)
        lead, constraint = split_lead(request.constraint)
        decoding = Decoding(
            self._match(constraint),
            ends=self._vocabulary.ends,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            seed=request.seed,
        )
        keep, known = self._keep(shared)
        texts = self._vocabulary.texts
        try:
            answer = decode(
                self._generator, [texts[t] for t in shared], [texts[t] for t in rest], texts, decoding, keep=keep
            )
        except (RuntimeError, ValueError) as error:
            raise RequestFailed(f"CTranslate2: {error}") from error
        return Completion(
            text=lead + self._vocabulary.read(answer.tokens),
            finish=_require_finish(answer),
            first=self._alternatives(answer.first, request.alternatives),
            prompt_tokens=length,
            cached_tokens=len(shared) if known else 0,
            completion_tokens=answer.generated,
        )

    def _keep(self, shared: Tokens) -> tuple[bool, bool]:
        """Whether what is computed of a prompt's shared part is kept, and whether it was."""
        with self._lock:
            known = shared in self._kept
            if not known and len(self._kept) < _MOST_KEPT:
                self._kept[shared] = True
            return shared in self._kept, known

    def _match(self, constraint: Constraint | None) -> Any:
        """llguidance's state of a constraint's grammar, before the first token."""
        if constraint is None:
            return None
        matcher = llguidance.LLMatcher(self._grammar_tokens, write_lark(constraint), log_level=0)
        if matcher.is_error():
            raise RequestFailed(f"llguidance can't read the grammar: {matcher.get_error()}")
        return matcher

    @cached_property
    def _grammar_tokens(self) -> Any:
        """The vocabulary as llguidance wants it: loaded for the first grammar."""
        return llguidance.LLTokenizer(
            self._vocabulary.describe(), n_vocab=len(self._vocabulary.texts), eos_token=sorted(self._vocabulary.ends)
        )

    def _alternatives(self, logits: Floats | None, wanted: int) -> Mapping[str, float]:
        """The most probable first tokens, by their texts, the most probable first."""
        if not wanted or logits is None:
            return {}
        shifted = logits.astype(np.float64) - float(logits.max())
        values = shifted - np.log(np.exp(shifted).sum())
        best = sorted(np.argpartition(-values, min(wanted, len(values)) - 1)[:wanted], key=lambda i: (-values[i], i))
        found: dict[str, float] = {}
        for text, token in zip(self._vocabulary.read_each([int(i) for i in best]), best, strict=True):
            found.setdefault(text, round(float(values[token]), 5))
        return found


def _require_finish(answer: Answer) -> Any:
    if answer.finish is None:
        raise RequestFailed(f"CTranslate2: {answer.failure}")
    return answer.finish


def _load(folder: Path, threads: int) -> Any:
    if "int8" not in ctranslate2.get_supported_compute_types("cpu"):
        raise EngineError("CTranslate2 has no 8-bit arithmetic for this processor. Use --engine llamacpp.")
    try:
        return ctranslate2.Generator(
            str(folder), device="cpu", compute_type="int8", inter_threads=threads, intra_threads=1
        )
    except (RuntimeError, ValueError) as error:
        raise EngineError(
            f"{folder}: CTranslate2 can't load this converted model ({error}). Does it fit in memory? "
            "Remove the folder to convert it again."
        ) from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


__all__ = ["CTranslate2Engine"]
