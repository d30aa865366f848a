"""A limit on the share of requests that failed for good."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arhn.errors import TooManyFailures

#: Share of a run's requests that may get no answer.
USUAL_LIMIT = 0.01


def require_few(content: Mapping[str, Any], limit: float) -> None:
    """Refuse a run of which too many requests got no answer.

    Args:
        content: of summary.json.
        limit: their share of all requests, in [0, 1].

    Raises:
        TooManyFailures: there are more.
    """
    stages = content["llm"].values()
    failed, requests = (sum(stage[what] for stage in stages) for what in ("failed", "requests"))
    if not failed or failed <= limit * requests:
        return
    raise TooManyFailures(
        f"{failed} of {requests} requests got no answer ({failed / requests:.1%}, allowed are {limit:.1%}): "
        f"{content['files']['failures']}. The outputs are written, and the labels that hung on them are as they were. "
        "The same command with --overwrite asks only these again; --max-failures allows more"
    )


__all__ = ["USUAL_LIMIT", "require_few"]
