"""Settings of servers: which, how they are asked, and what may be spent on them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_validator

from arhn.engines.protocol import Completion, Engine
from arhn.engines.settings import Counted, EngineSettings
from arhn.errors import KeyRefused, UsageError

if TYPE_CHECKING:
    import httpx

    from arhn.engines.openai.budget import Budget, Prices

logger = logging.getLogger(__name__)

_HIDDEN = "***"
#: So many characters of a key, one after the other, aren't shown.
_PART = 8
_MOST = 2**31 - 1


class Key:
    """An API key, from an environment variable. Its value is in no repr, message or record: only `headers` has it.

    Raises:
        KeyRefused: the variable is empty, not set, or holds what no header can.
    """

    __slots__ = ("_value", "variable")

    def __init__(self, variable: str) -> None:
        self.variable = variable
        self._value = os.environ.get(variable, "").strip()
        if not self._value:
            raise KeyRefused(f"engine.api_key_env: the variable {variable} isn't set. Set it to the API key")
        if not (self._value.isascii() and self._value.isprintable()):
            raise KeyRefused(f"engine.api_key_env: {variable} holds characters that no API key has. Set it anew")

    def __repr__(self) -> str:
        return f"Key({self.variable!r})"

    def __reduce__(self) -> str:
        raise TypeError("a key is never stored")

    @property
    def headers(self) -> httpx.Headers:
        """The header that carries it; `httpx.Headers` hide it in their repr."""
        import httpx

        return httpx.Headers({"Authorization": f"Bearer {self._value}"})

    def redact(self, text: str) -> str:
        """A message that a server wrote, without the key and without parts of it, as where it was cut off."""
        text = text.replace(self._value, _HIDDEN)
        parts = {self._value[i : i + _PART] for i in range(len(self._value) - _PART + 1)}
        hidden = bytearray(len(text))
        for i in range(len(text) - _PART + 1):
            if text[i : i + _PART] in parts:
                hidden[i : i + _PART] = bytes([1]) * _PART
        if not any(hidden):
            return text
        runs = groupby(zip(text, hidden, strict=True), key=itemgetter(1))
        return "".join(_HIDDEN if hides else "".join(c for c, _ in run) for hides, run in runs)

    def redact_body(self, body: bytes) -> bytes:
        """What a server sent, without the key."""
        return body.replace(self._value.encode("ascii"), _HIDDEN.encode("ascii"))

    def redact_answer(self, answer: Completion) -> Completion:
        """An answer without the key, also where the server had written it in escapes."""
        if self._value not in answer.text and not any(self._value in token for token in answer.first):
            return answer
        first = {token.replace(self._value, _HIDDEN): logprob for token, logprob in answer.first.items()}
        return replace(answer, text=answer.text.replace(self._value, _HIDDEN), first=first)


def _price(of: str, default: float | None = 0.0) -> Any:
    unit: Any = {"unit": "money per million tokens"}
    return Field(default=default, ge=0, allow_inf_nan=False, description=f"Price of {of}.", json_schema_extra=unit)


def _seconds(default: float, what: str) -> Any:
    unit: Any = {"unit": "seconds"}
    return Field(default=default, gt=0, le=86_400, allow_inf_nan=False, description=what, json_schema_extra=unit)


class Timeouts(BaseModel):
    """How long to wait. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    connect: StrictFloat = _seconds(10.0, "How long a connection may take.")
    answer: StrictFloat = _seconds(
        120.0, "How long one answer may take, from the first byte sent to the last one received."
    )
    total: StrictFloat = _seconds(900.0, "How long one request may take with all its repetitions.")
    patience: StrictFloat = _seconds(300.0, "How long no server at all may be there.")


