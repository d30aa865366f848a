"""The family of a data set as a whole, from a sample of its groups. Pure.

What single queries can't tell, many together do: a query that looks like a claim among questions is most likely a badly
typed question, questions whose positives ask as well look for duplicates, and short statements whose positives are no
longer look for their paraphrases. Thresholds were set on the sets that bench/family_forms.py measures.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from arhn.families.family import Family
from arhn.families.form import count_sentences, has_question, read_form
from arhn.families.requests import instructs, names_trouble, speaks_of_self, wishes
from arhn.types import Group

#: Groups that a data set's family is decided from, the first ones.
SAMPLE = 200
#: Fewer groups say nothing together: the form of each query decides.
LEAST = 8
TOO_FEW = "too few to decide together"
#: Share of queries that must have a family's form, so that other queries count as it, too; and of those that surely
#: have another form, so that they are taken for what they look like.
_MOST, _OTHERS = 0.5, 0.2
#: Statements are queries of another family than questions where that share of them surely asks: where problems are
#: stated, few do.
_ASKING = 0.3
#: In doubt a set holds questions, since most training data does; the more so, the more positives are instructions.
_BONUS, _INSTRUCTED = 0.1, 0.5
#: Characters of a passage that are looked at.
_LOOKED_AT = 4000
_LONG = 55
_CODE = re.compile(
    r"[(){}\[\];=<>|\\`$]{2}|\w\(\w*|\w\[|[:{;]$|^\s*(def|class|import|from \w+ import|return|for|if|while|public"
    r"|private"
    r"|function|const|var|let|SELECT|INSERT|UPDATE|CREATE|sudo|\$|#include|@\w+)\b|\s--?\w[\w-]+|\w+\.\w+\(|->|=>"
    r"|[^<>=!]=[^=]| \| "
    r"|\w_\w",
    re.MULTILINE,
)
_DETERMINED = re.compile(
    r"(an?|the|this|these|that|those|some|somebody|someone|two|three|four|several|many|most|all|no|nobody|there|he|she"
    r"|it|they|we|you|his|her|their|people|men|women|one|if|when"
    r"|ein|eine|einen|der|die|das|zwei|es|er|sie|un|une|le|la|les|el|los|las|una|il|lo|gli|um|uma|o|os|as)\b"
)
_ANSWER = re.compile(r"(yes|no|yep|nope|ja|nein|oui|non|sí|si|because|it depends|you (can|should|could|need)|well)\b")
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The family of a data set: of all its queries, but for those that are surely of one of the `others`.

    `family`: None where queries are of so many families that the form of each decides. `groups`: how many it was
    decided from. `shares`: of their queries, by the family whose form they have. `why`: in words.
    """

    family: Family | None
    others: frozenset[Family]
    groups: int
    shares: dict[str, float]
    why: str

    def find_family(self, query: str) -> Family:
        """The family of one query of the data set."""
        form = read_form(query)
        if self.family is None or (form.sure and form.family in self.others):
            return form.family
        return self.family


class _Traits(NamedTuple):
    """What is looked at of a group. `ratio`: how many times as long the positive is as the query."""

    family: Family
    sure: bool
    length: float
    ratio: float
    single: bool
    stated: bool
    answered_by_question: bool
    answered_by_code: bool
    answered_by_instruction: bool


def decide(groups: Sequence[Group]) -> Decision:
    """The family of a data set from its first groups, at most `SAMPLE`."""
    traits = [_find_traits(group) for group in groups[:SAMPLE]]
    count = len(traits)
    found = Counter(each.family for each in traits)
    shares = {str(family): round(number / count, 3) for family, number in found.most_common()}
    if count < LEAST:
        return Decision(family=None, others=frozenset(), groups=count, shares=shares, why=TOO_FEW)
    if by_passages := _find_by_passages(traits):
        return Decision(family=by_passages[0], others=frozenset(), groups=count, shares=shares, why=by_passages[1])
    family, why = _find_by_queries(traits, found)
    return Decision(family=family, others=_find_others(traits, family), groups=count, shares=shares, why=why)


def _find_others(traits: Sequence[_Traits], family: Family | None) -> frozenset[Family]:
    """The families that single queries may differ to."""
    sure = Counter(each.family for each in traits if each.sure)
    others = {other for other, number in sure.items() if other is not family and number >= _OTHERS * len(traits)}
    if family is Family.QUESTION and sure[Family.QUESTION] < _ASKING * len(traits):
        others.discard(Family.CLAIM)
    return frozenset(others)


