"""What a server says that it has: asked before anything else, and when a server that was away is looked for."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from arhn.engines.openai.faults import Fault, find_fault, is_page
from arhn.engines.openai.outcome import ask_patiently, find_fatal_error
from arhn.engines.openai.wire import Dropped, Reply, TooSlow, Unreachable, Wire
from arhn.errors import EngineError, OtherApi, ServerGone, UnknownModel

if TYPE_CHECKING:
    from arhn.engines.openai.settings import Key, Settings

#: Seconds for what a server knows without its model.
LOOK_SECONDS = 15.0
#: Tries of a question that is asked before a run.
TRIES = 4
#: What servers call the context of a model.
_CONTEXT_NAMES = ("max_model_len", "context_length", "max_context_length", "context_window")
#: Characters of a model's name, and tokens of a context: more than this isn't believed.
_LONGEST_NAME, _MOST_CONTEXT = 500, 2**31 - 1
_KINDS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp", "library": "ollama"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What a server says of itself: whose it is, and its models with what it says of each."""

    kind: str
    models: Mapping[str, Mapping[str, Any]]

    @property
    def names(self) -> frozenset[str]:
        """All names that the models go by."""
        return frozenset(alias for model, row in self.models.items() for alias in (model, *_aliases(row)))


async def has_model(wire: Wire, name: str, model: str, settings: Settings) -> bool:
    """Whether a server that was probed before, and was away, is there again with its model."""
    try:
        listed = await list_models(wire, name, settings, random.Random(), tries=1)  # noqa: S311 - no secret depends on it  # nosec B311 - no secret depends on it
    except EngineError:
        return False
    return not listed.models or model in listed.names or f"{model}:latest" in listed.names


async def list_models(wire: Wire, name: str, settings: Settings, rng: random.Random, *, tries: int = TRIES) -> Listed:
    """What the server says it has; nothing where it has no such list.

    Raises:
        ServerGone, KeyRefused, OtherApi
    """
    try:
        reply = await ask_patiently(lambda: wire.get("/models", seconds=LOOK_SECONDS), tries=tries, rng=rng)
    except (Unreachable, Dropped, TooSlow) as error:
        raise ServerGone(
            f"{name}: no server there ({error}). Start it, or correct --url (such as http://localhost:8000/v1)"
        ) from None
    fault = find_fault(reply, key=settings.key)
    if fault is not None and fault.kind in ("key", "credit"):
        raise make_probe_error(fault, name, "", settings)
    if is_page(reply):
        raise OtherApi(
            f"{name}: answers with a web page (status {reply.status}), as a proxy or a log-in page does. Give the base "
            "URL of an OpenAI-compatible server, such as http://localhost:8000/v1"
        )
    if fault is not None and fault.kind in ("busy", "broken"):
        raise ServerGone(f"{name}: the server can't answer ({fault.reason}). Try again later")
    if fault is not None and not settings.model:
        raise OtherApi(
            f"{name}: it lists no models ({fault.reason}). If it is an OpenAI-compatible "
            "server, name one with --model; else correct --url (such as http://localhost:8000/v1)"
        )
    return parse_models(reply, settings.key) if fault is None else Listed(kind="", models={})


def parse_models(reply: Reply, key: Key | None = None) -> Listed:
    """The models of a list; none where it isn't one. Names that can't be shown, or hold the key, are left out."""
    try:
        rows = orjson.loads(reply.body)["data"]
        models = {row["id"]: row for row in rows if _is_name(row.get("id"), key)}
    except (ValueError, KeyError, TypeError, AttributeError):
        # Another API may answer here too; the next question shows it.
        return Listed(kind="", models={})
    owners = {owner for row in models.values() if isinstance(owner := row.get("owned_by"), str)}
    return Listed(kind=next((kind for owner, kind in _KINDS.items() if owner in owners), ""), models=models)


def choose_model(listed: Listed, name: str, settings: Settings) -> str:
    """The model's name as the server knows it."""
    if not settings.model:
        if len(listed.models) == 1:
            return next(iter(listed.models))
        raise UnknownModel(f"{name}: which model? Give one with --model. It has: {_names(listed)}")
    known = listed.names & {settings.model, f"{settings.model}:latest"}
    if listed.kind and not known:
        raise UnknownModel(f"{name}: it doesn't have the model {settings.model!r}. It has: {_names(listed)}")
    return settings.model  # hosted servers know more names than they list


def _aliases(row: Mapping[str, Any]) -> Sequence[str]:
    aliases = row.get("aliases")
    return [a for a in aliases if _is_name(a)] if isinstance(aliases, list) else ()


def _is_name(value: object, key: Key | None = None) -> bool:
    """Whether this can be a model's name: names are shown, stored and sent back."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > _LONGEST_NAME:
        return False
    return key is None or key.redact(value) == value


def _names(listed: Listed) -> str:
    names = sorted(listed.models)
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(names[:20]) + more if names else "a list of models that can't be had"


def find_context(row: Mapping[str, Any]) -> int | None:
    """The context (tokens) that a row of `/models` names, under any of the usual keys; None if it doesn't."""
    meta = row.get("meta")
    sizes = [row.get(key) for key in _CONTEXT_NAMES] + [meta.get("n_ctx") if isinstance(meta, dict) else None]
    return next((n for n in sizes if isinstance(n, int) and not isinstance(n, bool) and 0 < n <= _MOST_CONTEXT), None)


def make_probe_error(fault: Fault, name: str, model: str, settings: Settings) -> EngineError:
    """The error of a server that no question can be asked."""
    return find_fatal_error(fault, name, model, settings.key) or EngineError(
        f"{name}: can't answer a simple question ({fault.reason}). Does it serve {model!r} for chat?"
    )


__all__ = [
    "TRIES",
    "Listed",
    "choose_model",
    "find_context",
    "has_model",
    "list_models",
    "make_probe_error",
    "parse_models",
]
