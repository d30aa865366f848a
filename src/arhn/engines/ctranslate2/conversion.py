"""A GGUF model as a folder for CTranslate2, made once and kept in the cache of models.

The folder lies at `<cache>/models/<first 12 of the SHA-256>/<first 16>.int8-<version>/`: CTranslate2's own files, and
`arhn.json`, which says how long each of them is and holds what of the GGUF header prompts are made with. It appears
when it is complete: made under another name, then renamed.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from arhn.engines.ctranslate2.gguf_file import GgufFile
from arhn.engines.ctranslate2.layers import make_spec
from arhn.errors import ModelCorrupt
from arhn.weights.cache import cache_root, read_json, sha256_of, size_of, sync
from arhn.weights.shared_cache import explain_errors, require_space, take_turns

logger = logging.getLogger(__name__)

#: Of the way weights are converted, which is a part of who answers.
VERSION = 1
RECORD = "arhn.json"
#: What space is needed for.
_PURPOSE = "to convert the model"
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
    """
    root = cache_root(cache_dir)
    sha256 = sha256_of(path, root)
    folder = root / "models" / sha256[:12] / f"{sha256[:16]}.int8-{VERSION}"
    # Without the lock first: a shared cache may be read-only.
    if not _is_whole(folder):
        with explain_errors(folder.parent, _PURPOSE, lambda: 2 * size_of(path)):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with take_turns(folder.with_name(f"{folder.name}.lock"), f"converting {path.name}"):
                if not _is_whole(folder):  # another process may have made it meanwhile
                    _convert(path, folder)
    return folder


def read_record(folder: Path) -> dict[str, Any]:
    """What of the model's GGUF header was kept."""
    kept: dict[str, Any] = read_json(folder / RECORD)["metadata"]
    return kept


def _convert(path: Path, folder: Path) -> None:
    require_space(folder.parent, _PURPOSE, 2 * size_of(path))
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


__all__ = ["VERSION", "find_converted", "read_record"]
