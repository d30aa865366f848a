"""Settings of how groups are read and written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt
from pydantic_core import PydanticKnownError

from arhn.cleaning.run.teacher_scores import Scored
from arhn.formats import FORMATS

_MOST = 2**31 - 1


def _check_format(value: object) -> object:
    if isinstance(value, str) and value not in FORMATS.names():
        raise PydanticKnownError("enum", {"expected": ", ".join(FORMATS.names())})
    return value


class FileSettings(BaseModel):
    """How groups are read and written. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    format: Annotated[str | None, BeforeValidator(_check_format)] = Field(
        default=None, description="The input's format; detected unless given."
    )
    to: Annotated[str | None, BeforeValidator(_check_format)] = Field(
        default=None, description="The output's format; the input's unless given."
    )
    split: str | None = Field(default=None, description="The split of a data set that has several.")
    scores: Scored | None = Field(
        default=None,
        description="Write this of every passage as its score, where trainers look for a teacher's (pos_scores and "
        "neg_scores in flagembedding); none unless given.",
    )
    limit: StrictInt | None = Field(
        default=None,
        ge=1,
        le=_MOST,
        description="Read only the first N groups; all unless given.",
        json_schema_extra={"unit": "groups"},
    )
    on_bad_row: Literal["fail", "skip"] = Field(
        default="fail", description="What happens at a row that is no group: stop, or go on without it."
    )
    decisions: Path | None = Field(default=None, description="One line per passage; beside the output unless given.")
    summary: Path | None = Field(default=None, description="Counts of the run; beside the output unless given.")
    rejects: Path | None = Field(default=None, description="Rows that were skipped; beside the output unless given.")
    failures: Path | None = Field(
        default=None, description="Requests that got no answer; beside the output unless given."
    )


__all__ = ["FileSettings"]
