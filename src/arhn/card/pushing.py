"""A cleaned data set to the Hugging Face hub, with the user's own login."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from arhn.cleaning.run.finished import FinishedRun, open_run
from arhn.errors import AccessDenied, FileMissing, StorageError, UsageError
from arhn.libraries import library

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
#: What of a summary is about the machine rather than the data: servers, paths, all settings of the command.
_PRIVATE = ("config", "serving")


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One file of the repository: where it goes, and its content or the file that holds it."""

    place: str
    content: bytes | Path

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size


def list_uploads(output: str, card: str) -> list[Upload]:
    """Everything that is uploaded: the groups, the decisions, the summary, the card.

    Paths, servers and the command's settings are taken out of the summary: they are about this machine.

    Raises:
        FileMissing: a file of the run is gone.
    """
    run = open_run(output, "push")
    data = Path(output)
    if not data.exists():
        raise FileMissing("no such file; clean again, or check the path", path=output)
    files = sorted(path for path in data.rglob("*") if path.is_file()) if data.is_dir() else [data]
    uploads = [Upload(place=name_data(output, path), content=path) for path in files]
    if not run.decisions.is_file():
        raise FileMissing("no such file; the run's summary names it", path=str(run.decisions))
    uploads.append(Upload(place=f"arhn/{run.decisions.name}", content=run.decisions))
    content = orjson.dumps(_strip(run), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    uploads.append(Upload(place="arhn/summary.json", content=content))
    uploads.append(Upload(place="README.md", content=card.encode(errors="backslashreplace")))
    return uploads


def name_data(output: str, path: Path | None = None) -> str:
    """Where groups go in the repository; of a saved folder, where one of its files goes, or all of them."""
    place = Path(output)
    if place.is_dir():
        return f"data/{'*.arrow' if path is None else path.relative_to(place).as_posix()}"
    return f"data/{place.name}"


def _strip(run: FinishedRun) -> dict[str, Any]:
    kept = {name: value for name, value in run.summary.items() if name not in _PRIVATE}
    stripped: dict[str, Any] = _strip_paths(kept)
    return stripped


def _strip_paths(value: Any) -> Any:
    """Paths of this machine by their last name."""
    if isinstance(value, Mapping):
        return {name: _strip_paths(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_strip_paths(inner) for inner in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def check_name(repository: str) -> str:
    """The name of a repository. Raises UsageError where it can't be one."""
    if not _NAME.fullmatch(repository) or ".." in repository:
        raise UsageError(f"{repository!r}: expected the name of a data set on the hub such as me/cleaned")
    return repository


def push(repository: str, uploads: Sequence[Upload], *, public: bool) -> str:
    """Upload in one commit; the address of it.

    Raises:
        MissingDependency: huggingface_hub isn't installed.
        AccessDenied: nobody is logged in, or may not write there.
        StorageError: the hub can't be reached, or refuses.
    """
    hub = library("huggingface_hub", "hub")
    api = hub.HfApi()
    operations = [hub.CommitOperationAdd(path_in_repo=u.place, path_or_fileobj=_open(u)) for u in uploads]
    try:
        api.whoami()
        api.create_repo(repository, repo_type="dataset", private=not public, exist_ok=True)
        done = api.create_commit(
            repository, operations, repo_type="dataset", commit_message="Cleaned hard negatives (arhn)"
        )
    except Exception as error:  # the library raises its own, those of two HTTP clients, and the system's
        raise _explain(repository, error) from error
    return str(done.commit_url)


def _open(upload: Upload) -> bytes | str:
    return upload.content if isinstance(upload.content, bytes) else str(upload.content)


def _explain(repository: str, error: Exception) -> StorageError:
    name, status = type(error).__name__, getattr(getattr(error, "response", None), "status_code", None)
    first = str(error).strip().partition("\n")[0]
    if name in ("LocalTokenNotFoundError", "LoginRequired") or status == 401:
        return AccessDenied(f"{repository}: nobody is logged in to the hub, or the login is void. Run: hf auth login")
    if status == 403:
        return AccessDenied(
            f"{repository}: this login may not write there ({first}). Use a token that may, or another name"
        )
    return StorageError(f"{repository}: the hub didn't take it ({name}: {first}). Nothing is there in part; try again")
