"""Settings of CTranslate2 in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, StrictInt

from arhn.engines.protocol import Engine
from arhn.engines.settings import MOST, Counted, InProcessSettings

if TYPE_CHECKING:
    from arhn.engines.openai.budget import Budget


class Settings(InProcessSettings):
    """A GGUF model in 8 bits, computed in this process by CTranslate2."""

    counted: ClassVar[Counted] = "prefixes"

    name: Literal["ctranslate2"] = Field(default="ctranslate2", description="CTranslate2 in this process.")
    model: str = Field(
        default="",
        description="A name from 'arhn models', a GGUF file of a Qwen2 model, or hf://org/repo/file.gguf; the starter "
        "model unless given. It is converted once, into the cache of models.",
    )
    threads: StrictInt | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description="Requests computed at once, each on a CPU thread; as many as there are cores unless given.",
        json_schema_extra={"unit": "threads"},
    )

    @property
    def requests(self) -> int:
        """Requests computed at once."""
        return self.threads or 1

    def open(self, budget: Budget | None = None) -> Engine:  # noqa: ARG002 - nothing is paid for
        """The engine, with its model in memory; a named model is fetched first, and any is converted once.

        Raises:
            ModelMissing, ModelCorrupt, ModelUnavailable, EngineError, DiskFull, OutputNotWritable: see errors.py.
        """
        from arhn import weights
        from arhn.engines.ctranslate2.conversion import find_converted
        from arhn.engines.ctranslate2.engine import CTranslate2Engine

        path = weights.resolve(self.model or weights.STARTER)
        return CTranslate2Engine(
            find_converted(path), model=weights.identity(path), context=self.context, threads=self.threads
        )


__all__ = ["Settings"]
