"""Families of a user's own: what answers such a query in one sentence, and examples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from os import PathLike
from pathlib import Path
from string import Formatter
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from arhn.cleaning.prompts import ExtractPrompt, FamilyPrompts, Prompt
from arhn.engines import Message
from arhn.types import Group

#: Examples that a prompt may have: each is read again for every passage where nothing caches it.
MOST_EXAMPLES = 16
_FIELDS = {"passage", "query"}
_NO, _LEAD, _CLOSE = "No", 'Yes, the words are "', '"'
#: Taken from the user's groups: how many, how long their passages may be, and how long the words that answer.
_TAKEN, _LONGEST_PASSAGE, _LONGEST_ANSWER = 4, 500, 160
_SENTENCE = re.compile(r"[^.!?。！？]+[.!?。！？]?")


class Example(BaseModel):
    """A query and a passage. `answer`: the words of the passage that answer; none where it doesn't answer.

    `known`: what another passage answers, for the prompt that shows it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    query: str = Field(min_length=1)
    passage: str = Field(min_length=1)
    answer: str | None = None
    known: str = ""

    @field_validator("answer")
    @classmethod
    def _is_in_passage(cls, answer: str | None, info: Any) -> str | None:
        if not answer or answer.strip() in ("", _NO):
            return None
        if answer not in info.data.get("passage", answer):
            raise ValueError("answer isn't a part of the passage. Copy the words from it, letter by letter")
        return answer


def _read_examples(value: object) -> object:
    if isinstance(value, str | PathLike):
        return load_examples(Path(value))
    if isinstance(value, list | tuple):
        return _check(value, "examples")
    raise ValueError(f"expected the path of a JSON lines file, or a list of tables, found a {type(value).__name__}")


class OwnFamily(BaseModel):
    """A family of the user's own. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: str
    prompt: str = "Passage: {passage}\nQuery: {query}"
    examples: Annotated[tuple[Example, ...], BeforeValidator(_read_examples)] = ()

    @field_validator("answers")
    @classmethod
    def _says_something(cls, answers: str) -> str:
        if not answers.strip():
            raise ValueError(
                'is empty. Say in a sentence what answers such a query, such as "A passage answers if ..."'
            )
        return " ".join(answers.split())

    @field_validator("prompt")
    @classmethod
    def _has_its_fields(cls, prompt: str) -> str:
        advice = "Write {passage} and {query} where they belong, and {{ and }} for braces"
        try:
            parts = list(Formatter().parse(prompt))
        except ValueError as error:
            raise ValueError(f"can't be filled in ({error}). {advice}") from error
        fields = [name for _, name, _, _ in parts if name is not None]
        if missing := sorted(_FIELDS - {*fields}):
            raise ValueError(f"has no {{{missing[0]}}}. {advice}")
        if unknown := [name for name in fields if name not in _FIELDS]:
            raise ValueError(f"{{{unknown[0]}}} isn't a field of it. {advice}")
        if any(spec or conversion for _, name, spec, conversion in parts if name is not None):
            raise ValueError(f"its fields can't have formats. {advice}")
        return prompt


def load_examples(path: Path) -> tuple[Example, ...]:
    """The examples in a JSON lines file.

    Raises:
        ValueError: it can't be read, holds something else, or has examples of one kind only.
    """
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"{path} can't be read ({error.strerror or error}). Check the path") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} isn't UTF-8 ({error}). Save it as UTF-8") from error
    rows = []
    for number, line in enumerate(lines[: MOST_EXAMPLES + 1], 1):
        try:
            rows.append(orjson.loads(line))
        except orjson.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error}). {_EXPECTED}") from error
    return _check(rows, str(path))


_EXPECTED = (
    'Expected {"query": ..., "passage": ..., "answer": ...} a line, where answer is the words of the passage that '
    "answer, and null where it doesn't"
)


def _check(rows: Sequence[object], where: str) -> tuple[Example, ...]:
    found = []
    for number, row in enumerate(rows, 1):
        try:
            found.append(row if isinstance(row, Example) else Example.model_validate(row))
        except ValidationError as error:
            problem = error.errors()[0]
            field = "".join(f"{part}: " for part in problem["loc"])
            raise ValueError(f"{where}, example {number}: {field}{problem['msg']}. {_EXPECTED}") from error
    if len(found) > MOST_EXAMPLES:
        raise ValueError(f"{where}: more than {MOST_EXAMPLES} examples; every prompt holds them all. Keep the best")
    if where != "examples" and not found:
        raise ValueError(f"{where} holds no example. {_EXPECTED}")
    if found and len({example.answer is None for example in found}) == 1:
        missing = "doesn't answer" if found[0].answer is not None else "answers"
        raise ValueError(f"{where}: no example of a passage that {missing}. Give at least one of each kind")
    return tuple(found)


def make_prompts(own: OwnFamily) -> FamilyPrompts:
    """What is asked about queries of a family of the user's own."""
    judge = f"You are a strict judge. {own.answers} Being about the same topic is not enough."
    known = " What another passage says in answer is shown to help you."
    reply = " Reply Yes or No."
    return FamilyPrompts(
        extract=_make_extract(own, judge + reply, own.prompt, known=False),
        check=_make_extract(own, judge + known + reply, own.prompt + _KNOWN, known=True),
        rank=_make_prompt(
            f"{own.answers} Rank the numbered texts by how well they answer the query, the best first. Reply with "
            "their numbers only, like 2 > 3 > 1.",
            "Query: {query}\n{candidates}",
        ),
        pivot=_make_prompt(
            f"{own.answers} Two texts answer the query. Which one answers it better? Reply 1 or 2.",
            "Query: {query}\n[1] {first}\n[2] {second}",
        ),
        fullness=_make_prompt(
            f"You are a strict judge. {own.answers} The passage answers at least a part of the query. Reply Yes if it "
            "answers all of it, No if a part is missing.",
            own.prompt,
        ),
    )


