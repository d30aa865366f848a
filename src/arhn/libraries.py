"""What is imported on first use: optional libraries, whose error holds the command that installs them where they are
missing, and the public names of packages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from arhn.errors import MissingDependency


def library(name: str, extra: str) -> Any:
    """The module `name`, imported.

    Raises:
        MissingDependency: it, or one that it needs, isn't installed; `extra` is the one of arhn that holds it.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingDependency(error.name or name, extra) from error


def require(name: str, package: str, extra: str) -> None:
    """Raise MissingDependency unless the module `name` of `package` is installed. Imports nothing."""
    try:
        found = find_spec(name)
    except ValueError:  # a module that is in sys.modules as None
        found = None
    if found is None:
        raise MissingDependency(package, extra)


def lazily(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a package whose public names are imported when they are first asked for.

    Args:
        package: the package's `__name__`.
        places: where each name is: "module:attribute", or "module" for a module itself.
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = places[name].partition(":")
        found = getattr(import_module(module), attribute) if attribute else import_module(module)
        setattr(sys.modules[package], name, found)
        return found

    return find
