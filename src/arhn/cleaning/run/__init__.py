"""One cleaning run from file to files: what `arhn clean` does, for the command line and for scripts.

Outputs are prepared side by side and published together, the cleaned groups last, so that a file under its
own name is always whole. What a killed run had answered is in the response store.
"""

from __future__ import annotations

from arhn.cleaning.run.files import Files
from arhn.cleaning.run.job import Cleaner, Job, OnGroup, carry_out, close, count, run
from arhn.cleaning.run.outputs import Outputs
from arhn.cleaning.run.uploads import placed
from arhn.files.apart import require_apart
from arhn.formats.convert import Converted, convert

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
