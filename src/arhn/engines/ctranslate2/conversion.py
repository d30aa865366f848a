"""A GGUF model as a folder for CTranslate2, made once and kept in the cache of models.

The folder lies at `<cache>/models/<first 12 of the SHA-256>/<first 16>.int8-<version>/`: CTranslate2's own files, and
`arhn.json`, which says how long each of them is and holds what of the GGUF header prompts are made with. It appears
when it is complete: made under another name, then renamed.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from arhn.engines.ctranslate2.gguf_file import GgufFile
from arhn.engines.ctranslate2.layers import make_spec
from arhn.errors import DiskFull, ModelCorrupt, OutputNotWritable
from arhn.weights.cache import cache_root, read_json, sha256_of, size_of, sync

logger = logging.getLogger(__name__)

#: Of the way weights are converted, which is a part of who answers.
VERSION = 1
RECORD = "arhn.json"
#: What of a GGUF header is needed beside the weights.
_KEPT = (
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.chat_template",
)


def find_converted(path: Path, *, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a GGUF file's conversion, made first where it isn't there whole.

    Processes that want the same one at once make it once.

    Raises:
        EngineError: a model that can't be converted.
        ModelCorrupt: a file that isn't whole.
        DiskFull, OutputNotWritable: the cache can't hold it.
        MissingDependency: see errors.py.
    """
    root = cache_root(cache_dir)
    sha256 = sha256_of(path, root)
    folder = root / "models" / sha256[:12] / f"{sha256[:16]}.int8-{VERSION}"
    # Without the lock first: a shared cache may be read-only.
    if not _is_whole(folder):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _convert_alone(path, folder)
        except OSError as error:
            raise _own_error(folder.parent, path, error) from error
    return folder


def read_record(folder: Path) -> dict[str, Any]:
    """What of the model's GGUF header was kept."""
    kept: dict[str, Any] = read_json(folder / RECORD)["metadata"]
    return kept


def _convert_alone(path: Path, folder: Path) -> None:
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("Another process is converting %s; waiting for it", path.name)
        lock.acquire()
    try:
        if not _is_whole(folder):  # another process may have made it meanwhile
            _convert(path, folder)
    finally:
        lock.release()


def _convert(path: Path, folder: Path) -> None:
    needed, free = 2 * size_of(path), shutil.disk_usage(folder.parent).free
    if needed > free:
        raise _disk_full(folder.parent, needed, free)
    logger.info("Converting %s to 8 bits for CTranslate2, once", path.name)
    for left in folder.parent.glob(f"{folder.name}.part-*"):  # of a process that was killed
        shutil.rmtree(left)
    part = Path(tempfile.mkdtemp(prefix=f"{folder.name}.part-", dir=folder.parent))
    try:
        _write(path, part)
        if folder.exists():
            shutil.rmtree(folder)
        part.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(path: Path, part: Path) -> None:
    file = GgufFile(path)
    missing = [key for key in _KEPT[:6] if key not in file.metadata]
    if missing:
        raise ModelCorrupt(f"{path}: the header lacks {', '.join(missing)}, without which no prompt can be made.")
    make_spec(file).save(str(part))
    sizes = {each.name: each.stat().st_size for each in part.iterdir()}
    metadata = {key: file.metadata[key] for key in _KEPT if key in file.metadata}
    (part / RECORD).write_text(json.dumps({"sizes": sizes, "metadata": metadata}), encoding="utf-8")
    part.chmod(0o755)
    for each in part.iterdir():
        sync(each)


def _is_whole(folder: Path) -> bool:
    sizes = read_json(folder / RECORD).get("sizes", {})
    return bool(sizes) and all(size_of(folder / name) == size for name, size in sizes.items())


def _own_error(folder: Path, path: Path, error: OSError) -> Exception:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return _disk_full(folder, 2 * size_of(path), shutil.disk_usage(folder).free)
    return OutputNotWritable(
        f"{folder}: the converted model can't be put there: {error.strerror or error}. "
        "Set ARHN_CACHE to a folder that can be written."
    )


def _disk_full(folder: Path, needed: int, free: int) -> DiskFull:
    return DiskFull(
        f"{folder}: not enough space to convert the model: about {needed / 1e6:,.0f} MB are needed, "
        f"{free / 1e6:,.0f} MB are free. Make room, or set ARHN_CACHE to a folder on another disk."
    )


__all__ = ["VERSION", "find_converted", "read_record"]
