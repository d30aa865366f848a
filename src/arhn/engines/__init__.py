"""Engines: what answers requests. Import the one you need from its own module; heavy ones stay unloaded."""

from arhn.engines.protocol import (
    ALTERNATIVES,
    Capabilities,
    Completion,
    Constraint,
    Engine,
    Finish,
    Matching,
    Message,
    OneOf,
    Permutation,
    Reporting,
    Request,
    RequestFailed,
    SpanOf,
    log_odds,
)

__all__ = [
    "ALTERNATIVES",
    "Capabilities",
    "Completion",
    "Constraint",
    "Engine",
    "Finish",
    "Matching",
    "Message",
    "OneOf",
    "Permutation",
    "Reporting",
    "Request",
    "RequestFailed",
    "SpanOf",
    "log_odds",
]
