"""Whether the installed libraries can train together. None is imported: their metadata is read."""

from __future__ import annotations

import ast
import sys
from collections.abc import Collection, Iterator
from importlib.metadata import Distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arhn.errors import IncompatibleVersions

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: Versions that the tests pass with: those of `locks/dev.txt`, and `constraints.txt` for torch.
TESTED = {
    "accelerate": "1.15.0",
    "datasets": "5.2.0",
    "peft": "0.21.2",
    "sentence-transformers": "6.2.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
}
#: What else training depends on. Other requirements of these libraries are pip's to check, and often broken unharmed.
_BELOW = ("huggingface-hub", "numpy", "safetensors", "tokenizers")
#: The optional requirements that training makes necessary.
_EXTRAS = {"arhn": "train", "sentence-transformers": "train", "transformers": "torch"}


def require_versions(*, adapters: bool, path: Collection[str] | None = None) -> None:
    """Raise IncompatibleVersions where one library needs another version of another than is installed.

    Args:
        adapters: whether peft is used; without, its version doesn't matter.
        path: folders to look for installed libraries in, instead of `sys.path`.
    """
    names = {"arhn", *TESTED, *_BELOW} - (set() if adapters else {"peft"})
    found = {name: each for name in sorted(names) if (each := _installed(name, path))}
    wrong = [
        (asking, needed, found[needed.name])
        for name, asking in found.items()
        for needed in _needs(name, asking)
        if needed.name in found and not _allows(needed, found[needed.name].version)
    ]
    if wrong:
        problems = [
            f"{asking.name} {asking.version} needs {needed.name}{needed.specifier}, and {there.version} is installed"
            for asking, needed, there in wrong
        ]
        command = _mend(found, {needed.name for _, needed, _ in wrong})
        raise IncompatibleVersions(f"{'; '.join(dict.fromkeys(problems))}. Versions that work together: {command}")


def _mend(found: Collection[str], wrong: Collection[str]) -> str:
    """The command that installs what is tested of what is there. torch is large, so only where it is wrong itself."""
    wanted = [name for name in TESTED if name in wrong or (name in found and name != "torch")]
    return " ".join(["pip install", *(f"{name}=={TESTED[name]}" for name in wanted)])


def _installed(name: str, path: Collection[str] | None) -> Distribution | None:
    return next(iter(Distribution.discover(name=name, path=list(sys.path if path is None else path))), None)


def _needs(name: str, asking: Distribution) -> Iterator[Requirement]:
    """The requirements of a library in training, their names as pip spells them."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    if name == "torch":  # the parts of CUDA, each to the last digit, of which others are known to work
        return
    lines = [*(asking.requires or ()), *(_runtime(asking) if name == "transformers" else ())]
    for line in lines:
        try:
            needed = Requirement(line)
        except InvalidRequirement:
            continue
        if needed.marker is None or needed.marker.evaluate({"extra": _EXTRAS.get(name, "")}):
            needed.name = canonicalize_name(needed.name)
            yield needed


def _runtime(transformers: Distribution) -> Iterator[str]:
    """What transformers looks for when it runs, of which its metadata hold only a part: peft isn't in them."""
    table = _constants(transformers, "transformers/dependency_versions_table.py").get("deps")
    if isinstance(table, dict):
        yield from (line for line in table.values() if isinstance(line, str))
    # The one that it raises on; before 5.19 it could be above the table's.
    peft = _constants(transformers, "transformers/integrations/peft.py").get("MIN_PEFT_VERSION")
    if isinstance(peft, str):
        yield f"peft>={peft}"


def _constants(library: Distribution, file: str) -> dict[str, Any]:
    """The literals that a module gives names to, read without running it; none where there is no such file."""
    try:
        body = ast.parse(Path(str(library.locate_file(file))).read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return {}
    constants = {}
    for each in body:
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            try:
                constants[each.targets[0].id] = ast.literal_eval(each.value)
            except ValueError:  # not a literal
                continue
    return constants


def _allows(needed: Requirement, version: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        parsed = Version(version)
    except InvalidVersion:
        return True
    # NVIDIA's containers hold 2.6.0a0+… where 2.6 is meant.
    return needed.specifier.contains(parsed.base_version if parsed.is_prerelease else parsed, prereleases=True)
