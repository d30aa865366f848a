"""What the queries of each family are asked with: the family's prompts, and the model's calibration for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from arhn.cleaning import prompts
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.evidence.calibration import OWN_WORD, Calibration, TriagePoint, find_calibration
from arhn.cleaning.evidence.triage import USUAL_AGREEMENT
from arhn.cleaning.models import ModelsRecord
from arhn.cleaning.prompts import FamilyPrompts, Prompt
from arhn.cleaning.prompts.own import make_prompts
from arhn.engines import Capabilities
from arhn.errors import CalibrationError
from arhn.families.choice import Choice
from arhn.families.data_set_names import normalize
from arhn.families.family import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySetup:
    """What the queries of one family are asked with.

    `fitted`: a calibration decides; else the LLM's own word does, or nothing is decided. `source`: where it comes from,
    `given`, `auto`, `shipped` or `none`. `triage`: from which likelihood on negatives are asked about; None: all are.
    """

    family: str
    prompts: FamilyPrompts
    calibration: Calibration
    fitted: bool
    source: str = "none"
    triage: TriagePoint | None = None

    def holds(self, log_odds: float | None) -> bool:
        """Whether a labelled positive answers as surely as nearly all of those that the model was calibrated on."""
        return log_odds is not None and log_odds >= self.calibration.doubtful


#: Families that are judged only with a calibration, unless a user chooses them. By its own word the starter takes six
#: of ten contradictions and other sentences for the same (SICK, 10 groups), though it orders them well: AUC 0.94 when
#: centred in the group.
NEED_CALIBRATION = frozenset({Family.PARAPHRASE})


def is_judged(choice: Choice, setup: FamilySetup) -> bool:
    """Whether queries of a family are judged at all; else their labels stay."""
    chosen = choice.source == "map" or (choice.name is not None and normalize(choice.name) == choice.family)
    return setup.fitted or chosen or choice.family not in NEED_CALIBRATION


def count_samples(config: CleanConfig, capabilities: Capabilities) -> int:
    """Sampled answers per passage; 0: one token with log-probabilities instead."""
    return config.samples or (0 if capabilities.logprobs else 1)


def list_families(config: CleanConfig) -> tuple[str, ...]:
    """The names of all families: those that come with arhn, then the user's own."""
    return (*Family, *config.family)


def find_prompts(family: str, config: CleanConfig) -> FamilyPrompts:
    """What queries of a family are asked with."""
    own = config.family.get(family)
    return prompts.load(family) if own is None else make_prompts(own)


def choose_prompt(family: str, config: CleanConfig) -> Prompt:
    """What negatives are asked with, and so what a calibration is for."""
    found = find_prompts(family, config)
    return found.check if config.show_answer else found.extract


def set_up(config: CleanConfig, described: ModelsRecord) -> dict[str, FamilySetup]:
    """Prompts and calibration of every family, for these models.

    Where a precision is asked for, a family that has no calibration, or one that doesn't reach it, abstains.

    Raises:
        CalibrationError: something is asked for that needs a calibration, and no family has a fitting one.
    """
    assert described.capabilities is not None  # nosec B101 - narrows a type
    model, scorer = described.names["model"], described.names.get("similarity", "")
    small_model = described.names.get("flagger", "")
    samples = count_samples(config, described.capabilities)
    look_up = partial(
        find_calibration,
        model,
        samples=samples,
        small_model=small_model,
        given=config.own_calibrations,
        shipped=config.fallback != "none",
    )
    found = {family: look_up(choose_prompt(family, config).hash, scorer=scorer) for family in list_families(config)}
    if _does_without(config):
        found = {f: known or look_up(choose_prompt(f, config).hash, scorer="") for f, known in found.items()}
    own = config.own_calibrations
    if not any(found.values()) or (own and not any(c in own for c in found.values())):
        _refuse_uncalibrated(config, model, samples, scorer)
    used = found if config.precision is None else _reach_precision(found, config.precision)
    instead = {
        family: OWN_WORD if config.precision is None else (known or OWN_WORD).abstain()
        for family, known in found.items()
    }
    return {
        family: FamilySetup(
            family=family,
            prompts=find_prompts(family, config),
            calibration=known or instead[family],
            fitted=known is not None,
            source=_find_source(known, own),
            triage=None if known is None else _find_triage(known, config, small_model),
        )
        for family, known in used.items()
    }


def require_fitting(config: CleanConfig, described: ModelsRecord) -> None:
    """Raises CalibrationError where calibrations are given, and none of them is for these models and settings."""
    own = config.own_calibrations
    if not own:
        return
    assert described.capabilities is not None  # nosec B101 - narrows a type
    model, scorer = described.names["model"], described.names.get("similarity", "")
    samples = count_samples(config, described.capabilities)
    for family in list_families(config):
        prompt = choose_prompt(family, config).hash
        if find_calibration(model, prompt, samples=samples, scorer=scorer, given=own, shipped=False):
            return
    _refuse_uncalibrated(config, model, samples, scorer)


def set_up_uncalibrated(config: CleanConfig) -> dict[str, FamilySetup]:
    """Prompts of every family, to make calibrations with."""
    return {
        family: FamilySetup(family=family, prompts=find_prompts(family, config), calibration=OWN_WORD, fitted=False)
        for family in list_families(config)
    }


def _find_source(calibration: Calibration | None, own: Sequence[Calibration]) -> str:
    if calibration is None:
        return "none"
    if "rate" in calibration.fitted:
        return "auto"
    return "given" if calibration in own else "shipped"


def _find_triage(calibration: Calibration, config: CleanConfig, small_model: str) -> TriagePoint | None:
    """From which likelihood on negatives are asked about; all of them where the calibration can't say, unless asked."""
    if config.triage == 1 or (config.triage is None and not calibration.knows_triage(small_model)):
        return None
    return calibration.find_triage(config.triage or USUAL_AGREEMENT, small_model)


def _reach_precision(found: Mapping[str, Calibration | None], precision: float) -> dict[str, Calibration | None]:
    reached: dict[str, Calibration | None] = dict.fromkeys(found)
    problems = []
    for family, calibration in found.items():
        try:
            reached[family] = calibration and calibration.reach_precision(precision)
        except CalibrationError as error:
            problems.append(error)
    if problems and not any(reached.values()):
        raise problems[0]
    return reached


def _does_without(config: CleanConfig) -> bool:
    """Whether similarities may be left out: the run would have weighed them itself, but its input was too small."""
    return "auto" in config.calibrations and config.fallback == "shipped"


def _refuse_uncalibrated(config: CleanConfig, model: str, samples: int, scorer: str) -> None:
    """Refuse what only a calibration makes possible."""
    wanted = {
        "precision": config.precision is not None,
        "triage": config.triage is not None and config.triage < 1,
        "similarity": bool(scorer) and not _does_without(config),
        "calibrations": bool(config.own_calibrations),
    }
    flags = ", ".join(flag for flag, given in wanted.items() if given)
    if not flags:
        return
    signal = f"{samples} sampled answer(s) a passage" if samples else "log-probabilities"
    fused = f" and the similarity of {scorer}" if scorer else ""
    raise CalibrationError(
        f"{flags}: there is no calibration for {model} with {signal}{fused}. Make one from labelled groups with "
        "'arhn calibrate' and the same settings, and give it with --calibration; or leave these settings out"
    )
