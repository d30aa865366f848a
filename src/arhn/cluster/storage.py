"""Where complete partitions are stored: a folder on this machine or in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from arhn.files.atomic import AtomicFile, output_errors
from arhn.files.remote import Remote, is_url, local_path


class Folder(Protocol):
    """Small files by name."""

    def read(self, name: str) -> bytes | None:
        """The content; None where there is no such file."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Put a file in its place, whole."""
        ...


class LocalFolder:
    """A folder on this machine, which is made with its first file.

    Raises:
        OutputNotWritable: it can't be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with output_errors(path):
            # A run that fails before there is anything to keep leaves nothing.
            if not path.is_dir():
                path.mkdir()
                path.rmdir()

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where it isn't there."""
        with output_errors(self._path / name):
            try:
                return (self._path / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in one piece."""
        with output_errors(self._path):
            self._path.mkdir(exist_ok=True)
        with AtomicFile(self._path / name, overwrite=True) as file:
            file.write(content)


class RemoteFolder:
    """A folder in an object store."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        Remote(self._url).check()

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where it isn't there."""
        return Remote(f"{self._url}/{name}").read()

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in one piece."""
        Remote(f"{self._url}/{name}").write(content)


def open_folder(place: str) -> Folder:
    """The folder at a path or URL."""
    return RemoteFolder(place) if is_url(place) else LocalFolder(Path(local_path(place)))


__all__ = ["Folder", "LocalFolder", "RemoteFolder", "open_folder"]
