"""The work folder: what is complete is there, and nothing else is.

A partition has two files, named after its content: `DIGEST.responses.sqlite`, every answer to its questions, and
`DIGEST.SETTINGS.part`, what came of it under these settings. The latter is written last.
"""

from __future__ import annotations

from hashlib import blake2b

from arhn._version import __version__
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.methods.method import Recorded, find_method
from arhn.cleaning.models import ModelsRecord
from arhn.cluster.partitions import Part, Partition
from arhn.cluster.storage import Folder
from arhn.cluster.work import Done


class WorkFolder:
    """Complete partitions in `folder`, of one kind of run."""

    def __init__(self, folder: Folder, settings: str) -> None:
        self._folder = folder
        self._settings = settings

    def find(self, partition: Partition) -> Part | None:
        """What came of a partition; None where that isn't known, or requests failed that are to be tried again."""
        packed = self._folder.read(self._part_name(partition))
        part = Part.unpack(packed) if packed is not None else None
        return part if part is not None and not part.failures else None

    def read_answers(self, partition: Partition) -> bytes | None:
        """The response store of an earlier try, whatever its settings."""
        return self._folder.read(self._answers_name(partition))

    def write(self, partition: Partition, done: Done) -> None:
        """Put a partition's files in their places."""
        self._folder.write(self._answers_name(partition), done.answers)
        self._folder.write(self._part_name(partition), done.part)

    def _part_name(self, partition: Partition) -> str:
        return f"{partition.digest}.{self._settings}.part"

    def _answers_name(self, partition: Partition) -> str:
        return f"{partition.digest}.responses.sqlite"


def digest_settings(config: CleanConfig, described: ModelsRecord) -> str:
    """16 hex digits for all that decides about a group beside the group itself.

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
        content.append(method.take_fingerprint(config, described))
    return blake2b("\0".join(content).encode(), digest_size=8).hexdigest()


__all__ = ["WorkFolder", "digest_settings"]
