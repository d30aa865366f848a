"""What a user says about the servers to ask."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import yarl

from arhn.errors import KeyRefused, UsageError

_HIDDEN = "***"


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
            raise KeyRefused(f"--api-key-env {variable}: this environment variable isn't set. Set it to the API key")
        if not (self._value.isascii() and self._value.isprintable()):
            raise KeyRefused(f"--api-key-env {variable}: its value holds characters that no API key has. Set it anew")

    def __repr__(self) -> str:
        return f"Key({self.variable!r})"

    def __reduce__(self) -> str:
        raise TypeError("a key is never stored")

    @property
    def headers(self) -> httpx.Headers:
        """The header that carries it; `httpx.Headers` hide it in their repr."""
        return httpx.Headers({"Authorization": f"Bearer {self._value}"})

    def redact(self, text: str) -> str:
        """`text`, which a server wrote, without the key."""
        return text.replace(self._value, _HIDDEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """In seconds. `connect`: for a connection. `answer`: for one answer, from the first byte sent to the last one
    received. `total`: for one request with all its repetitions. `patience`: how long no server at all may be there.
    """

    connect: float = 10.0
    answer: float = 120.0
    total: float = 900.0
    patience: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Servers of one model.

    Args:
        urls: base URLs, such as `http://localhost:8000/v1`; "/v1" is added where it is missing.
        model: the servers' name of the model; the only one they have, unless given.
        concurrency: requests in flight per server, at most; how many really are adapts to the server.
        context: tokens that a request may take, prompt and answer; what the servers say, unless given.
        attempts: how often a request is sent before it has failed for good; waiting for a busy server isn't counted.
        thinking_tokens: tokens left to a model that thinks before it answers and can't be kept from it.
        extra: further fields of every request.
    """

    urls: tuple[str, ...]
    model: str = ""
    key: Key | None = None
    concurrency: int = 64
    context: int | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    attempts: int = 6
    thinking_tokens: int = 2048
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def bases(self) -> tuple[httpx.URL, ...]:
        """The base URLs, each once.

        Raises:
            UsageError: one isn't an http or https URL, or holds a user name or password.
        """
        return tuple(dict.fromkeys(_base(url) for url in self.urls))


def _base(text: str) -> httpx.URL:
    advice = "Give one such as http://localhost:8000/v1"
    try:
        url = httpx.URL(text.strip())
        yarl.URL(str(url))
        url.host.encode("idna")
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"--url: not a URL ({error}). {advice}") from None
    if url.userinfo:
        # Not shown: it would be a password.
        raise UsageError(f"--url: a user name or password in the URL of {url.host}. Give a key with --api-key-env")
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"--url {text!r}: expected an http or https URL. {advice}")
    if url.query or url.fragment:
        raise UsageError(f"--url: {url.host}: a base URL has no '?' or '#'. {advice}")
    path = url.path.rstrip("/").removesuffix("/chat/completions")
    return url.copy_with(path=path or "/v1")
