"""What is wrong with settings, in words: the key, who gave it, what was found, what is allowed, the nearest key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from arhn.config.catalogue import Setting, find_setting, list_settings, write_key
from arhn.config.display import escaped, shown
from arhn.config.values import Values
from arhn.engines import ENGINES, choose_engine
from arhn.errors import ArhnError, UsageError

M = TypeVar("M", bound=BaseModel)
#: No key of ours comes near it.
_LONGEST_KEY = 200
#: Between two problems; the first one stands after "arhn: ".
_BREAK = "\n      "


def check(model: type[M], values: Values) -> M:
    """The settings of a class.

    Raises:
        UsageError: one line for each thing that is wrong.
        CalibrationError: a file of calibrations that can't be read.
    """
    try:
        return model.model_validate(_read_texts(model, values).tree)
    except ValidationError as error:
        lines = dict.fromkeys(escaped(_describe(problem, model, values)) for problem in error.errors())
        raise UsageError(_BREAK.join(lines)) from None


def require_known(model: type[BaseModel], values: Values) -> None:
    """Refuse keys that there aren't, whoever would look at them. Raises UsageError."""
    try:
        model.model_validate(_read_texts(model, values).tree)
    except ValidationError as error:
        unknown = [problem for problem in error.errors() if problem["type"] == "extra_forbidden"]
        lines = dict.fromkeys(escaped(_describe(problem, model, values)) for problem in unknown)
        if lines:
            raise UsageError(_BREAK.join(lines)) from None
    except ArhnError:
        return  # whoever looks at that value says so


def _read_texts(model: type[BaseModel], values: Values) -> Values:
    """The same, with the texts of a command line as what their settings are."""
    if not values.bare:
        return values
    known = {setting.key: setting for setting in list_settings(model)}
    for key in values.bare:
        text = values.at(key)
        if key in known and isinstance(text, str):
            values = values.replaced(key, known[key].read(text))
    return values


def _describe(problem: Mapping[str, Any], model: type[BaseModel], values: Values) -> str:
    key: tuple[str | int, ...] = problem["loc"]
    source = values.find_source(key)
    name = shown(write_key(key))
    where = f"{name} ({source})" if source and key else name
    if problem["type"] == "extra_forbidden":
        return f"{where}: {_describe_unknown(key, model, values)}"
    if "url" not in problem:  # our own, not one of pydantic's
        return f"{where}: {problem['msg']}" if key else str(problem["msg"])
    setting = find_setting(model, key, values.tree)
    if problem["type"] == "missing":
        return f"{where}: is missing. {setting.description if setting else ''}".rstrip()
    if problem["type"] == "value_error":
        return f"{where}: {problem['ctx']['error']}"
    allowed = setting.allowed if setting else problem["msg"]
    if problem["type"] == "less_than_equal" and f"{problem['ctx']['le']:g}" not in allowed:
        allowed += f", at most {problem['ctx']['le']}"
    found = values.at(key) if key in values.bare else problem["input"]
    hint = _name_in_table(setting, found)
    return f"{where}: found {shown(_write(found))}, allowed: {allowed}{hint}"


def _write(found: object) -> str:
    if isinstance(found, bool):
        return str(found).lower()
    return found.isoformat() if isinstance(found, date | time) else repr(found)


def _name_in_table(setting: Setting | None, found: object) -> str:
    """A word in place of a table is most likely the name in it."""
    if setting is None or setting.section is None or not isinstance(found, str):
        return ""
    fields = setting.section.model_fields
    is_model = "model" in fields and not ("name" in fields and found in ENGINES.names())
    inner = "model" if is_model else "name"
    return f". Did you mean {setting.path}.{inner}={shown(found)}?" if inner in fields else ""


def _describe_unknown(key: tuple[str | int, ...], model: type[BaseModel], values: Values) -> str:
    *section, name = (part for part in key if isinstance(part, str))
    known = {setting.key: setting for setting in list_settings(model, values.tree)}
    if owners := _find_owners(tuple(section), name, known):
        engine = choose_engine(values.at(tuple(section)) or {})
        source = values.find_source((*section, "name"))
        return f"belongs to the engine {' and '.join(owners)}, and this is {engine}" + (
            f" ({source})" if source else ""
        )
    siblings = [each[-1] for each in known if each[:-1] == tuple(section)]
    hint = _suggest((*section, name), siblings, [*known])
    table = f"Keys of [{shown(write_key(tuple(section)))}]" if section else "Keys"
    return f"there is no such setting.{hint} {table}: {', '.join(siblings)}"


def _find_owners(section: tuple[str, ...], name: str, known: Mapping[tuple[str, ...], Setting]) -> list[str]:
    """Other engines that have a key."""
    mine = next((s.engine for s in known.values() if s.key[:-1] == section and s.engine is not None), None)
    if mine is None:
        return []
    return [other for other in ENGINES.names() if other != mine and name in ENGINES.get(other).model_fields]


def _suggest(key: tuple[str, ...], siblings: list[str], known: list[tuple[str, ...]]) -> str:
    section, name = key[:-1], key[-1]
    if len(write_key(key)) > _LONGEST_KEY:
        return ""
    paths = {write_key(each): each for each in known}
    same = [path for path, each in paths.items() if each[-1] == name]
    beside = [write_key((*section, close)) for close in get_close_matches(name, siblings, n=1)]
    near = [*same[:1], *beside, *get_close_matches(write_key(key), paths, n=1)]
    return f" Did you mean {near[0]}?" if near else ""


__all__ = ["check", "require_known"]
