"""What a command line gives a command, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arhn.cli import app
from arhn.cli.flags.settings import read_settings, take_values
from arhn.config.settings import RunConfig


def parsed(argv: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The command's name and its arguments. Fails where Typer refuses them."""
    root = app.make_root()
    name, *words = argv
    context = root.make_context("arhn", list(argv))
    command = root.commands[name]
    with context, command.make_context(name, words, parent=context) as inner:
        return name, dict(inner.params)


def settings(argv: Sequence[str]) -> RunConfig:
    """The settings that a command line gives."""
    name, given = parsed(argv)
    from arhn.cli.flags import settings as flags

    return read_settings(name, take_values(getattr(flags, name.upper()), given))


__all__ = ["parsed", "settings"]
