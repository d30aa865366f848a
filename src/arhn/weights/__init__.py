"""Model files: known by name, by path, or by their place on the hub; fetched, verified, cached.

A model is given as
- a name of `MODELS`, such as `qwen2.5-coder-0.5b`,
- `hf://org/repo/path/in/it/file.gguf[@revision]`: any GGUF file on the hub (`main` without a revision),
- a path to a GGUF file, used as it is.

An embedding model that runs without PyTorch is given as a name of `EMBEDDING_MODELS`.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from arhn.errors import ModelCorrupt, ModelMissing, ModelUnavailable, UsageError
from arhn.weights.cache import Progress, cache_root, key, place, read_json, require_gguf, sha256_of, size_of, write_json
from arhn.weights.table import EMBEDDING_MODELS, MODELS, STARTER, EmbeddingModel, Mirror, ModelFile

__all__ = [
    "EMBEDDING_MODELS",
    "MODELS",
    "STARTER",
    "EmbeddingModel",
    "Listed",
    "Mirror",
    "ModelFile",
    "Progress",
    "fetch_embedding_model",
    "find_embedding_files",
    "identity",
    "listing",
    "resolve",
]

logger = logging.getLogger(__name__)

CacheDir = str | os.PathLike[str] | None

_REFERENCE = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[^@\\?#]+\.gguf)(?:@(?P<revision>[^@\s]+))?", re.IGNORECASE
)
_SPLIT = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.gguf$", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A row of `arhn models`. `fetched` goes by the length of the file at `path`; `resolve` verifies it."""

    model: ModelFile
    path: Path
    fetched: bool
    starter: bool


def resolve(
    model: str | os.PathLike[str],
    *,
    cache_dir: CacheDir = None,
    progress: Progress | None = None,
    sha256: str | None = None,
) -> Path:
    """The local path of a model's GGUF file, fetched first when it must be.

    `model` is a name, a `hf://` reference or a path (see the module); a name wins over a file of the same
    name, which is then `./name`. `progress` is called with (bytes there, bytes in all) while a file arrives. With
    `sha256` (64 hexadecimal digits) the file must have it, whatever the form.

    Raises ModelMissing (no such file, name or hub file), ModelCorrupt (not GGUF, or wrong bytes),
    ModelUnavailable (no source can be reached), DiskFull, OutputNotWritable, UsageError (one part of a split
    model, an unusable HF_TOKEN).
    """
    root = cache_root(cache_dir)
    path = require_gguf(_locate(os.fspath(model), root, progress))
    if sha256 is not None and (found := sha256_of(path, root)) != sha256.strip().lower():
        raise ModelCorrupt(f"{path}: expected SHA-256 {sha256}, found {found}. Fetch the file again.")
    return path


def identity(path: str | os.PathLike[str], *, cache_dir: CacheDir = None) -> str:
    """What a GGUF file is called in the response store: `<file name>@sha256:<first 16 digits>`.

    The hash is computed once and stored in the cache, never beside the user's file. Raises ModelMissing and
    ModelCorrupt (not GGUF).
    """
    file = require_gguf(Path(path))
    # The store's keys are hashes of UTF-8.
    name = os.fsencode(file.name).decode(errors="backslashreplace")
    return f"{name}@sha256:{sha256_of(file, cache_root(cache_dir))[:16]}"


def listing(cache_dir: CacheDir = None) -> list[Listed]:
    """Every known name in the table's order, then the `hf://` files in the cache; nothing is hashed."""
    root = cache_root(cache_dir)
    known = [_listed(model, root) for model in MODELS.values()]
    asked = [model for path in (root / "refs").glob("*.json") if (model := _recorded(path))]
    rows = [_listed(model, root) for model in sorted(asked, key=lambda model: model.name)]
    return known + [row for row in rows if row.fetched]


def fetch_embedding_model(
    model: EmbeddingModel, *, cache_dir: CacheDir = None, progress: Progress | None = None
) -> tuple[Path, Path]:
    """The local paths of a model's graph and tokenizer, both verified, fetched first when they must be.

    `progress` is called with (bytes there, bytes in all) while a file arrives. Raises as `resolve` does of names.
    """
    from arhn.weights.fetch import ensure  # with an HTTP library, which takes long to import

    root = cache_root(cache_dir)
    return ensure(model.graph, root, progress), ensure(model.tokenizer, root, progress)


