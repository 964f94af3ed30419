"""A sandbox on a real port, a clock that tests move, and everything a poll works with."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import uvicorn
from starlette.types import ASGIApp

from enalysis.actions import connections, poll
from enalysis.actions.poll import Deps
from enalysis.actions.vendors import Vendors
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.access import Role, Scope
from enalysis.egress import Egress
from enalysis.queries.connections import connection as find_connection
from enalysis.queries.shapes import ConnectionRow
from enalysis.simulators.accounts import Account
from enalysis.simulators.server import SERVER_OPTIONS, Sandbox, create
from enalysis.store import accounts, streams
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.secrets import Keyring
from tests.oauth_bench import Bench as Office
from tests.oauth_bench import opened

NOON = datetime(2026, 6, 2, 12, 7, 30, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        """Return the time."""
        return self.at

    def move(self, **step: float) -> datetime:
        """Move forward and return the time."""
        self.at += timedelta(**step)
        return self.at


@dataclass
class Bench:
    """An organization, its deps, and the vendors on the other side of the wire."""

    scope: Scope
    db: Database
    deps: Deps
    vendors: Vendors
    sandbox: Sandbox
    clock: Clock

    def account(self, key: str) -> Account:
        """Return a sandbox account by its key."""
        return next(a for a in self.sandbox.accounts if a.key == key and a.vendor == "solaredge")

    async def add(self, key: str) -> UUID:
        """Connect a sandbox account."""
        account = self.account(key)
        connection, _ = await connections.add(
            self.scope,
            self.db,
            self.vendors,
            vendor=account.vendor,
            name=account.label,
            plan=account.plan.key,
            fields=account.credentials,
            now=self.clock(),
        )
        return connection

    async def run_due(self, connection: UUID) -> None:
        """Poll everything that is due until nothing is, as the worker would."""
        for _ in range(20):
            async with self.db.org(self.scope) as conn:
                rows = await streams.list_streams(self.scope, conn, connection)
            due = [r.id for r in rows if r.next_at <= self.clock()]
            if not due:
                return
            await poll.poll(self.scope, self.deps, connection, due)
        raise AssertionError("polls never settle")

    async def run_history(self, connection: UUID) -> int:
        """Fetch history until there is none left to fetch; return how many jobs it took."""
        for jobs in range(200):
            async with self.db.org(self.scope) as conn:
                rows = await streams.list_streams(self.scope, conn, connection)
            due = [r.id for r in rows if r.backfill_next_at is not None and r.backfill_next_at <= self.clock()]
            if not any(r.backfill_next_at for r in rows):
                return jobs
            if due:
                await poll.backfill(self.scope, self.deps, connection, due)
            self.clock.move(seconds=15)
        raise AssertionError("history never ends")

    async def row(self, connection: UUID) -> ConnectionRow:
        """Return the connection as a person sees it."""
        return await find_connection(self.scope, self.db, self.vendors.specs, connection, self.clock())


@pytest.fixture
def clock() -> Clock:
    """Return a clock at noon UTC of a June day."""
    return Clock()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve a sandbox's application on a loopback port and yield its address."""
    config = uvicorn.Config(app, port=0, access_log=False, log_config=None, **SERVER_OPTIONS)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


async def organization_of(db: Database, keyring: Keyring, clock: Clock) -> Scope:
    """Add an organization with a key of its own and return its owner's scope."""
    scope = Scope(UUID(int=7), None, Role.OWNER)
    async with db.org(scope) as conn:
        await accounts.add_organization(scope, conn, "Test", keyring.new_organization_key(scope.organization), clock())
    return scope


@asynccontextmanager
async def open_bench(db: Database, clock: Clock) -> AsyncIterator[Bench]:
    """Serve the sandbox on a loopback port and put everything together as runtime does."""
    sandbox = create(1, clock, plans={"solaredge/household": "business", "solaredge/lapsed": "business"})
    async with served(sandbox.app) as url:
        keyring = Keyring(secrets.token_bytes(32))
        vendors = Vendors(CONNECTORS, db, keyring, Egress(url), clock, url)
        scope = await organization_of(db, keyring, clock)
        yield Bench(scope, db, Deps(db, vendors, Partitions(), clock), vendors, sandbox, clock)


@pytest.fixture
async def bench(db: Database, clock: Clock) -> AsyncIterator[Bench]:
    """Return a bench of the test's own."""
    async with open_bench(db, clock) as opened_bench:
        yield opened_bench


@pytest.fixture
async def office(db: Database, clock: Clock) -> AsyncIterator[Office]:
    """Open an organization with an app at the scripted OAuth vendor, which judges by the same clock."""
    async with opened(db, clock=clock, vendor_clock=lambda: clock().timestamp()) as made:
        yield made
