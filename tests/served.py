"""What a scripted LLM would answer behind an OpenAI-compatible server, and the faults such a server has."""

from __future__ import annotations

import json
import random
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from arhn.engines import Completion, Constraint, Matching, Message, OneOf, Permutation, Request, SpanOf
from arhn.engines.openai import faults, servers
from tests.conftest import answer_by_marks
from tests.serving import Asked, Json, Reply, Server, chat, completed, failed, models

if TYPE_CHECKING:
    import pytest

Script = Callable[[Request], Completion | str]


@dataclass
class Served:
    """A handler. `top`: the most log-probabilities it gives, 0 for none. `constraints`: whether it keeps to vLLM's; it
    ignores them silently otherwise. `context`: characters of a user's message that fit. `refuses`: fields that it
    answers 400 to. `thinks`: the model thinks first, unless its template says no, or always.
    """

    script: Script = answer_by_marks
    names: tuple[str, ...] = ("m",)
    owner: str = "vllm"
    top: int = 20
    constraints: bool = True
    continues: bool = True
    key: str | None = None
    context: int = 10**6
    refuses: tuple[str, ...] = ()
    thinks: str = ""
    listed: Mapping[str, Any] = field(default_factory=lambda: {"max_model_len": 4096})
    answered: Counter[bytes] = field(default_factory=Counter)

    def __call__(self, asked: Asked) -> Reply:
        if self.key is not None and asked.headers.get("authorization") != f"Bearer {self.key}":
            return failed(401, f"Incorrect API key provided: {asked.headers.get('authorization')}")
        if asked.path == "/v1/models":
            return models(*self.names, owner=self.owner, **self.listed)
        if asked.path != "/v1/chat/completions":
            return failed(404, "Not Found")
        return self._chat(asked.body)

    def _chat(self, body: Json) -> Reply:
        if body["model"] not in self.names:
            return failed(404, f"The model `{body['model']}` does not exist.", code="model_not_found")
        for name in self.refuses:
            if name in body:
                return failed(400, f"Unsupported parameter: '{name}' is not supported with this model.")
        if body.get("top_logprobs", 0) > self.top > 0:
            return failed(400, f"Requested sample logprobs of {body['top_logprobs']}, which is greater than {self.top}")
        request = request_of(body)
        if len(request.messages[-1].content) > self.context:
            return failed(400, f"maximum context length exceeded: {len(request.messages[-1].content)} prompt tokens")
        return Reply(body=self._answer(request, body))

    def _answer(self, request: Request, body: Json) -> Json:
        continued = body["messages"][-1]["role"] == "assistant"
        if not self.constraints:
            request = replace(request, constraint=None)
        answer = self._complete(request, continued and self.continues)
        thinking = self.thinks and not (self.thinks == "unless switched off" and body.get("chat_template_kwargs"))
        text = f"<think>Well.</think>\n\n{answer.text}" if thinking else answer.text
        first = dict(list(answer.first.items())[: body.get("top_logprobs", 0)]) if self.top else {}
        self.answered[request.key("m")] += 1
        return completed(replace(answer, text=text, first=first))

    def _complete(self, request: Request, continues: bool) -> Completion:
        question = request.messages[-1].content
        if "capital of France" in question:
            answer: Completion | str = obeying(request.constraint) or Completion(
                text="Paris", first={"Paris": -0.1, "London": -3.0}
            )
        elif question.startswith("Count"):
            answer = " five six" if continues else "one two three four"
        else:
            answer = self.script(request)
        found = Completion(text=answer) if isinstance(answer, str) else answer
        lead = request.constraint.lead if isinstance(request.constraint, SpanOf) else ""
        return replace(found, text=found.text.removeprefix(lead)) if continues else found


def obeying(constraint: Constraint | None) -> str:
    """An answer that keeps to a constraint of a probe."""
    match constraint:
        case SpanOf(text, _, lead, close):
            return f"{lead}{' '.join(text.split()[1:3])}{close}"
        case OneOf(choices):
            return choices[-1]
        case Permutation(n):
            return " > ".join(str(i) for i in range(n, 0, -1))
        case Matching():
            return "plate: 123; worn"
    return ""


def request_of(body: Json) -> Request:
    """The request that a body was made of."""
    messages = [Message(m["role"], m["content"]) for m in body["messages"]]
    constraint = _constraint(body.get("structured_outputs", {}).get("grammar", ""))
    if messages[-1].role == "assistant":
        lead = messages.pop().content
        constraint = replace(constraint, lead=lead) if isinstance(constraint, SpanOf) else constraint
    return Request(
        messages=tuple(messages),
        max_tokens=body.get("max_tokens") or body["max_completion_tokens"],
        constraint=constraint,
        alternatives=body.get("top_logprobs", 0),
        temperature=body.get("temperature", 0.0),
        seed=body.get("seed", 0),
    )


_STRING = r'("(?:\\.|[^"\\])*")'


