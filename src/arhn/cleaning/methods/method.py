"""What a method is: it is given a group and decides about each of its passages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from arhn.cleaning.asking import Asker
from arhn.cleaning.config import CleanConfig
from arhn.cleaning.methods import METHODS
from arhn.cleaning.models import Models, ModelsRecord
from arhn.engines import Engine
from arhn.errors import UsageError
from arhn.types import CleanedGroup, Group

#: Gives the asker of an LLM: every question to it goes through the same one.
AskerFor = Callable[[Engine], Asker]


class Method(Protocol):
    """Cleans one group at a time."""

    async def clean(self, group: Group) -> CleanedGroup:
        """The group with a decision on each passage (`relabel.decide`, `relabel.finish`)."""
        ...


class MethodClass(Protocol):
    """Makes a method for a run. `asks_llm`: it asks one, so that one is opened for it.

    Raises:
        UsageError: a model that it needs is missing.
        CalibrationError: the settings ask for a calibration that there isn't.
    """

    asks_llm: bool

    def __call__(self, config: CleanConfig, models: Models, asker_for: AskerFor) -> Method: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What decisions rest on beside the settings and models, as a run's summary records it.

    `prompts`: hashes of templates, by family and section. `calibrations`: by family.
    """

    prompts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    calibrations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@runtime_checkable
class Recorded(Protocol):
    """A method's class that can describe what its decisions rest on."""

    def describe_basis(self, config: CleanConfig, described: ModelsRecord, families: Sequence[str]) -> Basis:
        """For the summary of a run in which queries of these families occurred."""
        ...

    def take_fingerprint(self, config: CleanConfig, described: ModelsRecord) -> str:
        """The same for every family, in one text: a run doesn't reuse what was decided under another one.

        Raises:
            CalibrationError: the settings ask for a calibration that there isn't.
        """
        ...


def find_method(config: CleanConfig) -> MethodClass:
    """The class of the method that the settings name. Raises UsageError where there is none of that name."""
    found: MethodClass = METHODS.get(config.method)
    return found


def require_llm(models: Models, config: CleanConfig) -> Engine:
    """The LLM. Raises UsageError where there is none."""
    if models.engine is None:
        raise UsageError(f"method {config.method}: needs an LLM. Give one with --model")
    return models.engine


__all__ = ["AskerFor", "Basis", "Method", "MethodClass", "Recorded", "find_method", "require_llm"]
