"""Which engine answers, and the flags of servers."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arhn.cli.shared import flag_of, number, positive
from arhn.errors import UsageError

if TYPE_CHECKING:
    from arhn.engines import Engine
    from arhn.engines.openai.budget import Budget, Prices
    from arhn.engines.openai.settings import Key

ENGINES = ("llamacpp", "openai", "vllm")
#: Flags that some engines have, and which.
_ONLY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("slots", "threads", "gpu_layers", "lookahead"), ("llamacpp",)),
    **dict.fromkeys(
        (
            "url",
            "flag_url",
            "api_key_env",
            "timeout",
            "patience",
            "attempts",
            "budget",
            "price_prompt",
            "price_completion",
            "price_cached",
            "body",
        ),
        ("openai",),
    ),
    **dict.fromkeys(("concurrency", "thinking_tokens"), ("openai", "vllm")),
    **dict.fromkeys(("tensor_parallel", "gpu_memory", "engine_args"), ("vllm",)),
}
_seconds = number("seconds, more than 0, at most a day", lambda x: 0 < x <= 86_400)
_price = number("a price", lambda x: 0 <= x < math.inf)
_share = number("a share from 0 to 1", lambda x: 0 <= x <= 1)
_some_share = number("a share above 0, at most 1", lambda x: 0 < x <= 1)


def add_serving(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--engine", choices=ENGINES, default=ENGINES[0], help="docs/engines.md; default: %(default)s")
    openai = parser.add_argument_group("--engine openai", "Any OpenAI-compatible server (docs/engines.md).")
    add = openai.add_argument
    add("--url", action="append", metavar="URL", help="its base URL, such as http://localhost:8000/v1; may be repeated")
    add("--flag-url", action="append", metavar="URL", help="where --flag-model is served; at --url unless given")
    add("--api-key-env", metavar="VAR", help="the environment variable that holds the API key; never the key itself")
    add("--concurrency", type=positive, metavar="N", help="requests at once per server; default: 64, with vllm 256")
    add("--timeout", type=_seconds, metavar="S", help="seconds for one answer; default: 120")
    add("--patience", type=_seconds, metavar="S", help="seconds to wait for a server that went away; default: 300")
    add("--attempts", type=positive, metavar="N", help="tries until a request has failed for good; default: 6")
    add("--budget", metavar="LIMITS", help="stop when so much is spent: calls=10k,tokens=5M,money=20 (any of them)")
    for tokens in ("prompt", "completion", "cached"):
        add(f"--price-{tokens}", type=_price, metavar="X", help=f"money per million {tokens} tokens")
    add("--thinking-tokens", type=positive, metavar="N", help="for a model that thinks first; default: 2048")
    add("--body", type=_object, metavar="JSON", help="further fields of every request, a JSON object")
    vllm = parser.add_argument_group("--engine vllm", "vLLM in this process; --model is a folder or a name of the hub.")
    add = vllm.add_argument
    add("--tensor-parallel", type=positive, metavar="N", help="GPUs that share each layer; default: 1")
    add("--gpu-memory", type=_some_share, metavar="SHARE", help="of each GPU's memory; default: what vLLM takes")
    add("--engine-args", type=_object, metavar="JSON", help="further arguments of vLLM's AsyncEngineArgs")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """The flags about requests that got no answer."""
    add_max_failures(parser)
    parser.add_argument("--failures", type=Path, help="those requests; beside the output unless given")


def add_max_failures(parser: argparse.ArgumentParser) -> None:
    from arhn.cleaning.run.failures import USUAL_LIMIT

    parser.add_argument(
        "--max-failures",
        type=_share,
        default=USUAL_LIMIT,
        metavar="SHARE",
        help="requests that may stay without an answer; more is exit code 112; default: %(default)s",
    )


def require_fitting(a: argparse.Namespace) -> None:
    """Refuse flags of an engine that isn't used.

    Raises:
        UsageError
    """
    for name, engines in _ONLY.items():
        if getattr(a, name) is not None and a.engine not in engines:
            raise UsageError(f"{flag_of(name)}: does nothing for --engine {a.engine}, only for {', '.join(engines)}")
    if a.flag_url is not None and a.flag_model is None:
        raise UsageError("--flag-url: does nothing without --flag-model")


def budget_of(a: argparse.Namespace) -> Budget:
    """The budget that all servers share."""
    limits: dict[str, Any] = {}
    for part in (a.budget or "").split(",") if a.budget is not None else ():
        name, _, amount = part.strip().partition("=")
        match = _AMOUNT.fullmatch(amount.strip())
        if name not in ("calls", "tokens", "money") or match is None or name in limits:
            raise UsageError(
                f"--budget {a.budget!r}: expected calls=N, tokens=N or money=X, joined by commas; k, M and B may "
                "follow a number"
            )
        limits[name] = float(match[1]) * _UNITS[match[2].casefold()]
    from arhn.engines.openai.budget import Budget

    for name in {"calls", "tokens"} & limits.keys():
        limits[name] = int(limits[name])
    return Budget(**limits, prices=prices_of(a))


_UNITS = {"": 1, "k": 1_000, "m": 1_000_000, "b": 1_000_000_000}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kKmMbB]?)")


def prices_of(a: argparse.Namespace) -> Prices:
    """What tokens cost."""
    from arhn.engines.openai.budget import Prices

    return Prices(prompt=a.price_prompt or 0.0, completion=a.price_completion or 0.0, cached=a.price_cached)


def key_of(a: argparse.Namespace) -> Key | None:
    """The API key that the environment has, if one is asked for."""
    from arhn.engines.openai.settings import Key

    return Key(a.api_key_env) if a.api_key_env else None


def openai(a: argparse.Namespace, model: str, urls: list[str] | None, budget: Budget) -> Engine:
    """The engine for a model on servers, after asking these what they can do."""
    from arhn.engines.openai.settings import Settings, Timeouts

    waits = {"answer": a.timeout, "patience": a.patience}
    given = {
        "api_key_env": a.api_key_env,
        "concurrency": a.concurrency,
        "context": a.context,
        "attempts": a.attempts,
        "thinking_tokens": a.thinking_tokens,
        "body": a.body,
    }
    return Settings(
        urls=tuple(urls or ()),
        model=model,
        timeouts=Timeouts(**{name: value for name, value in waits.items() if value}),
        **{name: value for name, value in given.items() if value},
    ).open(budget)


def vllm(a: argparse.Namespace, model: str | None) -> Engine:
    """The engine for a model that vLLM computes in this process."""
    from arhn.engines.vllm.settings import Settings

    given = {
        "model": model,
        "tensor_parallel": a.tensor_parallel,
        "gpu_memory": a.gpu_memory,
        "context": a.context,
        "concurrency": a.concurrency,
        "thinking_tokens": a.thinking_tokens,
        "args": a.engine_args,
    }
    return Settings(**{name: value for name, value in given.items() if value}).open()


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"expected a JSON object, found {text!r}")
    return value
