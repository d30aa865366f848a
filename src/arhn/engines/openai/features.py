"""What a server can do, and requests in the form that it understands. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from arhn.engines.gbnf import write_gbnf
from arhn.engines.grammars import write_lark
from arhn.engines.protocol import Constraint, Request, split_lead

#: Changes with the way answers are made of the same model, so that a store doesn't mix them.
_METHOD = "openai-1"
#: Ways to send a constraint, those that hold the most first. vLLM takes its grammars in llguidance's notation, or in
#: GBNF with the backend xgrammar; llama.cpp's server in GBNF, or in llguidance's where it was built with that; SGLang
#: in GBNF.
Way = Literal["structured_outputs", "structured_outputs_gbnf", "llguidance", "grammar", "ebnf"]
WAYS: Mapping[Way, Callable[[Constraint], Mapping[str, Any]]] = {
    "structured_outputs": lambda c: {"structured_outputs": {"grammar": write_lark(c)}},
    "structured_outputs_gbnf": lambda c: {"structured_outputs": {"grammar": write_gbnf(c)}},
    "llguidance": lambda c: {"grammar": "%llguidance {}\n" + write_lark(c)},
    "grammar": lambda c: {"grammar": write_gbnf(c)},
    "ebnf": lambda c: {"ebnf": write_gbnf(c)},
}
#: How a model is kept from thinking before it answers: by its chat template, or as hosted models take it.
Quiet = Literal["template", "effort", ""]
_QUIET: Mapping[Quiet, Mapping[str, Any]] = {
    "template": {"chat_template_kwargs": {"enable_thinking": False}},
    "effort": {"reasoning_effort": "none"},
    "": {},
}
#: A token is seldom less than this many bytes, in any language; for guesses that should be too high.
_BYTES_A_TOKEN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What probes found. All of it shapes answers, so all of it is part of the engine's identity.

    `way`: how constraints are sent; None where the server has none. `kinds`: the constraints that its answers
    satisfied, by name. `top`: alternatives of the first token that it gives; 0 for none. `continues`: it continues an
    answer whose first words it is given. `quiet`: how the model is kept from thinking first; `thinks`: it thinks all
    the same. `limit`: what it calls the most tokens of an answer. `temperature`, `seed`: it takes them. `penalty`: it
    may have a repetition penalty of its own, which is switched off.
    """

    way: Way | None = None
    kinds: frozenset[str] = frozenset()
    top: int = 0
    continues: bool = False
    quiet: Quiet = ""
    thinks: bool = False
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    seed: bool = True
    penalty: bool = False

    @property
    def identity(self) -> str:
        """How answers are made, in words that stay the same."""
        parts = {
            "constraints": f"{self.way}({','.join(sorted(self.kinds))})" if self.way else "none",
            "first": self.top,
            "continues": int(self.continues),
            "quiet": self.quiet or "no",
            "thinks": int(self.thinks),
        }
        odd = [name for name in ("temperature", "seed") if not getattr(self, name)]
        return " ".join([_METHOD, *(f"{k}={v}" for k, v in parts.items()), *(f"no-{name}" for name in odd)])

    @property
    def described(self) -> str:
        """The features in a line, for people."""
        kinds = ", ".join(sorted(self.kinds))
        constrained = (
            f"constraints by {self.way} ({kinds})" if self.way else "no constraints: answers are checked afterwards"
        )
        first = f"{self.top} log-probabilities" if self.top else "no log-probabilities: whole answers are asked for"
        return "; ".join([constrained, first, *(["thinks before it answers"] if self.thinks else [])])


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A request as it is sent. `lead`: the beginning of the answer that is sent along. `most`: tokens of the answer."""

    body: bytes
    lead: str
    most: int

    @property
    def guess(self) -> int:
        """Tokens of the prompt at most, nearly always."""
        return len(self.body) // _BYTES_A_TOKEN

    @property
    def kind(self) -> int:
        """Requests of a kind take about as long as each other."""
        return self.most.bit_length()


class Encoder:
    """Writes requests for one model on servers of one kind."""

    def __init__(self, model: str, features: Features, *, thinking_tokens: int, extra: Mapping[str, Any]) -> None:
        self._features = features
        self._thinking = thinking_tokens if features.thinks else 0
        self._common: dict[str, Any] = {"model": model, **_QUIET[features.quiet]}
        if features.penalty:
            self._common["repetition_penalty"] = 1.0
        self._extra = extra

    def encode(self, request: Request) -> Encoded:
        """The body of an HTTP request that asks for `request`."""
        features = self._features
        lead, constraint = split_lead(request.constraint) if features.continues else ("", request.constraint)
        messages = [{"role": m.role, "content": m.content} for m in request.messages]
        body = dict(self._common)
        if lead:
            messages.append({"role": "assistant", "content": lead})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        most = request.max_tokens + self._thinking
        body |= {"messages": messages, features.limit: most}
        body |= self._sampling(request)
        if request.alternatives and features.top:
            body |= {"logprobs": True, "top_logprobs": min(request.alternatives, features.top)}
        if constraint is not None and features.way and type(constraint).__name__ in features.kinds:
            body |= WAYS[features.way](constraint)
        return Encoded(body=orjson.dumps(body | dict(self._extra)), lead=lead, most=most)

    def _sampling(self, request: Request) -> dict[str, Any]:
        sampling: dict[str, Any] = {}
        if self._features.temperature:
            sampling["temperature"] = request.temperature
            if request.temperature:
                sampling["top_p"] = 1
        if self._features.seed:
            sampling["seed"] = request.seed
        return sampling


__all__ = ["WAYS", "Encoded", "Encoder", "Features", "Quiet", "Way"]
