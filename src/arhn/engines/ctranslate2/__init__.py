"""CTranslate2 in this process."""

from typing import TYPE_CHECKING

from arhn.libraries import lazily

if TYPE_CHECKING:
    from arhn.engines.ctranslate2.engine import CTranslate2Engine
    from arhn.engines.ctranslate2.settings import Settings

__all__ = ["CTranslate2Engine", "Settings"]

__getattr__ = lazily(
    __name__,
    {"CTranslate2Engine": f"{__name__}.engine:CTranslate2Engine", "Settings": f"{__name__}.settings:Settings"},
)