_KNOWN = "\nAnswer elsewhere: {known}"


def _make_extract(own: OwnFamily, system: str, user: str, *, known: bool) -> ExtractPrompt:
    turns = [Message("system", system)]
    for example in own.examples:
        # Without an answer from elsewhere an example looks as it does where none is known.
        shown = user if example.known or not known else own.prompt
        fields = {"passage": example.passage, "query": example.query, "known": example.known}
        answer = _NO if example.answer is None else f"{_LEAD}{example.answer}{_CLOSE}"
        turns += [Message("user", shown.format(**fields)), Message("assistant", answer)]
    return ExtractPrompt(
        hash=_hash(turns, user), prefix=tuple(turns), user=user, no_answer=_NO, lead=_LEAD, close=_CLOSE
    )


def _make_prompt(system: str, user: str) -> Prompt:
    turns = [Message("system", system)]
    return Prompt(hash=_hash(turns, user), prefix=tuple(turns), user=user)


def _hash(turns: Sequence[Message], user: str) -> str:
    content = orjson.dumps([[[turn.role, turn.content] for turn in turns], user, _NO, _LEAD, _CLOSE])
    return sha256(content).hexdigest()[:16]


def take_examples(groups: Sequence[Group]) -> tuple[Example, ...]:
    """Examples from a user's groups, two of each kind: a positive, and a positive of another query.

    The shortest ones, in the order of the groups where they are as long. None of fewer than two groups.
    """
    usable = [
        (len(group.query) + len(group.positives[0].text), place)
        for place, group in enumerate(groups)
        if len(group.positives[0].text) <= _LONGEST_PASSAGE
    ]
    chosen = [groups[place] for _, place in sorted(usable)[:_TAKEN]]
    if len({" ".join(group.positives[0].text.split()) for group in chosen}) < 2:
        return ()
    examples = []
    for place, group in enumerate(chosen):
        answer = _find_answer(group)
        known = _find_known(group) or answer
        other = _find_other(chosen, place)
        if place % 2 == 0 and other is not None:
            examples.append(Example(query=group.query, passage=other, known=known))
        else:
            examples.append(Example(query=group.query, passage=_flatten(group), answer=answer, known=known))
    return tuple(examples) if len({example.answer is None for example in examples}) == 2 else ()


def _flatten(group: Group, number: int = 0) -> str:
    return " ".join(group.positives[number].text.split())


def _find_other(groups: Sequence[Group], place: int) -> str | None:
    """A positive of another query that is none of this one's."""
    own = {" ".join(p.text.split()) for p in groups[place].positives}
    others = (_flatten(groups[(place + step) % len(groups)]) for step in range(1, len(groups)))
    return next((text for text in others if text not in own), None)


def _find_answer(group: Group, number: int = 0) -> str:
    """The sentence of a positive that shares most words with the query."""
    words = {*group.query.casefold().split()}
    sentences = [part.strip() for part in _SENTENCE.findall(_flatten(group, number)) if part.strip()]
    best = max(sentences, key=lambda part: len(words & {*part.casefold().split()}), default=_flatten(group, number))
    if len(best) <= _LONGEST_ANSWER:
        return best
    return best[:_LONGEST_ANSWER].rsplit(" ", 1)[0]


def _find_known(group: Group) -> str:
    """What a second positive says."""
    return _find_answer(group, 1) if len(group.positives) > 1 else ""


def check_own(value: object, taken: Mapping[str, object]) -> object:
    """The table of a user's families, before its entries are read.

    Args:
        taken: the names that are taken, by how they are compared.

    Raises:
        ValueError: a name that is taken, or is none; an entry that is no table, or has a key that there isn't.
    """
    if not isinstance(value, Mapping):
        raise ValueError(
            'expected a table a family, such as [family.tickets] with answers = "A passage answers if ..."'
        )
    names: dict[str, str] = {}
    for name, entry in value.items():
        key = re.sub(r"[\W_]+", "", name.casefold()) if isinstance(name, str) else ""
        if not key:
            raise ValueError(f"{name!r} is no name for a family. Use letters and digits")
        if key in taken:
            raise ValueError(f"{name!r} is a family that comes with arhn. Give yours another name")
        if key in names:
            raise ValueError(
                f"{name!r} and {names[key]!r} are one name (capitals, hyphens and underscores make no difference). "
                "Keep one of them"
            )
        names[key] = name
        unknown = sorted({*entry} - {*OwnFamily.model_fields}) if isinstance(entry, Mapping) else []
        if unknown:
            raise ValueError(f"{name}.{unknown[0]}: no such setting. Keys: {', '.join(OwnFamily.model_fields)}")
    return value


__all__ = ["MOST_EXAMPLES", "Example", "OwnFamily", "check_own", "load_examples", "make_prompts", "take_examples"]
