"""vLLM in this process: continuous batching, prefix caching, llguidance constraints, tensor parallelism.

vLLM computes in processes of its own and is asked on an event loop of its own, so that an engine outlives the
loops of those who ask. Prompts are built from tokens, not text: only the model's own template is read for control
tokens, so that a passage holding "<|im_end|>" or the like stays plain text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from copy import deepcopy
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from arhn.engines.grammars import write_lark
from arhn.engines.loops import BackgroundLoop
from arhn.engines.probes import CONSTRAINED_TOKENS, CONSTRAINTS, PROBE_MESSAGES, THOUGHT_TOKENS, satisfies
from arhn.engines.protocol import (
    ALTERNATIVES,
    FAILURES_IN_A_ROW,
    Capabilities,
    Completion,
    Constraint,
    Finish,
    Message,
    Request,
    RequestFailed,
    split_lead,
)
from arhn.engines.thoughts import CLOSE, OPEN, read_alternatives, remove_thoughts, thinks_aloud
from arhn.engines.vllm.start import start
from arhn.errors import EngineError
from arhn.libraries import library

if TYPE_CHECKING:
    # Settings open their engine. So that this isn't a circle, it imports them for annotations only.
    from arhn.engines.vllm.settings import Settings

#: Changes with the way answers are made of the same weights, so that a store doesn't mix them.
_METHOD = "vllm-1"
#: Stands for the user's message while the model's chat template is applied.
_CONTENT = "ARHN-CONTENT-5d0c9b7e"
#: Seconds that vLLM's processes have to end by themselves.
_GRACE = 10.0
_FINISH: dict[str | None, Finish] = {"stop": "stop", "length": "length"}
#: How a model is kept from thinking: by its template, by a thought that is over before it began, or not at all.
_Quiet = Literal["template", "closed", "no"]
_QUIETS: tuple[_Quiet, ...] = ("template", "closed", "no")
Tokens = tuple[int, ...]


class VLLMEngine:
    """A model that vLLM computes on this machine, loaded and tried.

    Raises:
        MissingDependency: vLLM isn't installed.
        UsageError: an argument that vLLM doesn't have.
        ModelMissing, ModelUnavailable, ContextTooShort: see errors.py.
        EngineError: vLLM can't start: no device, not enough memory, a model that it doesn't know.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started = start(settings)
        self._loop = BackgroundLoop("vllm")
        self._numbers = count()
        self._failures = self._answered = 0
        self._quiet: _Quiet = "template"
        self._kinds = frozenset(type(constraint).__name__ for constraint in CONSTRAINTS)
        self._frame = lru_cache(maxsize=16)(self._frame_of)
        try:
            self._names = library("vllm.sampling_params", "vllm")
            self._dead: type[Exception] = library("vllm.v1.engine.exceptions", "vllm").EngineDeadError
            # A copy, for vLLM uses its own on other threads.
            self._tokenizer = deepcopy(self._started.llm.get_tokenizer())
            self._loop.submit(self._try()).result()
        except BaseException:
            self._close()
            raise

    @property
    def model(self) -> str:
        """The identity of the weights and of how answers are made."""
        kinds = ",".join(sorted(self._kinds)) or "none"
        return f"{self._started.name} {_METHOD} constraints={kinds} quiet={self._quiet}"

    @property
    def capabilities(self) -> Capabilities:
        """What was found out when it started."""
        return Capabilities(
            constraints=bool(self._kinds),
            logprobs=not self._thinks,
            concurrency=self._settings.concurrency,
            context=self._started.context,
        )

    async def complete(self, request: Request) -> Completion:
        """The answer to one request; raises as `Engine.complete` does."""
        try:
            future = self._loop.submit(self._complete(request))
        except RuntimeError:
            raise EngineError("this engine was closed") from None
        try:
            completion = await asyncio.wrap_future(future)
        except RequestFailed as error:
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                raise EngineError(f"vLLM failed {self._failures} times in a row, at last with: {error}") from error
            raise
        self._failures = 0
        self._answered += 1
        return completion

    async def aclose(self) -> None:
        """Stop vLLM and its processes."""
        self._close()

    @property
    def described(self) -> str:
        """What was found out, in a line."""
        constrained = f"constraints by guidance ({', '.join(sorted(self._kinds))})" if self._kinds else "no constraints"
        first = "thinks before it answers" if self._thinks else f"{ALTERNATIVES} log-probabilities"
        return f"{self._started.name}: {constrained}; {first}; context {self._started.context}"

    def report(self) -> dict[str, Any]:
        """What was found and used, for the summary."""
        return {
            "model": self._started.name,
            "vllm": library("vllm", "vllm").__version__,
            "constraints": {"way": "guidance" if self._kinds else None, "kinds": sorted(self._kinds)},
            "top_logprobs": 0 if self._thinks else ALTERNATIVES,
            "continues": True,
            "thinking": "on" if self._thinks else "off",
            "context": self._started.context,
            "tensor_parallel": self._settings.tensor_parallel,
            "answered": self._answered,
        }

    @property
    def _thinks(self) -> bool:
        return self._quiet == "no"

    def _close(self) -> None:
        self._started.llm.shutdown(timeout=_GRACE)
        self._loop.stop()
        self._started.processes.close()

    async def _try(self) -> None:
        """Find out how the model is kept from thinking, and which constraints its answers satisfy."""
        try:
            for self._quiet in _QUIETS:
                self._frame.cache_clear()
                if self._thinks or not thinks_aloud(await self._write(THOUGHT_TOKENS, None)):
                    break
        except RequestFailed as error:
            raise EngineError(f"{self._settings.model}: it can't answer a simple question ({error})") from error
        satisfied = await asyncio.gather(*map(self._satisfies, CONSTRAINTS))
        self._kinds = frozenset(type(c).__name__ for c, good in zip(CONSTRAINTS, satisfied, strict=True) if good)

    async def _satisfies(self, constraint: Constraint) -> bool:
        try:
            return satisfies(constraint, (await self._write(CONSTRAINED_TOKENS, constraint)).strip())
        except RequestFailed:
            return False

    async def _write(self, most: int, constraint: Constraint | None) -> str:
        """All that the model writes, thoughts and an answer's usual beginning too."""
        request = Request(messages=PROBE_MESSAGES, max_tokens=most)
        output = await self._generate(self._prompt(request), self._sampling(request, constraint))
        return str(output.outputs[0].text)

    async def _complete(self, request: Request) -> Completion:
        lead, constraint = split_lead(request.constraint)
        prompt = self._prompt(request) + self._tokens(lead, special=False)
        sampling = self._sampling(request, constraint)
        if len(prompt) + sampling.max_tokens > self._started.context:
            return Completion(text="", finish="context", prompt_tokens=len(prompt))
        output = await self._generate(prompt, sampling)
        return self._read(output, lead, sampling.logprobs or 0)

    def _read(self, output: Any, lead: str, alternatives: int) -> Completion:
        answer = output.outputs[0]
        finish = _FINISH.get(answer.finish_reason)
        if finish is None:
            raise RequestFailed(f"vLLM ended an answer with {answer.finish_reason!r}")
        places = answer.logprobs or []
        return Completion(
            text=lead + answer.text if lead else remove_thoughts(answer.text, self._thinks, finish),
            finish=finish,
            first=_probable(places[0], alternatives) if places else {},
            prompt_tokens=len(output.prompt_token_ids),
            cached_tokens=output.num_cached_tokens or 0,
            completion_tokens=len(answer.token_ids),
        )

    async def _generate(self, prompt: Tokens, sampling: Any) -> Any:
        """vLLM's answer to a prompt."""
        output = None
        number = f"arhn-{next(self._numbers)}"
        try:
            rendered = {"type": "token", "prompt_token_ids": list(prompt)}
            asked = self._started.llm.generate(rendered, sampling, number)
            async with aclosing(asked) as outputs:
                async for each in outputs:
                    output = each
        except self._dead as error:
            why = self._started.processes.reason or "nothing was logged: it may have been killed, or for want of memory"
            raise EngineError(f"vLLM died ({why}). Every answer so far is kept: run the same command again") from error
        except Exception as error:
            cause = error.__cause__ or error
            raise RequestFailed(f"vLLM: {type(cause).__name__}: {cause}") from error
        if output is None:
            raise RequestFailed("vLLM gave no answer")
        return output

    def _sampling(self, request: Request, constraint: Constraint | None) -> Any:
        """vLLM's sampling parameters; none of a model's own defaults, such as a repetition penalty, are used."""
        names = self._names
        grammar = (
            write_lark(constraint) if constraint is not None and type(constraint).__name__ in self._kinds else None
        )
        return names.SamplingParams(
            temperature=request.temperature,
            seed=request.seed if request.temperature else None,
            max_tokens=request.max_tokens + (self._settings.thinking_tokens if self._thinks else 0),
            logprobs=min(request.alternatives, ALTERNATIVES) or None if not self._thinks else None,
            structured_outputs=names.StructuredOutputsParams(grammar=grammar) if grammar else None,
            output_kind=names.RequestOutputKind.FINAL_ONLY,
        )

    def _prompt(self, request: Request) -> Tokens:
        before, after = self._frame(request.prefix)
        return before + self._tokens(request.messages[-1].content, special=False) + after

    def _frame_of(self, prefix: tuple[Message, ...]) -> tuple[Tokens, Tokens]:
        """The tokens before and after the user's message."""
        messages = [{"role": m.role, "content": m.content} for m in (*prefix, Message("user", _CONTENT))]
        try:
            # Templates that don't know the switch ignore it.
            text: str = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
            )
        except Exception as error:
            raise EngineError(f"{self._settings.model}: its chat template can't be used ({error})") from error
        before, found, after = text.partition(_CONTENT)
        if not found:
            raise EngineError(f"{self._settings.model}: its chat template leaves out what the user says")
        return self._tokens(before, special=True), self._tokens(self._without_thought(after), special=True)

    def _without_thought(self, after: str) -> str:
        """The template's end, with a thought that is over where the model would begin one."""
        opened = after.rstrip().endswith(OPEN)
        if self._quiet == "closed" or (opened and not self._thinks):
            return f"{after.rstrip() if opened else after + OPEN}\n\n{CLOSE}\n\n"
        return after

    def _tokens(self, text: str, *, special: bool) -> Tokens:
        """Tokens of `text`; control tokens in it are only read as such where it is `special`."""
        if not text:
            return ()
        return tuple(self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=not special))


def _probable(place: Mapping[int, Any], alternatives: int) -> dict[str, float]:
    """The most probable tokens in one place of an answer."""
    ranked = sorted(place.values(), key=lambda p: p.rank)
    # What a constraint forced is among them too, however improbable it was.
    return read_alternatives((p.decoded_token or "", p.logprob) for p in ranked if p.rank <= alternatives)


__all__ = ["VLLMEngine"]
