"""The values that flow through arhn: tiny, immutable, named as the field names them.

Everything else is functions over these. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from arhn.errors import InvalidGroup

Extra = Mapping[str, Any]
Label = Literal["positive", "negative"]
Action = Literal["keep", "relabel", "filter"]
#: What a confidence says of a passage; between the thresholds arhn can't tell.
Band = Literal["answer", "uncertain", "no_answer"]
ExtractionStatus = Literal["answer", "uncertain", "no_answer", "unknown", "spared"]
RankingStatus = Literal["ok", "repaired", "failed"]


class Mode(StrEnum):
    """Which actions are taken: R relabels, F filters, R+F does both, and drop filters whatever answers."""

    R = "R"
    F = "F"
    RF = "R+F"
    DROP = "drop"

    @property
    def relabels(self) -> bool:
        """Whether negatives may become positives."""
        return self in (Mode.R, Mode.RF)

    @property
    def filters(self) -> bool:
        """Whether negatives may be dropped."""
        return self is not Mode.R


class Reason(StrEnum):
    """Why a passage got its action. Counted in every summary; the words are stable."""

    #: A labelled positive that holds a snippet: stays.
    POSITIVE = "positive"
    #: A labelled positive in which no snippet was found: stays, and is worth a look.
    POSITIVE_DOUBTFUL = "positive_doubtful"
    #: A negative in which no answer was found: stays.
    NO_ANSWER = "no_answer"
    #: A negative so far behind its group's others by a retriever's similarity that the LLM wasn't asked: stays.
    SPARED = "spared"
    #: A passage whose confidence lies between the thresholds: arhn can't tell, the label stays.
    UNCERTAIN = "uncertain"
    #: A negative that answers more directly than the best labelled positive.
    RANKED_ABOVE = "ranked_above"
    #: A negative that ranks above the best positive, but answers a part of the query where that answers all of it.
    PARTIAL = "partial"
    #: A negative that ranks above the best positive, and may answer only a part of the query: the LLM's answer on that
    #: was broken, and the label stays.
    FULLNESS_UNKNOWN = "fullness_unknown"
    #: A negative that ranks above the best positive, but not surely enough to become a positive itself, or in a group
    #: whose positives are all doubtful.
    UNSURE = "unsure"
    #: A negative that answers; mode drop doesn't ask how directly.
    ANSWERS = "answers"
    #: A negative that holds a snippet and ranks above or below the best positive depending on the order shown.
    UNSTABLE = "unstable"
    #: A negative that holds a snippet and ranks below the best labelled positive.
    RANKED_BELOW = "ranked_below"
    #: A negative with the text of a labelled positive: decided without the LLM.
    EQUALS_POSITIVE = "equals_positive"
    #: The text of an earlier passage with the same label: dropped, or kept with it where the mode doesn't filter.
    DUPLICATE = "duplicate"
    #: Method `margin`: a negative too similar to the query, beside the labelled positive.
    MARGIN = "margin"
    #: Method `rlhn`: the judge finds a negative as good as the positives, or better.
    JUDGED_BETTER = "judged_better"
    #: Method `rlhn`: the judge finds a negative relevant, but worse than the positives.
    JUDGED_WORSE = "judged_worse"
    #: Methods `rlhn`, `margin` and `none`: nothing speaks against the label.
    UNDISPUTED = "undisputed"
    #: Method `rlhn`: an answer was broken, cut off or refused: the labels stay.
    JUDGE_UNKNOWN = "judge_unknown"
    #: The LLM's extraction was broken, cut off, empty or refused: the label stays.
    EXTRACTION_UNKNOWN = "extraction_unknown"
    #: The LLM's ranking was broken, cut off or refused, or left this passage out: the label stays.
    RANKING_FAILED = "ranking_failed"
    #: A negative beyond the number used per group: left out, not asked about unless for backfill.
    UNUSED = "unused"
    #: A negative beyond the number used per group, without an answer, taken in to keep the floor.
    BACKFILL = "backfill"
    #: A negative that a person has decided on (`arhn apply-review`).
    REVIEWED = "reviewed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One passage. `extra` carries the fields of its record that arhn doesn't know."""

    doc_id: str
    text: str
    title: str = ""
    extra: Extra = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A query with its labelled positives and its hard negatives, in the order of the source.

    `extra` carries the fields of its record that arhn doesn't know, so that reading and writing loses
    nothing. `doc_id`s are unique within a group.

    Raises:
        InvalidGroup: an empty query, query_id or doc_id, an empty passage text, no positive at all, or a
            `doc_id` that occurs twice.
    """

    query_id: str
    query: str
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...]
    extra: Extra = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.query_id:
            raise InvalidGroup("query_id", "a non-empty string", "an empty string")
        if not self.query.strip():
            raise InvalidGroup("query", "a non-empty string", "an empty or blank string")
        if not self.positives:
            raise InvalidGroup("positives", "at least one passage", "none")
        seen: set[str] = set()
        for passage in self.passages:
            if not passage.doc_id:
                raise InvalidGroup("doc_id", "a non-empty string", "an empty string")
            if not passage.text.strip():
                raise InvalidGroup(
                    f"text of passage {passage.doc_id!r}", "a non-empty string", "an empty or blank string"
                )
            if passage.doc_id in seen:
                raise InvalidGroup("doc_id", "each doc_id once in a group", f"{passage.doc_id!r} twice")
            seen.add(passage.doc_id)

    @property
    def passages(self) -> tuple[Passage, ...]:
        """Positives, then negatives."""
        return self.positives + self.negatives


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """What stage 1 found in one passage.

    `snippet` is `text[start:end]` of the passage it was made from (character offsets), or all three are
    None; exactly those with status `answer` have one. `confidence`, in [0, 1], is how sure we are that the passage
    answers the query; None where the answer was broken, a single one was asked for without log-probabilities, or
    nothing was asked (`spared`).
    `log_odds` is the raw log-odds (natural log) of an answer against none, before the group's own offset is taken
    off. `fullness`, in [0, 1], is how sure we are that the
    passage answers all of the query and not a part; None where no decision needed it. `cut` says that the passage was
    shortened to fit the model's context, `checked` that it would have been spared, and was asked about to see whether
    that would have been right.
    """

    doc_id: str
    status: ExtractionStatus
    snippet: str | None = None
    start: int | None = None
    end: int | None = None
    confidence: float | None = None
    log_odds: float | None = None
    fullness: float | None = None
    cut: bool = False
    checked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Candidates' `doc_id`s from the most to the least direct answer (stage 2).

    `status`: `ok`, as the LLM gave it; `repaired`, a part of the order was missing and those candidates
    are left out of `order`; `failed`, no usable order, `order` is empty. Where more than one order was shown,
    `agreement`, in [0, 1], is the mean share of them that put a negative on the same side of the best positive,
    and `unstable` names the negatives for which that share is too small; else None and empty.
    """

    order: tuple[str, ...]
    status: RankingStatus
    agreement: float | None = None
    unstable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What happens to one passage, and why."""

    doc_id: str
    action: Action
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedGroup:
    """A group with every decision about it: what was kept *and* what was removed.

    `group` is the input, unchanged. `decisions` are one per passage, in the order of `group.passages`;
    `extractions` are in the same order, without the passages that weren't asked about. `ranking` is None
    where no negative answers. `below_floor`: fewer negatives are left than the floor asks for. `dropped`:
    for that reason the whole group is left out of the cleaned data. `family` is the family that its query
    was taken for, `family_from` how that was found: `map` (the setting `families`), `known` (a known subset) or
    `guessed`; empty for methods that don't ask. `similarities` are a retriever's, by `doc_id` and then by what a
    passage was compared with: `query`, `positive`, `sentence`; empty where none was asked.
    """

    group: Group
    decisions: tuple[Decision, ...]
    extractions: tuple[Extraction, ...]
    ranking: Ranking | None = None
    below_floor: bool = False
    dropped: bool = False
    family: str = ""
    family_from: str = ""
    similarities: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    _actions: Mapping[str, Action] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_actions", {d.doc_id: d.action for d in self.decisions})

    @property
    def positives(self) -> tuple[Passage, ...]:
        """Labelled positives, then the negatives that were relabelled."""
        return self.group.positives + self.relabelled

    @property
    def negatives(self) -> tuple[Passage, ...]:
        """Negatives that stay, in their order."""
        return self._negatives("keep")

    @property
    def relabelled(self) -> tuple[Passage, ...]:
        """Negatives that become positives."""
        return self._negatives("relabel")

    @property
    def filtered(self) -> tuple[Passage, ...]:
        """Negatives that are dropped."""
        return self._negatives("filter")

    @property
    def cleaned(self) -> Group:
        """The group to train on."""
        return Group(
            query_id=self.group.query_id,
            query=self.group.query,
            positives=self.positives,
            negatives=self.negatives,
            extra=self.group.extra,
        )

    def _negatives(self, action: Action) -> tuple[Passage, ...]:
        return tuple(p for p in self.group.negatives if self._actions[p.doc_id] == action)
