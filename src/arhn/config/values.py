"""Values of settings from a config file, `--set KEY=VALUE` and flags, each over the one before, and their sources.

Nothing is checked here but that no value has two sources of the same rank; the settings' classes do the rest.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from arhn.config.catalogue import Key, write_key
from arhn.config.display import LONGEST_PATH, shown
from arhn.errors import UsageError
from arhn.files.rows import measure_depth

#: What a summary holds its run's settings under.
IN_SUMMARY = "config"
_PART = r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|[\w*-]+)"""
_PATH = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*\[\s*({_PATH})\s*\]\s*(?:#.*)?$")
_PAIR = re.compile(rf"\s*({_PATH})\s*=")
#: Deeper than any setting, and no trouble for whatever walks a tree.
_DEEPEST = 64
#: What names files that are written.
_WRITTEN = (("files",), ("store",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value, and where it comes from: `--mode R`, `--set ranker.name=pivot`, `run.toml, line 3`.

    `bare`: the value is a text of a command line that has no type of its own yet.
    """

    key: Key
    value: Any
    source: str
    bare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Values by key, as they were given, and where each came from.

    `direct`: those that an option or `--set` gave, not a file; `bare`: those of them that are texts without a type.
    `config`: the file.
    """

    tree: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[Key, str] = field(default_factory=dict)
    direct: frozenset[Key] = frozenset()
    bare: frozenset[Key] = frozenset()
    config: Path | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Files that are read for them, by who names them: no output may replace one."""
        found = {"--config": self.config} if self.config is not None else {}
        for key, value in _list_leaves(self.tree, ()):
            if key[:1] in _WRITTEN:
                continue
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, str) and _is_file(each):
                    found[f"{write_key(key)}, given by {self.find_source(key)},"] = Path(each)
        return found

    def only(self, names: Collection[str], command: str) -> Values:
        """Those that a command looks at, by the first name of their key; a config file may hold others' too.

        Raises:
            UsageError: others are given directly.
        """
        for key in sorted(self.direct):
            if key[0] not in names:
                raise UsageError(
                    f"{shown(write_key(key))} ({self.sources[key]}): 'arhn {command}' makes no use of it. Leave it out"
                )
        return Values(
            tree={name: value for name, value in self.tree.items() if name in names},
            sources={key: source for key, source in self.sources.items() if key[0] in names},
            bare=frozenset(key for key in self.bare if key[0] in names),
            config=self.config,
        )

    def replaced(self, key: Key, value: Any) -> Values:
        """The same with another value for a key."""
        tree = dict(self.tree)
        _put(tree, key, value)
        return replace(self, tree=tree)

    def find_source(self, key: tuple[object, ...]) -> str:
        """Where a key was given, a table that it stands in, or what stands in it; empty where none of them was."""
        names = tuple(part for part in key if isinstance(part, str))
        while names:
            if names in self.sources:
                return self.sources[names]
            names = names[:-1]
        within = tuple(part for part in key if isinstance(part, str))
        return next((source for other, source in self.sources.items() if other[: len(within)] == within), "")

    def at(self, key: tuple[object, ...]) -> Any:
        """What was given for a key; None where nothing was."""
        found: Any = self.tree
        for part in key:
            if not isinstance(found, Mapping) or part not in found:
                return None
            found = found[part]
        return found


def gather(config: Path | None, sets: Sequence[str] = (), flags: Sequence[Given] = ()) -> Values:
    """All that is given.

    Args:
        config: a TOML file, or a JSON one: a summary of `arhn clean` gives the settings of its run.
        sets: `KEY=VALUE` each; values are TOML, or text where they are none.
        flags: what flags of the command give.

    Raises:
        UsageError: a file that can't be read, a text that is no setting, two sources of one value.
    """
    on_command_line = [*(parse_set(text) for text in sets), *flags]
    _require_one_source(on_command_line)
    tree: dict[str, Any] = {}
    sources: dict[Key, str] = {}
    for given in [*(_read_file(config) if config is not None else ()), *on_command_line]:
        _put(tree, given.key, given.value)
        for other in [other for other in sources if other[: len(given.key)] == given.key]:
            del sources[other]
        sources[given.key] = given.source
    return Values(
        tree=tree,
        sources=sources,
        direct=frozenset(given.key for given in on_command_line),
        bare=frozenset(given.key for given in on_command_line if given.bare),
        config=config,
    )


def parse_set(text: str) -> Given:
    """`KEY=VALUE` as a value and its key. Raises UsageError: it is neither."""
    name, equals, value = text.partition("=")
    # An equals sign in a quoted key is no end of it.
    key = _read_key(name.strip())
    if not equals or not key:
        raise UsageError(f"--set {shown(repr(text))}: expected KEY=VALUE, such as ranker.name=pivot")
    found, bare = _read_value(value.strip())
    if len(key) + measure_depth(found) > _DEEPEST:
        raise UsageError(f"--set {shown(text)}: more than {_DEEPEST} tables and lists within each other")
    return Given(key=key, value=found, source=f"--set {shown(text)}", bare=bare)


def _read_key(text: str) -> Key:
    try:
        tree: Any = tomllib.loads(f"{text} = 0")
    except (ValueError, RecursionError):
        parts = tuple(part.strip() for part in text.split("."))
        return parts if all(parts) else ()
    found: list[str] = []
    while isinstance(tree, dict) and len(tree) == 1:
        [(name, tree)] = tree.items()
        found.append(name)
    return tuple(found) if tree == 0 else ()


def _read_value(text: str) -> tuple[Any, bool]:
    """A TOML value, or the text itself where it is none; and whether it is that."""
    try:
        read = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # a number of too many digits isn't a TOMLDecodeError
        return text, True
    return (read["value"], False) if read.keys() == {"value"} else (text, True)


def _put(tree: dict[str, Any], key: Key, value: Any) -> None:
    inner = tree
    for part in key[:-1]:
        found = inner.get(part)
        inner[part] = inner = dict(found) if isinstance(found, Mapping) else {}
    inner[key[-1]] = value


def _require_one_source(given: Sequence[Given]) -> None:
    for number, one in enumerate(given):
        for other in given[number + 1 :]:
            length = min(len(one.key), len(other.key))
            if one.key[:length] == other.key[:length]:
                key = shown(write_key(min(one.key, other.key, key=len)))
                raise UsageError(f"{key}: given twice, by {one.source} and by {other.source}. Keep one of them")


def _read_file(path: Path) -> Iterator[Given]:
    name = _name(path)
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"--config {name}: can't be read ({shown(error.strerror or error)}). Check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--config {name}: isn't UTF-8 ({error}). Save it as UTF-8") from error
    json_ = path.suffix.casefold() == ".json"
    tree = _read_json(path, text) if json_ else _read_toml(path, text)
    if measure_depth(tree) > _DEEPEST:
        raise UsageError(f"--config {name}: more than {_DEEPEST} tables and lists within each other")
    lines = {} if json_ else _find_lines(text)
    for key, value in _list_leaves(tree, ()):
        line = next((lines[key[:length]] for length in range(len(key), 0, -1) if key[:length] in lines), None)
        yield Given(key=key, value=value, source=f"{name}, line {line}" if line else name)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # no name of a file
        return False


def _name(path: Path) -> str:
    return shown(path, LONGEST_PATH)


def _read_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {_name(path)}: not TOML ({shown(error)}). Correct the file") from error


def _read_json(path: Path, text: str) -> dict[str, Any]:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {_name(path)}: not JSON ({shown(error)}). Correct the file") from error
    if isinstance(tree, dict) and isinstance(tree.get(IN_SUMMARY), dict):
        return tree[IN_SUMMARY]  # type: ignore[no-any-return]
    if not isinstance(tree, dict):
        raise UsageError(f"--config {_name(path)}: expected an object of settings, found a {type(tree).__name__}")
    if "schema" in tree:
        raise UsageError(f"--config {_name(path)}: a summary that holds no settings of its run, as those before 0.2 do")
    return tree


def _list_leaves(tree: Mapping[str, Any], key: Key) -> Iterator[tuple[Key, Any]]:
    """Every value of a tree with its key; an empty table is a value."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _list_leaves(value, (*key, name))
        else:
            yield (*key, name), value


def _find_lines(text: str) -> dict[Key, int]:
    """In which line of a TOML file each key stands; those in arrays and inline tables are in their own key's."""
    found: dict[Key, int] = {}
    table: Key = ()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = _read_key(header[1])
            found.setdefault(table, number)
        elif pair := _PAIR.match(line):
            found.setdefault((*table, *_read_key(pair[1])), number)
    return found


__all__ = ["IN_SUMMARY", "Given", "Values", "gather", "parse_set"]
