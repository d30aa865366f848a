"""One cleaning run from file to files: what `arhn clean` does, for the command line and for scripts.

Outputs are prepared side by side and published together, the cleaned groups last, so that a file under its
own name is always whole. What a killed run had answered is in the response store.
"""

from typing import TYPE_CHECKING

from arhn.libraries import lazily

if TYPE_CHECKING:
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

__getattr__ = lazily(
    __name__,
    {
        "Files": f"{__name__}.files:Files",
        **{
            name: f"{__name__}.job:{name}"
            for name in ("Cleaner", "Job", "OnGroup", "carry_out", "close", "count", "run")
        },
        "Outputs": f"{__name__}.outputs:Outputs",
        "placed": f"{__name__}.uploads:placed",
        "require_apart": "arhn.files.apart:require_apart",
        **{name: f"arhn.formats.convert:{name}" for name in ("Converted", "convert")},
    },
)
