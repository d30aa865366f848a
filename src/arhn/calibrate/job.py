"""Calibrating from files: what `arhn calibrate` does. Labels and groups are joined by id, the LLM is asked, and the
calibrations are written in one piece. What was answered is in the response store, so a killed run goes on from there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import orjson

from arhn import store
from arhn.agree.agreement import VIEWS
from arhn.agree.judgements import ABSTAINED, NEITHER, Judgements, Kind, load
from arhn.calibrate.fit import Fit, LabelledGroup, fit, require_enough, require_library
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.extract.stage import Evidence
from arhn.cleaning.first_groups import open_groups
from arhn.cleaning.methods.arhn import find_asked_negatives
from arhn.cleaning.models import Models
from arhn.cleaning.pipeline import aevidence
from arhn.cleaning.setup import choose_prompt, count_samples
from arhn.cleaning.stats import Stats
from arhn.engines import Engine
from arhn.engines.loops import LoopThread
from arhn.errors import CalibrationError, DataError, UsageError, describe_count
from arhn.families.choice import LEFT_ALONE, family_of
from arhn.files.apart import Named, require_apart
from arhn.files.atomic import AtomicFile
from arhn.formats import detect, read
from arhn.formats.detection import CORRECT_OR_SKIP
from arhn.store import SqliteStore
from arhn.types import Group

_WEIGHTS = re.compile(r"sha256:[0-9a-f]{16}")
Labels = Mapping[str, bool | None]
OnGroup = Callable[[int, int, Stats], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """What to fit on, and where to. `store` is beside the output unless given.

    `inputs` are other files that are read, by the flags that name them: no output may replace one.
    """

    gold: Path
    groups: str
    output: Path
    store: Path | None = None
    inputs: Named = field(default_factory=dict)
    format: str | None = None
    split: str | None = None
    limit: int | None = None
    overwrite: bool = False

    @property
    def answers(self) -> Path:
        """Where the response store is.

        Raises:
            UsageError: a path that doesn't end in a name.
        """
        for path in filter(None, (self.output, self.store)):
            if path.name in ("", ".."):
                raise UsageError(f"{str(path)!r}: has no file name to write to. Name a file")
        return self.store or self.output.with_name(f"{self.output.name.removesuffix('.json')}.responses.sqlite")


def calibrate(
    fitting: Fitting,
    config: CleanConfig,
    open_models: Callable[[ExitStack], Models],
    *,
    on_group: OnGroup | None = None,
) -> Calibrated:
    """Fit a calibration for every family of queries with enough labels, and write them to a file.

    Args:
        open_models: called once files and labels are known to be good; what it opens it hands to the stack.
        on_group: called before the first group and after each, with how many are done, how many there are, and what
            was asked so far.

    Raises:
        CalibrationError: labels that match no group, too few of them or of one class, or an LLM that can't be
            calibrated. Nothing is written then.
        MissingDependency: scikit-learn isn't installed.
        ArhnError: see errors.py.
    """
    inputs = {"the input GOLD": fitting.gold, "the input GROUPS": fitting.groups, **fitting.inputs}
    require_apart(inputs, {"--output": fitting.output, "--store": fitting.answers})
    require_library()
    judgements = load(str(fitting.gold))
    try:
        source = detect(fitting.groups, split=fitting.split, format=fitting.format)
        # The first groups of the file, labelled or not: a cleaning run of it settles the same.
        config, read_again = open_groups(read(source), config)
        groups = list(islice(_read_labelled(read_again, config, judgements), fitting.limit))
    except DataError as error:
        if error.advice == CORRECT_OR_SKIP:
            error.advice = "Correct the row"
        raise
    skipped = _find_too_small(groups, fitting, judgements)
    groups = [labelled for labelled in groups if labelled[2] not in skipped]
    store.check(fitting.answers)
    with ExitStack() as stack:
        output = stack.enter_context(AtomicFile(fitting.output, overwrite=fitting.overwrite))
        models = open_models(stack)
        evidence = _gather_evidence(groups, fitting, config, models, stack, on_group)
        fits, failed = _fit_families(groups, evidence, config, models)
        fitted_on = {"data": Path(fitting.groups).name, "when": datetime.now(UTC).date().isoformat()}
        rows = [
            c.model_copy(update={"fitted": {**c.fitted, **fitted_on}}).model_dump(mode="json")
            for c in (f.calibration for f in fits.values())
        ]
        output.write(orjson.dumps(rows, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return Calibrated(fits=fits, skipped=skipped | failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The fits by family, and why other families have none."""

    fits: Mapping[str, Fit]
    skipped: Mapping[str, str]


Labelled = tuple[Group, Labels, str]


