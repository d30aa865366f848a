"""The families of queries."""

from __future__ import annotations

from enum import StrEnum


class Family(StrEnum):
    """A kind of query, with its own definition of an answer: a file in `arhn/cleaning/prompts`."""

    QUESTION = "question"
    CLAIM = "claim"
    ARGUMENT = "argument"
    TITLE = "title"
    DUPLICATE = "duplicate"
