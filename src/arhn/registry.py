"""Registries: what settings can name, our own and what other packages bring.

An engine, a ranker, a method or a data set format is one file and one entry. Another package adds its own by an entry
point of the registry's group in its metadata, a program by `register`:

    [project.entry-points."arhn.rankers"]
    mine = "my_package.rankers:MyRanker"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from arhn.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

T = TypeVar("T")
_LONGEST = 80


def entry_points(*, group: str, name: str | None = None) -> Iterable[EntryPoint]:
    """Those of a group, or the one of a name. `importlib.metadata` takes long to import: not before it is needed."""
    found: EntryPoints = _read_entry_points().select(group=group)
    return found if name is None else found.select(name=name)


@cache
def _read_entry_points() -> Any:
    """Those of all groups, once for a process: it reads a file of every package there is, whatever the group."""
    from importlib import metadata

    return metadata.entry_points()


class Registry(Generic[T]):
    """Things of one kind by name. They are imported when they are first asked for, so that naming them costs nothing.

    Args:
        kind: what an error calls them, such as "ranker".
        group: the group of entry points that other packages add to, such as "arhn.rankers".
        built_in: where ours are, as "module:attribute" or "module", by name and in the order in which they are listed
            and tried.
    """

    def __init__(self, kind: str, group: str, built_in: Mapping[str, str]) -> None:
        self._kind = kind
        self._group = group
        self._places = dict(built_in)
        self._loaded: dict[str, T] = {}

    def register(self, name: str, value: T) -> None:
        """Add `value` under `name`.

        Raises:
            ValueError: the name is taken.
        """
        if name in self.names():
            raise ValueError(f"{self._kind} {name!r} is there already")
        self._loaded[name] = value

    @property
    def built_in(self) -> tuple[str, ...]:
        """The names of ours. Unlike `names`, it doesn't look at what is installed."""
        return tuple(self._places)

    def names(self) -> tuple[str, ...]:
        """All names: ours first, then those of entry points, then the registered ones."""
        found = (point.name for point in entry_points(group=self._group))
        return tuple(dict.fromkeys((*self._places, *found, *self._loaded)))

    def require(self, name: str) -> None:
        """Check that something is registered under `name`; it isn't imported for that.

        Raises:
            UsageError: nothing is. It says what there is, and which of these is nearest.
        """
        # Entry points are looked up last, for that reads the metadata of every package there is.
        if not (name in self._places or name in self._loaded or name in self.names()):
            raise self._unknown(name)

    def get(self, name: str) -> T:
        """What is registered under `name`.

        Raises:
            UsageError: as `require` does.
        """
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> T:
        if place := self._places.get(name):
            module, _, attribute = place.partition(":")
            found = import_module(module)
            return cast("T", getattr(found, attribute) if attribute else found)
        for point in entry_points(group=self._group, name=name):
            return cast("T", point.load())
        raise self._unknown(name)

    def _unknown(self, name: str) -> UsageError:
        names = self.names()
        near = get_close_matches(name[:_LONGEST], names, n=1)
        shown = repr(name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…")
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return UsageError(f"{shown} is no {self._kind}.{hint} There are: {', '.join(names)}.")
