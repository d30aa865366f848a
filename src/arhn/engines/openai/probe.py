"""Asked before a run: is the server there, does it have the model, and what can it do?

Nothing is taken on trust. A constraint counts only if an answer satisfied it that no model would give by itself:
servers ignore fields that they don't know, and say nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from arhn.engines.openai.faults import Fault, find_fault, is_page
from arhn.engines.openai.features import WAYS, Encoded, Encoder, Features, Quiet, Way
from arhn.engines.openai.listing import TRIES, choose_model, find_context, list_models, make_probe_error
from arhn.engines.openai.outcome import ask_patiently
from arhn.engines.openai.responses import Unsound, read_answer, thinks_aloud
from arhn.engines.openai.wire import Dropped, Reply, TooSlow, Unreachable, Wire
from arhn.engines.probes import (
    CONSTRAINED_TOKENS,
    CONSTRAINTS,
    LEAST_CONTEXT,
    PROBE_MESSAGES,
    THOUGHT_TOKENS,
    USUAL_CONTEXT,
    satisfies,
)
from arhn.engines.protocol import ALTERNATIVES, Completion, Constraint, Message, Request, SpanOf
from arhn.errors import ContextTooShort, EngineError, OtherApi, ServerGone, UnknownModel

if TYPE_CHECKING:
    from arhn.engines.openai.settings import Settings

_TOPS = (ALTERNATIVES, 20, 5)
_FIRST_WAYS: Mapping[str, tuple[Way, ...]] = {"llamacpp": ("llguidance", "grammar"), "sglang": ("ebnf",)}
_COUNTED = "one two three four"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A server that was probed: its model, what it can do, and the tokens of its context (None: it doesn't say)."""

    model: str
    features: Features
    context: int | None


async def probe(wire: Wire, name: str, settings: Settings, rng: random.Random) -> Found:
    """Find out everything about one server.

    Raises:
        ServerGone, KeyRefused, UnknownModel, OtherApi, ContextTooShort: see errors.py; all of them within seconds.
        EngineError: it doesn't answer a simple question.
    """
    listed = await list_models(wire, name, settings, rng)
    model = choose_model(listed, name, settings)
    context = find_context(listed.models.get(model, {}))
    usable = min(filter(None, (context, settings.context)), default=USUAL_CONTEXT)
    if usable < LEAST_CONTEXT:
        raise ContextTooShort(
            f"{name}: {usable} tokens of context; the prompts and a short passage take {LEAST_CONTEXT}. Start the "
            "server with more, or give a larger engine.context"
        )
    features = await _Prober(wire, name, model, settings, rng).find_features(listed.kind)
    return Found(model=model, features=features, context=context)


class _Garbled(Dropped):
    """An answer that isn't one, every time."""