def find_embedding_files(model: EmbeddingModel, *, cache_dir: CacheDir = None) -> tuple[Path, Path] | None:
    """Where a model's graph and tokenizer lie, by their lengths; None where one isn't there. Nothing is fetched."""
    root = cache_root(cache_dir)
    graph, tokenizer = (place(file, root) for file in (model.graph, model.tokenizer))
    whole = size_of(graph) == model.graph.size and size_of(tokenizer) == model.tokenizer.size
    return (graph, tokenizer) if whole else None


def _listed(model: ModelFile, root: Path) -> Listed:
    path = place(model, root)
    return Listed(model=model, path=path, fetched=size_of(path) == model.size, starter=model.name == STARTER)


def _locate(model: str, root: Path, progress: Progress | None) -> Path:
    if model in MODELS or model.lower().startswith("hf:"):
        from arhn.weights.fetch import ensure  # with an HTTP library, which takes long to import

        return ensure(MODELS[model] if model in MODELS else _from_hub(model, root), root, progress)
    try:
        path = Path(model).expanduser()
        if not path.is_file():
            raise _missing(model, "it is a folder" if path.is_dir() else "no such file or name")
    except (OSError, RuntimeError) as error:  # a name too long, or ~nobody
        raise _missing(model, str(error)) from error
    return path


def _missing(model: str, why: str) -> ModelMissing:
    close = difflib.get_close_matches(model.lower(), MODELS, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    return ModelMissing(
        f"Model {model!r}: {why}.{meant} Known names: {', '.join(MODELS)}. "
        "A path to a GGUF file works too, and so does hf://org/repo/file.gguf, optionally with @revision."
    )


def _from_hub(reference: str, root: Path) -> ModelFile:
    """What a `hf://` reference stands for: asked of the hub, but only once when it names a full commit.

    When the hub can't be asked, a branch is what it was at the last answer.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise _missing(reference, "not a reference to a GGUF file on the hub")
    _refuse_split(match["file"])
    recorded = _recorded(_record_path(reference, root))
    if recorded and _COMMIT.fullmatch(match["revision"] or ""):
        return recorded
    try:
        model = _described(reference, match["repo"], match["revision"] or "main", match["file"])
    except ModelUnavailable as error:
        if recorded is None:
            raise
        logger.warning("%s Using what it was when last asked: commit %s", error, recorded.revision)
        return recorded
    _write_record(model, root)
    return model


def _refuse_split(file: str) -> None:
    if _SPLIT.search(file):
        raise UsageError(
            f"{file} is one part of a split model; a model in one file is needed. Choose another file of the "
            "repository, or join the parts with llama-gguf-split --merge and give the path."
        )


def _described(reference: str, repo: str, revision: str, file: str) -> ModelFile:
    from arhn.weights import hub

    try:
        remote = hub.describe(repo, revision, file)
    except (ModelMissing, ModelUnavailable) as error:
        raise type(error)(
            f"{reference} can't be looked up: {error}. "
            f"Or download {hub.file_url(repo, revision, file)} by hand and give its path."
        ) from error
    if remote.sha256 is None or remote.size is None:
        raise ModelCorrupt(
            f"{reference}: the hub gives no SHA-256 and size for it, so it can't be verified. "
            "Download it by hand and give its path if you trust it."
        )
    return ModelFile(
        name=reference,
        repo=repo,
        revision=remote.commit or revision,
        file=file,
        size=remote.size,
        sha256=remote.sha256,
        licence="see the hub",
        mirror=None,
        description="",
    )


def _record_path(reference: str, root: Path) -> Path:
    return root / "refs" / f"{key(reference)}.json"


def _write_record(model: ModelFile, root: Path) -> None:
    try:
        write_json(_record_path(model.name, root), asdict(model))
    except OSError as error:
        logger.debug("What %s stands for can't be recorded: %s", model.name, error)


def _recorded(path: Path) -> ModelFile | None:
    try:
        return ModelFile(**read_json(path))
    except TypeError:  # no record, or one of another version
        return None
