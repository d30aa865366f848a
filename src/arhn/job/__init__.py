"""One cleaning run from file to files: what `arhn clean` does, for the command line and for scripts.

Outputs are prepared side by side and published together, the cleaned groups last, so that a file under its
own name is always whole. What a killed run had answered is in the response store.
"""

from __future__ import annotations

from arhn.job.apart import require_apart
from arhn.job.conversion import Converted, convert
from arhn.job.files import Files
from arhn.job.outputs import Outputs
from arhn.job.run import Cleaner, Job, OnGroup, carry_out, close, count, run
from arhn.job.uploads import placed

__all__ = [
    "Cleaner",
    "Converted",
    "Files",
    "Job",
    "OnGroup",
    "Outputs",
    "carry_out",
    "close",
    "convert",
    "count",
    "placed",
    "require_apart",
    "run",
]
