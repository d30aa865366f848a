"""`arhn train --refresh-negatives`: flags of mining and of cleaning, as one text each."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from arhn.cli import mine
from arhn.cli.clean import add_method
from arhn.cli.judging import add_judging, config_of, models_of
from arhn.cli.serving import add_max_failures
from arhn.cli.shared import flag_of, positive
from arhn.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from arhn.cleaning.models import Models
    from arhn.retrieval.corpus import Corpus
    from arhn.retrieval.search import Searcher
    from arhn.train.preparation import Prepared, Training
    from arhn.train.refresh.mining_corpus import Mining
    from arhn.train.refresh.negatives import Cleaning, NewNegatives

_EVERY, _MINING, _CLEANING = "--refresh-negatives", "--refresh-mining", "--refresh-cleaning"

_GROUPS = "the groups are those in training, and new ones go into the model's folder"
_LABELS = "positives are those of the groups"
_RECORDS = "what a refresh leaves is in the model's folder, under groups/"
#: Flags of the subcommands that have no place in a refresh, and why.
_NOT_MINING = {
    **dict.fromkeys(("-o", "--output", "--to", "--overwrite"), _GROUPS),
    **dict.fromkeys(("--qrels", "--split", "--missing-qrels", "--no-positives"), _LABELS),
    **dict.fromkeys(("--summary", "--candidates"), _RECORDS),
}
_NOT_CLEANING = {
    **dict.fromkeys(("-o", "--output", "--to", "--from", "--split", "--overwrite", "--limit"), _GROUPS),
    **dict.fromkeys(("--on-bad-row", "--rejects"), _GROUPS),
    **dict.fromkeys(("--decisions", "--summary", "--failures"), _RECORDS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshing:
    """What the flags ask for. `options` of retrievers decide what is found, and aren't in their names."""

    every: int
    mining: Mining
    cleaning: Cleaning
    options: Mapping[str, Any]

    def negatives(self, training: Training, run: Prepared) -> NewNegatives:
        """The refreshes of a run. Raises UsageError: they don't go with it."""
        from arhn.train.refresh.negatives import NewNegatives

        with _naming(_EVERY):
            return NewNegatives(self.every, training, run, self.mining, self.cleaning)

    def checked(self, negatives: NewNegatives) -> dict[str, Any]:
        """What the refreshes of a run hang on, once they are known to be possible. Raises as `NewNegatives.check`."""
        return {**negatives.check(), **{f"refresh_mining.{name}": value for name, value in self.options.items()}}


def add_refreshing(parser: argparse.ArgumentParser) -> None:
    """The flags of `refreshing_of`."""
    group = parser.add_argument_group(
        "negatives mined and cleaned again while training goes on", "See docs/training.md, 'New negatives'."
    )
    add = group.add_argument
    add(_EVERY, type=positive, metavar="E", help="after every E epochs, with the model as it is by then")
    add(
        _MINING,
        metavar="FLAGS",
        help="the corpus that the groups come from, and flags of 'arhn mine', in one text: 'FOLDER --range 10:100'",
    )
    add(
        _CLEANING,
        metavar="FLAGS",
        help="flags of 'arhn clean', in one text after a '=': --refresh-cleaning='--model NAME --mode F'; none unless "
        "given",
    )


def refreshing_of(a: argparse.Namespace) -> Refreshing | None:
    """What the flags ask for; None where nothing is to be refreshed.

    Raises:
        UsageError: flags that don't fit, or aren't any.
        MissingDependency, ModelMissing, DeviceMissing: a retriever that can't be used.
        DataError, CalibrationError: a calibration or task map that can't be read.
    """
    given = {_MINING: a.refresh_mining, _CLEANING: a.refresh_cleaning}
    if a.refresh_negatives is None:
        useless = [flag for flag, text in given.items() if text is not None]
        if useless:
            raise UsageError(f"{useless[0]}: does nothing without {_EVERY} E")
        return None
    if a.refresh_mining is None:
        raise UsageError(f"{_EVERY}: which corpus do the groups come from? Give it with {_MINING} FOLDER")
    mined = _parsed(_MINING, a.refresh_mining, _add_mining)
    cleaned = _parsed(_CLEANING, a.refresh_cleaning or "", _add_cleaning)
    return Refreshing(
        every=a.refresh_negatives,
        mining=_mining(mined),
        cleaning=_cleaning(cleaned),
        options={name: getattr(mined, name) for name in (*mine.OF_BM25, "faiss_above")},
    )


