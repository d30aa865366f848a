"""Settings of a cleaning run. Unknown keys are refused."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from arhn.types import Mode

FloorPolicy = Literal["keep", "drop", "backfill"]


class CleanConfig(BaseModel):
    """How groups are cleaned. Every field changes the result, so all of them are part of summary.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = Mode.RF
    #: Negatives used per group, the first ones; the others are only there for backfill. All, unless given.
    negatives: int | None = Field(default=None, ge=1)
    #: Negatives that a group should have left.
    floor: int = Field(default=1, ge=0)
    #: What happens to a group with fewer: keep it, drop it, or take in mined negatives that weren't used.
    floor_policy: FloorPolicy = "keep"
    #: Prompt templates, by name.
    extract_prompt: str = "extract"
    rank_prompt: str = "rank"
