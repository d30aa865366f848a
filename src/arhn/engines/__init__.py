"""Engines: what answers requests. Import the one you need from its own module; heavy ones stay unloaded."""

from arhn.engines.protocol import (
    Capabilities,
    Completion,
    Constraint,
    Engine,
    Finish,
    Matching,
    Message,
    OneOf,
    Permutation,
    Request,
    RequestFailed,
    SpanOf,
    log_odds,
)

__all__ = [
    "Capabilities",
    "Completion",
    "Constraint",
    "Engine",
    "Finish",
    "Matching",
    "Message",
    "OneOf",
    "Permutation",
    "Request",
    "RequestFailed",
    "SpanOf",
    "log_odds",
]
