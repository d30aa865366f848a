"""Decisions: from extractions and a ranking to an action per passage. Pure and total.

Source: ARHN (arXiv 2604.11092), section 3. Negatives ranked above the best labelled positive are
relabelled; those below it that hold a snippet are filtered; the rest stay. Whatever is broken changes
no label.
"""

from __future__ import annotations

from collections.abc import Mapping

from arhn.types import Action, Decision, Extraction, Group, Mode, Passage, Ranking, Reason

#: A longer list neither fits a small context nor a small model's head; what is left out keeps its label.
MOST_RANKED = 32


def candidates(group: Group, extractions: Mapping[str, Extraction], copies: Mapping[str, str]) -> tuple[Passage, ...]:
    """What is ranked: the labelled positives and the answering negatives, each passage once.

    Empty where no negative answers, for then nothing hangs on the ranking, and where the extraction of every
    positive is broken, for then there is nothing to compare with. At most `MOST_RANKED`, positives first.

    Args:
        extractions: by `doc_id`; passages that weren't asked about are absent.
        copies: `doc_id` of a passage to that of the earlier one with the same text.
    """
    answering = [
        p
        for p in group.negatives
        if p.doc_id not in copies and p.doc_id in extractions and extractions[p.doc_id].status == "answer"
    ]
    if not answering:
        return ()
    # A positive whose extraction broke has no snippet to show: ranking its bare text would make it lose.
    positives = [p for p in group.positives if p.doc_id not in copies and extractions[p.doc_id].status != "unknown"]
    return (*positives, *answering)[:MOST_RANKED] if positives else ()


def decide(
    group: Group,
    extractions: Mapping[str, Extraction],
    ranking: Ranking | None,
    *,
    mode: Mode,
    copies: Mapping[str, str],
    unused: frozenset[str] = frozenset(),
) -> tuple[Decision, ...]:
    """One decision per passage, in the order of `group.passages`.

    Args:
        extractions, copies: as in `candidates`.
        ranking: None where there was nothing to rank.
        unused: negatives that were mined but not asked about.
    """
    positives = frozenset(p.doc_id for p in group.positives)
    rank = {doc_id: i for i, doc_id in enumerate(ranking.order)} if ranking else {}
    best = min((rank[p] for p in positives if p in rank), default=None)
    made: dict[str, Decision] = {}
    for passage in group.passages:
        doc_id = passage.doc_id
        if doc_id in positives:
            decision = _positive(doc_id, extractions, copies)
        elif doc_id in unused:
            decision = Decision(doc_id=doc_id, action="filter", reason=Reason.UNUSED)
        elif doc_id in copies:
            decision = _copy(doc_id, made[copies[doc_id]], copies[doc_id] in positives, mode)
        else:
            decision = _negative(extractions[doc_id], rank.get(doc_id), best, mode)
        made[doc_id] = decision
    return tuple(made.values())


def _positive(doc_id: str, extractions: Mapping[str, Extraction], copies: Mapping[str, str]) -> Decision:
    if doc_id in copies:
        return Decision(doc_id=doc_id, action="keep", reason=Reason.DUPLICATE)
    reason = {
        "answer": Reason.POSITIVE,
        "no_answer": Reason.POSITIVE_DOUBTFUL,
        "unknown": Reason.EXTRACTION_UNKNOWN,
    }[extractions[doc_id].status]
    return Decision(doc_id=doc_id, action="keep", reason=reason)


def _copy(doc_id: str, original: Decision, of_positive: bool, mode: Mode) -> Decision:
    if not of_positive:
        return Decision(doc_id=doc_id, action=original.action, reason=Reason.DUPLICATE)
    # The positive already holds this text: a second copy of it among the positives teaches nothing new.
    action: Action = "filter" if mode.filters else "relabel"
    return Decision(doc_id=doc_id, action=action, reason=Reason.EQUALS_POSITIVE)


def _negative(extraction: Extraction, rank: int | None, best: int | None, mode: Mode) -> Decision:
    action: Action = "keep"
    if extraction.status == "unknown":
        reason = Reason.EXTRACTION_UNKNOWN
    elif extraction.status == "no_answer":
        reason = Reason.NO_ANSWER
    elif rank is None or best is None:
        reason = Reason.RANKING_FAILED
    elif rank < best:
        reason = Reason.RANKED_ABOVE
        action = "relabel" if mode.relabels else "keep"
    else:
        reason = Reason.RANKED_BELOW
        action = "filter" if mode.filters else "keep"
    return Decision(doc_id=extraction.doc_id, action=action, reason=reason)
