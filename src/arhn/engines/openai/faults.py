"""What a server's refusal means. Pure."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

import orjson

from arhn.engines.openai.wire import Reply

if TYPE_CHECKING:
    from arhn.engines.openai.settings import Key

#: `busy`: ask again later, and less at once. `broken`: ask again. `context`: the prompt doesn't fit. `key`, `model`,
#: `api`, `credit`: no request will be answered. `refused`: this request will never be answered.
Kind = Literal["busy", "broken", "context", "key", "model", "api", "credit", "refused"]

#: The longest wait that a server may ask for, and the longest between two tries, in seconds.
LONGEST_ASKED = 300.0
LONGEST_WAIT = 30.0
FIRST_WAIT = 0.5
_SHOWN = 300
#: Characters of a message that are looked at, and of a code.
_READ, _CODE = 4000, 100
#: Tokens of a prompt: more than this isn't believed.
_MOST_TOKENS = 10**9

_BUSY = {429, 503, 529}
_BROKEN = {408, 409, 425}
_CONTEXT_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_CONTEXT = re.compile(
    r"context (?:length|size|window)|maximum model length|max_model_len|too many (?:input )?tokens"
    r"|(?:prompt|input)\b.{0,60}\btoo (?:long|large)|input token count.{0,40}exceeds|longer than the (?:model|maximum)",
    re.IGNORECASE | re.DOTALL,
)
#: How many tokens the prompt has, as servers say it; the first that is found counts.
_NEEDED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(\d{1,9}) (?:in the messages|tokens? (?:in|from) the (?:input|messages|prompt)|input tokens|prompt tokens)",
        r"(?:resulted in|contains|has) (\d{1,9})\b",
        r"(?:request|input|prompt) \((\d{1,9}) tokens\)",
        r"input token count \((\d{1,9})\)",
        r"too long: (\d{1,9}) tokens",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why there is no answer.

    `wait`: seconds that the server asks to be left alone, None where it says nothing. `needed`: tokens of a prompt
    that doesn't fit, 0 where it isn't known.
    """

    kind: Kind
    reason: str
    wait: float | None = None
    needed: int = 0


def find_fault(reply: Reply, now: datetime | None = None, *, key: Key | None = None) -> Fault | None:
    """What is wrong with a reply; None for one that should hold an answer (status 200).

    Args:
        key: what the reason must not repeat.
    """
    status = reply.status
    if status == 200:
        return None
    error = _error(reply.body)
    code, message = _code(error), _message(error, reply, key)
    reason = f"{status}: {message}" if message else str(status)
    kind = _kind(status, code, message)
    return Fault(
        kind=kind,
        reason=reason,
        wait=read_retry_after(reply.headers.get("retry-after"), now) if kind in ("busy", "broken") else None,
        needed=_needed(error, message) if kind == "context" else 0,
    )


def _kind(status: int, code: str, message: str) -> Kind:
    if code in _CONTEXT_CODES or status == 413 or (status in (400, 422) and _CONTEXT.search(message)):
        return "context"
    if status in (401, 407) or (status == 403):
        return "key"
    if status == 402 or code in ("insufficient_quota", "billing_hard_limit_reached"):
        return "credit"
    if status == 404:
        return "model" if "model" in f"{code} {message}".casefold() else "api"
    if status in _BUSY:
        return "busy"
    if status in _BROKEN or status >= 500:
        return "broken"
    return "api" if status in (405, 410, 426) or status < 400 else "refused"


def is_page(reply: Reply) -> bool:
    """Whether this is a web page, as proxies and log-in portals answer."""
    kind = reply.headers.get("content-type", "")
    return "html" in kind or reply.body.lstrip()[:15].lower().startswith((b"<!doctype", b"<html"))


def read_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, at most `LONGEST_ASKED`; None where it makes no sense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError, OverflowError):  # no date, one without a zone, or of the year 10**20
            return None
    return min(max(seconds, 0.0), LONGEST_ASKED) if not math.isnan(seconds) else None


def choose_wait(tries: int, asked: float | None, rng: random.Random) -> float:
    """Seconds to wait after `tries` tries: what was asked for and a little, else drawn below a doubling bound.

    Drawn, so that requests which failed together don't come back together (full jitter: Brooker, "Exponential
    Backoff And Jitter", AWS Architecture Blog, 2015).
    """
    bound = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries - 1, 16))
    if asked is not None:
        return asked + rng.uniform(0, min(1.0, bound))
    return rng.uniform(bound / 10, bound)


def _error(body: bytes) -> Mapping[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(answer, dict):
        return {}
    error = answer.get("error", answer)
    return error if isinstance(error, dict) else {"message": error}


def _code(error: Mapping[str, Any]) -> str:
    codes = [describe_foreign(error[name], _CODE) for name in ("code", "type") if error.get(name)]
    return next((code for code in codes if not code.isdecimal()), "") if len(codes) < 2 else _choose_code(codes)


def _choose_code(codes: list[str]) -> str:
    known = {*_CONTEXT_CODES, "insufficient_quota", "billing_hard_limit_reached", "model_not_found"}
    return next((code for code in codes if code in known), codes[0])


def describe_foreign(value: Any, longest: int) -> str:
    """A value of a server's JSON in at most `longest` characters, however large or deep it is."""
    if isinstance(value, str):
        return value[:longest]
    try:
        return orjson.dumps(value)[: 4 * longest].decode("utf-8", "replace")[:longest]
    except (TypeError, RecursionError):  # deeper than it writes
        return f"a deeply nested {'list' if isinstance(value, list) else 'object'}"


def _message(error: Mapping[str, Any], reply: Reply, key: Key | None) -> str:
    message = next((error[name] for name in ("message", "detail", "error") if error.get(name)), None)
    if message is None:
        text = reply.body[:_READ].decode("utf-8", "replace")
        message = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    text = " ".join(describe_foreign(message, _READ).split())
    return (key.redact(text) if key else text)[:_SHOWN]


def _needed(error: Mapping[str, Any], message: str) -> int:
    exact = error.get("n_prompt_tokens")
    if isinstance(exact, int) and not isinstance(exact, bool) and 0 < exact <= _MOST_TOKENS:
        return exact
    if "at least" in message:
        return 0  # vLLM counts no further than its limit
    found = (pattern.search(message) for pattern in _NEEDED)
    return next((int(match[1]) for match in found if match), 0)


__all__ = ["Fault", "Kind", "choose_wait", "describe_foreign", "find_fault", "is_page", "read_retry_after"]