class Settings(EngineSettings):
    """Servers of one model: any OpenAI-compatible ones."""

    paid: ClassVar[bool] = True
    counted: ClassVar[Counted] = "server"

    name: Literal["openai"] = Field(default="openai", description="Any OpenAI-compatible server.")
    model: str = Field(default="", description="The servers' name of the model; the only one they have, unless given.")
    urls: tuple[str, ...] = Field(
        default=(),
        description="Base URLs, such as http://localhost:8000/v1; /v1 is added where it is missing. Required with "
        "openai.",
    )
    api_key_env: str | None = Field(
        default=None, min_length=1, description="The environment variable that holds the API key; never the key itself."
    )
    concurrency: StrictInt = Field(
        default=64,
        ge=1,
        le=_MOST,
        description="Requests in flight per server, at most; how many really are adapts to the server.",
        json_schema_extra={"unit": "requests"},
    )
    attempts: StrictInt = Field(
        default=6,
        ge=1,
        le=_MOST,
        description="How often a request is sent before it has failed for good; waiting for a busy server isn't "
        "counted.",
        json_schema_extra={"unit": "tries"},
    )
    thinking_tokens: StrictInt = Field(
        default=2048,
        ge=1,
        le=_MOST,
        description="Left to a model that thinks before it answers and can't be kept from it.",
        json_schema_extra={"unit": "tokens"},
    )
    timeouts: Timeouts = Field(default_factory=Timeouts, description="How long to wait.")
    body: Mapping[str, Any] = Field(default_factory=dict, description="A table: further fields of every request.")

    @property
    def key(self) -> Key | None:
        """The API key that the environment has, if one is asked for. Raises KeyRefused: it has none."""
        return Key(self.api_key_env) if self.api_key_env else None

    @property
    def bases(self) -> tuple[httpx.URL, ...]:
        """The base URLs, each once.

        Raises:
            UsageError: one isn't an http or https URL, or holds a user name or password.
        """
        return tuple(dict.fromkeys(_base(url) for url in self.urls))

    @property
    def missing(self) -> str:
        """Where no server is named, none can be asked."""
        return "" if self.urls else "no server is named. Give engine.urls (--url)"

    @property
    def requests(self) -> int:
        """Requests in flight per server, at most."""
        return self.concurrency

    def open(self, budget: Budget | None = None) -> Engine:
        """The engine, after asking the servers what they can do. Raises as `arhn.engines.openai.engine.connect`."""
        from arhn.engines.openai.engine import connect

        if not self.urls:
            raise UsageError(
                "engine.urls: openai needs to know where the server is. Give it (--url), such as "
                "http://localhost:8000/v1"
            )
        engine = connect(self, budget)
        logger.info("%s", engine.described)
        return engine


class BudgetSettings(BaseModel):
    """When to stop: as soon as one of the limits is reached. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    calls: StrictInt | None = Field(
        default=None,
        ge=0,
        le=_MOST,
        description="At most so many requests, repetitions included.",
        json_schema_extra={"unit": "requests"},
    )
    tokens: StrictInt | None = Field(
        default=None,
        ge=0,
        le=2**63 - 1,
        description="At most so many tokens, read and written.",
        json_schema_extra={"unit": "tokens"},
    )
    money: StrictFloat | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="At most so much money, in the currency of the prices, which are required with it.",
        json_schema_extra={"unit": "money"},
    )
    prompt_price: StrictFloat = _price("prompt tokens")
    completion_price: StrictFloat = _price("completion tokens")
    cached_price: StrictFloat | None = _price("prompt tokens that the server has read; prompt_price unless given", None)

    @model_validator(mode="after")
    def _money_needs_prices(self) -> Self:
        if self.money is not None and not self.prices.known:
            raise ValueError("money: needs prices. Give prompt_price and completion_price")
        return self

    @property
    def prices(self) -> Prices:
        """What tokens cost."""
        from arhn.engines.openai.budget import Prices

        return Prices(prompt=self.prompt_price, completion=self.completion_price, cached=self.cached_price)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return (self.calls, self.tokens, self.money) != (None, None, None)

    def open(self) -> Budget:
        """A new budget, of which nothing is spent."""
        from arhn.engines.openai.budget import Budget

        return Budget(calls=self.calls, tokens=self.tokens, money=self.money, prices=self.prices)


def _base(text: str) -> httpx.URL:
    import httpx
    import yarl

    advice = "Give one such as http://localhost:8000/v1"
    try:
        url = httpx.URL(text.strip())
        yarl.URL(str(url))
        url.host.encode("idna")
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"engine.urls: not a URL ({error}). {advice}") from None
    if url.userinfo:
        # Not shown: it would be a password.
        raise UsageError(
            f"engine.urls: a user name or password in the URL of {url.host}. Give a key by engine.api_key_env"
        )
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"engine.urls: {text!r}: expected an http or https URL. {advice}")
    if url.query or url.fragment:
        raise UsageError(f"engine.urls: {url.host}: a base URL has no '?' or '#'. {advice}")
    path = url.path.rstrip("/").removesuffix("/chat/completions")
    return url.copy_with(path=path or "/v1")
