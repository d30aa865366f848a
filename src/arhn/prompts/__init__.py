"""Prompt templates: one TOML file each, identified by the hash of its content."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from arhn.engines import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A template. `prefix` (system message and examples) is the same for every request made from it.

    `user` is filled with str.format; a field's value is never read as a template again. `no_answer` is
    what the LLM writes where there is no answer; `lead` and `close` stand around a snippet.
    """

    name: str
    hash: str
    prefix: tuple[Message, ...]
    user: str
    no_answer: str
    lead: str
    close: str

    def messages(self, **fields: str) -> tuple[Message, ...]:
        """The prefix and the user's message with `fields` filled in."""
        return (*self.prefix, Message("user", self.user.format(**fields)))


@cache
def load(name: str) -> Prompt:
    """The template in `name`.toml of this folder."""
    content = files(__name__).joinpath(f"{name}.toml").read_bytes()
    data = tomllib.loads(content.decode("utf-8"))
    turns = [Message("system", data["system"])] if "system" in data else []
    for example in data.get("examples", []):
        turns += [
            Message("user", data["user"].format(**example["fields"])),
            Message("assistant", example["answer"]),
        ]
    return Prompt(
        name=name,
        hash=sha256(content).hexdigest()[:16],
        prefix=tuple(turns),
        user=data["user"],
        no_answer=data.get("no_answer", ""),
        lead=data.get("lead", ""),
        close=data.get("close", ""),
    )
