"""Settings of llama.cpp in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, StrictInt

from arhn.engines.protocol import Engine
from arhn.engines.settings import MOST, Counted, InProcessSettings

if TYPE_CHECKING:
    from arhn.engines.openai.budget import Budget


class Settings(InProcessSettings):
    """A GGUF model, computed in this process."""

    counted: ClassVar[Counted] = "slots"

    name: Literal["llamacpp"] = Field(default="llamacpp", description="llama.cpp in this process.")
    model: str = Field(
        default="",
        description="A name from 'arhn models', a GGUF file, or hf://org/repo/file.gguf; the starter model unless "
        "given.",
    )
    slots: StrictInt = Field(
        default=1,
        ge=1,
        le=MOST,
        description="Requests computed together; more than one repeats less exactly.",
        json_schema_extra={"unit": "requests"},
    )
    threads: StrictInt | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description="CPU threads; all cores unless given.",
        json_schema_extra={"unit": "threads"},
    )
    gpu_layers: StrictInt | None = Field(
        default=None,
        ge=-MOST,
        le=MOST,
        description="Layers on the GPU; all that fit unless given.",
        json_schema_extra={"unit": "layers"},
    )
    lookahead: StrictInt = Field(
        default=0,
        ge=0,
        le=MOST,
        description="Groups among which the next request is chosen, so that a passage of several of them is read "
        "once; repeats less exactly.",
        json_schema_extra={"unit": "groups"},
    )

    @property
    def requests(self) -> int:
        """Requests computed together."""
        return self.slots

    def open(self, budget: Budget | None = None) -> Engine:  # noqa: ARG002 - nothing is paid for
        """The engine, with its model in memory; a named model is fetched first.

        Raises:
            ModelMissing, ModelCorrupt, ModelUnavailable, EngineError: see errors.py.
        """
        from arhn import weights
        from arhn.engines.llamacpp.engine import LlamaCppEngine

        path = weights.resolve(self.model or weights.STARTER)
        return LlamaCppEngine(
            path,
            model=weights.identity(path),
            slots=self.slots,
            context=self.context,
            threads=self.threads,
            gpu_layers=self.gpu_layers,
            lookahead=self.lookahead,
        )


__all__ = ["Settings"]
