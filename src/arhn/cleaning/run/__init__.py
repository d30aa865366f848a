"""One cleaning run from file to files: what `arhn clean` does, for the command line and for scripts.

Outputs are prepared side by side and published together, the cleaned groups last, so that a file under its
own name is always whole. What a killed run had answered is in the response store.
"""

from typing import TYPE_CHECKING

from arhn.libraries import lazily

if TYPE_CHECKING:
    from arhn.cleaning.run.files import Files
    from arhn.cleaning.run.job import Cleaner, Job, OnGroup, carry_out, close, count, run
    from arhn.cleaning.run.uploads import placed

__all__ = [
    "Cleaner",
    "Files",
    "Job",
    "OnGroup",
    "carry_out",
    "close",
    "count",
    "placed",
    "run",
]

__getattr__ = lazily(
    __name__,
    {
        "Files": f"{__name__}.files:Files",
        **{
            name: f"{__name__}.job:{name}"
            for name in ("Cleaner", "Job", "OnGroup", "carry_out", "close", "count", "run")
        },
        "placed": f"{__name__}.uploads:placed",
    },
)
