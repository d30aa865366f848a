"""The files of a sentence-transformers model: its folder or name on the hub, and the hash of its content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from arhn.errors import ModelMissing, ModelUnavailable
from arhn.libraries import library
from arhn.weights.cache import sha256_of

_MODULES = "modules.json"
_HUB = re.compile(r"(?:hf://)?(?P<repo>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<revision>[^@\s]+))?", re.IGNORECASE)
#: Files that scores can depend on: weights, vocabulary, settings.
_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".txt", ".model"})
#: Folders that scores don't depend on: other formats of the same weights, and what training leaves behind.
_OTHER_FOLDERS = re.compile(r"onnx|openvino|checkpoints?(-.*)?|groups|\..*")
#: Files of a training run by arhn or transformers, and of its optimiser, which scores don't depend on.
_TRAINING_FILES = frozenset(
    {"arhn.train.json", "trainer_state.json", "training_args.bin", "optimizer.bin", "scheduler.bin"}
    | {f"{part}_results.json" for part in ("all", "train", "eval")}
)


def find_folder(given: str) -> Path | None:
    """The folder of the model `given`, or None where there is none and it may be a name on the hub.

    Raises:
        ModelMissing: it is a file, or a folder without a sentence-transformers model.
    """
    try:
        path = Path(given).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, ~nobody, a null character
        raise _missing_error(given, str(error)) from error
    if is_file:
        raise _missing_error(given, "it is a file")
    if is_folder and not (path / _MODULES).is_file():
        raise _missing_error(given, f"the folder holds no {_MODULES}")
    return path if is_folder else None


def parse_hub_name(given: str) -> tuple[str, str | None]:
    """Repository and revision in a name on the hub: `org/name`, optionally with `hf://` before, `@revision` after it.

    A name without an organisation belongs to `sentence-transformers`, as in the library itself.

    Raises:
        ModelMissing: it can't be a name on the hub.
    """
    match = _HUB.fullmatch(given)
    if match is None:
        raise _missing_error(given, "no such folder, and not a name on the hub")
    repo = match["repo"]
    return (repo if "/" in repo else f"sentence-transformers/{repo}"), match["revision"]


def _missing_error(given: str, reason: str) -> ModelMissing:
    return ModelMissing(
        f"Model {given!r}: {reason}. Give the folder of a sentence-transformers model, or its name on the hub: "
        "org/name, optionally with @revision."
    )


def resolve_commit(name: str, revision: str | None, extra: str) -> str:
    """The commit of a repository on the hub.

    Args:
        name: `org/name`.
        revision: a branch, a tag or a commit; None for the default branch.
        extra: the extra of arhn to install, for the message when the library is missing.

    Raises:
        ModelMissing: the repository has no such revision, or no sentence-transformers model.
        ModelUnavailable: the hub can't be reached, or has no such repository that we may read.
    """
    hub = library("huggingface_hub", extra)
    errors = library("huggingface_hub.errors", extra)
    wanted = f"{name}@{revision}" if revision else name
    try:
        return Path(hub.hf_hub_download(name, _MODULES, revision=revision)).parent.name
    except errors.LocalEntryNotFoundError as error:  # a kind of EntryNotFoundError, about the cache
        raise ModelUnavailable(
            f"Model {wanted!r}: the hub can't be reached, and the model isn't in its cache. Give a folder instead."
        ) from error
    except errors.EntryNotFoundError as error:
        raise _missing_error(wanted, f"the repository holds no {_MODULES}") from error
    except errors.RevisionNotFoundError as error:
        raise _missing_error(wanted, "the repository has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"Model {wanted!r}: there is no such folder and no such repository on the hub. If the repository is "
            "private, set HF_TOKEN to a token with access to it."
        ) from error
    except errors.HFValidationError as error:
        raise _missing_error(wanted, "no such folder, and not a name on the hub") from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelUnavailable(f"Model {wanted!r} can't be fetched: {summarize(error)}") from error


def hash_folder(folder: Path, root: Path) -> str:
    """The SHA-256 over names and contents of the files in a model's folder that scores can depend on, hexadecimal.

    Args:
        folder: the model's folder.
        root: where hashes of weight files are stored.
    """
    lines = sorted(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path, root)}" for path in _list_files(folder))
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _list_files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not _OTHER_FOLDERS.fullmatch(path.name):
            yield from _list_files(path)
        elif path.is_file() and path.suffix in _SUFFIXES and path.name not in _TRAINING_FILES:
            yield path


def summarize(error: BaseException) -> str:
    """The first line of an error's message, as a sentence of at most 301 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")[:300] + "."
