"""House rules of docs/contributing.md that can be counted: sizes, names, docstrings."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "arhn"
#: Modules that have the same role in every folder where they are.
ROLES = {"__init__", "job", "view", "settings", "engine", "stage"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def trees() -> dict[Path, ast.Module]:
    """Every module by its path in the package."""
    return {path.relative_to(PACKAGE): ast.parse(path.read_text("utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def public(node: ast.AST, name: str = "") -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Public classes, functions and methods below `node`; not those inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef) and not child.name.startswith("_"):
            yield f"{name}{child.name}", child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{name}{child.name}.")


def test_no_function_over_60_lines() -> None:
    functions = ((path, node) for path, tree in trees().items() for node in ast.walk(tree))
    lengths = {
        f"{path}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, node in functions
        if isinstance(node, Function)
    }
    assert not {name: length for name, length in lengths.items() if length > 60}


def test_no_module_over_350_lines() -> None:
    lengths = {str(path): len((PACKAGE / path).read_text("utf-8").splitlines()) for path in trees()}
    assert not {name: length for name, length in lengths.items() if length > 350}


def test_no_two_modules_of_one_name() -> None:
    places = defaultdict(list)
    for path in trees():
        # A command is called after what it does, and so is the folder that does it.
        if path.stem not in ROLES and path.parts[0] != "cli":
            places[path.stem].append(str(path))
    assert not {name: paths for name, paths in places.items() if len(paths) > 1}


def test_everything_public_has_a_docstring() -> None:
    bare = [str(path) for path, tree in trees().items() if ast.get_docstring(tree) is None]
    bare += [f"{path}:{name}" for path, tree in trees().items() for name, node in public(tree) if not documented(node)]
    assert not bare


def documented(node: Function | ast.ClassDef) -> bool:
    """Whether it has a docstring, or is one of several overloads, or overrides what has one."""
    decorators = {name.id for name in node.decorator_list if isinstance(name, ast.Name)}
    return ast.get_docstring(node) is not None or bool(decorators & {"overload", "override"})
