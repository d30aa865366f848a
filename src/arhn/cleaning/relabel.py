"""Stage 3, decisions: from extractions and a ranking to an action per passage. Pure and total.

Source: ARHN (arXiv 2604.11092), section 3. Negatives ranked above the best labelled positive are
relabelled; those below it that hold a snippet are filtered; the rest stay. Beyond the paper, a negative that
answers only in part where the positive answers fully, or that is ranked above it in some orders only, is filtered
rather than relabelled. Whatever is broken or uncertain changes no label.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from arhn.types import Action, CleanedGroup, Decision, Extraction, Group, Mode, Passage, Ranking, Reason

#: Reasons of labels that stay because nothing is known, not because something speaks for them.
UNDECIDED = frozenset(
    {
        Reason.EXTRACTION_UNKNOWN,
        Reason.RANKING_FAILED,
        Reason.FULLNESS_UNKNOWN,
        Reason.UNCERTAIN,
        Reason.JUDGE_UNKNOWN,
    }
)
#: A longer list doesn't fit a small context, and small models lose track of it. What is left out keeps its label.
MOST_RANKED = 32


def find_candidates(
    group: Group, extractions: Mapping[str, Extraction], copies: Mapping[str, str]
) -> tuple[Passage, ...]:
    """What is ranked: the labelled positives and the answering negatives, each passage once.

    Empty where no negative answers, for then no decision needs a ranking, and where the extraction of every positive is
    broken, for then there is nothing to compare with. At most `MOST_RANKED`, positives first.

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


def hold_back_unsure(
    group: Group, extractions: Mapping[str, Extraction], ranking: Ranking | None, *, bar: float
) -> dict[str, Reason]:
    """Why negatives that answer don't become positives: they aren't sure enough, or no positive answers itself.

    What ranks above a positive that may be no answer is no better for it.

    Args:
        extractions, ranking: as in `find_reasons`.
        bar: the confidence, in [0, 1], from which on a negative may become a positive.
    """
    sound = any(e.status == "answer" for p in group.positives if (e := extractions.get(p.doc_id)) is not None)
    return {
        doc_id: Reason.UNSURE
        for doc_id in (ranking.order if ranking else ())
        if not sound or (extractions[doc_id].confidence or 0.0) < bar
    }


def find_reasons(
    group: Group,
    extractions: Mapping[str, Extraction],
    ranking: Ranking | None,
    *,
    held_back: Mapping[str, Reason] = MappingProxyType({}),
    ranks: bool = True,
) -> dict[str, Reason]:
    """What speaks for and against the label of each passage that was asked about.

    Args:
        extractions: as in `find_candidates`.
        ranking: None where there was nothing to rank.
        held_back: why negatives above the best positive don't become positives themselves.
        ranks: False where no ranking was wanted, since whatever answers is dropped.
    """
    positives = frozenset(p.doc_id for p in group.positives)
    rank = {doc_id: i for i, doc_id in enumerate(ranking.order)} if ranking else {}
    best = min((rank[p] for p in positives if p in rank), default=None)
    return {
        doc_id: _POSITIVE[extraction.status]
        if doc_id in positives
        else Reason.ANSWERS
        if extraction.status == "answer" and not ranks
        else _find_reason(extraction, rank.get(doc_id), best, ranking, held_back)
        for doc_id, extraction in extractions.items()
    }


_POSITIVE = {
    "answer": Reason.POSITIVE,
    "uncertain": Reason.POSITIVE_DOUBTFUL,
    "no_answer": Reason.POSITIVE_DOUBTFUL,
    "unknown": Reason.EXTRACTION_UNKNOWN,
}
_NEGATIVE = {
    "unknown": Reason.EXTRACTION_UNKNOWN,
    "uncertain": Reason.UNCERTAIN,
    "no_answer": Reason.NO_ANSWER,
    "spared": Reason.SPARED,
}


def _find_reason(
    extraction: Extraction,
    rank: int | None,
    best: int | None,
    ranking: Ranking | None,
    held_back: Mapping[str, Reason],
) -> Reason:
    if extraction.status != "answer":
        return _NEGATIVE[extraction.status]
    if ranking is None or rank is None or best is None:
        return Reason.RANKING_FAILED
    if rank > best:
        return Reason.RANKED_BELOW
    if extraction.doc_id in ranking.unstable:
        return Reason.UNSTABLE
    return held_back.get(extraction.doc_id, Reason.RANKED_ABOVE)


