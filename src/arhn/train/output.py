"""The folder that a model is trained into, and what makes a run resumable.

MODEL/                        the model; whole once arhn.train.json is there
MODEL/checkpoints/run.json    what the run is: written before the first step
MODEL/checkpoints/checkpoint-N/   whole once arhn.checkpoint.json is there
MODEL/groups/                 groups that a refresh made, and what it filtered
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from arhn.errors import OtherRun, OutputExists, OutputLocked, OutputNotWritable
from arhn.files.atomic import AtomicFile, output_errors
from arhn.train import manifest

_RUN, _DONE = "run.json", "arhn.checkpoint.json"
_PREFIX = "checkpoint-"

#: What makes a run the one it is; by name, for the message of an error.
Identity = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def groups(self) -> Path:
        return self.path / "groups"

    @property
    def lock(self) -> Path:
        """Beside the folder, which may not be there yet."""
        return self.path.with_name(f".{self.path.name}.lock")

    @property
    def finished(self) -> bool:
        return (self.path / manifest.NAME).is_file()

    @property
    def is_ours(self) -> bool:
        return self.finished or (self.checkpoints / _RUN).is_file()

    def busy(self) -> OutputLocked:
        """The error for a folder that another process trains into."""
        return OutputLocked(f"{self.path}: another arhn process is training into it. Wait, or write elsewhere")

    def require_free(self, *, overwrite: bool, resume: bool) -> None:
        """Whether a run may use the folder: it isn't there or is empty, or may be replaced or gone on with.

        Raises:
            OutputExists: it is there.
            OutputNotWritable: it is there and no model of 'arhn train', or can't be made.
        """
        if self.path.name in ("", "..") or not self.path.parent.is_dir():
            raise OutputNotWritable(
                f"{self.path}: there is no folder {self.path.parent}. Create it, or write elsewhere"
            )
        if not os.access(self.path.parent, os.W_OK):
            raise OutputNotWritable(f"{self.path.parent}: can't be written. Write elsewhere")
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        if not self.path.is_dir() or not self.is_ours:
            raise OutputNotWritable(
                f"{self.path}: isn't a model of 'arhn train' and is left alone; choose another name"
            )
        if not (overwrite or resume):
            raise OutputExists(
                f"{self.path}: is there already; go on with it with --resume, replace it with --overwrite, or choose "
                "another name"
            )

    def begin(self, identity: Identity, *, resume: bool) -> None:
        """Make the folder ready for a run: emptied, or as the run left it that is gone on with.

        Raises OtherRun (as `require_same`), OutputNotWritable and DiskFull.
        """
        if resume and self.is_ours:
            self.require_same(identity)
        else:
            self._empty()
        with output_errors(self.checkpoints):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        with AtomicFile(self.checkpoints / _RUN, overwrite=True) as file:
            file.write(orjson.dumps(identity, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    def _empty(self) -> None:
        """What is in the folder goes; the folder stays, for it may be a link or a place that is mounted."""
        with output_errors(self.path):
            # The manifest first: without it, what is left of the model isn't taken for one. Last what says that the
            # folder is ours.
            (self.path / manifest.NAME).unlink(missing_ok=True)
            for path in sorted(self.path.glob("*"), key=lambda path: path == self.checkpoints):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def require_same(self, identity: Identity) -> None:
        """Raise OtherRun where the run in the folder is another one; only what `identity` names is compared."""
        before = self._identity()
        differing = [
            f"{name} is {_short(value)}, and was {_short(before.get(name))}"
            for name, value in json.loads(orjson.dumps(identity)).items()
            if before.get(name) != value
        ]
        if differing:
            raise OtherRun(
                f"{self.path}: holds another run: {'; '.join(differing)}. Give what it was begun with to go on, "
                "replace it with --overwrite, or choose another name"
            )

    def _identity(self) -> dict[str, Any]:
        path = self.checkpoints / _RUN
        try:
            content = orjson.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise OtherRun(f"{path}: doesn't say which run this is ({error}). Replace it with --overwrite") from error
        return content if isinstance(content, dict) else {}

    def latest(self) -> Path | None:
        """The last whole checkpoint. Those that a killed run left unfinished are removed.

        Several processes may ask at once: what one of them removes is whole for none.
        """
        found = {
            int(path.name.removeprefix(_PREFIX)): path
            for path in self.checkpoints.glob(f"{_PREFIX}*")
            if path.name.removeprefix(_PREFIX).isdecimal()
        }
        whole = {step: path for step, path in found.items() if (path / _DONE).is_file()}
        for path in set(found.values()) - set(whole.values()):
            shutil.rmtree(path, ignore_errors=True)
        return whole[max(whole)] if whole else None

    def mark(self, step: int) -> None:
        """Say that the checkpoint of a step is whole."""
        with AtomicFile(self.checkpoints / f"{_PREFIX}{step}" / _DONE, overwrite=True) as file:
            file.write(orjson.dumps({"step": step}))

    def finish(self) -> None:
        """Remove the checkpoints of a finished run; what the run was stays, for --resume to find it done."""
        for path in self.checkpoints.glob(f"{_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)


def _short(value: Any) -> str:
    return value[:16] if isinstance(value, str) and len(value) == 64 else str(value)
