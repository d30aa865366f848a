"""Stage 1 for several passages in one request: a line of the answer for each, and log-odds from that line's token.

What an answer says of one passage counts whatever became of the others. Pure; methods/together.py asks.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from arhn.cleaning.prompts import Prompt
from arhn.engines import Completion, Matching, Request, Token, log_odds
from arhn.types import Passage

YES, NO = "Yes", "No"
#: Log-probabilities of each token: those of all of them are kept.
LIKELIEST = 8
#: Tokens of a line at most, and of what ends an answer.
_LINE_TOKENS, _END_TOKENS = 8, 4
#: Where only the word is known: as of a single whole answer (`extract.read_answers`).
_BY_WORD = {YES: round(math.log(3), 4), NO: -round(math.log(3), 4)}
#: Any line about a passage, and those that say something.
_NUMBERED = re.compile(r"^[ \t]*\[?([0-9]{1,3})\]?[:.)]", re.MULTILINE)
_VERDICT = re.compile(rf"{_NUMBERED.pattern}[ \t]*({YES}|{NO})\.?[ \t\r]*$", re.MULTILINE)


def chunks(passages: Sequence[Passage], most: int) -> list[tuple[Passage, ...]]:
    """The passages in their order, in as few parts of at most `most` as can be, and these as even as can be."""
    count = math.ceil(len(passages) / most)
    edges = [math.ceil(i * len(passages) / count) for i in range(count + 1)] if count else [0]
    return [tuple(passages[a:b]) for a, b in pairwise(edges)]


def together_request(query: str, passages: Sequence[Passage], prompt: Prompt, *, known: str = "") -> Request:
    """Ask about `passages`, in the order given.

    Args:
        known: what the labelled positives answer, for a prompt that shows it.
    """
    shown = "\n".join(f"[{i}] {_line(passage)}" for i, passage in enumerate(passages, 1))
    return Request(
        messages=prompt.messages(query=" ".join(query.split()), passages=shown, known=known),
        max_tokens=_LINE_TOKENS * len(passages) + _END_TOKENS,
        constraint=Matching(r"\n".join(f"{i}: ({YES}|{NO})" for i in range(1, len(passages) + 1))),
        alternatives=LIKELIEST,
        throughout=True,
    )


def _line(passage: Passage) -> str:
    # One line: a passage can't pretend to be another one.
    return " ".join(f"{passage.title}: {passage.text}".split() if passage.title.strip() else passage.text.split())


def read_together(completion: Completion | None, count: int, *, by_word: bool = False) -> tuple[float | None, ...]:
    """Log-odds of an answer against none for each of `count` passages, by number.

    None for a passage that no line, more than one, or an unfinished one is about; and for all where the request failed.

    Args:
        by_word: the engine gives no log-probabilities, so that the word itself decides.
    """
    if completion is None or completion.finish not in ("stop", "length"):
        return (None,) * count
    text = completion.text
    if completion.finish == "length":
        # Nobody knows how its last line would have gone on.
        text = text[: text.rfind("\n") + 1]
    lines = Counter(int(match[1]) for match in _NUMBERED.finditer(text))
    said = {int(match[1]): match for match in _VERDICT.finditer(text) if lines[int(match[1])] == 1}
    if by_word:
        return tuple(_BY_WORD[said[i][2]] if i in said else None for i in range(1, count + 1))
    places = _Places(completion)
    return tuple(places.odds(said[i].start(2)) if i in said else None for i in range(1, count + 1))


class _Places:
    """Which token a place in the text of an answer belongs to.

    White space isn't looked at: servers cut it off texts, and some tokenizers leave it out of a token by itself.
    """

    def __init__(self, completion: Completion) -> None:
        self._text = completion.text
        self._tokens: list[tuple[int, str, Token]] = []
        written = ""
        for token in completion.tokens:
            bare = _bare(token.text)
            self._tokens.append((len(written), bare, token))
            written += bare
        self._sound = written.startswith(_bare(completion.text))

    def odds(self, place: int) -> float | None:
        """Log-odds of the verdict that begins at `place`; None where its token isn't known or leaves both out."""
        if not self._sound:
            return None
        at = len(_bare(self._text[:place]))
        for begin, bare, token in self._tokens:
            if begin <= at < begin + len(bare):
                before = bare[: at - begin]
                odds = log_odds(_instead(token.alternatives, before), before + YES, before + NO)
                return None if odds is None else round(odds, 4)
        return None


def _bare(text: str) -> str:
    return "".join(text.split())


def _instead(alternatives: Mapping[str, float], before: str) -> dict[str, float]:
    """Alternatives without white space that reach beyond `before`, where the verdict begins; equal ones added up."""
    masses: defaultdict[str, float] = defaultdict(float)
    for text, logprob in alternatives.items():
        bare = _bare(text)
        if len(bare) > len(before):
            masses[bare] += math.exp(logprob)
    return {text: math.log(mass) for text, mass in masses.items() if mass}


__all__ = ["LIKELIEST", "NO", "YES", "chunks", "read_together", "together_request"]
