"""A limit on the share of requests that failed for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arhn.errors import TooManyFailures, describe_count
from arhn.texts.foreign import make_line

#: Share of a run's requests that may get no answer.
USUAL_LIMIT = 0.01


def describe_excess(content: Mapping[str, Any], limit: float) -> str | None:
    """Says how many requests got no answer, or one that can't be read, where that is too many.

    Args:
        content: of summary.json.
        limit: their share of all requests, in [0, 1].
    """
    stages = content["llm"].values()
    failed, requests = (sum(stage[what] for stage in stages) for what in ("failed", "requests"))
    unreadable = content.get("unreadable", {}).get("answers", 0)
    if failed and failed > limit * requests:
        share = f"{failed / requests:.1%}, allowed are {limit:.1%}"
        return f"{failed:,} of {describe_count(requests, 'request')} got no answer ({share})"
    if unreadable and unreadable > limit * requests:
        share = f"{unreadable / requests:.1%}, allowed are {limit:.1%}"
        examples = "; ".join(
            f"{make_line(text, 80)!r} ({n:,} times)" if text else f"nothing at all ({n:,} times)"
            for text, n in content["unreadable"]["examples"].items()
        )
        return (
            f"{unreadable:,} of {describe_count(requests, 'request')} got an answer that can't be read ({share}), "
            f"such as {examples}"
        )
    return None


def require_few(content: Mapping[str, Any], limit: float) -> None:
    """Refuse a run of which too many requests got no answer.

    Args:
        content: of summary.json.
        limit: their share of all requests, in [0, 1].

    Raises:
        TooManyFailures: there are more.
    """
    if (excess := describe_excess(content, limit)) is None:
        return
    if content["files"]["failures"] is None:
        raise TooManyFailures(
            f"{excess}. The outputs are written, and the labels that depended on them are as they were. Is this the "
            "right model, and does its server keep to constraints? What can't be read is asked again after 'arhn store "
            f"{content['files'].get('store', 'FILE')} --forget unreadable', or where the server is another; a larger "
            "max_failures allows more"
        )
    raise TooManyFailures(
        f"{excess}: {content['files']['failures']}. The outputs are written, and the labels that depended on them are "
        "as they were. The same command with --overwrite asks only these again; a larger max_failures allows more"
    )


__all__ = ["USUAL_LIMIT", "describe_excess", "require_few"]
