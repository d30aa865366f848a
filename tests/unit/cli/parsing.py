"""What a command line gives a command, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from arhn.cli import app
from arhn.cli.flags.settings import settings_of, values_of
from arhn.config.settings import RunConfig


def parsed(argv: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The command's name and its arguments. Fails where Typer refuses them."""
    root = app.root()
    name, *words = argv
    context = root.make_context("arhn", list(argv))
    command = root.commands[name]
    with context, command.make_context(name, words, parent=context) as inner:
        return name, dict(inner.params)


def settings(argv: Sequence[str]) -> RunConfig:
    """The settings that a command line gives."""
    name, given = parsed(argv)
    from arhn.cli.flags import settings as flags

    return settings_of(name, values_of(getattr(flags, name.upper()), given))


__all__ = ["parsed", "settings"]
