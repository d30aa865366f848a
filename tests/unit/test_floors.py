"""The floors of docs/architecture.md: which folder may import which, held against the imports in the tree.

Imports are read from the source, those inside functions too, so that nothing depends on what happens to be loaded.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
#: The folder whose floors a block of the page lists, by the block's place on the page.
BLOCKS = ("arhn", "arhn.cleaning")


@cache
def modules() -> dict[str, Path]:
    """Every module of the package: its dotted name and its file."""
    found = {}
    for path in sorted((SOURCE / "arhn").rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def nodes(module: str) -> tuple[ast.AST, ...]:
    """All nodes of a module's source."""
    return tuple(ast.walk(ast.parse(modules()[module].read_text("utf-8"))))


@cache
def imported(module: str, *, for_types: bool = True) -> frozenset[str]:
    """The modules of the package that `module` imports by name; `for_types`: those that only annotations need, too."""
    left_out = [] if for_types else [block for block in nodes(module) if _only_types(block)]
    unread = {node for block in left_out for node in ast.walk(block)}
    found = set()
    for node in nodes(module):
        if node in unread:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}, line {node.lineno}: a relative import"
            # The version stands in the package itself, which imports nothing of its own before.
            names = {f"{node.module}.{name.name}" for name in node.names} - {"arhn.__version__"}
            found |= {name if name in modules() else str(node.module) for name in names}
    return frozenset(name for name in found if name in modules() and name != module)


def _only_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def run_by_import(module: str) -> set[str]:
    """What importing `module` runs of the package: what it names, and the folders around that which it isn't in."""
    names = imported(module, for_types=False)
    around = {".".join(name.split(".")[:depth]) for name in names for depth in range(2, name.count(".") + 1)}
    return {*names, *around} - {module} - {".".join(module.split(".")[:depth]) for depth in range(1, 9)}


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """One circle in `graph`, as the names along it; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in graph if (found := walk(name, []))), [])


@cache
def floors(folder: str) -> dict[str, int]:
    """The floor of everything in `folder`, counted from the top, as the page lists it."""
    blocks = re.findall(r"^```floors\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    listed = [line.split() for line in blocks[BLOCKS.index(folder)].splitlines()]
    found = {name: number for number, line in enumerate(listed) for name in line}
    assert len(found) == sum(map(len, listed)), "a name stands on two floors"
    return found


def inside(folder: str) -> set[str]:
    """The names of what lies directly in `folder`."""
    depth = folder.count(".") + 1
    return {name.split(".")[depth] for name in modules() if name.startswith(f"{folder}.")} - {"__main__"}


def climbs(folder: str) -> Iterator[str]:
    """Imports between parts of `folder` that don't go down. A registry, which only names its entries, may be asked."""
    level, depth = floors(folder), folder.count(".") + 1
    for module in modules():
        for other in imported(module):
            if module == "arhn.__main__" or not (module.startswith(f"{folder}.") and other.startswith(f"{folder}.")):
                continue
            above, below = module.split(".")[depth], other.split(".")[depth]
            if above != below and level[above] >= level[below] and imported(other) != {"arhn.registry"}:
                yield f"{module} imports {other}"


@pytest.mark.parametrize("folder", BLOCKS)
def test_the_page_lists_everything_once(folder: str) -> None:
    assert set(floors(folder)) == inside(folder)


@pytest.mark.parametrize("folder", BLOCKS)
def test_imports_go_down(folder: str) -> None:
    assert not sorted(climbs(folder))


def test_no_circle_of_imports() -> None:
    graph = {module: run_by_import(module) for module in modules()}
    assert not circle(graph)


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_nobody_imports_the_command_line_or_the_package_itself() -> None:
    for module in modules():
        if not module.startswith("arhn.cli") and module != "arhn.__main__":
            assert not {name for name in imported(module) if name == "arhn" or name.startswith("arhn.cli")}, module


def test_few_modules_at_the_root() -> None:
    loose = [path.name for path in (SOURCE / "arhn").glob("*.py")]
    assert len(loose) <= 6, f"at the root: {loose}"
