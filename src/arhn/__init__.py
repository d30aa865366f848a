"""arhn cleans the hard negatives of retrieval training data with an LLM that you run yourself.

import arhn

result = arhn.clean(dataset, model="qwen2.5-coder-1.5b")
result.data, result.decisions, result.changes(10)
"""

from typing import TYPE_CHECKING

from arhn.libraries import lazily

if TYPE_CHECKING:
    from arhn import formats, weights
    from arhn.api.clean import clean
    from arhn.api.result import CleanedData
    from arhn.cleaning.config import CleanConfig
    from arhn.cleaning.models import Models
    from arhn.cleaning.pipeline import aclean_groups, clean_groups
    from arhn.cleaning.stats import Stats
    from arhn.errors import ArhnError
    from arhn.store import MemoryStore, SqliteStore
    from arhn.types import CleanedGroup, Decision, Extraction, Group, Mode, Passage, Ranking, Reason

__version__ = "0.1.0"

__all__ = [
    "ArhnError",
    "CleanConfig",
    "CleanedData",
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
    "aclean_groups",
    "clean",
    "clean_groups",
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
        **{name: f"arhn.cleaning.pipeline:{name}" for name in ("aclean_groups", "clean_groups")},
        "clean": "arhn.api.clean:clean",
        "CleanedData": "arhn.api.result:CleanedData",
        **{name: f"arhn.store:{name}" for name in ("MemoryStore", "SqliteStore")},
        **{
            name: f"arhn.types:{name}"
            for name in ("CleanedGroup", "Decision", "Extraction", "Group", "Mode", "Passage", "Ranking", "Reason")
        },
    },
)
