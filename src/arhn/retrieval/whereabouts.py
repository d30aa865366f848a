"""Where a sentence-transformers model lies: a folder or a name on the hub, and what identifies its content."""

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
#: Files that a score can hang on: weights, vocabulary, settings.
_SUFFIXES = frozenset({".safetensors", ".bin", ".json", ".txt", ".model"})
#: Folders of other formats of the same weights, and of what training leaves behind.
_ELSEWHERE = re.compile(r"onnx|openvino|checkpoints?(-.*)?|groups|\..*")
#: Files about a training run, ours or transformers', and of its optimiser.
_OF_TRAINING = frozenset(
    {"arhn.train.json", "trainer_state.json", "training_args.bin", "optimizer.bin", "scheduler.bin"}
    | {f"{part}_results.json" for part in ("all", "train", "eval")}
)


def folder_of(given: str) -> Path | None:
    """The folder that `given` names; None where there is none and it may be a hub name."""
    try:
        path = Path(given).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, ~nobody, a null character
        raise _missing(given, str(error)) from error
    if is_file:
        raise _missing(given, "it is a file")
    if is_folder and not (path / _MODULES).is_file():
        raise _missing(given, f"the folder holds no {_MODULES}")
    return path if is_folder else None


def hub_name(given: str) -> tuple[str, str | None]:
    """Repository and revision. Names without an organisation are sentence-transformers' own, as the library has it."""
    match = _HUB.fullmatch(given)
    if match is None:
        raise _missing(given, "no such folder, and not a name on the hub")
    repo = match["repo"]
    return (repo if "/" in repo else f"sentence-transformers/{repo}"), match["revision"]


def _missing(given: str, why: str) -> ModelMissing:
    return ModelMissing(
        f"Model {given!r}: {why}. A folder of a sentence-transformers model is needed, or its name on the "
        "hub: org/name, optionally with @revision."
    )


def resolved(name: str, revision: str | None, extra: str) -> str:
    """The commit that a branch, a tag or nothing stands for."""
    hub = library("huggingface_hub", extra)
    errors = library("huggingface_hub.errors", extra)
    wanted = f"{name}@{revision}" if revision else name
    try:
        return Path(hub.hf_hub_download(name, _MODULES, revision=revision)).parent.name
    except errors.LocalEntryNotFoundError as error:  # also an EntryNotFoundError, but of the cache
        raise ModelUnavailable(
            f"Model {wanted!r}: the hub can't be reached, and it isn't in its cache. Give a folder instead."
        ) from error
    except errors.EntryNotFoundError as error:
        raise _missing(wanted, f"the repository holds no {_MODULES}") from error
    except errors.RevisionNotFoundError as error:
        raise _missing(wanted, "the hub has no such revision of it") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelUnavailable(
            f"Model {wanted!r}: no such folder, and no such repository on the hub, or it needs HF_TOKEN with "
            "access to it."
        ) from error
    except errors.HFValidationError as error:
        raise _missing(wanted, "no such folder, and not a name on the hub") from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ModelUnavailable(f"Model {wanted!r} can't be fetched: {said(error)}") from error


def digest(folder: Path, root: Path) -> str:
    """The SHA-256 over the names and contents of what a score can hang on."""
    lines = sorted(f"{path.relative_to(folder).as_posix()}\0{sha256_of(path, root)}" for path in _files(folder))
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not _ELSEWHERE.fullmatch(path.name):
            yield from _files(path)
        elif path.is_file() and path.suffix in _SUFFIXES and path.name not in _OF_TRAINING:
            yield path


def said(error: BaseException) -> str:
    """The first line of a message, as a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")[:300] + "."
