"""Callbacks of the trainers: what happens between the steps of a run.

This module imports transformers, so import it only where training starts.
"""

# ruff: noqa: ARG002  # the signatures are transformers'

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import TrainerCallback

from arhn.errors import TrainingError
from arhn.train.groups import GroupStore
from arhn.train.model_folder import ModelFolder
from arhn.train.preparation import Prepared

if TYPE_CHECKING:
    from arhn.train.trainers import RerankerTrainer, RetrieverTrainer

_LOG = logging.getLogger("arhn.train")

#: Called before an epoch with the model, the epoch's number from 0, and whether an earlier process started the epoch.
#: Returns the groups to train on from now on, or None to keep the present ones.
BeforeEpoch = Callable[[Any, int, bool], GroupStore | None]
#: Called with each logged line: step, loss, learning_rate, and the trainer's other numbers.
OnLog = Callable[[dict[str, float]], None]


class EpochStart(TrainerCallback):
    """Sets the plan to each epoch as it starts, and exchanges the groups if `before_epoch` returns others."""

    def __init__(self, trainer: RetrieverTrainer | RerankerTrainer, before_epoch: BeforeEpoch) -> None:
        self._trainer = trainer
        self._before_epoch = before_epoch

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called when an epoch starts, or is resumed in its middle."""
        plan, trainer = self._trainer.plan, self._trainer
        epoch, done = divmod(state.global_step, plan.schedule.steps)
        with preserve_state(trainer.model):
            store = self._before_epoch(trainer.model, epoch, done > 0)
        if store is not None:
            trainer.examples.store = store
        plan.epoch, plan.groups = epoch, len(trainer.examples.store)


class CheckpointMarker(TrainerCallback):
    """Marks each checkpoint as complete, once all processes have written it."""

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after this process wrote its part of a checkpoint."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            self._folder.mark_complete(state.global_step)


class LossLogger(TrainerCallback):
    """Passes losses on, and stops a run whose loss isn't a number."""

    def __init__(self, on_log: OnLog | None) -> None:
        self._on_log = on_log

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after a step; makes sure that the last steps are logged too."""
        if state.global_step >= state.max_steps:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Called with each line that the trainer logs.

        Raises:
            TrainingError: the loss isn't a finite number.
        """
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"the loss isn't a number at step {state.global_step}. Take a lower learning rate "
                f"(now {args.learning_rate:g}), a longer warm-up, or --set precision=float32"
            )
        if self._on_log is not None and state.is_world_process_zero:
            self._on_log({"step": state.global_step, **logs})


@contextmanager
def preserve_state(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode; afterwards restore its mode and the state of all random generators."""
    training, python = model.training, random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    cpu = torch.get_rng_state()
    model.eval()
    try:
        yield
    finally:
        model.train(training)
        random.setstate(python)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)


class ProgressLog:
    """Logs progress: pass it to `arhn.train.job.train` as `on_log`."""

    def __init__(self, run: Prepared) -> None:
        self._run = run
        self._start: tuple[int, float] | None = None

    def __call__(self, logs: dict[str, float]) -> None:
        """Log one line: step, epoch, loss, and from the second line on the time left."""
        step, now = int(logs["step"]), time.monotonic()
        first, since = self._start = self._start or (step, now)
        left = ""
        if step > first:
            each = (now - since) / (step - first)
            left = f", {each:.2f} s a step, {_format_duration((self._run.steps - step) * each)} left"
        epoch = -(-step // self._run.schedule.steps)
        _LOG.info("step %d of %d, epoch %d: loss %.4f%s", step, self._run.steps, epoch, logs["loss"], left)


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