def show(out: Console, negatives: NewNegatives, checked: Mapping[str, Any]) -> None:
    """What each refresh will do."""
    name, corpus = negatives.opened
    mining = {what.removeprefix("refresh_mining."): value for what, value in checked.items()}
    roles = (checked.get(f"refresh_cleaning.{role}") for role in ("model", "flagger", "similarity"))
    cleaners = ", ".join([f"method {checked['refresh_cleaning.method']}", *filter(None, roles)])
    epochs = negatives.epochs
    out.print(
        f"after epoch{'s' if len(epochs) > 1 else ''} {', '.join(map(str, epochs))}: mine again in {name} "
        f"({len(corpus):,} passages) with {', '.join(mining['retrievers'])}, {mining['negatives']} negatives a query "
        f"from the ranks {mining['range_min']}:{mining['range_max']}; clean by {cleaners}"
        + (f"; answers are kept in {negatives.store}" if "refresh_cleaning.model" in checked else ""),
        soft_wrap=True,
    )


class _Text(argparse.ArgumentParser):
    """Parses flags inside of a flag, which its errors name."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}")


class _Refused(argparse.Action):
    """A flag of the subcommand that has no place here; `const` says why."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        parser.error(f"{self.option_strings[0]} has no place here: {self.const}")


def _parsed(flag: str, text: str, add: Callable[[argparse.ArgumentParser], None]) -> argparse.Namespace:
    parser = _Text(flag, add_help=False, allow_abbrev=False)
    add(parser)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{flag}: {error}, in {text!r}") from error
    return parser.parse_args(words)


def _refuse(parser: argparse.ArgumentParser, flags: Mapping[str, str]) -> None:
    for flag, why in flags.items():
        parser.add_argument(flag, action=_Refused, nargs="?", const=why, default=argparse.SUPPRESS)


def _add_mining(parser: argparse.ArgumentParser) -> None:
    mine.add_files(parser, ("queries", "corpus"))
    mine.add_rules(parser)
    mine.add_retrievers(parser)
    _refuse(parser, _NOT_MINING)


def _add_cleaning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", type=Path)
    add_method(parser)
    add_judging(parser)
    add_max_failures(parser)
    _refuse(parser, _NOT_CLEANING)


def _mining(a: argparse.Namespace) -> Mining:
    from arhn.retrieval.dense import FAISS_ABOVE
    from arhn.train.refresh.mining_corpus import CURRENT, Mining

    with _naming(_MINING):
        names, by = mine.retrievers_of(a, CURRENT)
        others = [name for name in names if name != CURRENT]
        given = [name for name in mine.OF_LOADED if getattr(a, name) is not None]
        if given and {*others} <= {mine.BM25}:
            raise UsageError(
                f"{flag_of(given[0])}: does nothing for the model in training, which is used as it is. Leave it out"
            )
        for name in others:
            mine.opener(a, name)  # for what can be seen of it by now
        return Mining(
            folder=a.folder,
            queries=a.queries,
            corpus=a.corpus,
            settings=mine.settings_of(a),
            retrievers={name: None if name == CURRENT else _anew(a, name) for name in names},
            score_by=by,
            batch_size=a.batch_size or 32,
            faiss_above=FAISS_ABOVE if a.faiss_above is None else a.faiss_above,
        )


def _anew(a: argparse.Namespace, name: str) -> Callable[[Corpus], Searcher]:
    """A retriever whose model isn't kept in memory between refreshes."""
    return lambda corpus: mine.opener(a, name)(corpus)


def _cleaning(a: argparse.Namespace) -> Cleaning:
    from arhn.train.refresh.negatives import Cleaning

    def opened(stack: ExitStack) -> Models:
        with _naming(_CLEANING):
            return models_of(a, stack)

    with _naming(_CLEANING):
        return Cleaning(config=config_of(a), open_models=opened, store=a.store, max_failures=a.max_failures)


@contextmanager
def _naming(flag: str) -> Iterator[None]:
    """Name the flag in whose text a mistake is."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{flag}: {error}") from error
