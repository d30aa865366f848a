"""What a model in Hugging Face's format is called in the response store: by its content, or by the hub's commit."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from arhn.weights.cache import cache_root, sha256_of

logger = logging.getLogger(__name__)

#: What shapes answers: weights, configuration, tokenizer, chat template.
_SHAPING = frozenset({".safetensors", ".bin", ".pt", ".pth", ".gguf", ".json", ".jinja", ".model", ".txt"})


def folder_identity(folder: Path, *, cache_dir: str | None = None) -> str:
    """`<folder name>@sha256:<16 digits>` of all its files that shape answers, by name and content.

    Each file is read once: its hash is stored in the cache, never beside the file.
    """
    root = cache_root(cache_dir)
    logger.info("%s: looking at its files; each is hashed once", folder)
    listed = "".join(
        f"{sha256_of(file, root)} {file.name}\n"
        for file in sorted(folder.iterdir())
        if file.suffix in _SHAPING and file.is_file()
    )
    return (
        f"{folder.resolve().name}@sha256:{hashlib.sha256(listed.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
    )


__all__ = ["folder_identity"]