def _find_by_passages(traits: Sequence[_Traits]) -> tuple[Family, str] | None:
    """What the positives say of the queries; None where they say nothing."""
    asking = _share([t.family is Family.QUESTION for t in traits])
    ratio = median(t.ratio for t in traits)
    length = median(t.length for t in traits)
    if _share([t.answered_by_code for t in traits]) >= 0.5 and length < _LONG:
        return Family.QUESTION, "the positives are code"
    if asking >= 0.5 and _share([t.answered_by_question for t in traits]) >= 0.5:
        return Family.DUPLICATE, "the positives ask, too"
    # An instruction answers a problem, however short both are.
    instructed = _share([t.answered_by_instruction for t in traits])
    statements = asking < 0.5 and instructed < _OTHERS and _share([t.single for t in traits]) >= 0.6
    if statements and length <= 35 and 0.3 <= ratio <= 1.5 and _share([t.stated for t in traits]) >= 0.5:
        return Family.PARAPHRASE, "the positives are statements as short as the queries"
    return None


def _find_by_queries(traits: Sequence[_Traits], found: Counter[Family]) -> tuple[Family | None, str]:
    """The family whose form most of the queries have."""
    count = len(traits)
    weights = {family: found[family] / count for family in found}
    instructed = _share([t.answered_by_instruction for t in traits])
    weights[Family.QUESTION] = found[Family.QUESTION] / count + _BONUS + _INSTRUCTED * instructed
    family = max(weights, key=lambda each: (weights[each], each))
    if weights[family] < _MOST:
        return None, "queries of several families"
    why = f"{found[family] / count:.0%} of the queries have its form"
    if family is Family.QUESTION and instructed >= _OTHERS:
        why += f", {instructed:.0%} of the positives are instructions"
    return family, why


def _find_traits(group: Group) -> _Traits:
    query = group.query[:_LOOKED_AT]
    # The shortest one: some formats hold the query itself, or whole articles, among several positives.
    positive = min(group.positives, key=lambda p: len(p.text))
    text = positive.text[:_LOOKED_AT]
    form = read_form(query)
    length = _measure(query)
    low = query.casefold()
    ratio = _measure(text) / max(1.0, length)
    stated = form.family is Family.CLAIM or bool(_DETERMINED.match(low)) or _is_stated(query)
    return _Traits(
        family=form.family,
        sure=form.sure,
        length=length,
        ratio=ratio,
        single=count_sentences(query) <= 1 and count_sentences(text) <= 1,
        stated=stated,
        answered_by_question=_asks(text, ratio),
        answered_by_code=_is_code(text),
        answered_by_instruction=instructs(text),
    )


def _is_stated(query: str) -> bool:
    return query.rstrip().endswith((".", "。", "!"))


def _asks(text: str, ratio: float) -> bool:
    """Whether a passage asks for something: at its end, or all along.

    Args:
        ratio: how many times as long as the query it is; an instruction may be an answer, unless it is as short.
    """
    low = text.casefold()
    if _ANSWER.match(low):
        return False
    form = read_form(text)
    own, marked = speaks_of_self(low), has_question(text)
    if form.family is Family.QUESTION and count_sentences(text) <= 2:
        short = ratio <= 1.6 and not _is_stated(text)
        return form.sure or (own and (wishes(low) or names_trouble(low))) or short
    return (own and (marked or wishes(low) or names_trouble(low))) or (marked and count_sentences(text) <= 3)


def _is_code(text: str) -> bool:
    """Whether a text is code or a command, for the most part."""
    lines = [line for line in text.splitlines() if line.strip()] or [text]
    words = len(text.split())
    marks = len(_CODE.findall(text))
    return marks >= 1 and marks >= 0.12 * words and (marks >= 0.5 * len(lines) or marks >= 0.25 * words)


def _measure(text: str) -> float:
    """The length of a text in words; two letters of a script without spaces are one."""
    spaceless = len(_SPACELESS.findall(text))
    return len(_SPACELESS.sub("", text).split()) + spaceless / 2


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found)


__all__ = ["LEAST", "SAMPLE", "Decision", "decide"]
