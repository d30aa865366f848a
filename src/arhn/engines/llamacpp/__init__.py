"""llama.cpp in this process."""

from typing import TYPE_CHECKING

from arhn.libraries import lazily

if TYPE_CHECKING:
    from arhn.engines.llamacpp.engine import LlamaCppEngine
    from arhn.engines.llamacpp.settings import Settings

__all__ = ["LlamaCppEngine", "Settings"]

__getattr__ = lazily(
    __name__,
    {"LlamaCppEngine": f"{__name__}.engine:LlamaCppEngine", "Settings": f"{__name__}.settings:Settings"},
)
