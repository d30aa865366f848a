"""The command line: one subcommand a task. It parses, calls and prints; what it calls does the work."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from arhn._version import __version__
from arhn.config import CleanConfig, FloorPolicy
from arhn.errors import ArhnError, UsageError
from arhn.formats import Format, detect
from arhn.types import Mode

if TYPE_CHECKING:
    from arhn.engines import Engine

INTERRUPTED = 130
_FORMATS = [f.value for f in Format]


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
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        arguments.run(arguments)
    except ArhnError as error:
        sys.stderr.write(f"arhn: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        kept = "Every answer so far is kept; the same command goes on from there"
        sys.stderr.write(f"arhn: interrupted. {kept if arguments.run is _clean else 'Run the same command again'}\n")
        return INTERRUPTED
    return 0


def _clean(a: argparse.Namespace) -> None:
    from arhn import display, job, records

    files = job.Files.beside(a.output, decisions=a.decisions, summary=a.summary, rejects=a.rejects, store=a.store)
    progress = records.Progress()
    cleaning = job.Job(
        input=a.input,
        files=files,
        config=_config(a),
        format=a.from_format,
        to=a.to,
        split=a.split,
        limit=a.limit,
        on_bad_row=a.on_bad_row,
        overwrite=a.overwrite,
    )
    total = job.count(cleaning)
    with display.live(Console(stderr=True), progress, total) as on_group:
        content = job.run(cleaning, lambda: _llamacpp(a), progress=progress, on_group=on_group)
    console = _console()
    display.closing_tables(console, content)
    for path in (files.output, files.decisions, files.summary, *([files.rejects] if progress.rejected else [])):
        console.print(str(path), soft_wrap=True)


def _config(a: argparse.Namespace) -> CleanConfig:
    try:
        return CleanConfig(mode=a.mode, negatives=a.negatives, floor=a.floor, floor_policy=a.floor_policy)
    except ValidationError as error:
        problems = "; ".join(f"--{e['loc'][0]}: {e['msg']}, found {e['input']!r}" for e in error.errors())
        raise UsageError(problems.replace("_", "-")) from error


def _llamacpp(a: argparse.Namespace) -> Engine:
    # Loading the library takes a moment that no other subcommand should wait for.
    from arhn import weights
    from arhn.engines.llamacpp import LlamaCppEngine

    path = weights.resolve(a.model or weights.STARTER)
    return LlamaCppEngine(
        path,
        model=weights.identity(path),
        slots=a.slots,
        context=a.context,
        threads=a.threads,
        gpu_layers=a.gpu_layers,
    )


def _inspect(a: argparse.Namespace) -> None:
    from arhn.display import group_view
    from arhn.inspection import inspect

    found = inspect(a.output, a.query_id)
    _console().print(group_view(found.group, found.decisions))


def _convert(a: argparse.Namespace) -> None:
    from arhn import job

    source = detect(a.input, split=a.split, format=a.from_format, skip_bad_rows=a.on_bad_row == "skip")
    target = Format(a.to or source.format)
    done = job.convert(source, a.output, target, rejects=a.rejects, on_bad_row=a.on_bad_row, overwrite=a.overwrite)
    console = _console()
    console.print(f"{done.written} groups: {source.format} to {target}")
    for what, count in sorted(done.losses.items()):
        console.print(f"  {target} can't hold: {what} ({count})", soft_wrap=True)
    if done.rejected:
        console.print(f"  {done.rejected} rows rejected: {done.rejects}", soft_wrap=True)


def _models(_: argparse.Namespace) -> None:
    from arhn import weights

    table = Table()
    for column in ("name", "size", "licence", "from", "fetched"):
        table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
    for row in weights.listing():
        name = f"{row.model.name} (starter)" if row.starter else row.model.name
        source = f"{row.model.repo}@{row.model.revision[:12]}"
        table.add_row(
            name,
            f"{row.model.size / 1e6:,.0f} MB",
            row.model.licence,
            source,
            str(row.path) if row.fetched else "no",
        )
    _console().print(table)


def _store(a: argparse.Namespace) -> None:
    from arhn import store
    from arhn.display import store_view

    if a.model and not a.prune:
        raise UsageError("--model: chooses what --prune deletes. Give --prune too, or leave --model out")
    console = _console()
    if a.prune:
        deleted = store.prune(a.store, a.prune, model=a.model)
        console.print(f"{deleted} answers deleted")
    console.print(store_view(store.info(a.store)))


def _console() -> Console:
    """Standard output. Much of what is shown isn't ours: "[b]" and ":smile:" in it stay as they are."""
    return Console(markup=False, emoji=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("arhn", description="Clean hard negatives with an LLM that you run yourself.")
    parser.add_argument("--version", action="version", version=f"arhn {__version__}")
    tasks = parser.add_subparsers(required=True, metavar="TASK")
    _add_clean(_task(tasks, "clean", _clean, "clean groups: relabel and filter their false negatives"))
    inspect = _task(tasks, "inspect", _inspect, "show one cleaned group with its snippets and decisions")
    inspect.add_argument("output", help="the output of 'arhn clean'")
    inspect.add_argument("--query-id", required=True)
    convert = _task(tasks, "convert", _convert, "write groups in another format")
    _add_input(convert)
    convert.add_argument("--to", choices=_FORMATS, help="the format to write; the input's unless given")
    _task(tasks, "models", _models, "list the named models")
    store = _task(tasks, "store", _store, "show what a response store holds, or prune it")
    store.add_argument("store", type=Path, help="a .responses.sqlite file")
    store.add_argument(
        "--prune", choices=("unused", "all"), help="delete answers: those not used since the last finished run, or all"
    )
    store.add_argument("--model", help="prune this model's answers only")
    return parser


def _task(tasks: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = tasks.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
    parser.set_defaults(run=run)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", help="a file of groups, a folder saved by datasets, or hf://org/name[:split]")
    parser.add_argument("-o", "--output", required=True, help="where the groups go")
    parser.add_argument(
        "--from", dest="from_format", choices=_FORMATS, help="the input's format; detected unless given"
    )
    parser.add_argument("--split", help="the split of a data set that has several")
    parser.add_argument("--on-bad-row", choices=("fail", "skip"), default="fail", help="default: %(default)s")
    parser.add_argument("--rejects", type=Path, help="where skipped rows go; beside the output unless given")
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that are there already")


def _add_clean(parser: argparse.ArgumentParser) -> None:
    _add_input(parser)
    add = parser.add_argument
    add("--to", choices=_FORMATS, help="the output's format; the input's unless given")
    add(
        "--mode",
        choices=[mode.value for mode in Mode],
        default=Mode.RF.value,
        help="R relabels, F filters; default: %(default)s",
    )
    add("--limit", type=_positive, metavar="N", help="clean the first N groups only")
    add(
        "--negatives",
        type=_positive,
        metavar="N",
        help="use the first N negatives of a group; all unless given",
    )
    add(
        "--floor",
        type=int,
        default=1,
        metavar="N",
        help="negatives a group should keep; default: %(default)s",
    )
    policies = get_args(FloorPolicy)
    add("--floor-policy", choices=policies, default="keep", help="for groups with fewer; default: %(default)s")
    add("--decisions", type=Path, help="one line per passage; beside the output unless given")
    add("--summary", type=Path, help="counts of the run; beside the output unless given")
    add("--store", type=Path, help="the response store; beside the output unless given")
    add(
        "--model",
        help="a name from 'arhn models', a GGUF file, or hf://org/repo/file.gguf; the starter unless given",
    )
    add(
        "--slots",
        type=_positive,
        default=1,
        help="requests decoded together; more than one repeats less exactly; default: %(default)s",
    )
    add("--context", type=_positive, default=4096, help="tokens per request; default: %(default)s")
    add("--threads", type=_positive, help="CPU threads; all cores unless given")
    add("--gpu-layers", type=int, help="layers on the GPU; all that fit unless given")


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {2**31 - 1}, found {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
