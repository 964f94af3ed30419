"""A sandbox on a real port, a clock that tests move, and everything a poll works with."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
import uvicorn

from enalysis.actions import connections
from enalysis.actions.poll import Deps
from enalysis.actions.vendors import Vendors
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.access import Role, Scope
from enalysis.egress import Egress
from enalysis.simulators.accounts import Account
from enalysis.simulators.server import SERVER_OPTIONS, Sandbox, create
from enalysis.store import accounts
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.secrets import Keyring

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
    vendor_clock: Clock

    def account(self, key: str) -> Account:
        """Return a sandbox account by its key."""
        return next(a for a in self.sandbox.accounts if a.key == key)

    async def add(self, key: str) -> UUID:
        """Connect a sandbox account."""
        account = self.account(key)
        return await connections.add(
            self.scope,
            self.db,
            self.vendors,
            vendor=account.vendor,
            name=account.label,
            plan=account.plan.key,
            fields=account.credentials,
            now=self.clock(),
        )


@pytest.fixture
def clock() -> Clock:
    """Return a clock at noon UTC of a June day."""
    return Clock()


@pytest.fixture
async def bench(db: Database, clock: Clock) -> AsyncIterator[Bench]:
    """Serve the sandbox on a loopback port and put everything together as runtime does."""
    vendor_clock = Clock()

    def vendors_time() -> datetime:
        return vendor_clock.at if vendor_clock.at != NOON else clock.at

    sandbox = create(1, vendors_time)
    config = uvicorn.Config(sandbox.app, port=0, access_log=False, log_config=None, **SERVER_OPTIONS)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    keyring = Keyring(secrets.token_bytes(32))
    vendors = Vendors(CONNECTORS, db, keyring, Egress(url), clock, url)
    scope = Scope(UUID(int=7), None, Role.OWNER)
    async with db.org(scope) as conn:
        await accounts.add_organization(
            scope, conn, "Test", keyring.new_organization_key(scope.organization), clock()
        )
    deps = Deps(db, vendors, Partitions(), clock)
    yield Bench(scope, db, deps, vendors, sandbox, clock, vendor_clock)
    server.should_exit = True
    await serving
