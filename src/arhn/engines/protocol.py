"""What an engine is: one coroutine that turns a `Request` into a `Completion`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b, sha256
from typing import Any, Literal, Protocol, runtime_checkable

import orjson

#: How an answer ended. `stop`: the model finished it. `length`: cut off at `max_tokens`. `context`: the
#: prompt doesn't fit, nothing was generated. `refused`: the server declined to answer.
Finish = Literal["stop", "length", "context", "refused"]


#: First-token alternatives to keep. Where neither expected word is among them, the last one bounds it.
ALTERNATIVES = 40
#: An engine that fails that many requests one after the other is taken for broken.
FAILURES_IN_A_ROW = 32


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class SpanOf:
    """The answer is a run of whole words of `text`, verbatim, between `lead` and `close`, or `otherwise` if given."""

    text: str
    otherwise: str = ""
    lead: str = ""
    close: str = ""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The answer is one of `choices`."""

    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Permutation:
    """The answer is the numbers 1 to `n`, each once, joined by " > "."""

    n: int


@dataclass(frozen=True, slots=True)
class Matching:
    """The answer as a whole matches the regular expression `pattern` (no look-around, no back references).

    `gbnf` says the same as a grammar in GBNF (rule "root"), for servers that take nothing else.
    """

    pattern: str
    gbnf: str = ""


Constraint = SpanOf | OneOf | Permutation | Matching


def split_lead(constraint: Constraint | None) -> tuple[str, Constraint | None]:
    """The words that every answer begins with, and the constraint on the rest.

    An engine that can continue an answer puts the words into the prompt: reading is cheaper than writing.
    """
    if isinstance(constraint, SpanOf) and constraint.lead and not constraint.otherwise:
        return constraint.lead, replace(constraint, lead="")
    return "", constraint


def _content(constraint: Constraint) -> Any:
    """What of a constraint is part of a request's key: not how it is written for one kind of server."""
    return {"pattern": constraint.pattern} if isinstance(constraint, Matching) else constraint


@dataclass(frozen=True, kw_only=True)
class Request:
    """One question to the LLM.

    `messages` ends with the user's message; everything before it is shared between requests of a kind,
    so engines keep it cached. `alternatives` asks for that many log-probabilities of the first token. Decoding is
    greedy unless `temperature` is above 0; `seed` then tells repeated questions apart.
    """

    messages: tuple[Message, ...]
    max_tokens: int
    constraint: Constraint | None = None
    alternatives: int = 0
    temperature: float = 0.0
    seed: int = 0

    @cached_property
    def prefix(self) -> tuple[Message, ...]:
        """The messages shared with other requests of the same kind."""
        return self.messages[:-1]

    def key(self, model: str) -> bytes:
        """16 bytes that identify the question and who is asked: model, messages, sampling, constraint."""
        constraint = self.constraint
        content: tuple[Any, ...] = (
            model,
            [(m.role, m.content) for m in self.messages],
            self.max_tokens,
            self.alternatives,
            self.temperature,
            self.seed,
            None if constraint is None else (type(constraint).__name__, _content(constraint)),
        )
        return blake2b(orjson.dumps(content), digest_size=16).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One answer. Log-probabilities are natural logs of the model's own, before constraint and temperature.

    `first` maps the first position's most probable tokens (text) to their log-probabilities. `prompt_tokens` counts
    the prompts that were sent, `cached_tokens` the part of them that wasn't computed.
    """

    text: str
    finish: Finish = "stop"
    first: Mapping[str, float] = field(default_factory=dict)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


def log_odds(first: Mapping[str, float], yes: str, no: str) -> float | None:
    """Natural log-odds that an answer begins like `yes` against `no`, from its first token's alternatives.

    With an empty `yes`, any beginning but `no` counts. A word that no alternative fits is bounded by the
    least probable of them. None where neither is among the alternatives: the LLM began with something else.
    """
    no_mass = _mass(first, no)
    yes_mass = _mass(first, yes) if yes else max(1 - no_mass, 1e-9)
    if not (yes_mass or no_mass):
        return None
    floor = math.exp(min(first.values()))
    return math.log(yes_mass or floor) - math.log(no_mass or floor)


def _mass(first: Mapping[str, float], word: str) -> float:
    """Probability that the answer begins like `word`."""
    return math.fsum(math.exp(p) for token, p in first.items() if token and word.startswith(token))


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do.

    `constraints` and `logprobs`: whether it honours them. `concurrency`: requests worth having in flight.
    `context`: tokens that a request's prompt and answer may take together. `lookahead`: groups worth having in work, so
    that it can choose which request is next; 0: as many as keep it busy.
    """

    constraints: bool
    logprobs: bool
    concurrency: int
    context: int
    lookahead: int = 0


def hash_extra(extra: Mapping[str, Any]) -> str:
    """What else is asked for with every request, as a part of an engine's identity."""
    if not extra:
        return ""
    content = orjson.dumps(extra, option=orjson.OPT_SORT_KEYS)
    return f" extra={sha256(content).hexdigest()[:16]}"


class RequestFailed(Exception):
    """This one request got no answer (server error, dropped connection); the next run asks again.

    `attempts`: how often it was tried.
    """

    def __init__(self, reason: str, *, attempts: int = 1) -> None:
        super().__init__(reason)
        self.attempts = attempts


class Engine(Protocol):
    """Concurrency, retries and batching are the engine's business.

    `model` identifies the weights and how answers are made of them; it is part of the store's key.
    """

    @property
    def model(self) -> str:
        """The identity of the weights and of how answers are made."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this engine can do."""
        ...

    async def complete(self, request: Request) -> Completion:
        """Answer one request.

        Raises:
            RequestFailed: no answer to this request; others may still work.
            EngineError: the engine itself has stopped.
        """
        ...

    async def aclose(self) -> None:
        """End what it started; it answers no more."""
        ...


def find_servers(engine: Engine) -> list[str]:
    """The servers that an engine asks, by name and in order; none where it asks none."""
    found = engine.report().get("servers") if isinstance(engine, Reporting) else None
    return sorted(map(str, found)) if isinstance(found, Mapping) else []


@runtime_checkable
class Reporting(Protocol):
    """An engine that can report how it answered, for the summary of a run."""

    def report(self) -> dict[str, Any]:
        """Values that JSON can hold, by name."""
        ...
