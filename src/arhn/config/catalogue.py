"""What there is to set: every key of the tree of settings, what it may be, and what it is for.

Read from the settings' own classes, so that help texts, messages, `arhn config show` and the reference say the same.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from arhn.cleaning.methods import METHODS
from arhn.cleaning.rank import RANKERS
from arhn.engines import ENGINES, choose_engine
from arhn.engines.settings import EngineSettings
from arhn.formats import FORMATS
from arhn.registry import Registry

Key = tuple[str, ...]
#: The settings that name something of a registry.
_NAMING: Mapping[Key, Registry[Any]] = {
    ("method",): METHODS,
    ("ranker", "name"): RANKERS,
    ("files", "format"): FORMATS,
    ("files", "to"): FORMATS,
}
#: The largest numbers of things; nobody wants to read of them.
_AS_GOOD_AS_ANY = (2**31 - 1, 2**63 - 1, 1 - 2**31)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One key. `engine`: whose it is, where only one engine has it; `section`: the class, where the key is a table."""

    key: Key
    field: FieldInfo
    engine: str | None = None
    section: type[BaseModel] | None = None

    @property
    def path(self) -> str:
        """The key as it is written, such as `ranker.name`."""
        return write_key(self.key)

    @property
    def description(self) -> str:
        """What it is for."""
        return self.field.description or ""

    @property
    def unit(self) -> str:
        """What a number counts; empty where that says itself."""
        extra = self.field.json_schema_extra
        return str(extra.get("unit", "")) if isinstance(extra, dict) else ""

    @property
    def default(self) -> Any:
        """What it is unless given. Raises ValueError: it has to be given."""
        if self.field.is_required():
            raise ValueError(f"{self.path} has no default")
        return self.field.get_default(call_default_factory=True)

    @property
    def allowed(self) -> str:
        """What it may be, in words."""
        own = self.registry if self.engine is None else None
        return _join_choices(own.names()) if own is not None else describe_allowed(self.field)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it may be; none where it may be anything of its kind."""
        registry = self.registry
        return registry.names() if registry is not None else _list_choices(_strip_annotation(self.field.annotation))

    @property
    def registry(self) -> Registry[Any] | None:
        """What the setting names something of, if it does."""
        if self.engine is not None and self.key[-1] == "name":
            return ENGINES
        return next((found for key, found in _NAMING.items() if self.key[-len(key) :] == key), None)

    def read(self, text: str) -> Any:
        """What a bare text of a command line is: a number or a truth value where the setting is one, a list of one
        where it is a list. The text itself where it can't be read so."""
        bare = _strip_annotation(self.field.annotation)
        if self.several:
            return [text]
        if bare not in (bool, int, float):
            return text
        try:
            return TypeAdapter(bare).validate_python(text)
        except ValidationError:
            return text

    @property
    def several(self) -> bool:
        """Whether it is a list."""
        return get_origin(_strip_annotation(self.field.annotation)) is tuple


def write_key(key: tuple[object, ...]) -> str:
    """A key as it is written: `ranker.name`, `engine.urls[0]`, `families."a b"`."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = str(part)
            plain = word.replace("_", "").replace("-", "").isalnum() and word.isascii()
            text += f"{'.' if text else ''}{word if plain else _quote(word)}"
    return text


def _quote(word: str) -> str:
    """A basic string of TOML. What isn't printable is a number in it."""
    escapes = {'"': '\\"', "\\": "\\\\"}
    inner = "".join(escapes.get(char) or (char if char.isprintable() else f"\\U{ord(char):08x}") for char in word)
    return f'"{inner}"'


def list_settings(model: type[BaseModel], values: Mapping[str, Any] | None = None, key: Key = ()) -> Iterator[Setting]:
    """All keys of a class, tables before what is in them.

    Args:
        values: what is given of them; an engine's keys are those of the engine that they name. Unless given, the keys
            of all engines are listed.
        key: where the class stands.
    """
    for name, field in model.model_fields.items():
        section = find_section(field)
        if section is None:
            yield Setting(key=(*key, name), field=field)
            continue
        yield Setting(key=(*key, name), field=field, section=section)
        within = None if values is None else values.get(name)
        inner = within if isinstance(within, Mapping) else None if values is None else {}
        if issubclass(section, EngineSettings):
            yield from _list_engines((*key, name), inner)
        else:
            yield from list_settings(section, inner, (*key, name))


def _list_engines(key: Key, values: Mapping[str, Any] | None) -> Iterator[Setting]:
    names = ENGINES.names() if values is None else (choose_engine(values),)
    for engine in names:
        for name, field in ENGINES.get(engine).model_fields.items():
            section = find_section(field)
            yield Setting(key=(*key, name), field=field, engine=engine, section=section)
            if section is not None:
                yield from list_settings(section, None, (*key, name))


def find_section(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a field that is a table of settings; None for any other."""
    bare = _strip_annotation(field.annotation)
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None


def find_setting(model: type[BaseModel], key: tuple[object, ...], values: Mapping[str, Any]) -> Setting | None:
    """The setting of a key, or the one that it is an item of."""
    names = tuple(part for part in key if isinstance(part, str))
    known = {setting.key: setting for setting in list_settings(model, values)}
    while names and names not in known:
        names = names[:-1]
    return known.get(names)


def _strip_annotation(annotation: Any) -> Any:
    """A type without `| None` and what is annotated to it."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _strip_annotation(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        rest = [each for each in get_args(annotation) if each is not type(None)]
        return _strip_annotation(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _list_choices(bare: Any) -> tuple[str, ...]:
    if isinstance(bare, type) and issubclass(bare, Enum):
        return tuple(str(member.value) for member in bare)
    return tuple(map(str, get_args(bare))) if get_origin(bare) is Literal else ()


def describe_allowed(field: FieldInfo) -> str:
    """What a field may be, in words, such as "a whole number from 2 to 64, a multiple of 2"."""
    bare = _strip_annotation(field.annotation)
    if choices := _list_choices(bare):
        return _join_choices(choices)
    if isinstance(field.json_schema_extra, dict) and "allowed" in field.json_schema_extra:
        return str(field.json_schema_extra["allowed"])
    return _describe_kind(bare) + _describe_bounds(field.metadata)


def _join_choices(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (str, "text"),
    (Path, "a path"),
)


def _describe_kind(bare: Any) -> str:
    if get_origin(bare) is tuple:
        inner = _strip_annotation(get_args(bare)[0])
        words = dict(_KINDS).get(inner, "table").removeprefix("a ")
        return f"a list of {words}s" if words in ("path", "table") else f"a list of {words}"
    return next((words for kind, words in _KINDS if bare is kind), "a table")


def _describe_bounds(metadata: list[Any]) -> str:
    least = next((f" from {m.ge}" for m in metadata if isinstance(m, at.Ge) and m.ge not in _AS_GOOD_AS_ANY), "")
    above = next((f" above {m.gt}" for m in metadata if isinstance(m, at.Gt)), "")
    most = next((m.le for m in metadata if isinstance(m, at.Le) and m.le not in _AS_GOOD_AS_ANY), None)
    below = next((f" below {m.lt}" for m in metadata if isinstance(m, at.Lt)), "")
    steps = next((f", a multiple of {m.multiple_of}" for m in metadata if isinstance(m, at.MultipleOf)), "")
    upto = "" if most is None else f" to {most}" if least else f", at most {most}"
    return f"{least}{above}{upto}{below}{steps}"


__all__ = ["Key", "Setting", "describe_allowed", "find_section", "find_setting", "list_settings", "write_key"]
