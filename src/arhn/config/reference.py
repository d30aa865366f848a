"""Settings as text: those of a run as a TOML file, and all of them as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from arhn.config.catalogue import Setting, list_settings, write_key
from arhn.config.settings import CleaningSettings, RunConfig
from arhn.config.values import Values
from arhn.engines import ENGINES

_INTRODUCTION = """# Settings

Everything that a command can be told, in one file: `arhn clean train.jsonl -o out.jsonl --config run.toml`. Keys that
aren't in it have the defaults below; `--set KEY=VALUE` and flags stand over the file. `arhn config show` prints all
settings with where each value came from, as a file that can be used again. The summary of a run holds its settings:
`--config out.summary.json` takes them.

A file is shared by all commands: `clean` and `estimate` read the keys at the top and their tables, `calibrate` those of
them that a verdict depends on, `mine` reads `[mine]`, `train` reads `[refresh]`.

This page is what `arhn config docs` writes.
"""


def to_toml(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return to_toml(value.value)
    if isinstance(value, int | float):
        return str(value) if not isinstance(value, float) or math.isfinite(value) else str(value).lower()
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        inner = ", ".join(f"{write_key((name,))} = {to_toml(each)}" for name, each in value.items() if each is not None)
        return f"{{ {inner} }}" if inner else "{}"
    return f"[{', '.join(map(to_toml, value))}]"


def show(config: RunConfig, values: Values) -> str:
    """All settings of a run as TOML, with the unit of each and where its value came from.

    Args:
        values: what was given.
    """
    tree = config.model_dump(mode="json")
    lines: list[str] = []
    # A table ends where the next one begins, so that plain keys come first.
    found = [*list_settings(RunConfig, tree)]
    tables = [each for each in found if each.section is not None]
    lines += _write_table((), found, tree, values)
    for table in tables:
        if _lies_in_nothing(tree, table.key):
            continue
        if _look_up(tree, table.key) is None:
            lines += ["", f"# [{table.path}] isn't given: {table.description}"]
        else:
            lines += ["", f"[{table.path}]", *_write_table(table.key, found, tree, values)]
    return "\n".join(lines) + "\n"


def _lies_in_nothing(tree: Mapping[str, Any], key: tuple[str, ...]) -> bool:
    return any(_look_up(tree, key[:length]) is None for length in range(1, len(key)))


def _write_table(
    table: tuple[str, ...], found: list[Setting], tree: Mapping[str, Any], values: Values
) -> Iterator[str]:
    rows = []
    for setting in found:
        if setting.section is not None or setting.key[:-1] != table:
            continue
        value = _look_up(tree, setting.key)
        given = values.at(setting.key)
        if setting.key[-1] == "calibrations" and given is not None:
            value = given  # the paths, not what is in the files
        name = write_key(setting.key[-1:])
        text = f"# {name} =" if value is None else f"{name} = {to_toml(value)}"
        source = values.find_source(setting.key) if given is not None else ""
        unit = f"{setting.unit}; " if setting.unit else ""
        rows.append((text, f"{unit}{source or _find_inherited(setting, values) or 'default'}"))
    width = min(max((len(text) for text, _ in rows), default=0), 48)
    return (f"{text:<{width}}  # {comment}" for text, comment in rows)


def _find_inherited(setting: Setting, values: Values) -> str:
    """The small model's settings are those of the engine where they aren't given."""
    if len(setting.key) < 2 or setting.key[-2] != "small_model" or setting.key[-1] == "model":
        return ""
    key = (*setting.key[:-2], "engine", setting.key[-1])
    return f"as {write_key(key)}" if values.at(key) is not None else ""


def _look_up(tree: Mapping[str, Any], key: tuple[str, ...]) -> Any:
    found: Any = tree
    for part in key:
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def make_page() -> str:
    """The reference of all settings, in Markdown."""
    parts = [_INTRODUCTION]
    parts += _write_section("At the top", "", RunConfig, ())
    return "\n".join(parts).rstrip() + "\n"


def _write_section(title: str, about: str, model: type[BaseModel], key: tuple[str, ...]) -> Iterator[str]:
    own = [each for each in list_settings(model, {}, key) if len(each.key) == len(key) + 1]
    yield f"## {title}\n"
    if about:
        yield f"{about}\n"
    yield from _write_rows([each for each in own if each.section is None])
    for each in own:
        if each.section is None:
            continue
        if each.key[-1] == "engine" and not key:
            yield from _write_engines(each)
        elif each.key[-1] == "small_model" or issubclass(each.section, CleaningSettings):
            yield f"## `[{each.path}]`\n\n{each.description}\n"
        elif each.key[-1] != "engine":
            yield from _write_section(f"`[{each.path}]`", each.description, each.section, each.key)


def _write_engines(engine: Setting) -> Iterator[str]:
    yield f"## `[{engine.path}]`\n\n{engine.description} `name` decides which keys there are.\n"
    for name in ENGINES.names():
        model = ENGINES.get(name)
        own = [each for each in list_settings(model, {}, engine.key) if len(each.key) == 2]
        yield f"### `name = {to_toml(name)}`\n"
        yield from _write_rows([each for each in own if each.section is None])
        for each in own:
            if each.section is not None:
                yield f"#### `[{each.path}]`\n\n{each.description}\n"
                yield from _write_rows([*list_settings(each.section, {}, each.key)])


def _write_rows(found: list[Setting]) -> Iterator[str]:
    if not found:
        return
    yield "| key | default | allowed | what it is |\n| --- | --- | --- | --- |"
    for setting in found:
        unit = f" ({setting.unit})" if setting.unit else ""
        cells = (f"`{setting.key[-1]}`", _write_default(setting), f"{setting.allowed}{unit}", setting.description)
        yield "| " + " | ".join(cell.replace("|", "\\\\|") for cell in cells) + " |"
    yield ""


def _write_default(setting: Setting) -> str:
    if setting.field.is_required():
        return "none: needed"
    value = setting.default
    if isinstance(value, BaseModel) or value is None:
        return "not set"
    return f"`{to_toml(value)}`" if isinstance(value, str | int | float | tuple | list | Path | Mapping) else "`{}`"


__all__ = ["make_page", "show", "to_toml"]
