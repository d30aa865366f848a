"""The command line: one file a command. It parses, calls and prints; what it calls does the work."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Sequence

from arhn.errors import ArhnError, DiskFull, UsageError

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or the `exit_code` of the error (errors.py), or 130 after Ctrl-C.
    """
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except OSError as error:
        return _give_up_output(error)
    except KeyboardInterrupt:  # while Typer or a command was imported
        sys.stderr.write("arhn: interrupted. Run the same command again\n")
        return INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    from typer import TyperException

    from arhn.cli.app import RUN_AGAIN, Interrupted, make_root

    _prepare()
    try:
        code = make_root()(args=list(sys.argv[1:] if argv is None else argv), prog_name="arhn", standalone_mode=False)
    except TyperException as error:
        from arhn.cli.usage import explain

        _complain(explain(error))
        return UsageError.exit_code
    except ArhnError as error:
        _complain(error)
        return error.exit_code
    except Interrupted as error:
        _complain(f"interrupted. {error}")
        return INTERRUPTED
    if code == INTERRUPTED:  # before a command was at work
        _complain(f"interrupted. {RUN_AGAIN}")
    return int(code or 0)


def _give_up_output(error: OSError) -> int:
    """Say that standard output can't be written; a reader that went away (`| head`) wants no more."""
    if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE, errno.EIO):
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be written at the end
    _complain(f"standard output can't be written: {error.strerror}. What was to be written to files is there")
    return DiskFull.exit_code


def _complain(message: object) -> None:
    """Names of files, ids and answers of servers may be in a message: a terminal must not obey them."""
    from arhn.config.display import escaped

    sys.stderr.write(f"arhn: {escaped(str(message), keep=chr(10))}\n")


class _Visible(logging.Formatter):
    """Names and texts of others are in log lines, too."""

    def format(self, record: logging.LogRecord) -> str:
        from arhn.texts.foreign import make_visible

        return make_visible(super().format(record))


def _prepare() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that can't show a character of some passage shows its number.
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Visible("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    for chatty in ("aiobotocore", "botocore", "gcsfs", "httpx", "sentence_transformers"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


__all__ = ["INTERRUPTED", "main"]