class _Prober:
    """Asks one server short questions, each with one feature more or less."""

    def __init__(self, wire: Wire, name: str, model: str, settings: Settings, rng: random.Random) -> None:
        self._wire = wire
        self._name = name
        self._model = model
        self._settings = settings
        self._rng = rng

    async def find_features(self, kind: str) -> Features:
        """All of them, found one after the other."""
        features = await self._drop_refused_fields(Features(penalty=kind in ("vllm", "sglang")))
        features = await self._keep_from_thinking(features)
        if not features.thinks:
            features = await self._count_alternatives(features)
            features = await self._try_continuing(features)
        return await self._try_constraints(features, kind)

    async def _drop_refused_fields(self, features: Features) -> Features:
        """The usual fields, without those that the server says it doesn't take."""
        for _ in range(5):
            reply = await self._reply(features, Request(messages=PROBE_MESSAGES, max_tokens=4))
            fault = find_fault(reply, key=self._settings.key)
            if fault is None:
                return features
            less = _without_named(features, fault)
            if less is None:
                raise self._error(fault)
            features = less
        return features

    async def _keep_from_thinking(self, features: Features) -> Features:
        """Keep the model from thinking, where it does."""
        ways: tuple[Quiet, ...] = ("template", "effort")
        request = Request(messages=PROBE_MESSAGES, max_tokens=THOUGHT_TOKENS)
        if not await self._thinks(features, request):
            # Some think about hard questions only; templates that don't know the switch ignore it.
            tried = replace(features, quiet="template")
            return tried if await self._thinks(tried, request) is False else features
        for way in ways:
            tried = replace(features, quiet=way)
            if await self._thinks(tried, request) is False:
                return tried
        return replace(features, thinks=True)

    async def _thinks(self, features: Features, request: Request) -> bool | None:
        """None where the server refuses the question, or a switch leaves the answer without a text."""
        encoded = self._encoder(features).encode(request)
        if not features.quiet:
            reply = await self._send(encoded)
            return thinks_aloud(reply.body) if reply.status == 200 else None
        try:
            reply = await self._ask(encoded)
            if reply.status != 200 or not read_answer(reply.body).text.strip():
                return None
        except _Garbled:
            return None
        return thinks_aloud(reply.body)

    async def _count_alternatives(self, features: Features) -> Features:
        """The most alternatives of the first token that the server gives; it may cap them, or say nothing."""
        for top in _TOPS:
            tried = replace(features, top=top)
            answer = await self._answer(tried, Request(messages=PROBE_MESSAGES, max_tokens=1, alternatives=top))
            if answer is not None and len(answer.first) > 1:
                return tried
        return features

    async def _try_continuing(self, features: Features) -> Features:
        """Whether it continues an answer whose first words it is given, rather than starting over."""
        tried = replace(features, continues=True)
        question = Message("user", "Count from one to nine in words, with a space between them.")
        constraint = SpanOf("", lead=_COUNTED)
        request = Request(messages=(question,), max_tokens=4, constraint=constraint)
        answer = await self._answer(tried, request)
        return tried if answer is not None and "five" in answer.text.removeprefix(_COUNTED) else features

    async def _try_constraints(self, features: Features, kind: str) -> Features:
        """The first way in which the constraint of a span is satisfied, and which other kinds are in that way."""
        for way in dict.fromkeys((*_FIRST_WAYS.get(kind, ()), *WAYS)):
            if not await self._satisfies(features, way, CONSTRAINTS[0]):
                continue
            satisfied = {type(c).__name__ for c in CONSTRAINTS[1:] if await self._satisfies(features, way, c)}
            return replace(features, way=way, kinds=frozenset({"SpanOf", *satisfied}))
        return features

    async def _satisfies(self, features: Features, way: Way, constraint: Constraint) -> bool:
        name = type(constraint).__name__
        # The lead is a part of what is looked for.
        tried = replace(features, way=way, kinds=frozenset({name}), continues=False)
        answer = await self._answer(
            tried, Request(messages=PROBE_MESSAGES, max_tokens=CONSTRAINED_TOKENS, constraint=constraint)
        )
        return answer is not None and satisfies(constraint, answer.text.strip())

    async def _answer(self, features: Features, request: Request) -> Completion | None:
        """None where the server refuses the question."""
        encoded = self._encoder(features).encode(request)
        reply = await self._send(encoded)
        if reply.status != 200:
            return None
        try:
            return read_answer(reply.body, lead=encoded.lead, thinks=features.thinks, alternatives=request.alternatives)
        except Unsound:
            return None

    async def _reply(self, features: Features, request: Request) -> Reply:
        return await self._send(self._encoder(features).encode(request))

    def _encoder(self, features: Features) -> Encoder:
        settings = self._settings
        return Encoder(self._model, features, thinking_tokens=settings.thinking_tokens, extra=settings.body)

    async def _send(self, encoded: Encoded) -> Reply:
        try:
            return await self._ask(encoded)
        except _Garbled as error:
            raise OtherApi(
                f"{self._name}: answers, but not as an OpenAI-compatible server does ({error}). Give the base URL of "
                "its chat completions, such as http://localhost:8000/v1"
            ) from None

    async def _ask(self, encoded: Encoded) -> Reply:
        """Raises ServerGone, and _Garbled where no answer is sound."""
        try:
            return await ask_patiently(lambda: self._ask_whole(encoded), tries=TRIES, slow=2, rng=self._rng)
        except _Garbled:
            raise
        except (Unreachable, Dropped, TooSlow) as error:
            raise ServerGone(
                f"{self._name}: it is there, but doesn't answer a simple question ({error}). Look at its log"
            ) from None

    async def _ask_whole(self, encoded: Encoded) -> Reply:
        """A reply that is sound or a refusal: what got broken on its way says nothing of the server's features."""
        reply = await self._wire.ask(encoded.body)
        if is_page(reply) and reply.status == 200:
            raise _Garbled("a web page")
        if reply.status == 200:
            try:
                read_answer(reply.body)
            except Unsound as error:
                raise _Garbled(str(error)) from None
        return reply

    def _error(self, fault: Fault) -> EngineError:
        if fault.kind == "model":
            return UnknownModel(f"{self._name}: it doesn't have the model {self._model!r} ({fault.reason})")
        return make_probe_error(fault, self._name, self._model, self._settings)


def _without_named(features: Features, fault: Fault) -> Features | None:
    """The features without the one that a refusal names; None where it names none that can be left out."""
    reason = fault.reason.casefold()
    if fault.kind != "refused":
        return None
    if "max_tokens" in reason and features.limit == "max_tokens":
        return replace(features, limit="max_completion_tokens")
    if "repetition_penalty" in reason and features.penalty:
        return replace(features, penalty=False)
    if "temperature" in reason and features.temperature:
        return replace(features, temperature=False)
    if "seed" in reason and features.seed:
        return replace(features, seed=False)
    return None


__all__ = ["Found", "probe"]
