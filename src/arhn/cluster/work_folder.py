"""The work folder: what is complete is there, and nothing else is.

A partition has two files, named after its content: `DIGEST.responses.sqlite`, every answer to its questions, and
`DIGEST.SETTINGS.part`, what came of it under these settings. The latter is written last.
"""

from __future__ import annotations

from hashlib import blake2b

from arhn._version import __version__
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.methods.method import Recorded, find_method
from arhn.cleaning.models import Described
from arhn.cluster.folders import Folder
from arhn.cluster.partitions import Part, Partition
from arhn.cluster.work import Done


class Kept:
    """Complete partitions in `folder`, of one kind of run."""

    def __init__(self, folder: Folder, settings: str) -> None:
        self._folder = folder
        self._settings = settings

    def find(self, partition: Partition) -> Part | None:
        """What came of a partition; None where that isn't known, or requests failed that are to be tried again."""
        packed = self._folder.read(self._part(partition))
        part = Part.unpacked(packed) if packed is not None else None
        return part if part is not None and not part.failures else None

    def answers(self, partition: Partition) -> bytes | None:
        """The response store of an earlier try, whatever its settings."""
        return self._folder.read(self._answers(partition))

    def keep(self, partition: Partition, done: Done) -> None:
        """Put a partition's files in their places."""
        self._folder.write(self._answers(partition), done.answers)
        self._folder.write(self._part(partition), done.part)

    def _part(self, partition: Partition) -> str:
        return f"{partition.digest}.{self._settings}.part"

    def _answers(self, partition: Partition) -> str:
        return f"{partition.digest}.responses.sqlite"


def settings_digest(config: CleanConfig, described: Described) -> str:
    """16 hex digits that stand for all that decides about a group besides itself.

    Raises:
        CalibrationError: the settings ask for what the models have no calibration for.
    """
    content = [__version__, config.model_dump_json(), repr(sorted(described.names.items()))]
    capabilities = described.capabilities
    if capabilities is not None:
        # How many requests are in flight changes no answer.
        content.append(f"{capabilities.constraints} {capabilities.logprobs} {capabilities.context}")
    method = find_method(config)
    if isinstance(method, Recorded):
        content.append(method.fingerprint(config, described))
    return blake2b("\0".join(content).encode(), digest_size=8).hexdigest()


__all__ = ["Kept", "settings_digest"]
