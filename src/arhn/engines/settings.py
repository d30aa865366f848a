"""What all engines' settings have in common. Each engine's own settings are in its `settings.py`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from arhn.engines.probes import USUAL_CONTEXT
from arhn.engines.protocol import Capabilities, Engine

if TYPE_CHECKING:
    from arhn.engines.openai.budget import Budget

#: How an estimate counts the tokens of a prompt: by the tokenizer of an engine in this process, and what its slots or
#: its shared prefixes hold; by the tokenizer of its server; or by its characters.
Counted = Literal["slots", "prefixes", "server", "characters"]
#: The most that any whole number here may be.
MOST = 2**31 - 1


class EngineSettings(BaseModel, ABC):
    """A model and the engine that computes it. Unknown keys are refused.

    A subclass says what `name` is: the engine's entry in `arhn.engines.ENGINES`.

    Raises:
        pydantic.ValidationError: an unknown key, or a value out of range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), defer_build=True)

    #: Whether requests cost money, so that a budget can be kept to.
    paid: ClassVar[bool] = False
    #: Whether it computes in this process: then it is a small model, on a machine of the user's own.
    in_process: ClassVar[bool] = False
    counted: ClassVar[Counted] = "characters"

    name: str = Field(description="The engine.")
    model: str = Field(default="", description="The model's name.")
    context: StrictInt | None = Field(
        default=None,
        ge=1,
        le=MOST,
        description="The most that a request may take, prompt and answer; what the engine has, unless given.",
        json_schema_extra={"unit": "tokens"},
    )

    @abstractmethod
    def open(self, budget: Budget | None = None) -> Engine:
        """The engine, ready to be asked. The caller closes it.

        Args:
            budget: what may be spent, shared by all engines of a run; only for those that are `paid`.

        Raises:
            UsageError: something is missing here.
            ModelError, MissingDependency, DeviceMissing: see errors.py.
        """

    @property
    def missing(self) -> str:
        """Why the engine can't be opened without computing anything, as before an estimate; empty where it can."""
        return ""

    @property
    def requests(self) -> int:
        """Requests in flight at once."""
        return 64

    def planned(self) -> Capabilities:
        """What the engine will be able to do if it has everything that engines have."""
        return Capabilities(
            constraints=True, logprobs=True, concurrency=self.requests, context=self.context or USUAL_CONTEXT
        )


class InProcessSettings(EngineSettings):
    """A GGUF model that is computed in this process."""

    in_process: ClassVar[bool] = True

    context: StrictInt = Field(
        default=4096,
        ge=1,
        le=MOST,
        description="The most that a request may take, prompt and answer.",
        json_schema_extra={"unit": "tokens"},
    )
