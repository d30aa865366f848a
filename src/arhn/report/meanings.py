"""What each reason means, in a few words; docs/files.md says it in full."""

from __future__ import annotations

from collections.abc import Mapping

MEANINGS: Mapping[str, str] = {
    "no_answer": "No answer was found: the negative stays.",
    "spared": "Less likely to answer than the others of its group, so the LLM wasn't asked: stays.",
    "uncertain": "The confidence lies between both thresholds: arhn can't tell, the label stays.",
    "ranked_above": "Answers more directly than the best labelled positive.",
    "partial": "Ranks above the best positive, but answers only a part of the query.",
    "fullness_unknown": "Ranks above the best positive, but whether it answers fully is unknown: stays.",
    "unstable": "Ranks above the best positive in some of the orders shown only.",
    "ranked_below": "Holds an answer, and ranks below the best labelled positive.",
    "equals_positive": "Has the text of a labelled positive.",
    "duplicate": "Has the text of an earlier passage, and shares its action.",
    "margin": "About as similar to the query as the labelled positive.",
    "judged_better": "The judge finds it as good as the positives, or better.",
    "judged_worse": "The judge finds it relevant, but worse than the positives.",
    "undisputed": "Nothing was found against the label.",
    "judge_unknown": "The judge's answer was broken: the labels of the group stay.",
    "extraction_unknown": "The LLM's answer was broken: the label stays.",
    "ranking_failed": "The ranking was broken: the label stays.",
    "unused": "Beyond the number of negatives that are used: left out.",
    "backfill": "Taken in to keep enough negatives.",
    "reviewed": "A person decided.",
}
