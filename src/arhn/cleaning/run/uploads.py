"""Outputs that go to an object store: written on this machine first, then put there together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from arhn.cleaning.run.files import Files, name_files
from arhn.errors import OutputExists, UsageError
from arhn.files.remote import Remote, is_url, local_path

#: In the order in which they are put there, the cleaned groups last.
_ORDER = ("rejects", "failures", "decisions", "summary", "output")


@contextmanager
def placed(output: str, *, overwrite: bool = False, **given: Path | None) -> Iterator[Files]:
    """The files of a run, wherever the output is; those of an object store are put there when the block ends well.

    Until then they take room in the folder for temporary files.

    Args:
        given: files that lie elsewhere on this machine, as for `Files.beside`.

    Raises:
        OutputExists: one of them is in the object store, and isn't to be replaced.
        StorageError: see `Remote`; found out at once.
        UsageError: as `Files.beside` does, or a store of answers that isn't on this machine.
    """
    if not is_url(output):
        yield Files.beside(local_path(output), **given)
        return
    folder, _, name = output.rpartition("/")
    if not name or folder.endswith(":/"):
        raise UsageError(f"{output!r}: has no file name to write to. Name a file in a folder")
    urls = {what: f"{folder}/{file}" for what, file in {**name_files(name), "output": name}.items() if what in _ORDER}
    urls = {what: url for what, url in urls.items() if given.get(what) is None}
    upload = _Upload(urls, Remote(f"{folder}/.{name}.publishing"), overwrite=overwrite)
    upload.check()
    with TemporaryDirectory(prefix="arhn-") as temporary:
        files = replace(Files.beside(str(Path(temporary) / name), **given), urls=urls)
        yield files
        upload.publish(files)


class _Upload:
    def __init__(self, urls: Mapping[str, str], journal: Remote, *, overwrite: bool) -> None:
        self._urls = urls
        self._journal = journal
        self._overwrite = overwrite

    def check(self) -> None:
        """Find out now what would be found out hours later."""
        self._journal.check()
        published = _read_journal(self._journal.read())
        for url in self._urls.values():
            if not self._overwrite and not _is_free(Remote(url), published.get(url)):
                raise OutputExists(f"{url}: is there already; choose another name, or replace it with --overwrite")
        # What may be read may still not be written.
        self._journal.write(orjson.dumps(published))
        if not published:
            self._journal.remove()

    def publish(self, files: Files) -> None:
        """Put the files in their places. A run that is stopped here is finished by the next: the journal says so, by
        the content that it puts there.
        """
        there = {url: Path(getattr(files, what)) for what, url in self._urls.items()}
        self._journal.write(orjson.dumps({url: _hash_file(path) for url, path in there.items() if path.exists()}))
        for what in _ORDER:
            if what not in self._urls:
                continue
            file, remote = Path(getattr(files, what)), Remote(self._urls[what])
            if file.exists():
                remote.put(file)
            elif remote.exists():
                # An earlier run's records aren't this one's.
                remote.remove()
        self._journal.remove()


def _is_free(remote: Remote, published: str | None) -> bool:
    """Whether nothing is there but what a run that was stopped had put there."""
    if not remote.exists():
        return True
    if published is None:
        return False
    with remote.open() as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == published


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_journal(content: bytes | None) -> dict[str, str]:
    try:
        found = json.loads(content or b"{}")
    except (ValueError, RecursionError):  # not what a run wrote
        return {}
    # An older arhn noted addresses only: nothing is known of what is there.
    return found if isinstance(found, dict) else {}


__all__ = ["placed"]
