"""The command line: one subcommand a task. It parses, calls and prints; what it calls does the work."""

from __future__ import annotations

import argparse
import io
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from arhn._version import __version__
from arhn.config import CleanConfig, FloorPolicy, Method
from arhn.errors import ArhnError, UsageError
from arhn.formats import Format, detect
from arhn.methods.margin import DEFAULTS, Margin
from arhn.rank import RankBy, Ranker
from arhn.tasks import Family, TaskMap
from arhn.types import Mode

if TYPE_CHECKING:
    from arhn.engines import Engine
    from arhn.methods.choose import Models

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
    for chatty in ("httpx", "sentence_transformers"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        arguments.run(arguments)
    except ArhnError as error:
        sys.stderr.write(f"arhn: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        kept = "Every answer so far is kept; the same command goes on from there"
        sys.stderr.write(
            f"arhn: interrupted. {kept if arguments.run in (_clean, _calibrate) else 'Run the same command again'}\n"
        )
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
        content = job.run(cleaning, lambda stack: _models_of(a, stack), progress=progress, on_group=on_group)
    console = _console()
    display.closing_tables(console, content)
    for path in (files.output, files.decisions, files.summary, *([files.rejects] if progress.rejected else [])):
        console.print(str(path), soft_wrap=True)


#: Flags of 'arhn clean' that belong to some methods only.
_BELONG = {
    "similarity": ("arhn", "margin"),
    "flag_model": ("rlhn",),
    "margin": ("margin",),
    "precision": ("arhn",),
    "calibration": ("arhn",),
    "samples": ("arhn",),
    "task_map": ("arhn",),
    "show_answer": ("arhn",),
    "ranker": ("arhn",),
    "rank_by": ("arhn",),
    "shuffles": ("arhn",),
    "stable": ("arhn",),
    "fullness": ("arhn",),
    "model": ("arhn", "rlhn"),
}
#: Flags that are called otherwise than what they set.
_FLAGS = {"show_answer": "--passages-alone", "fullness": "--partial-positives"}


def _config(a: argparse.Namespace) -> CleanConfig:
    from arhn.confidence import load_calibrations

    for name, methods in _BELONG.items():
        if getattr(a, name) is not None and a.method not in methods:
            flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
            raise UsageError(f"{flag}: does nothing for --method {a.method}, only for {', '.join(methods)}")
    given = {name: getattr(a, name) for name in _SETTINGS if getattr(a, name) is not None}
    try:
        return CleanConfig(
            **given,
            calibrations=tuple(c for path in a.calibration or () for c in load_calibrations(path)),
            task_map=TaskMap.parse(a.task_map) if a.task_map is not None else TaskMap(),
            margin=_margin(a.margin),
        )
    except ValidationError as error:
        problems = "; ".join(f"--{e['loc'][0]}: {e['msg']}, found {e['input']!r}" for e in error.errors())
        raise UsageError(problems.replace("_", "-")) from error


#: Settings that a flag of the same name gives as it is.
_SETTINGS = (
    "method",
    "mode",
    "negatives",
    "floor",
    "floor_policy",
    "precision",
    "samples",
    "ranker",
    "rank_by",
    "shuffles",
    "stable",
    "fullness",
    "show_answer",
)


def _margin(text: str | None) -> Margin:
    rule, equals, value = ("perc" if text is None else text).partition("=")
    try:
        return Margin.model_validate({"rule": rule, "value": float(value) if equals else None})
    except (ValidationError, ValueError) as error:
        rules = ", ".join(f"{name}={default:g}" for name, default in DEFAULTS.items())
        raise UsageError(f"--margin: expected RULE or RULE=NUMBER such as {rules}, found {text!r}") from error


def _models_of(a: argparse.Namespace, stack: ExitStack) -> Models:
    from arhn import job, weights
    from arhn.methods.choose import Models
    from arhn.similarity import Similarity

    similarity = Similarity(a.similarity) if a.similarity is not None else None
    if a.method in (Method.NONE, Method.MARGIN):
        return Models(similarity=similarity)
    engine = _llamacpp(a, a.model or weights.STARTER)
    stack.callback(job.close, engine)
    flagger = None
    if a.flag_model is not None:
        flagger = _llamacpp(a, a.flag_model)
        stack.callback(job.close, flagger)
    return Models(engine=engine, flagger=flagger, similarity=similarity)


def _llamacpp(a: argparse.Namespace, model: str) -> Engine:
    # Loading the library takes a moment that no other subcommand should wait for.
    from arhn import weights
    from arhn.engines.llamacpp import LlamaCppEngine

    path = weights.resolve(model)
    return LlamaCppEngine(
        path,
        model=weights.identity(path),
        slots=a.slots,
        context=a.context,
        threads=a.threads,
        gpu_layers=a.gpu_layers,
    )


def _calibrate(a: argparse.Namespace) -> None:
    from arhn import calibration_view, labelled

    fitting = labelled.Fitting(
        gold=a.gold,
        groups=a.groups,
        output=a.output,
        store=a.store,
        format=a.from_format,
        split=a.split,
        limit=a.limit,
        overwrite=a.overwrite,
    )
    config = _config(a)
    with calibration_view.live(Console(stderr=True)) as on_group:
        done = labelled.calibrate(fitting, config, lambda stack: _models_of(a, stack), on_group=on_group)
    console = _console()
    for fit in done.fits.values():
        console.print(calibration_view.fit_view(fit))
    for family, why in done.skipped.items():
        console.print(f"{family}: not calibrated, {why}", soft_wrap=True)
    console.print(str(a.output), soft_wrap=True)


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


def _agree(a: argparse.Namespace) -> None:
    from arhn.agreement import agree
    from arhn.agreement_view import agreement_view

    found = agree(a.a, a.b, json=a.json, overwrite=a.overwrite)
    console = _console()
    console.print(agreement_view(found, show=a.show))
    if a.json:
        console.print(str(a.json), soft_wrap=True)


def _console() -> Console:
    """Standard output. Much of what is shown isn't ours: "[b]" and ":smile:" in it stay as they are."""
    return Console(markup=False, emoji=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "arhn", description="Clean hard negatives with an LLM that you run yourself.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"arhn {__version__}")
    tasks = parser.add_subparsers(required=True, metavar="TASK")
    _add_clean(_task(tasks, "clean", _clean, "clean groups: relabel and filter their false negatives"))
    _add_calibrate(_task(tasks, "calibrate", _calibrate, "fit a model's confidences and thresholds on labelled groups"))
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
    _add_agree(_task(tasks, "agree", _agree, "compare decisions with others, with gold labels or with verdicts"))
    return parser


def _task(tasks: Any, name: str, run: Callable[[argparse.Namespace], None], summary: str) -> argparse.ArgumentParser:
    # An abbreviation may be another flag's name: --mode, which calibrate doesn't have, would be --model.
    parser: argparse.ArgumentParser = tasks.add_parser(
        name, help=summary, description=f"{summary.capitalize()}.", allow_abbrev=False
    )
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
    add("--method", choices=[m.value for m in Method], default=Method.ARHN.value, help="default: %(default)s")
    add(
        "--precision",
        type=float,
        metavar="P",
        help="act only where the calibration gives this precision, such as 0.9; below it the label stays",
    )
    add(
        "--ranker",
        choices=[r.value for r in Ranker],
        help="listwise: as in the paper; consistent: several shuffled orders vote; "
        f"pivot: each negative against the positive; default: {_default('ranker')}",
    )
    add("--rank-by", choices=[r.value for r in RankBy], help=f"what is compared; default: {_default('rank_by')}")
    add("--shuffles", type=_positive, metavar="N", help=f"orders of 'consistent'; default: {_default('shuffles')}")
    add(
        "--stable",
        type=float,
        metavar="SHARE",
        help=f"share of the orders that must agree for a relabel; default: {_default('stable')}",
    )
    add(
        "--partial-positives",
        dest="fullness",
        action="store_false",
        default=None,
        help="also relabel negatives that answer a part of a query which the positive answers fully",
    )
    add("--decisions", type=Path, help="one line per passage; beside the output unless given")
    add("--summary", type=Path, help="counts of the run; beside the output unless given")
    add("--store", type=Path, help="the response store; beside the output unless given")
    add(
        "--calibration",
        type=Path,
        action="append",
        metavar="FILE",
        help="made by 'arhn calibrate'; looked up before the shipped ones",
    )
    add("--flag-model", metavar="MODEL", help="method rlhn: the cheaper model that is asked first")
    add("--margin", metavar="RULE[=X]", help="method margin: absolute, relative or perc, such as perc=0.95")
    _add_judging(parser)


def _add_judging(parser: argparse.ArgumentParser) -> None:
    """What an answer's confidence hangs on: the same when labels are made and when they are calibrated."""
    add = parser.add_argument
    add(
        "--model",
        help="a name from 'arhn models', a GGUF file, or hf://org/repo/file.gguf; the starter unless given",
    )
    add(
        "--passages-alone",
        dest="show_answer",
        action="store_false",
        default=None,
        help="judge every passage alone, as the paper does, without showing the answer of the labelled positives",
    )
    add(
        "--samples",
        type=_positive,
        metavar="N",
        help="let N sampled answers vote instead of reading log-probabilities",
    )
    add(
        "--similarity",
        metavar="MODEL",
        help="a sentence-transformers folder or name: what 'margin' filters by, a second signal for 'arhn'",
    )
    add(
        "--task-map",
        metavar="MAP",
        help=f"which kind of query a subset holds: {'|'.join(Family)}; SUBSET=KIND,... or a .toml or .json file",
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


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("gold", type=Path, help="labels of negatives: a gold file, an LLM's verdicts, or decisions you trust")
    add("groups", help="the groups that they are of, in any format that 'arhn clean' reads")
    add("-o", "--output", type=Path, required=True, help="the calibration, JSON; give it to clean with --calibration")
    add("--from", dest="from_format", choices=_FORMATS, help="the groups' format; detected unless given")
    add("--split", help="the split of a data set that has several")
    add("--limit", type=_positive, metavar="N", help="use the first N labelled groups only")
    add("--negatives", type=_positive, metavar="N", help="use the first N negatives of a group; all unless given")
    add("--store", type=Path, help="the response store; beside the output unless given")
    add("--overwrite", action="store_true", help="replace the output if it is there already")
    _add_judging(parser)
    # What 'arhn clean' has beside these doesn't touch a confidence.
    unset = (
        "precision",
        "calibration",
        "ranker",
        "rank_by",
        "shuffles",
        "stable",
        "fullness",
        "flag_model",
        "margin",
        "mode",
    )
    parser.set_defaults(method=Method.ARHN.value, floor=None, floor_policy=None, **dict.fromkeys(unset))


def _add_agree(parser: argparse.ArgumentParser) -> None:
    files = "decisions of 'arhn clean' or its output, gold labels, or an LLM's verdicts"
    parser.add_argument("a", help=files)
    parser.add_argument("b", help="the same; precision and recall are A's against gold labels or verdicts here")
    parser.add_argument("--show", type=_positive, default=20, metavar="N", help="groups shown; default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, all differing groups too")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there already")


def _default(setting: str) -> object:
    return CleanConfig.model_fields[setting].default


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {2**31 - 1}, found {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
