"""The application over a real runtime, with simulated vendors on a port and browsers that talk to it."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from uuid import UUID

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from enalysis.actions import accounts, connections, poll
from enalysis.config import Settings
from enalysis.core.access import Scope, platform
from enalysis.runtime import Runtime, open_runtime
from enalysis.simulators.accounts import Account
from enalysis.simulators.server import SERVER_OPTIONS, Sandbox, create
from enalysis.store import connections as connection_rows
from enalysis.store import streams
from enalysis.web.app import create_app
from tests.conftest import Base

NOON = datetime(2026, 6, 2, 12, 7, 30, tzinfo=UTC)
ORIGIN = "http://localhost:3000"
EMAIL = "ada@example.org"
PASSWORD = "correct horse battery"


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        """Return the time."""
        return self.at

    def move(self, **step: float) -> None:
        """Move forward."""
        self.at += timedelta(**step)


@dataclass
class Browser:
    """Keeps cookies and sends what browsers send; asks the application without a socket between them."""

    app: FastAPI
    origin: str = ORIGIN
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> httpx2.Response:
        """Send one request with our cookies and keep those that come back."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Cookie": cookies} if cookies else {}
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=self.origin) as client:
            answer = await client.request(method, path, headers=sent | dict(headers or {}), **more)  # type: ignore[arg-type] # whatever httpx2 takes
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        found = re.search(r'name="csrf" value="([0-9a-f]{64})"', answer.text)
        self.token = found[1] if found else self.token
        return answer

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        """Open an address."""
        return await self.ask("GET", path, {"Accept": "text/html", **headers})

    async def post(self, path: str, **fields: str) -> httpx2.Response:
        """Send a form of ours, as it was last seen."""
        said = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
        return await self.ask("POST", path, said, data={"csrf": self.token, **fields})

    async def call(self, method: str, path: str, body: object = None) -> httpx2.Response:
        """Call the API as a script of ours would."""
        said = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": self.token}
        return await self.ask(method, path, said, json=body)

    async def sign_in(self, email: str = EMAIL, password: str = PASSWORD) -> httpx2.Response:
        """Sign in and look at the page behind, whose forms carry the session's token."""
        await self.get("/sign-in")
        answer = await self.post("/sign-in", email=email, password=password)
        await self.get("/connections")
        return answer


@dataclass
class House:
    """Everything behind the door: runtime, vendors and the clock."""

    runtime: Runtime
    app: FastAPI
    sandbox: Sandbox
    clock: Clock

    def account(self, key: str, vendor: str = "solaredge") -> Account:
        """Return an account at a simulated vendor by its key."""
        return next(a for a in self.sandbox.accounts if (a.vendor, a.key) == (vendor, key))

    async def people(self) -> tuple[Scope, str]:
        """Set up the first organization and return its owner's scope and a session of theirs."""
        secret = await accounts.begin_setup(self.runtime.db)
        assert secret is not None
        token = await accounts.set_up(
            self.runtime.db,
            self.runtime.keyring,
            secret=secret,
            organization="Müller Solar",
            name="Ada Müller",
            email=EMAIL,
            password=PASSWORD,
            now=self.clock(),
        )
        person = await accounts.who(self.runtime.db, token, self.clock())
        assert person is not None
        return person.scope, token

    async def connect(self, scope: Scope, key: str) -> UUID:
        """Connect an account and poll until nothing is due, as the worker would."""
        account = self.account(key)
        connection, _ = await connections.add(
            scope,
            self.runtime.db,
            self.runtime.vendors,
            vendor=account.vendor,
            name=account.label,
            plan=account.plan.key,
            way=account.way,
            fields=account.credentials,
            now=self.clock(),
        )
        await self.poll(scope)
        return connection

    async def poll(self, scope: Scope) -> None:
        """Poll whatever is due until nothing is, as the worker would."""
        for _ in range(20):
            async with self.runtime.db.org(scope) as conn:
                found = await connection_rows.list_connections(scope, conn)
                rows = {c.id: await streams.list_streams(scope, conn, c.id) for c in found}
            due = {c: [r.id for r in those if r.next_at <= self.clock()] for c, those in rows.items()}
            if not any(due.values()):
                return
            for connection, ids in due.items():
                if ids:
                    await poll.poll(platform(scope.organization), self.runtime.deps, connection, ids)
        raise AssertionError("polls never settle")

    async def run(self, scope: Scope, statement: str, *values: str) -> None:
        """Change a row of the organization by hand, as a vendor's strange data would."""
        async with self.runtime.db.org(scope) as conn:
            await conn.execute(statement, values)


@pytest.fixture
def public_url() -> str:
    """Return the public address; tests of other addresses override this."""
    return ORIGIN


@pytest.fixture
async def house(base: Base, public_url: str) -> AsyncIterator[House]:
    """Open a runtime over the test's own database and a sandbox of vendors, and make the application."""
    clock = Clock()
    sandbox = create(1, clock, plans={"solaredge/household": "business", "solaredge/lapsed": "business"})
    config = uvicorn.Config(sandbox.app, port=0, access_log=False, log_config=None, **SERVER_OPTIONS)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    settings = Settings(
        encryption_key=secrets.token_bytes(32),
        public_url=public_url,
        database_url=base.app,
        database_engine_url=base.engine,
        database_jobs_url=base.jobs,
        sandbox_url=f"http://127.0.0.1:{port}",
    )
    async with open_runtime(settings, clock) as runtime:
        yield House(runtime, create_app(runtime), sandbox, clock)
    server.should_exit = True
    await serving


@pytest.fixture
def browser(house: House) -> Browser:
    """Return a browser that was never here before."""
    return Browser(house.app)


@pytest.fixture
async def owner(house: House, browser: Browser) -> Scope:
    """Set up, give the browser the session, and return the owner's scope."""
    scope, token = await house.people()
    browser.cookies["__Host-enalysis"] = token
    await browser.get("/connections")
    return scope
