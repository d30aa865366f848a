"""Options that set a setting. What they say and take is read off the settings' classes: a new one is one entry here."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from arhn.config.catalogue import Setting, list_settings
from arhn.config.problems import check, require_known
from arhn.config.settings import FittingSettings, RunConfig
from arhn.config.values import Given, Values, gather

M = TypeVar("M", bound=BaseModel)

_MODELS = {
    "--engine": "engine.name",
    "--model": "engine.model",
    "--url": "engine.urls",
    "--small-model": "small_model.model",
    "--similarity": "similarity.model",
}
_DECISIONS = {"--method": "method", "--mode": "mode", "--precision": "precision", "--calibration": "calibrations"}
_READING = {"--from": "files.format", "--limit": "files.limit", "--on-bad-row": "files.on_bad_row"}

#: The options of commands by the group that they are listed in, with the keys that they set.
CLEAN = {
    "Files": {**_READING, "--to": "files.to", "--store": "store"},
    "Models": _MODELS,
    "Decisions": _DECISIONS,
    "Run": {"--ray": "cluster.address"},
}
ESTIMATE = {"Files": {**_READING, "--split": "files.split"}, "Models": _MODELS, "Decisions": _DECISIONS}
CALIBRATE = {"Models": _MODELS, "Labels": {"--negatives": "negatives"}}
_RULES = ("negatives", "range_min", "range_max", "sampling", "seed", "max_score", "min_score", "absolute_margin",
          "relative_margin", "margin_to", "score_by")  # fmt: skip
_BM25 = ("k1", "b", "stemmer", "stopwords")
_ENCODING = ("query_prompt", "document_prompt", "max_length", "dtype", "device", "threads", "batch_size", "embeddings",
             "faiss_above")  # fmt: skip


def _name_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


MINE = {
    "Which passages become negatives": {_name_option(name): f"mine.{name}" for name in _RULES},
    "Retrievers": {
        "--retriever": "mine.retrievers",
        **{_name_option(name): f"mine.bm25.{name}" for name in _BM25},
        **{_name_option(name): f"mine.models.{name}" for name in _ENCODING},
    },
}

#: What the value of an option is called in its help, where its kind doesn't say it.
_METAVARS = {
    "engine.urls": "URL",
    "cluster.address": "ADDRESS",
    "mine.models.query_prompt": "TEXT",
    "mine.models.document_prompt": "TEXT",
    "mine.models.embeddings": "FOLDER",
}
#: The keys that commands look at, by their first name. A config file may hold the others too.
_ALL = tuple(RunConfig.model_fields)
READS: Mapping[str, Sequence[str]] = {
    "clean": [name for name in _ALL if name not in ("mine", "refresh")],
    "estimate": [name for name in _ALL if name not in ("mine", "refresh", "cluster", "store", "max_failures")],
    "calibrate": [
        "negatives",
        "samples",
        "show_answer",
        "family",
        "families",
        "engine",
        "small_model",
        "similarity",
        "budget",
    ],
    "mine": ["mine"],
    "train": ["refresh"],
    "config show": _ALL,
}  # fmt: skip


def read_settings(command: str, values: Values) -> RunConfig:
    """The settings that a command looks at; the others are as they are unless given.

    Raises:
        UsageError: a key that isn't there, isn't the command's or can't be had with others, or a value out of range.
        CalibrationError: a file of calibrations that can't be read.
    """
    return _read(RunConfig, command, values)


def read_fitting_settings(values: Values) -> FittingSettings:
    """The settings that 'arhn calibrate' looks at. Raises as `read_settings`."""
    return _read(FittingSettings, "calibrate", values)


def _read(model: type[M], command: str, values: Values) -> M:
    require_known(RunConfig, values)
    return check(model, values.only(READS[command], command))


def make_parameters(flags: Mapping[str, Mapping[str, str]]) -> list[inspect.Parameter]:
    """The options as parameters of a function, `--config` and `--set` at the end."""
    known: dict[str, list[Setting]] = defaultdict(list)
    for setting in list_settings(RunConfig):
        known[setting.path].append(setting)
    found = [
        _make_parameter(option, known[path][0], _write_help(path, known), title)
        for title, options in flags.items()
        for option, path in options.items()
    ]
    return [*found, *_make_common()]


def take_values(flags: Mapping[str, Mapping[str, str]], given: dict[str, Any]) -> Values:
    """Take the settings out of a command's arguments. Raises UsageError as `gather`."""
    found: list[Given] = []
    for options in flags.values():
        for option, path in options.items():
            value = given.pop(_name_parameter(option))
            if value is None or (not isinstance(value, str) and not value):
                continue
            shown = value if isinstance(value, str) else " ".join(value)
            found.append(Given(key=tuple(path.split(".")), value=value, source=f"{option} {shown}", bare=True))
    return gather(given.pop("config"), given.pop("sets") or (), found)


