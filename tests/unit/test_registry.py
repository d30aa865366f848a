"""What settings can name, and how other packages add to it."""

from importlib.metadata import EntryPoint

import pytest

from arhn import registry
from arhn.errors import UsageError
from arhn.registry import Registry


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    points = [EntryPoint("theirs", "collections:Counter", "shapes")]

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [p for p in points if p.group == group and name in (None, p.name)]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    return Registry("shape", "shapes", {"ours": "collections:OrderedDict"})


def test_ours_are_imported_when_asked_for(shapes: Registry[object]) -> None:
    from collections import OrderedDict

    assert shapes.get("ours") is OrderedDict


def test_another_package_adds_one_by_an_entry_point(shapes: Registry[object]) -> None:
    from collections import Counter

    assert shapes.get("theirs") is Counter


def test_a_program_registers_one(shapes: Registry[object]) -> None:
    shapes.register("square", 4)
    assert shapes.get("square") == 4
    assert shapes.names() == ("ours", "theirs", "square")


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_a_name_that_is_taken_is_refused(shapes: Registry[object], name: str) -> None:
    with pytest.raises(ValueError, match="there already"):
        shapes.register(name, 4)


def test_an_unknown_name_is_answered_with_the_nearest(shapes: Registry[object]) -> None:
    with pytest.raises(UsageError, match=r"'our' is no shape\. Did you mean 'ours'\? There are: ours, theirs\."):
        shapes.get("our")


def test_a_name_can_be_checked_without_importing_anything(shapes: Registry[object]) -> None:
    empty = Registry[object]("shape", "shapes", {"broken": "no.such.module:thing"})
    for name in ("broken", "theirs"):
        empty.require(name)
    assert empty.built_in == ("broken",)
    with pytest.raises(UsageError, match="Did you mean 'broken'"):
        empty.require("brokn")
