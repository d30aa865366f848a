"""Settings of vLLM in this process."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, StrictFloat, StrictInt

from arhn.engines.protocol import Engine
from arhn.engines.settings import EngineSettings
from arhn.errors import UsageError

if TYPE_CHECKING:
    from arhn.engines.openai.budget import Budget

logger = logging.getLogger(__name__)

_MOST = 2**31 - 1


class Settings(EngineSettings):
    """A model that vLLM computes in this process."""

    name: Literal["vllm"] = Field(default="vllm", description="vLLM in this process.")
    model: str = Field(
        default="", description="A folder in Hugging Face's format, or a name of its hub: org/name. Required with vllm."
    )
    tensor_parallel: StrictInt = Field(
        default=1, ge=1, le=_MOST, description="GPUs that share each layer.", json_schema_extra={"unit": "GPUs"}
    )
    gpu_memory: StrictFloat | None = Field(
        default=None,
        gt=0,
        le=1,
        description="How much of each GPU's memory vLLM may take; vLLM's own default unless given.",
        json_schema_extra={"unit": "share"},
    )
    concurrency: StrictInt = Field(
        default=256,
        ge=1,
        le=_MOST,
        description="Requests computed together, at most.",
        json_schema_extra={"unit": "requests"},
    )
    thinking_tokens: StrictInt = Field(
        default=2048,
        ge=1,
        le=_MOST,
        description="Left to a model that thinks before it answers and can't be kept from it.",
        json_schema_extra={"unit": "tokens"},
    )
    args: Mapping[str, Any] = Field(
        default_factory=dict, description="A table: further arguments of vLLM's AsyncEngineArgs."
    )

    @property
    def missing(self) -> str:
        """The model is loaded for a run only."""
        return "vLLM has to load the model first"

    @property
    def requests(self) -> int:
        """Requests computed together, at most."""
        return self.concurrency

    def open(self, budget: Budget | None = None) -> Engine:  # noqa: ARG002 - nothing is paid for
        """The engine, with its model loaded.

        Raises:
            UsageError: no model is named, or `args` holds what vLLM doesn't have.
            MissingDependency, ModelMissing, ModelUnavailable, ContextTooShort, EngineError: see errors.py.
        """
        from arhn.engines.vllm.engine import VLLMEngine

        if not self.model:
            raise UsageError(
                "engine.model: vllm needs to know which model. Give it (--model): a folder in Hugging Face's format, "
                "or org/name"
            )
        engine = VLLMEngine(self)
        logger.info("%s", engine.described)
        return engine


__all__ = ["Settings"]
