"""What happens between the steps of a run. This module imports transformers; import it where training begins."""

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
from arhn.train.output import Folder
from arhn.train.prepare import Prepared

if TYPE_CHECKING:
    from arhn.train.trainers import RerankerTrainer, RetrieverTrainer

#: Called before an epoch (from 0) with the model, and whether the epoch was begun by an earlier process; gives the
#: groups to go on with, or None for those there are.
BeforeEpoch = Callable[[Any, int, bool], GroupStore | None]
#: Called with each logged line: step, loss, learning_rate, and other numbers of the trainer's.
OnLog = Callable[[dict[str, float]], None]


class Epochs(TrainerCallback):
    """Puts the plan at each epoch, with the groups that `before_epoch` gives for it."""

    def __init__(self, trainer: RetrieverTrainer | RerankerTrainer, before_epoch: BeforeEpoch) -> None:
        self._trainer = trainer
        self._before_epoch = before_epoch

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An epoch begins, or is gone on with in its middle."""
        plan, trainer = self._trainer.plan, self._trainer
        epoch, done = divmod(state.global_step, plan.schedule.steps)
        with untouched(trainer.model):
            store = self._before_epoch(trainer.model, epoch, done > 0)
        if store is not None:
            trainer.examples.store = store
        plan.epoch, plan.groups = epoch, len(trainer.examples.store)


class Marking(TrainerCallback):
    """Says of each checkpoint that it is whole, once it is."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint was written, by all processes."""
        if torch.distributed.is_initialized():
            torch.distributed.barrier()
        if state.is_world_process_zero:
            self._folder.mark(state.global_step)


class Logging(TrainerCallback):
    """Hands on the losses, and stops a run that has lost its way."""

    def __init__(self, on_log: OnLog | None) -> None:
        self._on_log = on_log

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last steps are logged too, however few they are."""
        if state.global_step >= state.max_steps:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """A line of the log."""
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
def untouched(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; afterwards its mode and all random numbers are as before."""
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


_LOG = logging.getLogger("arhn.train")


class Lines:
    """To be called with each logged loss, as `arhn.train.job.train` does."""

    def __init__(self, run: Prepared) -> None:
        self._run = run
        self._begun: tuple[int, float] | None = None

    def __call__(self, logs: dict[str, float]) -> None:
        """Write one line."""
        step, now = int(logs["step"]), time.monotonic()
        first, since = self._begun = self._begun or (step, now)
        left = ""
        if step > first:
            each = (now - since) / (step - first)
            left = f", {each:.2f} s a step, {_shown((self._run.steps - step) * each)} left"
        epoch = -(-step // self._run.schedule.steps)
        _LOG.info("step %d of %d, epoch %d: loss %.4f%s", step, self._run.steps, epoch, logs["loss"], left)


def _shown(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