_RELABELLED = frozenset({Reason.RANKED_ABOVE, Reason.JUDGED_BETTER})
#: Mode F alone leaves what ranks above the positive, as in the paper; RLHN's removal takes all that it found.
_FILTERED = frozenset(
    {
        Reason.RANKED_BELOW,
        Reason.UNSTABLE,
        Reason.PARTIAL,
        Reason.UNSURE,
        Reason.ANSWERS,
        Reason.JUDGED_BETTER,
        Reason.JUDGED_WORSE,
        Reason.MARGIN,
    }
)


def decide(
    group: Group,
    reasons: Mapping[str, Reason],
    *,
    mode: Mode,
    copies: Mapping[str, str],
    unused: Collection[str] = (),
) -> tuple[Decision, ...]:
    """One decision per passage, in the order of `group.passages`: the same for every method.

    Args:
        reasons: of every passage but copies and unused ones.
        copies: `doc_id` of a passage to that of the earlier one with the same text.
        unused: negatives that were mined but not asked about.
    """
    positives = frozenset(p.doc_id for p in group.positives)
    made: dict[str, Decision] = {}
    for passage in group.passages:
        doc_id = passage.doc_id
        if doc_id in unused:
            decision = Decision(doc_id=doc_id, action="filter", reason=Reason.UNUSED)
        elif doc_id in copies:
            decision = _decide_copy(doc_id, made[copies[doc_id]], positives, mode)
        else:
            action = "keep" if doc_id in positives else choose_action(reasons[doc_id], mode)
            decision = Decision(doc_id=doc_id, action=action, reason=reasons[doc_id])
        made[doc_id] = decision
    return tuple(made.values())


def choose_action(reason: Reason, mode: Mode) -> Action:
    """What a mode does for a reason."""
    if reason in _RELABELLED and mode.relabels:
        return "relabel"
    if mode is Mode.DROP and reason in _RELABELLED:
        return "filter"
    return "filter" if reason in _FILTERED and mode.filters else "keep"


def _decide_copy(doc_id: str, original: Decision, positives: Collection[str], mode: Mode) -> Decision:
    if doc_id in positives or original.doc_id not in positives:
        if original.reason in UNDECIDED:
            return Decision(doc_id=doc_id, action=original.action, reason=original.reason)
        # One copy of a negative is enough, whatever becomes of it.
        once = mode.filters and doc_id not in positives
        return Decision(doc_id=doc_id, action="filter" if once else original.action, reason=Reason.DUPLICATE)
    # The positive already holds this text: a second copy of it among the positives teaches nothing new.
    action: Action = "filter" if mode.filters else "relabel"
    return Decision(doc_id=doc_id, action=action, reason=Reason.EQUALS_POSITIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Floored:
    """Decisions held against the floor. `short`: how many negatives are missing; `policy`: what becomes of that."""

    decisions: tuple[Decision, ...]
    short: int
    policy: str

    @property
    def wanted(self) -> int:
        """Unused negatives to take in."""
        return self.short if self.policy == "backfill" else 0

    @property
    def below(self) -> bool:
        """Whether the group has fewer negatives left than it should."""
        return self.short > 0

    @property
    def dropped(self) -> bool:
        """Whether it is left out for that."""
        return self.below and self.policy == "drop"

    def backfill(self, taken: Collection[str]) -> Floored:
        """With unused negatives taken in."""
        decisions = tuple(
            replace(d, action="keep", reason=Reason.BACKFILL) if d.doc_id in taken else d for d in self.decisions
        )
        return replace(self, decisions=decisions, short=self.short - len(taken))


def hold_against_floor(group: Group, decisions: tuple[Decision, ...], *, floor: int, policy: str) -> Floored:
    """Decisions about a group, held against the floor.

    Args:
        floor: negatives that a group should have left.
        policy: what is to become of a group with fewer: `keep`, `drop` or `backfill`.
    """
    left = sum(d.action == "keep" for d in decisions) - len(group.positives)
    return Floored(decisions=decisions, short=max(0, floor - left), policy=policy)


def finish(
    group: Group,
    floored: Floored,
    *,
    extractions: Mapping[str, Extraction] = MappingProxyType({}),
    ranking: Ranking | None = None,
    similarities: Mapping[str, Mapping[str, float]] = MappingProxyType({}),
    family: str = "",
    family_from: str = "",
) -> CleanedGroup:
    """The end of every method: the group with all that was found and decided.

    Args:
        extractions, similarities: by `doc_id`; passages that weren't asked about are absent.
        family, family_from: the family of the query and where that comes from, for methods that ask by family.
    """
    return CleanedGroup(
        group=group,
        decisions=floored.decisions,
        extractions=tuple(extractions[p.doc_id] for p in group.passages if p.doc_id in extractions),
        ranking=ranking,
        similarities={doc_id: dict(found) for doc_id, found in similarities.items()},
        below_floor=floored.below,
        dropped=floored.dropped,
        family=family,
        family_from=family_from,
    )
