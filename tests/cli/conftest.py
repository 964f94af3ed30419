"""A terminal for commands: a working folder, settings in the environment, a database, simulated vendors."""

import asyncio
import json
import logging
import os
import secrets
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

from enalysis import log
from enalysis.actions import accounts
from enalysis.cli.app import main
from enalysis.config import load_settings
from enalysis.runtime import open_runtime
from enalysis.simulators.accounts import Account
from enalysis.simulators.server import Sandbox, create
from tests.conftest import Base
from tests.settings import KEY
from tests.simulators.ports import serving

ORGANIZATION = "Sunny Side"


def database_url(conninfo: str) -> str:
    """Return a connection string in the form in which settings take it."""
    parts = {name: quote(str(value), safe="") for name, value in conninfo_to_dict(conninfo).items()}
    login = f"{parts['user']}:{parts['password']}"
    return f"postgresql://{login}@/{parts['dbname']}?host={parts['host']}&port={parts['port']}"


@dataclass(frozen=True)
class Said:
    """What a command printed on its two outputs, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Return the one JSON document on standard output, which is an object."""
        found: dict[str, Any] = json.loads(self.out)
        return found


@dataclass
class Terminal:
    """Runs commands in this process as a person would, and holds all to keep secrets to themselves."""

    capture: pytest.CaptureFixture[str]
    secrets: list[str]

    async def run(self, *words: str) -> Said:
        """Run a command; whatever it says with --json on standard output must be one JSON document."""
        self.capture.readouterr()
        code = await asyncio.to_thread(main, words)
        said = Said(code, *self.capture.readouterr())
        assert "Traceback" not in said.err
        assert not [True for secret in self.secrets if secret in said.out + said.err]
        if "--json" in words and said.out:
            assert isinstance(said.document, dict)
        return said

    async def json(self, *words: str) -> dict[str, Any]:
        """Run a command that must succeed and return its document."""
        said = await self.run(*words, "--json")
        assert said.code == 0, said
        return said.document


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder without settings, and put back what logging changes for the whole process."""
    # What this machine's own settings and terminal say must not decide how a test ends.
    ours = ("DATABASE_", "ENALYSIS_", "ENCRYPTION_", "SANDBOX_", "COLUMNS", "FORCE_COLOR", "TTY_")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_LEVEL", "warning")
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    yield tmp_path
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
    for name in log._QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    """Return a terminal without any setting."""
    return Terminal(capsys, [])


@pytest.fixture
def settled(base: Base, terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return a terminal with a database of its own, in which nobody has set anything up."""
    logins = {"": base.app, "ENGINE_": base.engine, "JOBS_": base.jobs, "OWNER_": base.owner}
    for part, conninfo in logins.items():
        monkeypatch.setenv(f"DATABASE_{part}URL", database_url(conninfo))
        terminal.secrets.append(str(conninfo_to_dict(conninfo)["password"]))
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    terminal.secrets.append(KEY)
    return terminal


async def set_up(name: str) -> None:
    """Make an organization and its owner in the database that the environment names."""
    async with open_runtime(load_settings()) as runtime:
        secret = await accounts.begin_setup(runtime.db)
        await accounts.set_up(
            runtime.db,
            runtime.keyring,
            secret=secret or "",
            organization=name,
            name="Owner",
            email="owner@example.org",
            password=secrets.token_urlsafe(12),
            now=runtime.clock(),
        )


@dataclass
class Vendors:
    """The simulated vendors on their port."""

    sandbox: Sandbox
    url: str

    def account(self, key: str, vendor: str = "solaredge") -> Account:
        """Return an account by its key in the sandbox."""
        return next(each for each in self.sandbox.accounts if (each.vendor, each.key) == (vendor, key))

    def secret(self, key: str) -> str:
        """Return the credential of an account."""
        return self.account(key).credentials["api_key"]


@pytest.fixture
async def vendors(settled: Terminal, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Vendors]:
    """Serve the simulated vendors and let the settings lead to them; an organization is set up."""
    sandbox = create(1, lambda: datetime.now(UTC))
    async with serving(sandbox.app) as url:
        monkeypatch.setenv("SANDBOX_URL", url)
        for each in sandbox.accounts:
            # Names of people are no secrets; client IDs stand in the address a person opens.
            hidden = {**each.credentials, **each.app, **each.login}
            settled.secrets += [v for name, v in hidden.items() if name not in ("username", "client_id")]
        await set_up(ORGANIZATION)
        yield Vendors(sandbox, url)


@pytest.fixture
def shell(settled: Terminal, vendors: Vendors) -> Terminal:
    """Return a terminal where everything is ready to connect a vendor."""
    assert vendors.url
    return settled


async def connect(shell: Terminal, vendors: Vendors, *keys: str) -> list[str]:
    """Connect accounts of the sandbox under their keys and return the ids of the connections."""
    made = []
    for key in keys:
        account = vendors.account(key)
        words = ("--plan", account.plan.key, "--name", key, "--set", f"api_key={vendors.secret(key)}")
        made.append((await shell.json("connection", "add", account.vendor, *words))["id"])
    return made
