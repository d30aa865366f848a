"""Prompt templates: one TOML file per family of queries, and one for the RLHN cascade.

Every section of a file is a template of its own, identified by the hash of its content.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import orjson

from arhn.engines import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A template. `prefix` (system message and examples) is the same for every request made from it.

    `user` is filled with str.format; a field's value is never read as a template again.
    """

    hash: str
    prefix: tuple[Message, ...]
    user: str

    def messages(self, **fields: str) -> tuple[Message, ...]:
        """The prefix and the user's message with `fields` filled in."""
        return (*self.prefix, Message("user", self.user.format(**fields)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractPrompt(Prompt):
    """`no_answer` is what the LLM writes where there is no answer; `lead` and `close` stand around a snippet."""

    no_answer: str
    lead: str
    close: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyPrompts:
    """What is asked about queries of one family; its file also defines in words what "answers" means for it.

    `check` is `extract` with the answer that is known from the labelled positives.
    """

    extract: ExtractPrompt
    check: ExtractPrompt
    rank: Prompt
    pivot: Prompt
    fullness: Prompt

    @property
    def hashes(self) -> dict[str, str]:
        """Each section's hash."""
        return {field.name: getattr(self, field.name).hash for field in fields(self)}


@cache
def load(family: str) -> FamilyPrompts:
    """The prompts of a family of queries (families/family.py)."""
    data = load_sections(family)
    return FamilyPrompts(
        extract=_extract(data["extract"]),
        check=_extract(_with_known(data["extract"])),
        rank=Prompt(**_template(data["rank"])),
        pivot=Prompt(**_template(data["pivot"])),
        fullness=Prompt(**_template(data["fullness"])),
    )


def load_section(name: str, section: str) -> Prompt:
    """One template of a file."""
    return Prompt(**_template(load_sections(name)[section]))


@cache
def load_sections(name: str) -> Mapping[str, Any]:
    """The content of `name`.toml of this folder."""
    return tomllib.loads(files(__name__).joinpath(f"{name}.toml").read_text("utf-8"))


def _extract(section: Mapping[str, Any]) -> ExtractPrompt:
    return ExtractPrompt(
        **_template(section), no_answer=section["no_answer"], lead=section["lead"], close=section["close"]
    )


def _with_known(section: Mapping[str, Any]) -> Mapping[str, Any]:
    known = section["known"]
    # The instructions without it are hashed too: they decide what is known.
    return {**section, "alone": section["system"], "system": known["system"], "user": section["user"] + known["user"]}


def _template(section: Mapping[str, Any]) -> dict[str, Any]:
    turns = [Message("system", section["system"])] if "system" in section else []
    for example in section.get("examples", []):
        turns += [
            Message("user", section["user"].format(**example["fields"])),
            Message("assistant", example["answer"]),
        ]
    content = orjson.dumps(section, option=orjson.OPT_SORT_KEYS)
    return {"hash": sha256(content).hexdigest()[:16], "prefix": tuple(turns), "user": section["user"]}
