"""What is wrong with a command line, in two lines: what, with the nearest option or setting, and where to look."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

from typer import TyperException

#: How like a word has to be, from 0 to 1: `--treshold` isn't like `--method`.
_NEAR = 0.75


def explain(error: TyperException) -> str:
    """The two lines about a mistake that Typer found."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "arhn"
    return f"{_describe(error, context)}\nSee '{path} --help'"


def _describe(error: TyperException, context: Any) -> str:
    option, near = getattr(error, "option_name", ""), getattr(error, "possibilities", None)
    if (found := _describe_choice(error)) is not None:
        return found
    if not option or near is None:
        # Pydantic, which reads values for Typer, says which kind of exception it was.
        return " ".join(error.format_message().replace("Value error, ", "").split())
    hint = _find_setting(option, context) or _find_near(option, context)
    return f"{' '.join(error.message.split())}{hint}"


def _describe_choice(error: TyperException) -> str | None:
    """A word that is none of an option's, as settings say it."""
    parameter: Any = getattr(error, "param", None)
    found = re.fullmatch(r"(.*) is not one of (.*)\.", error.message.removeprefix("Value error, "), re.DOTALL)
    if not found or parameter is None or not parameter.opts[-1].startswith("-"):
        return None
    choices = re.findall("'([^']*)'", found[2])
    near = get_close_matches(found[1].strip("'"), choices, n=1)
    allowed = f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else choices[0]
    hint = f". Did you mean {near[0]}?" if near else ""
    return f"{parameter.opts[-1]}: found {found[1]}, allowed: {allowed}{hint}"


def _find_near(option: str, context: Any) -> str:
    """The nearest option, or else the setting of the nearest name."""
    if context is None:
        return ""
    options = {each.lstrip("-"): each for parameter in context.command.get_params(context) for each in parameter.opts}
    if near := get_close_matches(option.lstrip("-"), options, n=1, cutoff=_NEAR):
        return f". Did you mean {options[near[0]]}?"
    names = {path.rpartition(".")[2]: path for path in reversed(_list_settings(context))}
    if near := get_close_matches(option.lstrip("-").replace("-", "_"), names, n=1, cutoff=_NEAR):
        return f". Did you mean the setting {names[near[0]]}? Give --set {names[near[0]]}=VALUE"
    return ""


def _list_settings(context: Any) -> list[str]:
    """Paths of all settings, where a command takes any."""
    if not any("--set" in parameter.opts for parameter in context.command.params):
        return []
    from arhn.config.catalogue import list_settings
    from arhn.config.settings import RunConfig

    return [each.path for each in list_settings(RunConfig) if each.section is None]


def _find_setting(option: str, context: Any) -> str:
    """Most settings have no option of their own."""
    if context is None or not any("--set" in parameter.opts for parameter in context.command.params):
        return ""
    from arhn.config.catalogue import list_settings
    from arhn.config.settings import RunConfig

    name = option.lstrip("-").replace("-", "_")
    plain = [each for each in list_settings(RunConfig) if each.section is None]
    found = [each.path for each in plain if each.key[-1] == name] or [
        each.path for each in plain if "_".join(each.key) == name or each.key == (name, "name")
    ]
    return f". It is a setting: --set {found[0]}=VALUE, or in the file of --config" if found else ""
