"""A log line now and then, for loops over a corpus that may take hours."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

logger = logging.getLogger(__name__)

#: Seconds between two lines; a loop that takes less says nothing.
EVERY = 10.0


def told(starts: range, what: str) -> Iterator[int]:
    """`starts`, logging now and then how many of `starts.stop` passages are `what`."""
    last = time.monotonic()
    for start in starts:
        now = time.monotonic()
        if now - last >= EVERY:
            last = now
            logger.info("%s of %s passages %s", f"{start:,}", f"{starts.stop:,}", what)
        yield start
