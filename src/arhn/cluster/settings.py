"""Settings of a run on a Ray cluster."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from arhn.cluster import USUAL_PARTITION

_MOST = 2**31 - 1
#: As many of a machine's processors as Ray can count.
_MOST_UNITS = 2**16


class Cluster(BaseModel):
    """Who cleans: workers on a Ray cluster, or this process where no address is given. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    address: str | None = Field(
        default=None,
        min_length=1,
        description="The Ray cluster to use: host:port; auto, for the cluster that this machine belongs to; or local, "
        "to start one for this run. Groups are cleaned in this process, unless given.",
    )
    workers: StrictInt = Field(
        default=1,
        ge=1,
        le=_MOST,
        description="Workers, each of which has models of its own.",
        json_schema_extra={"unit": "workers"},
    )
    partition: StrictInt = Field(
        default=USUAL_PARTITION,
        ge=1,
        le=_MOST,
        description="Groups handed out to a worker at once.",
        json_schema_extra={"unit": "groups"},
    )
    cpus: StrictFloat = Field(
        default=1.0,
        ge=0,
        lt=_MOST_UNITS,
        description="CPUs of its machine that a worker takes.",
        json_schema_extra={"unit": "CPUs"},
    )
    gpus: StrictFloat = Field(
        default=0.0,
        ge=0,
        lt=_MOST_UNITS,
        description="GPUs of its machine that a worker takes.",
        json_schema_extra={"unit": "GPUs"},
    )
    work: str | None = Field(
        default=None,
        min_length=1,
        description="The folder, here or in an object store, that complete partitions are kept in; beside the output "
        "unless given.",
    )

    @model_validator(mode="after")
    def _has_a_cluster(self) -> Self:
        if self.address is None and (given := [name for name in self.model_fields_set if self._is_set(name)]):
            raise PydanticCustomError(
                "without_effect", "{keys}: does nothing without an address (--ray)", {"keys": ", ".join(sorted(given))}
            )
        return self

    def _is_set(self, name: str) -> bool:
        return bool(getattr(self, name) != type(self).model_fields[name].default)


__all__ = ["Cluster"]
