"""What several subcommands share: how a task is added, its input flags, numbers, standard output."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from arhn.errors import UsageError
from arhn.formats import Format

FORMATS = [f.value for f in Format]
#: What argparse's add_subparsers returns.
Tasks = Any


def task(
    tasks: Tasks,
    name: str,
    run: Callable[[argparse.Namespace], None],
    summary: str,
    *,
    resumes: bool = False,
    resume_with: str = "",
) -> argparse.ArgumentParser:
    """A subcommand. After Ctrl-C the same command goes on where it was (`resumes`), or does with `resume_with`."""
    # An abbreviation may be another flag's name: --mode, which calibrate doesn't have, would be --model.
    parser: argparse.ArgumentParser = tasks.add_parser(
        name, help=summary, description=f"{summary.capitalize()}.", allow_abbrev=False
    )
    kept = "Every answer so far is kept; the same command goes on from there" if resumes else ""
    parser.set_defaults(run=run, resumes=resume_with or kept)
    return parser


def add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "input", help="a file of groups, also at s3:// or gs://, a folder saved by datasets, or hf://org/name[:split]"
    )
    parser.add_argument("-o", "--output", required=True, help="where the groups go")
    parser.add_argument("--from", dest="from_format", choices=FORMATS, help="the input's format; detected unless given")
    parser.add_argument("--split", help="the split of a data set that has several")
    parser.add_argument("--on-bad-row", choices=("fail", "skip"), default="fail", help="default: %(default)s")
    parser.add_argument("--rejects", type=Path, help="where skipped rows go; beside the output unless given")
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that are there already")


def flag_of(name: str) -> str:
    """The flag that sets something of that name."""
    return f"--{name.replace('_', '-')}"


def unfit(error: ValidationError, flags: Mapping[str, str] = MappingProxyType({})) -> UsageError:
    """What settings refused, as said of the flags that gave it.

    Args:
        flags: those that are called otherwise than what they set.
    """
    problems = [(".".join(map(str, e["loc"])), e["msg"], e["input"]) for e in error.errors()]
    return UsageError("; ".join(f"{flags.get(n) or flag_of(n)}: {said}, found {v!r}" for n, said, v in problems))


def positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {2**31 - 1}, found {text!r}")
    return int(text)


def number(expected: str, fits: Callable[[float], bool]) -> Callable[[str], float]:
    """What reads a flag's number.

    Args:
        expected: says in words what `fits`.
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not fits(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
        return value

    return read


amount = number("a number above 0", lambda x: 0 < x < math.inf)


def console() -> Console:
    """Standard output. Much of what is shown isn't ours: "[b]" and ":smile:" in it stay as they are."""
    return Console(markup=False, emoji=False)
