"""`arhn doctor`: what can be used here, and what mends the rest."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from arhn.cli.app import make_command
from arhn.cli.flags.common import make_console
from arhn.errors import SetupBroken, describe_count

Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="A server to be asked what it can do.")]
KeyVariable = Annotated[
    str | None,
    typer.Option("--api-key-env", metavar="NAME", help="The environment variable that holds the server's key."),
]
Json = Annotated[bool, typer.Option("--json", help="Print a JSON array in place of the table.")]


def doctor(url: Url = None, api_key_env: KeyVariable = None, json: Json = False) -> None:
    """Check what is installed and usable here, and how to mend it."""
    import orjson

    from arhn.doctor.checks import examine
    from arhn.doctor.view import checks_view

    checks = list(examine(url, api_key_env))
    if json:
        sys.stdout.write(orjson.dumps([asdict(check) for check in checks], option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        make_console().print(checks_view(checks))
    broken = [f"{check.area}: {check.name}" for check in checks if check.state == "broken"]
    if broken:
        count = describe_count(len(broken), "check")
        raise SetupBroken(f"{count} failed: {', '.join(broken)}. The last column says what mends it")


command = make_command(doctor)
