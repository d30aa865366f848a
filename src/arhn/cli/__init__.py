"""The command line: one subcommand a task, one file each. It parses, calls and prints; what it calls does the work."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Sequence

from arhn._version import __version__
from arhn.cli import agree, calibrate, clean, compare, convert, estimate, evaluate, inspect, mine, models, store, train
from arhn.errors import ArhnError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        0, or the `exit_code` of the error (errors.py), or 130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that can't show a character of some passage shows its number.
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    for chatty in ("aiobotocore", "botocore", "gcsfs", "httpx", "sentence_transformers"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        arguments.run(arguments)
    except ArhnError as error:
        sys.stderr.write(f"arhn: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"arhn: interrupted. {arguments.resumes or 'Run the same command again'}\n")
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "arhn", description="Clean hard negatives with an LLM that you run yourself.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"arhn {__version__}")
    tasks = parser.add_subparsers(required=True, metavar="TASK")
    for module in (clean, estimate, calibrate, mine, inspect, convert, models, store, agree, train, evaluate, compare):
        module.add(tasks)
    return parser
