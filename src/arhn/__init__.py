"""arhn cleans the hard negatives of retrieval training data with an LLM that you run yourself.

import arhn
from arhn.engines.llamacpp import LlamaCppEngine

path = arhn.weights.resolve("qwen2.5-coder-1.5b")
engine = LlamaCppEngine(path, model=arhn.weights.identity(path))
for cleaned in arhn.clean(arhn.formats.read("train.jsonl"), engine):
    print(cleaned.positives, cleaned.negatives, cleaned.decisions)
"""

from typing import TYPE_CHECKING

from arhn.libraries import lazily

if TYPE_CHECKING:
    from arhn import formats, weights
    from arhn.cleaning.config import CleanConfig
    from arhn.cleaning.models import Models
    from arhn.cleaning.pipeline import aclean, clean
    from arhn.cleaning.stats import Stats
    from arhn.errors import ArhnError
    from arhn.store import MemoryStore, SqliteStore
    from arhn.types import CleanedGroup, Decision, Extraction, Group, Mode, Passage, Ranking, Reason

__version__ = "0.1.0"

__all__ = [
    "ArhnError",
    "CleanConfig",
    "CleanedGroup",
    "Decision",
    "Extraction",
    "Group",
    "MemoryStore",
    "Mode",
    "Models",
    "Passage",
    "Ranking",
    "Reason",
    "SqliteStore",
    "Stats",
    "__version__",
    "aclean",
    "clean",
    "formats",
    "weights",
]

# Imported on first use, so that a command, or a program that needs one part, waits for no other.
__getattr__ = lazily(
    __name__,
    {
        "formats": "arhn.formats",
        "weights": "arhn.weights",
        "ArhnError": "arhn.errors:ArhnError",
        "Models": "arhn.cleaning.models:Models",
        "Stats": "arhn.cleaning.stats:Stats",
        "CleanConfig": "arhn.cleaning.config:CleanConfig",
        **{name: f"arhn.cleaning.pipeline:{name}" for name in ("aclean", "clean")},
        **{name: f"arhn.store:{name}" for name in ("MemoryStore", "SqliteStore")},
        **{
            name: f"arhn.types:{name}"
            for name in ("CleanedGroup", "Decision", "Extraction", "Group", "Mode", "Passage", "Ranking", "Reason")
        },
    },
)
