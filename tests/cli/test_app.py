"""The command line as a whole: help, exit codes, failures in a sentence or in JSON, documentation."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from enalysis.cli import credential
from enalysis.cli.app import reference
from enalysis.connectors.registry import CONNECTORS
from tests.cli.conftest import Terminal
from tests.conftest import Base
from tests.settings import load

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"

COMMANDS = """\
app add
app change
app list
app remove
budget
collect
connection add
connection authorize
connection disconnect
connection fetch
connection list
connection meanwhile
connection pause
connection reconnect
connection refresh
connection remove
connection resume
connection test
connector check
connector discover
connector fetch
db migrate
db status
demo
init
quota
run
sandbox
site list
site show
web
worker
"""


def described() -> dict[str, str]:
    """Return what the reference says of each command, by its name."""
    parts = re.split(r"^### enalysis ", "\n".join(reference()), flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part for part in parts}


def test_these_are_the_commands() -> None:
    assert "".join(f"{name}\n" for name in described()) == COMMANDS


def test_every_command_says_what_it_does_and_every_option_what_it_means() -> None:
    for name, text in described().items():
        assert len(text.splitlines()[2]) > 20, name
        assert not re.search(r"^\| `[^`]+` \|  \|", text, re.MULTILINE), text


def test_the_documentation_holds_every_command_and_option() -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = [line for line in reference() if line not in page.splitlines()]
    assert missing == [], "run: cog -r docs/cli.md"


@pytest.mark.parametrize("name", [n for n in COMMANDS.splitlines() if n not in {"run", "web", "worker"}])
def test_every_command_can_answer_in_json(name: str) -> None:
    assert "`--json`" in described()[name]


async def test_help_lists_the_commands_as_they_describe_themselves(terminal: Terminal) -> None:
    said = await terminal.run("--help")
    assert said.code == 0
    listed = " ".join(said.out.replace("│", " ").split())
    for name, text in described().items():
        first = re.split(r"(?<=[.;]) ", text.splitlines()[2].replace("`", ""))[0]
        assert name.split()[0] in listed
        assert " " in name or first in listed, name


async def test_a_misspelt_option_is_told_with_exit_code_2(terminal: Terminal) -> None:
    said = await terminal.run("quota", "--bogus")
    assert (said.code, said.out) == (2, "")
    assert said.err == "Error: No such option: --bogus\n`enalysis quota --help` shows how.\n"
    said = await terminal.run("quota", "--bogus", "--json")
    assert (said.code, said.err) == (2, "")
    assert said.document == {"error": "No such option: --bogus", "kind": "usage"}


async def test_a_missing_setting_is_told_with_exit_code_1(terminal: Terminal) -> None:
    said = await terminal.run("site", "list")
    assert (said.code, said.out) == (1, "")
    assert "ENCRYPTION_KEY is not set" in said.err
    assert "enalysis init" in said.err
    said = await terminal.run("site", "list", "--json")
    assert said.document["kind"] == "settings"
    assert said.err == ""


@pytest.mark.parametrize("command", [("quota",), ("site", "list"), ("connection", "list"), ("collect",)])
async def test_before_setup_every_command_says_how_to_begin(settled: Terminal, command: tuple[str, ...]) -> None:
    said = await settled.run(*command, "--json")
    assert said.code == 1
    assert said.document["kind"] == "not_found"
    assert "enalysis run" in said.document["error"]
    assert "http://localhost:3000" in said.document["error"]


async def test_a_database_that_is_away_is_told_without_its_password(
    settled: Terminal, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert base.name
    password = "pw-that-nobody-may-read"
    settled.secrets.append(password)
    for part in ("", "ENGINE_", "JOBS_", "OWNER_"):
        login = f"enalysis_{part.strip('_').lower() or 'app'}"
        monkeypatch.setenv(f"DATABASE_{part}URL", f"postgresql://{login}:{password}@127.0.0.1:9/none")
    for command in (("db", "status"), ("db", "migrate")):
        said = await settled.run(*command, "--json")
        assert said.code == 1
        assert said.document["kind"] == "database"
        assert "DATABASE_URL" in said.document["error"]


def test_simulators_are_imported_by_the_sandbox_alone() -> None:
    """Pvlib costs seconds and memory that web and worker may not pay."""
    code = "import sys, enalysis.cli.app; print(sorted({'pvlib', 'enalysis.simulators'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, env=dict(os.environ)
    )
    assert done.stdout.decode().strip() == "[]"


def test_settings_take_no_offence_at_the_variables_of_credentials() -> None:
    variables = {
        credential.variable(field): "something-secret"
        for entry in CONNECTORS.values()
        for way in entry.spec.ways
        for field in way.fields
        if field.secret
    }
    assert variables
    assert load(variables).port == 3000


async def test_the_sandbox_takes_its_own_options_and_ends_with_its_parent() -> None:
    words = ("-m", "enalysis", "sandbox", "--port", "0", "--seed=2", "--json", "--with-parent")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, *words), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        told = json.loads(await asyncio.wait_for(child.stdout.readline(), 60))
        child.stdin.close()
        assert await asyncio.wait_for(child.wait(), 30) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    assert told["url"].startswith("http://127.0.0.1:")


async def test_a_misspelt_option_of_the_sandbox_is_told_as_everywhere(terminal: Terminal) -> None:
    said = await terminal.run("sandbox", "--bogus", "--json")
    assert (said.code, said.document["kind"]) == (2, "usage")
    assert "--bogus" in said.document["error"]
    assert "enalysis sandbox --help" in (await terminal.run("sandbox", "--bogus")).err


async def test_the_version_is_told(terminal: Terminal) -> None:
    said = await terminal.run("--version")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("enalysis")
