"""The task that a row itself names, in an instruction or a type, as BGE's training data does. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from arhn.families.data_set_names import find_shared_value
from arhn.families.family import Family
from arhn.families.form import guess
from arhn.types import Group

#: Fields with an instruction or the name of a task, in the order they are tried.
FIELDS = ("prompt", "instruction", "query_instruction", "query_prompt", "task_description", "task", "task_type", "type")
_LONGEST = 400
#: No family: labels and clusters are right or wrong by other rules than what answers a query.
NO_FAMILY = None

#: The first that fits an instruction decides. Words are those of the instructions that E5, BGE, GTE and Qwen publish.
_TASKS: tuple[tuple[re.Pattern[str], Family | None], ...] = tuple(
    (re.compile("|".join(patterns)), family)
    for family, *patterns in (
        (
            NO_FAMILY,
            r"symmetric[_ -]?(class|cluster)",
            r"\b(classif\w+|cluster\w*|categor\w+|sentiment|emotion\w*|toxic\w*)\b",
            r"\b(identify|find|match|detect|determine)\w* (the |a |an |their )?(\w+ ){0,3}"
            r"(intent\w*|topics?|labels?|themes?|scenario)",
            r"\bbitext|\bparallel sentence|\btranslations?\b|\bsummar(y|ies|i[sz])",
        ),
        (
            Family.DUPLICATE,
            r"\bduplicates?\b",
            r"\bquestions?\b.*\bquestions?\b.*\b(equivalent|similar|the same)\b",
            r"\b(similar|equivalent|paraphrased?|same|identical|related) questions?\b",
            r"\bparaphras\w+ (of )?(the |a |this )?question",
        ),
        (
            Family.CLAIM,
            r"support\w*( or | and | / |/)(refut|contradict|oppos)",
            r"refut\w*( or | and |/)support",
            r"\bfact[- ]?check|\bverif(y|ies|ication)\b",
            r"\bevidence\b.*\bclaim\b|\bclaim\b.*\bevidence\b",
        ),
        (Family.ARGUMENT, r"\brefut\w+|\bcounter[- ]?argument|\bopposing argument|\bargue\w* against"),
        (
            Family.PARAPHRASE,
            r"\b(semantically|meaning)[- ](similar|equivalent|same)",
            r"\b(same|similar) meaning|\bmeans? the same|\bparaphras\w+|\bentail\w*",
            r"\bsymmetric[_ -]?sts\b|\bsts\b|\bnli\b",
            r"\bsemantic(ally)? (textual )?(similarity|equivalen\w+)|\bpremise\b",
        ),
        (
            Family.TITLE,
            r"\b(paper|article|document|publication) titles?\b|\b(cited|cites?|citations?)\b",
            r"\bentity descriptions?\b|\bgiven (a|the) (title|headline|keywords?|topic)\b",
        ),
        (
            Family.QUESTION,
            r"\banswers?\b|\bquestions?\b|\b(web )?search quer(y|ies)\b",
            r"\bcode (snippets?|retrieval|search)\b|\bhow[- ]to\b",
        ),
    )
)
#: BGE's type of sets whose rows have one negative, NLI's. Others use it, too.
_ONE_NEGATIVE = "only_1neg"
#: Says nothing: "search_query: ", "Represent this sentence for searching relevant passages:".
_EMPTY = re.compile(r"represent (this|the) (sentence|text|query|document)")


class NamedTask(NamedTuple):
    """What a row names: the family of such queries, None where no family fits; by which field, in which words."""

    family: Family | None
    field: str
    text: str


def find_task(group: Group) -> NamedTask | None:
    """The task that a group's row names; None where it names none, or nothing that says what answers."""
    for where, text in _list_texts(group):
        found = _read(text)
        if found is not None:
            return NamedTask(found[0], where, text)
        if where == "type" and text == _ONE_NEGATIVE and guess(group.query) is not Family.QUESTION:
            return NamedTask(Family.PARAPHRASE, where, text)
    return None


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[Family | None] | None:
    low = text.casefold()
    if _EMPTY.search(low):
        return None
    return next(((family,) for pattern, family in _TASKS if pattern.search(low)), None)


def _list_texts(group: Group) -> Iterator[tuple[str, str]]:
    for where in FIELDS:
        value = group.extra.get(where)
        if value is None:
            value = find_shared_value(group, where)
        if isinstance(value, str) and 0 < len(text := " ".join(value.split())) <= _LONGEST:
            yield where, text


__all__ = ["FIELDS", "NamedTask", "find_task"]
