"""What is wrong with a command line, in two lines: what, with the nearest option or setting, and where to look."""

from __future__ import annotations

from typing import Any

from typer import TyperException


def explain(error: TyperException) -> str:
    """The two lines about a mistake that Typer found."""
    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "arhn"
    return f"{_describe(error, context)}\nSee '{path} --help'"


def _describe(error: TyperException, context: Any) -> str:
    option, near = getattr(error, "option_name", ""), getattr(error, "possibilities", None)
    if not option or near is None:
        # Pydantic, which reads values for Typer, says which kind of exception it was.
        return " ".join(error.format_message().replace("Value error, ", "").split())
    hint = _find_setting(option, context) or (f". Did you mean {' or '.join(sorted(near))}?" if near else "")
    return f"{' '.join(error.message.split())}{hint}"


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
