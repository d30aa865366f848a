"""The folder that a model is trained into, with all that is needed to resume the run.

MODEL/                            the model; complete once it holds arhn.train.json
MODEL/checkpoints/run.json        the identity of the run, written before the first step
MODEL/checkpoints/checkpoint-N/   the state after step N; complete once it holds arhn.checkpoint.json
MODEL/groups/                     the groups that refreshes made, and what cleaning filtered from them
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

#: What distinguishes a run from others, by the name that error messages use.
Identity = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The folder of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def groups(self) -> Path:
        """The folder of refreshed groups."""
        return self.path / "groups"

    @property
    def lock(self) -> Path:
        """The lock file. It is beside the folder, which may not exist yet."""
        return self.path.with_name(f".{self.path.name}.lock")

    @property
    def finished(self) -> bool:
        """Whether the folder holds a complete model."""
        return (self.path / manifest.NAME).is_file()

    @property
    def holds_run(self) -> bool:
        """Whether the folder holds a run of `arhn train`, finished or not."""
        return self.finished or (self.checkpoints / _RUN).is_file()

    def busy_error(self) -> OutputLocked:
        """Make the error for a folder that another process trains into."""
        return OutputLocked(f"{self.path}: another arhn process is training into it. Wait, or write elsewhere")

    def require_free(self, *, overwrite: bool, resume: bool) -> None:
        """Check that a run may use the folder: it doesn't exist or is empty, or holds a run to replace or resume.

        Args:
            overwrite: a run in the folder may be replaced.
            resume: a run in the folder may be resumed.

        Raises:
            OutputExists: the folder holds a run, and neither is allowed.
            OutputNotWritable: the folder holds something else, or can't be made.
        """
        if self.path.name in ("", "..") or not self.path.parent.is_dir():
            raise OutputNotWritable(
                f"{self.path}: there is no folder {self.path.parent}. Create it, or write elsewhere"
            )
        if not os.access(self.path.parent, os.W_OK):
            raise OutputNotWritable(f"{self.path.parent}: can't be written. Write elsewhere")
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return
        if not self.path.is_dir() or not self.holds_run:
            raise OutputNotWritable(
                f"{self.path}: isn't a model of 'arhn train', so it isn't replaced; choose another name"
            )
        if not (overwrite or resume):
            raise OutputExists(
                f"{self.path}: exists already; resume it with --resume, replace it with --overwrite, or choose another "
                "name"
            )

    def begin(self, identity: Identity, *, resume: bool) -> None:
        """Prepare the folder for a run: empty it, or leave it as it is for a run to resume.

        Raises:
            OtherRun: as `require_same`.
            OutputNotWritable, DiskFull: the folder can't be written.
        """
        if resume and self.holds_run:
            self.require_same(identity)
        else:
            self._empty()
        with output_errors(self.checkpoints):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        with AtomicFile(self.checkpoints / _RUN, overwrite=True) as file:
            file.write(orjson.dumps(identity, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    def _empty(self) -> None:
        """Remove the content of the folder, but not the folder itself, which may be a link or a mount point."""
        with output_errors(self.path):
            # First the manifest, so that the rest isn't taken for a complete model. Last the checkpoints, by which the
            # folder is recognised as one of `arhn train`.
            (self.path / manifest.NAME).unlink(missing_ok=True)
            for path in sorted(self.path.glob("*"), key=lambda path: path == self.checkpoints):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()

    def require_same(self, identity: Identity) -> None:
        """Raise OtherRun where the run in the folder differs in something that `identity` holds."""
        before = self._read_identity()
        differing = [
            f"{name} is {_shorten(value)}, and was {_shorten(before.get(name))}"
            for name, value in json.loads(orjson.dumps(identity)).items()
            if before.get(name) != value
        ]
        if differing:
            raise OtherRun(
                f"{self.path}: holds another run: {'; '.join(differing)}. Give the same settings to resume it, replace "
                "it with --overwrite, or choose another name"
            )

    def _read_identity(self) -> dict[str, Any]:
        path = self.checkpoints / _RUN
        try:
            content = orjson.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise OtherRun(f"{path}: the run can't be identified ({error}). Replace it with --overwrite") from error
        return content if isinstance(content, dict) else {}

    def find_latest(self) -> Path | None:
        """The last complete checkpoint, None if there is none. Incomplete ones of a killed run are removed.

        Several processes may call this at once, because none of them uses a checkpoint that another one removes.
        """
        found = {
            int(path.name.removeprefix(_PREFIX)): path
            for path in self.checkpoints.glob(f"{_PREFIX}*")
            if path.name.removeprefix(_PREFIX).isdecimal()
        }
        complete = {step: path for step, path in found.items() if (path / _DONE).is_file()}
        for path in set(found.values()) - set(complete.values()):
            shutil.rmtree(path, ignore_errors=True)
        return complete[max(complete)] if complete else None

    def mark_complete(self, step: int) -> None:
        """Mark the checkpoint after a step as complete."""
        with AtomicFile(self.checkpoints / f"{_PREFIX}{step}" / _DONE, overwrite=True) as file:
            file.write(orjson.dumps({"step": step}))

    def finish(self) -> None:
        """Remove the checkpoints of a finished run, but not its identity, so that --resume finds the run finished."""
        for path in self.checkpoints.glob(f"{_PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)


def _shorten(value: Any) -> str:
    return value[:16] if isinstance(value, str) and len(value) == 64 else str(value)
