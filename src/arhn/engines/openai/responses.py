"""Reading what a server answered. Pure. An answer is sound, or it is refused with a reason; nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from arhn.engines import thoughts
from arhn.engines.openai.faults import describe_foreign
from arhn.engines.protocol import Completion, Finish

_FINISH: Mapping[str, Finish] = {"stop": "stop", "length": "length", "content_filter": "refused"}
#: Tokens of a prompt or an answer: more than this isn't believed.
_MOST_TOKENS = 10**9
#: Where servers put what a model thinks.
_THOUGHTS = ("reasoning_content", "reasoning")


class Unsound(Exception):
    """Not a whole, well-formed answer of a chat completions server."""


def read_answer(body: bytes, *, lead: str = "", thinks: bool = False, alternatives: int = 0) -> Completion:
    """A chat completion from its JSON.

    Args:
        lead: the beginning of the answer that was sent along; servers may repeat it or not.
        thinks: the model may think first; what it thinks is left out.
        alternatives: so many log-probabilities of the first token were asked for.

    Raises:
        Unsound: broken JSON, a missing or wrong field, an end that isn't known.
    """
    answer = _object(_json(body), "the answer")
    choice = _only_choice(answer)
    message = _object(choice.get("message"), "message")
    finish = _finish(choice, message)
    text = _text(message, finish)
    shown = thoughts.remove_thoughts(text, thinks, finish) if not lead else text
    first = _first(choice, shown, alternatives) if alternatives else {}
    if lead and not shown.startswith(lead):
        shown = lead + shown
    return Completion(text=shown, finish=finish, first=first, **read_usage(answer))


def read_usage(answer: Mapping[str, Any]) -> dict[str, int]:
    """Tokens as `Completion` counts them; 0 where the server doesn't say."""
    usage = answer.get("usage")
    if not isinstance(usage, dict):
        return {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0}
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else usage.get("prompt_cache_hit_tokens")
    return {
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "cached_tokens": _count(cached),
        "completion_tokens": _count(usage.get("completion_tokens")),
    }


def thinks_aloud(body: bytes) -> bool:
    """Whether an answer shows that the model thought first.

    Raises:
        Unsound: as `read_answer` does.
    """
    answer = _object(_json(body), "the answer")
    message = _object(_only_choice(answer).get("message"), "message")
    text = message.get("content")
    aloud = isinstance(text, str) and thoughts.thinks_aloud(text)
    apart = any(isinstance(message.get(name), str) and message[name] for name in _THOUGHTS)
    usage = answer.get("usage")
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    return aloud or apart or (isinstance(details, dict) and _count(details.get("reasoning_tokens")) > 0)


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unsound(f"not JSON ({error})") from None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unsound(f"{what} isn't a JSON object")
    return value


def _only_choice(answer: Mapping[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices")
    if not isinstance(choices, list) or len(choices) != 1:
        raise Unsound("expected one choice")
    choice = _object(choices[0], "choice")
    if choice.get("index", 0) != 0:
        raise Unsound("a choice that wasn't asked for")
    return choice


def _finish(choice: Mapping[str, Any], message: Mapping[str, Any]) -> Finish:
    if message.get("refusal"):
        return "refused"
    reason = choice.get("finish_reason")
    finish = _FINISH.get(reason) if isinstance(reason, str) else None
    if finish is None:
        raise Unsound(f"finish_reason {describe_foreign(reason, 40)!r}")
    return finish


def _text(message: Mapping[str, Any], finish: Finish) -> str:
    text = message.get("content")
    if isinstance(text, str):
        return text
    if text is None and finish != "stop":
        return ""
    if any(isinstance(message.get(name), str) and message[name] for name in _THOUGHTS):
        raise Unsound(
            "no content: all of it is in reasoning_content, where the server's reasoning parser puts thoughts"
        )
    raise Unsound("no content")


def _first(choice: Mapping[str, Any], text: str, alternatives: int) -> dict[str, float]:
    """The first token's alternatives; none where they aren't of the text's beginning."""
    content = _content(choice)
    if not content:
        return {}
    chosen = _object(content[0], "logprobs")
    token = chosen.get("token")
    return _listed(chosen, alternatives) if isinstance(token, str) and _begins(text, token) else {}


def _content(choice: Mapping[str, Any]) -> list[Any]:
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    return content if isinstance(content, list) else []


def _listed(chosen: Mapping[str, Any], alternatives: int) -> dict[str, float]:
    listed = chosen.get("top_logprobs")
    return thoughts.read_alternatives(map(_alternative, listed[:alternatives])) if isinstance(listed, list) else {}


def _begins(text: str, token: str) -> bool:
    # Servers cut white space off the text, and a cut-off character is no text yet.
    begin, whole = token.strip(), text.strip()
    return not begin or whole.startswith(begin) or "\ufffd" in begin


def _alternative(value: Any) -> tuple[str, float]:
    pair = _object(value, "top_logprobs")
    token, logprob = pair.get("token"), pair.get("logprob")
    if not isinstance(token, str) or isinstance(logprob, bool) or not isinstance(logprob, int | float):
        raise Unsound("top_logprobs without token or logprob")
    if not logprob < 0.01:
        raise Unsound(f"a log-probability of {logprob}")
    return token, float(logprob)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST_TOKENS else 0


__all__ = ["Unsound", "read_answer", "read_usage", "thinks_aloud"]
