"""How far a run is, as lines of the log: one for each logged loss."""

from __future__ import annotations

import logging
import time

from arhn.train.prepare import Prepared

_LOG = logging.getLogger("arhn.train")


class Lines:
    """To be called with each logged loss, as `arhn.train.run.train` does."""

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