#: Characters of the choices that are shown beside an option.
_LONGEST_METAVAR = 60


def _name_parameter(option: str) -> str:
    return f"flag_{option.strip('-').replace('-', '_')}"


def _make_parameter(option: str, setting: Setting, help_: str, title: str) -> inspect.Parameter:
    choices = setting.choices
    listed = "|".join(choices)
    # More than fit a terminal's line beside the option stand in its help.
    long = len(listed) > _LONGEST_METAVAR
    info = typer.Option(
        option,
        help=f"{help_} One of: {', '.join(choices)}." if long else help_,
        metavar="NAME" if long else listed or _choose_metavar(setting),
        rich_help_panel=title,
        show_default=False,
        autocompletion=_make_completion(choices) if choices else None,
    )
    kind: Any = list[str] | None if setting.several else str | None
    return inspect.Parameter(
        _name_parameter(option), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, info]
    )


def _write_help(path: str, known: Mapping[str, Sequence[Setting]]) -> str:
    first = known[path][0]
    unit = f" [{first.unit}]" if first.unit else ""
    default = None if first.field.is_required() else first.default
    plain = isinstance(default, str | int | float) and default != "" and "given" not in first.description
    again = " May be repeated." if first.several else ""
    return f"{_describe(path, known)}{again}{unit}{f' Default: {default}.' if plain else ''}"


def _describe(path: str, known: Mapping[str, Sequence[Setting]]) -> str:
    """What a setting is; where engines have it, what it is to each of them."""
    own = known[path]
    section, _, name = path.rpartition(".")
    if name == "model" and section != "engine":
        of_table = known[section][0].description
        return of_table if own[0].engine else f"{own[0].description} {of_table}"
    if own[0].engine is None:
        return own[0].description
    engines_by_text: dict[str, list[str]] = defaultdict(list)
    for setting in own:
        engines_by_text[setting.description].append(str(setting.engine))
    return " ".join(f"{' and '.join(engines)}: {text}" for text, engines in engines_by_text.items())


def _choose_metavar(setting: Setting) -> str:
    if setting.path in _METAVARS:
        return _METAVARS[setting.path]
    words = setting.allowed
    kinds = (("path", "FILE"), ("whole number", "N"), ("number", "X"), ("tables", "FILE"))
    return next((metavar for word, metavar in kinds if word in words), "NAME")


def _make_completion(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _complete_keys(incomplete: str) -> Iterator[tuple[str, str]]:
    """Keys as `--set` takes them."""
    for setting in list_settings(RunConfig, {}):
        if setting.section is None and setting.path.startswith(incomplete):
            yield f"{setting.path}=", setting.description


def _complete_set(incomplete: str) -> list[tuple[str, str]]:
    return list(_complete_keys(incomplete))


def _make_common() -> list[inspect.Parameter]:
    config = typer.Option(
        "--config",
        metavar="FILE",
        rich_help_panel="Settings",
        help="A TOML file of settings, or the summary of a run, which gives its settings again. 'arhn config show' "
        "prints all of them.",
    )
    sets = typer.Option(
        "--set",
        metavar="KEY=VALUE",
        rich_help_panel="Settings",
        help="One setting, in place of the file's, such as ranker.name=pivot. May be repeated.",
        autocompletion=_complete_set,
    )
    only = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter("config", only, default=None, annotation=Annotated[Path | None, config]),
        inspect.Parameter("sets", only, default=None, annotation=Annotated[list[str] | None, sets]),
    ]
