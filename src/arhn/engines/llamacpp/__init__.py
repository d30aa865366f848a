"""llama.cpp in this process."""

from arhn.engines.llamacpp.engine import LlamaCppEngine

__all__ = ["LlamaCppEngine"]
