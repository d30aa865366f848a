"""Where model files lie on this machine, and what is known of their content.

- `<root>/models/<first 12 of the SHA-256>/`: `<file>`, a fetched file; `<file>.json`, its size, mtime and
  SHA-256 when it was hashed; `.lock` and `*.part`, a fetch under way or one to go on with.
- `<root>/hashes/<key of the path>.json`: the same record for a file that lies elsewhere.
- `<root>/refs/<key of the reference>.json`: what a `hf://` reference stood for when the hub was last asked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from threading import get_ident
from typing import TYPE_CHECKING, Any

import platformdirs

from arhn.errors import ModelCorrupt, ModelMissing

if TYPE_CHECKING:
    from arhn.weights.table import ModelFile

logger = logging.getLogger(__name__)

#: Called with (bytes there, bytes in all) while a file arrives.
Progress = Callable[[int, int], None]

MAGIC = b"GGUF"


def cache_root(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The cache folder: `cache_dir`, else `$ARHN_CACHE`, else the user's cache folder of this system."""
    chosen = cache_dir or os.environ.get("ARHN_CACHE") or platformdirs.user_cache_dir("arhn", appauthor=False)
    return Path(chosen).expanduser().absolute()


def place(model: ModelFile, root: Path) -> Path:
    """Where the file of `model` lies, or would lie, in the cache."""
    return root / "models" / model.sha256[:12] / PurePosixPath(model.file).name


def key(text: str) -> str:
    """A file name for any text: 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def require_gguf(path: Path) -> Path:
    """`path`, when it can be read and starts with the GGUF magic.

    Raises ModelMissing when it can't be read, ModelCorrupt when it is something else.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(MAGIC))
    except OSError as error:
        raise ModelMissing(f"{path}: the model file can't be read: {error.strerror}.") from error
    if head != MAGIC:
        raise ModelCorrupt(
            f"{path}: not a GGUF file: it starts with {head!r} instead of {MAGIC!r}. "
            "Give a model in llama.cpp's GGUF format."
        )
    return path


def is_whole(path: Path, model: ModelFile, root: Path) -> bool:
    """Whether `path` is there and holds exactly the bytes of `model`."""
    return path.is_file() and path.stat().st_size == model.size and sha256_of(path, root) == model.sha256


def digest(path: Path) -> str:
    """The SHA-256 of the file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: Path, root: Path) -> str:
    """The SHA-256 of `path`; read again only when its size or mtime isn't the recorded one.

    The record lies beside a file of the cache, and in the cache for any other file: nothing is written beside
    the user's files.
    """
    # The stamp is taken before hashing: a change during it leaves a record that no longer fits.
    stamp = _stamp(path)
    record = read_json(_record_path(path, root))
    known = record.get("sha256")
    if isinstance(known, str) and record.items() >= stamp.items():
        return known
    found = digest(path)
    _record(path, root, stamp, found)
    return found


def remember(path: Path, root: Path, sha256: str) -> None:
    """Record that `path`, as it is now, was found to have this SHA-256."""
    _record(path, root, _stamp(path), sha256)


def _stamp(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _record_path(path: Path, root: Path) -> Path:
    real = path.resolve()
    if real.is_relative_to((root / "models").resolve()):
        return real.with_name(real.name + ".json")
    return root / "hashes" / f"{key(str(real))}.json"


def _record(path: Path, root: Path, stamp: Mapping[str, int], sha256: str) -> None:
    record = {"path": str(path.resolve()), **stamp, "sha256": sha256}
    try:
        write_json(_record_path(path, root), record)
    except OSError as error:
        # The record only saves time: a shared cache that is read-only stays usable.
        logger.debug("The SHA-256 of %s can't be recorded: %s", path, error)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; empty when there is none or it is broken (a new one is then written)."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object atomically: another process sees the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Readers that hash the same file at once hold no lock, so each has a temporary file of its own.
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{get_ident()}.tmp")
    try:
        temporary.write_text(json.dumps(value), encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """How many bytes `path` has; 0 when it isn't there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows can't open folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
