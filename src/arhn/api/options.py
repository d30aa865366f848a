"""Keywords of `arhn.clean`: the settings of a config file, by the same classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from arhn.cleaning.models import Models
from arhn.config.problems import check, require_known
from arhn.config.settings import FileSettings, RunConfig
from arhn.config.values import Given, gather
from arhn.engines import Engine
from arhn.errors import UsageError
from arhn.files.rows import shorten
from arhn.weights.cache import cache_root, key

Model = str | PathLike[str] | Engine | Models
#: Settings of [files] that stand among the keywords.
OF_FILES = ("format", "to", "split", "scores", "limit", "on_bad_row")
#: What only commands have.
_OF_COMMANDS = ("files", "cluster", "mine", "refresh")


def read_options(model: Model | None, config: str | PathLike[str] | None, given: Mapping[str, Any]) -> RunConfig:
    """The settings of a call.

    Args:
        model: a name, a file, a server's URL; or what is open already, which is no setting.
        config: a TOML file, or the summary of a run; the keywords come over it.
        given: settings by keyword: the keys at the top of a config file, tables as mappings, and `OF_FILES`.

    Raises:
        UsageError: a keyword that there isn't, or a value that its setting can't have.
        CalibrationError: a file of calibrations that can't be read.
    """
    for name in _OF_COMMANDS:
        if name in given:
            known = (
                f"The settings of [files] are keywords: {', '.join(OF_FILES)}" if name == "files" else "Leave it out"
            )
            raise UsageError(f"{name}: is no keyword of arhn.clean. {known}")
    values = [each for name, value in given.items() for each in _list_given(_find_key(name), value)]
    if isinstance(model, str | PathLike):
        values += _name_model(fspath(model))
    elif model is not None:
        values += _without_similarity(model, config, given)
    found = gather(Path(config) if config is not None else None, (), values)
    require_known(RunConfig, found)
    return check(RunConfig, found.only([n for n in RunConfig.model_fields if n not in _OF_COMMANDS[1:]], "clean"))


def place_store(settings: RunConfig, model: Model | None) -> Path:
    """Where the LLM's answers lie: as set, or in the user's cache, in a file for each model."""
    if settings.store is not None:
        return settings.store
    if isinstance(model, Models):
        names = [engine.model for engine in model.engines]
    elif model is not None and not isinstance(model, str | PathLike):
        names = [model.model]
    else:
        engine = settings.engine
        names = [engine.name, engine.model, *map(str, getattr(engine, "urls", ()))]
    whole = " ".join(filter(None, names)) or settings.method
    readable = re.sub(r"[^\w.-]+", "-", Path(whole).name)[:60].strip("-.")
    folder = cache_root() / "answers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{readable}-{key(whole)[:8]}.sqlite"


def _find_key(name: str) -> tuple[str, ...]:
    return ("files", name) if name in OF_FILES and name in FileSettings.model_fields else (name,)


def _list_given(place: tuple[str, ...], value: Any) -> Iterator[Given]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _list_given((*place, str(name)), inner)
        return
    if isinstance(value, PathLike):
        value = fspath(value)
    yield Given(key=place, value=value, source=f"{place[-1]}={shorten(value)}")


def _name_model(model: str) -> Iterator[Given]:
    if not model.startswith(("http://", "https://")):
        yield Given(key=("engine", "model"), value=model, source=f"model={model[:80]!r}")
        return
    yield Given(key=("engine", "name"), value="openai", source="the URL that is given as model=")
    yield Given(key=("engine", "urls"), value=[model], source="the URL that is given as model=")


def _without_similarity(model: object, config: object, given: Mapping[str, Any]) -> Iterator[Given]:
    """What is open already has no similarity beside it unless one is given: nobody knows what kind of engine it is."""
    for name in ("engine", "small_model", *(("similarity",) if isinstance(model, Models) else ())):
        if name in given:
            raise UsageError(f"{name}: the models that are given as model= are open already. Leave it out")
    if config is None and "similarity" not in given:
        yield Given(key=("similarity",), value="none", source="model=")


__all__ = ["OF_FILES", "Model", "place_store", "read_options"]
