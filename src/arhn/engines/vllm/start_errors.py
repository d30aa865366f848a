"""What vLLM's errors mean to the user who started it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from arhn.errors import EngineError, ModelError, ModelMissing, ModelUnavailable

_UNREACHABLE = frozenset(
    {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", "ConnectTimeout"}
)
_MISSING = frozenset({"HFValidationError", "RepositoryNotFoundError", "RevisionNotFoundError", "GatedRepoError"})
_NO_FOLDER = "Invalid repository ID or local directory"
_NO_DEVICE = "Failed to infer device type"
_MEMORY = re.compile(
    r"out of memory|no available memory|free memory on device|not enough memory|allocate memory|memoryerror"
    r"|available kv cache memory|memory pool",
    re.IGNORECASE,
)
#: In front of what the main process of vLLM couldn't go on after.
_FATAL = "encountered a fatal error"
#: Not that it is dead, which says nothing of why.
_RAISED = re.compile(r"^(?:\w+\.)*((?!EngineDeadError)[A-Za-z_]\w*(?:Error|Exception)): (.+)", re.MULTILINE)
_LONGEST = 400


def find_first_raised(logged: str) -> str:
    """The first exception in what was logged, which the others follow from; empty where there is none."""
    found = _RAISED.search(logged.rpartition(_FATAL)[2])
    return f"{found[1]}: {_short(found[2])}" if found else ""


def explain(error: BaseException, model: str, reason: str) -> ModelError:
    """The error to raise for an exception that vLLM raised while it started.

    Args:
        reason: what its other processes logged; empty where they logged nothing.
    """
    raised = {type(each).__name__ for each in _chain(error)}
    why = reason or f"{type(error).__name__}: {_short(str(error))}"
    if raised & _UNREACHABLE:
        return ModelUnavailable(
            f"{model}: not on this machine, and its hub can't be asked ({why}). Fetch it first, or give a folder"
        )
    if raised & _MISSING or _NO_FOLDER in str(error):
        return ModelMissing(
            f"{model}: no model that vLLM finds ({why}). Give a folder in Hugging Face's format, or the name of one "
            "on its hub (org/name); one that is gated needs HF_TOKEN"
        )
    if _NO_DEVICE in why:
        return EngineError(
            f"vLLM finds no GPU that it can use on this machine ({why}). Look at the driver, or install the vLLM "
            "that is built for this device; on a CPU, --engine llamacpp is the simpler choice"
        )
    if _MEMORY.search(why):
        return EngineError(
            f"{model}: not enough memory ({why}). Give another engine.gpu_memory, a smaller engine.context or "
            "engine.concurrency, more GPUs with engine.tensor_parallel, or a smaller model"
        )
    guard = ". A script needs the guard if __name__ == '__main__', for vLLM starts processes"
    return EngineError(f"{model}: vLLM can't start ({why}){guard if 'bootstrapping' in why else ''}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _short(text: str) -> str:
    """On one line, and not too long."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


__all__ = ["explain", "find_first_raised"]