def _read_labelled(read_groups: Iterator[Group], config: CleanConfig, judgements: Judgements) -> Iterator[Labelled]:
    """The groups that have labels which count, and these by `doc_id`: about others the LLM needn't be asked."""
    for group in read_groups:
        words = judgements.groups.get(group.query_id)
        family = family_of(group, config.families).family
        if words is None or family == LEFT_ALONE:
            continue
        unnamed = NEITHER if judgements.kind is Kind.VERDICTS else None
        asked = find_asked_negatives(group, config.negatives)
        labels = {p.doc_id: _read_label(words.get(p.doc_id, unnamed)) for p in asked}
        if any(label is not None for label in labels.values()):
            yield group, labels, family


def _read_label(word: str | None) -> bool | None:
    """Whether a word calls a negative false; None where it does neither."""
    found = None if word is None or word in ABSTAINED else VIEWS["found"][1].get(word)
    return None if found is None else found == "found"


def _find_too_small(groups: Sequence[Labelled], fitting: Fitting, judgements: Judgements) -> dict[str, str]:
    """The families with too few labels, found before the LLM is asked for hours.

    Raises:
        CalibrationError: no labels, or too few of every family.
    """
    if not groups:
        some = next(iter(judgements.groups), "")
        labelled = describe_count(len(judgements.groups), "group")
        raise CalibrationError(
            f"{fitting.gold}: none of its {labelled} (query_id {some!r}, ...) has a labelled negative in "
            f"{fitting.groups}. Give the groups that these labels are of, with the same query_id and doc_id"
        )
    families = {family for _, _, family in groups}
    problems: dict[str, str] = {}
    for family in sorted(families):
        placeholders = [
            LabelledGroup(query_id=g.query_id, signals={}, labels=tuple(labels.values()))
            for g, labels, f in groups
            if f == family
        ]
        try:
            require_enough(placeholders)
        except CalibrationError as error:
            problems[family] = str(error)
    if len(problems) == len(families):
        raise CalibrationError(f"{fitting.gold}: {'; '.join(f'{f}: {why}' for f, why in problems.items())}")
    return problems


def _gather_evidence(
    groups: Sequence[Labelled],
    fitting: Fitting,
    config: CleanConfig,
    models: Models,
    stack: ExitStack,
    on_group: OnGroup | None,
) -> list[Evidence]:
    if models.engine is not None and count_samples(config, models.engine.capabilities) == 1:
        raise CalibrationError(
            f"{models.engine.model} gives no log-probabilities, and a single answer has no confidence. "
            "Let several answers vote: --set samples=5"
        )
    stats = Stats()
    answers = stack.enter_context(SqliteStore(fitting.answers, model=models.engine.model if models.engine else ""))
    found: list[Evidence] = []
    stream = aevidence((g for g, _, _ in groups), models, config=config, store=answers, stats=stats)
    if on_group is not None:
        on_group(0, len(groups), stats)
    with LoopThread() as loop:
        try:
            while (evidence := loop.run(lambda: anext(stream, None))) is not None:
                found.append(evidence)
                if on_group is not None:
                    on_group(len(found), len(groups), stats)
        finally:
            loop.run(stream.aclose)
    return found


def _fit_families(
    groups: Sequence[Labelled], evidence: Sequence[Evidence], config: CleanConfig, models: Models
) -> tuple[dict[str, Fit], dict[str, str]]:
    by_family: dict[str, list[LabelledGroup]] = defaultdict(list)
    for (group, labels, family), found in zip(groups, evidence, strict=True):
        by_family[family].append(
            LabelledGroup(
                query_id=group.query_id,
                signals=found.negatives,
                labels=tuple(labels.values()),
                positives=found.positives,
                flags=found.flags,
            )
        )
    engine = models.engine
    assert engine is not None  # nosec B101 - narrows a type
    fits: dict[str, Fit] = {}
    failures: dict[str, CalibrationError] = {}
    for family, labelled in by_family.items():
        try:
            fits[family] = fit(
                labelled,
                model=_identify(engine),
                prompt=choose_prompt(family, config).hash,
                family=str(family),
                samples=count_samples(config, engine.capabilities),
                scorer=models.similarity.identity if models.similarity else "",
                flagger=_identify(models.small_model) if models.small_model else "",
            )
        except CalibrationError as error:
            failures[family] = error
    if not fits:
        raise next(iter(failures.values()))
    return fits, {family: str(error) for family, error in failures.items()}


def _identify(engine: Engine) -> str:
    """What a calibration knows a model by: its weights, where it has a file of them."""
    weights = _WEIGHTS.search(engine.model)
    return weights[0] if weights else engine.model
