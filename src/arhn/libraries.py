"""Optional libraries: imported on first use, and when missing, the error holds the command that installs them."""

from __future__ import annotations

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
