"""`arhn card` and `arhn push` from a run to a card, with the results of its review."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arhn.card.pushing import name_data
from arhn.card.writing_card import make_card, name_source
from arhn.cleaning.run.finished import open_run
from arhn.files.apart import require_apart
from arhn.files.atomic import AtomicFile
from arhn.review.job import Review, read_outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a card is about. `review`: the answers to show; those beside the output unless given, if there are any."""

    output: str
    title: str | None = None
    license: str | None = None
    languages: Sequence[str] = ()
    review: Path | None = None


def read_card(card: Card) -> str:
    """The card as Markdown. Raises ArhnError: a run or a review that can't be read."""
    run = open_run(card.output, "card")
    review = Review(output=card.output, file=card.review)
    outcome = read_outcome(review) if card.review is not None or review.place.exists() else None
    return make_card(
        run,
        title=card.title or f"{name_source(run)}, cleaned",
        data=name_data(card.output),
        license=card.license,
        languages=card.languages,
        outcome=outcome,
    )


def write_card(card: Card, to: Path, *, overwrite: bool) -> None:
    """Write a card to a file. Raises as `read_card`; OutputError where it can't be written."""
    run = open_run(card.output, "card")
    review = Review(output=card.output, file=card.review)
    require_apart({**run.inputs, "the review": review.place}, {"--output": to})
    with AtomicFile(to, overwrite=overwrite) as file:
        file.write(read_card(card).encode(errors="backslashreplace"))