def _constraint(grammar: str) -> Constraint | None:
    start, _, rest = grammar.removeprefix("start: ").partition("\n")
    if not grammar:
        return None
    if start.startswith("next::"):
        return Permutation(rest.count("set_bit"))
    if start.startswith("/"):
        return Matching(start[1:-1])
    if "SPAN" not in start:
        return OneOf(tuple(map(json.loads, re.findall(_STRING, start))))
    before, _, after = start.partition("SPAN")
    *otherwise, lead = before.split(" | ")
    text = json.loads(re.search(rf'"substring_words": {_STRING}', rest)[1])  # type: ignore[index]
    answer = [json.loads(found[0]) if (found := re.findall(_STRING, part)) else "" for part in (lead, after)]
    return SpanOf(text, json.loads(otherwise[0]) if otherwise else "", *answer)


@dataclass
class Faulty:
    """A server that fails at `share` of the requests, each time in another way; never at the first `spared` ones.

    Each kind of request is counted by itself: `share` of every kind fails, however slow the client is and in whatever
    order it asks. Broken answers come before a sound one to the same question, or instead of it. A `stall` is in
    seconds; there are `stalls` of them at most. `lies`: some answers, whole ones, name candidates that there aren't or
    words of another passage; `lied` has what was asked.
    """

    served: Served
    server: Server | None = None
    share: float = 0.2
    spared: int = 0
    restart_after: int = 0
    stall: float = 60.0
    stalls: int = sys.maxsize
    lies: bool = False
    faults: Counter[str] = field(default_factory=Counter)
    lied: list[str] = field(default_factory=list)
    seen: int = 0
    _of_kind: Counter[str] = field(default_factory=Counter)
    _rng: random.Random = field(default_factory=lambda: random.Random(11))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, asked: Asked) -> Reply:
        with self._lock:
            self.seen += 1
            if self.server is not None and self.seen == self.restart_after:
                self.faults["restart"] += 1
                self.server.restart(0.3)
                return Reply(fate="dropped")
            reply = self.served(asked)
            if self.seen <= self.spared or not self._fails(asked):
                return reply
            return self._broken(asked, reply)

    def _fails(self, asked: Asked) -> bool:
        """Whether this one of its kind fails: with a share of 0.2 every fifth."""
        kind = type(request_of(asked.body).constraint).__name__ if asked.body else asked.path
        before = self._of_kind[kind]
        self._of_kind[kind] += 1
        return int((before + 1) * self.share) > int(before * self.share)

    def _broken(self, asked: Asked, reply: Reply) -> Reply:
        broken: dict[str, Reply] = {
            "429": failed(429, "slow down", retry_after="0.05"),
            "503": failed(503, "overloaded"),
            "500": failed(500, "internal error"),
            "502 page": Reply(status=502, body=b"<html><title>Bad Gateway</title></html>"),
            "page": Reply(body=b"<!doctype html><p>Please log in</p>"),
            "dropped": Reply(fate="dropped"),
            "half": replace(reply, fate="half"),
            "half json": Reply(body=b'{"choices": [{"message": {"con', headers={"content-type": "application/json"}),
            "wrong json": Reply(body={"choices": [], "id": "x"}),
            "no end": Reply(body=chat("Yes", finish=None)),
            "wrong index": Reply(body={**chat("Yes"), "choices": [{**chat("Yes")["choices"][0], "index": 3}]}),
        }
        if self.faults["stall"] < self.stalls:
            broken["stall"] = replace(reply, delay=self.stall)
        lie = _lie(asked) if self.lies else None
        if lie is not None:
            broken["wrong ids"] = lie
        name = self._next(broken)
        self.faults[name] += 1
        if name == "wrong ids":
            self.lied.append(str(asked.body["messages"]))
        return broken[name]

    def _next(self, possible: Collection[str]) -> str:
        """The fault that came least so far, so that each comes as soon as a request allows it."""
        least = min(self.faults[name] for name in possible)
        return self._rng.choice(sorted(name for name in possible if self.faults[name] == least))


#: What lies begin with.
LIES = ("7 > 99 > 1", "words of another passage")


def _lie(asked: Asked) -> Reply | None:
    """A whole answer that names what there isn't; None where the question has no place for one."""
    constraint = request_of(asked.body).constraint if asked.body else None
    if isinstance(constraint, Permutation):
        return Reply(body=chat(LIES[0]))
    return Reply(body=chat(f"{LIES[1]}{constraint.close}")) if isinstance(constraint, SpanOf) else None


def hasten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are drawn as always, and kept a thirtieth as long."""
    drawn = faults.choose_wait
    for module in ("outcome", "engine"):
        monkeypatch.setattr(f"arhn.engines.openai.{module}.choose_wait", lambda *how: drawn(*how) / 30)
    monkeypatch.setattr(servers, "LOOK_FIRST", 0.02)
