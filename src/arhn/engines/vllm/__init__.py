"""vLLM in this process."""

from typing import TYPE_CHECKING

from arhn.libraries import lazily

if TYPE_CHECKING:
    from arhn.engines.vllm.engine import VLLMEngine
    from arhn.engines.vllm.settings import Settings

__all__ = ["Settings", "VLLMEngine"]

__getattr__ = lazily(
    __name__, {"VLLMEngine": f"{__name__}.engine:VLLMEngine", "Settings": f"{__name__}.settings:Settings"}
)
