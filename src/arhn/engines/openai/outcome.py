"""One question to one server, and its outcome."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arhn.engines.openai.faults import Fault, choose_wait, find_fault, is_page
from arhn.engines.openai.features import Encoded
from arhn.engines.openai.responses import Unsound, read_answer
from arhn.engines.openai.wire import Dropped, Reply, TooSlow, Unreachable
from arhn.engines.protocol import Completion
from arhn.errors import EngineError, KeyRefused, OtherApi, UnknownModel

if TYPE_CHECKING:
    from arhn.engines.openai.settings import Key


@dataclass(frozen=True, slots=True)
class NoConnection:
    """The server isn't there: nothing was sent (`refused`), or the connection ended early."""

    reason: str
    refused: bool


@dataclass(frozen=True, slots=True)
class Late:
    """No answer in time."""

    reason: str


Outcome = Completion | Fault | NoConnection | Late


async def ask_once(
    send: Callable[[], Awaitable[Reply]], encoded: Encoded, *, thinks: bool, alternatives: int, key: Key | None
) -> Outcome:
    """Send a request and say what became of it; never raises for what a server does."""
    try:
        reply = await send()
    except Unreachable as error:
        return NoConnection(str(error), refused=True)
    except Dropped as error:
        return NoConnection(str(error), refused=False)
    except TooSlow as error:
        return Late(str(error))
    fault = find_fault(reply, key=key)
    if fault is not None:
        return fault
    if is_page(reply):
        return Fault(kind="broken", reason="a web page instead of an answer")
    try:
        answer = read_answer(reply.body, lead=encoded.lead, thinks=thinks, alternatives=alternatives)
        return key.redact_answer(answer) if key else answer
    except Unsound as error:
        return Fault(kind="broken", reason=f"an unsound answer: {key.redact(str(error)) if key else error}")


async def ask_patiently(get: Callable[[], Awaitable[Reply]], *, tries: int, rng: random.Random, slow: int = 1) -> Reply:
    """A reply to a question that is asked before a run: what a server is too busy or too broken for is asked again.

    Args:
        slow: tries that may take too long.

    Raises:
        Unreachable, Dropped, TooSlow: the last try's.
    """
    for done in range(1, tries):
        asked = None
        try:
            reply = await get()
            fault = find_fault(reply)
            if fault is None or fault.kind not in ("busy", "broken"):
                return reply
            asked = fault.wait
        except Dropped:
            pass
        except TooSlow:
            slow -= 1
            if slow <= 0:
                raise
        await asyncio.sleep(min(10.0, choose_wait(done, asked, rng)))
    return await get()


def is_about_prompt(fault: Fault) -> bool:
    """Whether a fault that every request would meet may be about one prompt, as moderation and firewalls answer."""
    return fault.kind in ("key", "model", "api")


def find_fatal_error(fault: Fault, name: str, model: str, key: Key | None) -> EngineError | None:
    """The error of a fault that every request would meet; None for others."""
    match fault.kind:
        case "key" | "credit":
            return KeyRefused(_about_key(fault, name, key))
        case "model":
            return UnknownModel(f"{name}: it doesn't have the model {model!r} any more ({fault.reason})")
        case "api":
            return OtherApi(
                f"{name}: not an OpenAI-compatible server ({fault.reason}). Give its base URL, such as "
                "http://localhost:8000/v1"
            )
    return None


def _about_key(fault: Fault, name: str, key: Key | None) -> str:
    if fault.kind == "credit":
        return f"{name}: the account has no credit left ({fault.reason}). Every answer so far is kept"
    if key is None:
        return (
            f"{name}: it wants an API key ({fault.reason}). Put it into an environment variable, and the variable's "
            "name into engine.api_key_env"
        )
    return f"{name}: refused the API key of {key.variable} ({fault.reason}). Set this variable to a valid key"


__all__ = [
    "Late",
    "NoConnection",
    "Outcome",
    "ask_once",
    "ask_patiently",
    "find_fatal_error",
    "is_about_prompt",
]
