"""Stage 2, ranking: candidates in the order of how directly they answer the query.

A ranker is one file with a class as `ranker.Ranker` describes it, and one entry here.
"""

from __future__ import annotations

from typing import Any

from arhn.registry import Registry

#: Rankers by name, each made as `ranker.RankerMaker` says.
RANKERS: Registry[Any] = Registry(
    "ranker",
    "arhn.rankers",
    {
        "evidence": "arhn.cleaning.rank.by_confidence:EvidenceRanker",
        "listwise": "arhn.cleaning.rank.listwise:Listwise",
        "consistent": "arhn.cleaning.rank.consistent:Consistent",
        "pivot": "arhn.cleaning.rank.pivot:Pivot",
    },
)

__all__ = ["RANKERS"]
