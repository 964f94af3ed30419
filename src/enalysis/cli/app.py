"""The command line: every command under its name, and what each way to fail says and returns."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Final

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from enalysis.cli import output
from enalysis.cli.budget import budget
from enalysis.cli.collect import collect
from enalysis.cli.connection import connection
from enalysis.cli.connection_consent import authorize, reconnect
from enalysis.cli.connection_deeds import disconnect, fetch, pause, refresh, resume
from enalysis.cli.connector import connector
from enalysis.cli.db import db
from enalysis.cli.demo import demo
from enalysis.cli.init import init
from enalysis.cli.meanwhile import meanwhile
from enalysis.cli.quota import quota
from enalysis.cli.run import run, web, worker
from enalysis.cli.site import site
from enalysis.cli.vendor_app import vendor_app

_NAME: Final = "enalysis"

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False
)
for _command in (init, demo, run, web, worker, collect, quota, budget):
    app.command()(_command)
for _deed in (authorize, reconnect, refresh, pause, resume, fetch, disconnect, meanwhile):
    connection.command()(_deed)
_GROUPS: Final = {"app": vendor_app, "connection": connection, "site": site, "db": db, "connector": connector}
for _name, _group in _GROUPS.items():
    app.add_typer(_group, name=_name)


@app.command(
    add_help_option=False,
    context_settings={
        "allow_extra_args": True,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)
def sandbox(context: typer.Context) -> None:
    """Serve the simulated vendors until Ctrl-C; set SANDBOX_URL to the address it prints."""
    path = f"{_NAME} sandbox"
    raise typer.Exit(_sandbox().main(context.args, prog_name=path, standalone_mode=False) or 0)


def _say_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"{_NAME} {version(_NAME)}")
        except PackageNotFoundError:
            typer.echo(f"{_NAME}, run from its source")
        raise typer.Exit


@app.callback()
def about(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Energy management for sites of many vendors: collect, balance, watch."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 failed, 2 called wrongly, 130 interrupted.

    Args: arguments: None is this process's.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Looked for here because a command that was called wrongly never gets to say how it wants to be answered.
    as_json = "--json" in words
    try:
        code = typer.main.get_command(app).main(words, prog_name=_NAME, standalone_mode=False)
    except typer.TyperException as error:
        if not error.message:
            # It was called without arguments, and its help is printed already.
            return error.exit_code
        path = getattr(getattr(error, "ctx", None), "command_path", _NAME)
        return output.misuse(error.format_message(), f"`{path} --help` shows how.", as_json=as_json)
    except (typer.Abort, KeyboardInterrupt):
        return output.INTERRUPTED
    except output.EXPECTED as error:
        return output.fail(error, as_json=as_json)
    return code if isinstance(code, int) else 0


def reference() -> Iterator[str]:
    """Yield what docs/cli.md says of every command, line by line."""
    commands = typer.main.get_command(app)
    if isinstance(commands, TyperGroup):
        commands.add_command(_sandbox(), "sandbox")
        yield from _described(commands, typer.Context(commands, info_name=_NAME))


def _sandbox() -> TyperCommand | TyperGroup:
    # Imported when it is named: simulators bring pvlib, seconds and 110 MB that no other command may cost.
    module = importlib.import_module("enalysis.cli.sandbox")
    alone = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False, add_completion=False)
    alone.command("sandbox")(module.sandbox)
    made = typer.main.get_command(alone)
    assert isinstance(made, TyperCommand)  # noqa: S101 - what one command without a callback makes
    return made


def _described(command: TyperCommand | TyperGroup, context: typer.Context) -> Iterator[str]:
    if isinstance(command, TyperGroup):
        for name, found in sorted(command.commands.items()):
            if isinstance(found, TyperCommand | TyperGroup):
                yield from _described(found, typer.Context(found, info_name=name, parent=context))
        return
    yield from (f"### {context.command_path}", "")
    yield from (" ".join((command.help or "").split()), "")
    usage = " ".join(command.collect_usage_pieces(context)).replace("{", "").replace("}", "")
    yield from (f"    {context.command_path} {usage}", "")
    told = [p for p in command.params if isinstance(p, TyperOption | TyperArgument) and not p.hidden]
    told = [p for p in told if "--help" not in p.opts]
    if told:
        yield from ("| option | meaning | default |", "|---|---|---|")
        yield from (f"| {_spelt(p, context)} | {p.help or ''} | {_default(p)} |" for p in told)
        yield ""


def _spelt(parameter: TyperOption | TyperArgument, context: typer.Context) -> str:
    if isinstance(parameter, TyperArgument):
        return f"`{parameter.metavar or parameter.name.upper()}`"
    # A stroke would end the cell of the table.
    value = (parameter.metavar or parameter.display_type(context)).replace("|", "/")
    options = " / ".join((*parameter.opts, *parameter.secondary_opts))
    return f"`{options}`" if parameter.is_flag else f"`{options} {value}`"


def _default(parameter: TyperOption | TyperArgument) -> str:
    if parameter.required:
        return "required"
    value = getattr(parameter.default, "value", parameter.default)
    return "" if value in (None, False, "") else f"`{value}`"
