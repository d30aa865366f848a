"""Files in object stores: s3://, gs:// and whatever else fsspec knows.

An object is there whole or not at all: stores put it in place when its last byte has come.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from arhn.errors import AccessDenied, FileMissing, MissingDependency, StorageError, UsageError
from arhn.libraries import library

T = TypeVar("T")

_HUB = "hf"
#: What fsspec needs for a scheme; the extra is `cloud`.
_NEEDS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
#: Seconds for the first answer of a store; without credentials, some clients ask for them for minutes.
_FIRST = 20.0
#: What libraries call their errors about credentials; none of them need be installed.
_DENIED = ("NoCredentials", "PartialCredentials", "DefaultCredentials", "RefreshError", "Forbidden", "TokenRetrieval")


def is_url(path: str) -> bool:
    """Whether it is in an object store: `scheme://…`, but for the hub's data sets and local files."""
    scheme, found, _ = path.partition("://")
    return bool(found) and scheme not in (_HUB, "file")


def local_path(path: str) -> str:
    """A local path as it is, or the path of a `file://` URL.

    Raises:
        UsageError: a file URL of another machine.
    """
    if not path.startswith("file://"):
        return path
    parts = urlsplit(path)
    if parts.netloc not in ("", "localhost"):
        raise UsageError(f"{path}: names another machine. Give a path on this one")
    return unquote(parts.path)


@dataclass(frozen=True)
class Remote:
    """One object.

    Every call raises:
        AccessDenied: the credentials are missing or refused.
        StorageError: the store can't be reached, or doesn't do it.
        MissingDependency: the library for the store isn't installed.
    """

    url: str

    def check(self) -> None:
        """Find out quickly whether the store can be used; the object need not be there."""
        found: list[BaseException | None] = []

        def look() -> None:
            try:
                self.exists()
            except Exception as error:
                found.append(error)
            else:
                found.append(None)

        # A client may try for minutes; its thread is left behind.
        looking = threading.Thread(target=look, daemon=True)
        looking.start()
        looking.join(_FIRST)
        if not found:
            raise StorageError(
                f"{self.url}: no answer within {_FIRST:g} seconds. Check the address, the network and the credentials"
            )
        if found[0] is not None:
            raise found[0]

    def exists(self) -> bool:
        """Whether the object is there."""
        return bool(self._do(lambda files, path: files.exists(path)))

    def __str__(self) -> str:
        return self.url

    def open(self, mode: Literal["rb"] = "rb") -> io.BufferedReader:
        """The object as a file that can be read from any place.

        Raises:
            FileMissing: it isn't there.
        """
        raw = self._do(lambda files, path: files.open(path, mode))
        return io.BufferedReader(_Raw(raw, self.url), 1 << 20)

    def read(self) -> bytes | None:
        """The content; None where it isn't there."""
        try:
            content: bytes = self._do(lambda files, path: files.cat_file(path))
        except FileMissing:
            return None
        return content

    def write(self, content: bytes) -> None:
        """Put `content` there, in place of what there was."""
        self._do(lambda files, path: files.pipe_file(path, content))

    def put(self, file: Path) -> None:
        """Upload a local file."""
        self._do(lambda files, path: files.put_file(str(file), path))

    def remove(self) -> None:
        """Raises FileMissing: it isn't there."""
        self._do(lambda files, path: files.rm_file(path))

    def _do(self, what: Callable[[Any, str], T]) -> T:
        with _storage_errors(self.url):
            files, path = self._there
            return what(files, path)

    @cached_property
    def _there(self) -> tuple[Any, str]:
        scheme = self.url.partition("://")[0]
        fsspec = library("fsspec", "cloud")
        if scheme in _NEEDS:
            library(_NEEDS[scheme], "cloud")
        files, path = fsspec.core.url_to_fs(self.url)
        return files, path


class _Raw(io.RawIOBase):
    """An object store's file that raises arhn's errors: the code that reads it knows only those of the system."""

    def __init__(self, file: Any, url: str) -> None:
        self._file = file
        self._url = url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _storage_errors(self._url):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    """Turn what a store's library raises into errors of ours that name `url`; keys are in neither."""
    try:
        yield
    except (StorageError, MissingDependency, FileMissing):
        raise
    except FileNotFoundError as error:
        raise FileMissing("there is no such file; check the address", path=url) from error
    except ValueError as error:  # a scheme that fsspec doesn't know
        raise UsageError(f"{url}: {error}") from error
    except Exception as error:  # every library has its own
        name = type(error).__name__
        if isinstance(error, PermissionError) or any(word in name for word in _DENIED) or "redentials" in str(error):
            raise AccessDenied(
                f"{url}: the credentials are missing or refused ({name}). Give them as the store's own tools take "
                "them: environment variables, a profile, or the machine's role"
            ) from error
        raise StorageError(f"{url}: {name}: {error}") from error


__all__ = ["Remote", "is_url", "local_path"]
