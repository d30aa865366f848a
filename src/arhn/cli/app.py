"""How commands become a command line: each is read when it is called, its options are listed in named groups.

Typer parses, completes and suggests. Three things are our own: commands that are imported late, and help without rich,
so that `arhn --help` and a completion take a third of the time; options that set a setting (`make_command`), which are
read off the settings' classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from importlib import import_module
from typing import Annotated, Any, Literal, get_args, get_type_hints

import typer
from typer.completion import get_completion_inspect_parameters, install_callback, show_callback
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from arhn import __version__
from arhn.errors import UsageError

Shell = Literal["bash", "zsh", "fish", "powershell", "pwsh"]
_SHELLS = f"{', '.join(get_args(Shell)[:-1])} or {get_args(Shell)[-1]}"
#: What to do after Ctrl-C, unless a command knows better.
RUN_AGAIN = "Run the same command again"
ANSWERS_STORED = "Every answer so far is kept; the same command goes on from there"

#: Every command: what it is for, and where it is `arhn.cli.NAME`, with _ for -.
COMMANDS: Mapping[str, str] = {
    "clean": "Clean groups: relabel and filter their false negatives.",
    "estimate": "Estimate what cleaning takes: calls, tokens, time, money.",
    "calibrate": "Fit a model's confidences and thresholds on labelled groups.",
    "mine": "Mine hard negatives: queries, a corpus and qrels to groups.",
    "inspect": "Show one cleaned group with its snippets and decisions.",
    "diff": "Show what a run changed, or where two runs differ.",
    "report": "Write one HTML file that shows what runs changed.",
    "review": "Check a sample of decisions yourself on a local page.",
    "apply-review": "Override decisions with the answers of a review.",
    "card": "Write the card of a cleaned data set, as the hub reads it.",
    "push": "Upload a cleaned data set to the Hugging Face hub.",
    "convert": "Write groups in another format.",
    "config": "Show all settings, or write their reference.",
    "models": "List the named models.",
    "doctor": "Check what is installed and usable here, and how to mend it.",
    "store": "Show what a response store holds, or prune it.",
    "agree": "Compare decisions with others, gold labels or verdicts.",
    "train": "Train a retriever or reranker on groups.",
    "evaluate": "Measure a retriever on test collections.",
    "compare": "Compare evaluated models, with paired significance.",
}


class Interrupted(Exception):
    """Ctrl-C. The message says how to go on."""


@contextmanager
def advise_after_interrupt(advice: str) -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(advice) from None


class Command(TyperCommand):
    """A command whose help lists its options in their groups, and that takes no setting twice."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words. Raises UsageError: an option of a setting has two values."""
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(args=list(args))
            for place, option in enumerate(order):
                sets = str(option.name).startswith("flag_") or option.name == "config"
                if sets and option in order[:place] and not getattr(option, "multiple", False):
                    raise UsageError(f"{option.opts[-1]}: given twice. Keep one of them")
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, group by group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = getattr(parameter, "rich_help_panel", None)
                usual = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(panel or usual, []).append((record[0], _write_help(parameter, record[1])))
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=26)


def _write_help(parameter: Any, text: str) -> str:
    """The help of a parameter, a default in the words of those that set a setting; an argument's is as Typer has it."""
    if parameter.param_type_name == "argument":
        return text
    default = parameter.default
    plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    return f"{parameter.help}{f' Default: {default}.' if plain else ''}{' [required]' if parameter.required else ''}"


class Later(TyperCommand):
    """A command that is imported when it is called."""

    def __init__(self, name: str, summary: str) -> None:
        super().__init__(name, help=summary, rich_markup_mode=None)

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command, in which it reads its words."""
        command = import_module(f"arhn.cli.{str(self.name).replace('-', '_')}").command
        return command.make_context(info_name, args, parent=parent, **extra)


def make_command(
    run: Callable[..., None], *, resumes: str = RUN_AGAIN, flags: Mapping[str, Mapping[str, str]] | None = None
) -> Any:
    """A command.

    Args:
        run: what it does; its parameters are the command's, and the fields of those that are dataclasses. `values`,
            where it has it, gets all settings that are given.
        resumes: how to go on after Ctrl-C.
        flags: options that set a setting: the settings' keys by option, in named groups. `--config` and `--set` come
            with them.
    """
    takes = [p for p in inspect.signature(run, eval_str=True).parameters.values() if p.name != "values"]
    groups: dict[str, Any] = {p.name: p.annotation for p in takes if is_dataclass(p.annotation)}
    options = [option for p in takes for option in (_list_options(p.annotation) if p.name in groups else [p])]
    if flags is not None:
        from arhn.cli.flags.settings import make_parameters, take_values

        options += make_parameters(flags)

    @wraps(run)
    def wrapper(**given: Any) -> None:
        with advise_after_interrupt(resumes):
            if flags is not None:
                given["values"] = take_values(flags, given)
            for name, kind in groups.items():
                given[name] = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            run(**given)

    del wrapper.__wrapped__
    wrapper.__annotations__ = {}
    wrapper.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in options]
    )
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(cls=Command, help=inspect.getdoc(run))(wrapper)
    return get_command(app)


def _list_options(kind: type[Any]) -> Iterator[inspect.Parameter]:
    """The fields of a dataclass as parameters."""
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        kind_of = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(field.name, kind_of, default=default, annotation=hints[field.name])


def make_group(name: str, **commands: Callable[..., None]) -> Any:
    """Commands of commands, as `arhn config show`."""
    found = TyperGroup(name=name, help=COMMANDS[name], rich_markup_mode=None)
    for name_, run in commands.items():
        command = run if isinstance(run, TyperCommand) else make_command(run)
        command.name = name_
        found.add_command(command)
    return found


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"arhn {__version__}")
        raise typer.Exit


def make_root() -> Any:
    """Make the whole command line."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    get_completion_inspect_parameters()  # makes the shells known

    @app.callback(invoke_without_command=True)
    def arhn(
        context: typer.Context,
        version: Annotated[
            bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
        ] = False,
        install: Annotated[
            Shell | None,
            typer.Option(
                "--install-completion",
                metavar="SHELL",
                callback=install_callback,
                is_eager=True,
                help=f"Install completion for {_SHELLS}.",
            ),
        ] = None,
        show: Annotated[
            Shell | None,
            typer.Option(
                "--show-completion",
                metavar="SHELL",
                callback=show_callback,
                is_eager=True,
                help="Show the script of a shell that completes.",
            ),
        ] = None,
    ) -> None:
        """Clean hard negatives with an LLM that you run yourself."""
        del version, install, show  # their callbacks have done it
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    found: Any = get_command(app)
    for name, summary in COMMANDS.items():
        found.add_command(Later(name, summary))
    return found
