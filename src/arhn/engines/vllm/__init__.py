"""vLLM in this process."""

from arhn.engines.vllm.engine import VLLMEngine
from arhn.engines.vllm.start import Settings

__all__ = ["Settings", "VLLMEngine"]
