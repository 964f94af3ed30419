"""Builds everything from the settings: the one place where simulators may meet connectors."""

import asyncio
import contextlib
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from enalysis.actions.poll import Deps
from enalysis.actions.vendors import Vendors
from enalysis.config import Settings
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.errors import ConfigError
from enalysis.egress import Egress
from enalysis.log import register_secret
from enalysis.sandbox import simulators_of
from enalysis.store import accounts, bootstrap, logins, migrate
from enalysis.store.embedded import EmbeddedServer
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.secrets import Keyring, SealBroken

_log = logging.getLogger(__name__)
_WATCH_S = 2.0


def now() -> datetime:
    """Read the clock: aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Addresses:
    """How each login reaches PostgreSQL; `owner` is None where the operator keeps it away from this process."""

    app: str
    engine: str
    jobs: str
    owner: str | None


@dataclass(slots=True)
class Runtime:
    """The parts, put together."""

    settings: Settings
    addresses: Addresses
    db: Database
    keyring: Keyring
    vendors: Vendors
    deps: Deps
    clock: Callable[[], datetime]

    @property
    def sandbox(self) -> bool:
        """Tell whether every vendor is simulated."""
        return self.vendors.sandbox

    async def ready(self) -> Mapping[str, str]:
        """Return what this process needs and whether it has it: `ok`, or one word for what is wrong."""
        checks = {"database": "unavailable", "schema": "unknown", "key": "unknown"}
        with contextlib.suppress(*bootstrap.FAILED):
            async with self.db.world() as conn:
                checks["database"] = "ok"
                version = await bootstrap.schema_version(conn)
                checks["schema"] = "ok" if version == migrate.newest() else "old"
                instance = await accounts.find_instance(conn)
                checks["key"] = self._key_state(None if instance is None else instance.canary)
        return checks

    def _key_state(self, canary: bytes | None) -> str:
        if canary is None:
            return "unset"
        try:
            self.keyring.check_canary(canary)
        except SealBroken:
            return "wrong"
        return "ok"


@asynccontextmanager
async def open_runtime(settings: Settings, clock: Callable[[], datetime] = now) -> AsyncIterator[Runtime]:
    """Bring up the database (embedded unless DATABASE_URL is set), check schema and key, and open everything.

    Raises: ConfigError or EmbeddedError with what to do.
    """
    for value in settings.secret_values():
        register_secret(value)
    keyring = Keyring(settings.encryption_key, register_secret)
    async with _postgres(settings) as addresses:
        await _bring_up_schema(addresses)
        db = Database(addresses.app, addresses.engine)
        async with db, simulators_of(settings) as simulators:
            await _check_key(db, keyring)
            egress = Egress(settings.sandbox_url)
            origin = settings.sandbox_url
            vendors = Vendors(CONNECTORS, db, keyring, egress, clock, origin, settings.apps, host=simulators)
            partitions = Partitions()
            await partitions.ahead(db, clock())
            try:
                yield Runtime(settings, addresses, db, keyring, vendors, Deps(db, vendors, partitions, clock), clock)
            finally:
                # Tokens that a vendor just changed are the only living ones: they are stored before we go.
                await asyncio.shield(vendors.tokens.drain())


@asynccontextmanager
async def _postgres(settings: Settings) -> AsyncIterator[Addresses]:
    if settings.database_url is not None:
        own = own_addresses(settings)
        if own.owner is not None:
            await asyncio.to_thread(make_own_logins, own)
        yield own
        return
    home = settings.enalysis_home
    server = EmbeddedServer(home / "postgres", binaries_folder=settings.postgres_bin_dir)
    await asyncio.to_thread(server.start)
    watcher = asyncio.create_task(_watch(server))
    try:
        yield await asyncio.to_thread(_embedded_addresses, server, home)
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        await asyncio.to_thread(lambda: server.stop(only_if_started_here=True))


def own_addresses(settings: Settings) -> Addresses:
    """Return the addresses of an operator's own PostgreSQL. Raises ConfigError where one is missing."""
    app, engine, jobs = settings.database_url, settings.database_engine_url, settings.database_jobs_url
    if app is None or engine is None or jobs is None:
        msg = "DATABASE_URL, DATABASE_ENGINE_URL and DATABASE_JOBS_URL are needed together"
        raise ConfigError(msg)
    return Addresses(app, engine, jobs, settings.database_owner_url)


def make_own_logins(own: Addresses) -> None:
    """Make the serving logins that an operator's own PostgreSQL lacks, by its owner's login. Blocking."""
    if own.owner is not None:
        serving = {logins.APP: own.app, logins.ENGINE: own.engine, logins.JOBS: own.jobs}
        bootstrap.prepare_own(own.owner, serving)


async def _watch(server: EmbeddedServer) -> None:
    """Start PostgreSQL again whenever it died."""
    while True:
        await asyncio.sleep(_WATCH_S)
        try:
            if await asyncio.to_thread(server.ensure_running):
                _log.warning("the embedded PostgreSQL had died and was started again")
        except bootstrap.LAUNCH_FAILED as error:
            _log.error("the embedded PostgreSQL does not start: %s", error)


def _embedded_addresses(server: EmbeddedServer, home: Path) -> Addresses:
    """Make the logins and the database of an embedded PostgreSQL; passwords stay in a file only we can read."""
    passwords = _passwords(home / "logins.json")
    bootstrap.prepare(server.admin_conninfo, passwords)
    for value in passwords.values():
        register_secret(value)

    def reach(login: str) -> str:
        return server.conninfo(login, passwords[login], bootstrap.DATABASE)

    return Addresses(reach(logins.APP), reach(logins.ENGINE), reach(logins.JOBS), reach(logins.OWNER))


def _passwords(path: Path) -> dict[str, str]:
    names = (logins.APP, logins.ENGINE, logins.JOBS, logins.OWNER)
    fresh = {name: secrets.token_urlsafe(24) for name in names}
    draft = path.with_name(f"{path.name}.{secrets.token_hex(6)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(fresh, file)
    # Linked, not written: of several processes starting at once exactly one set of passwords wins.
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


async def _bring_up_schema(addresses: Addresses) -> None:
    """Migrate where the owner's login is at hand; else refuse to serve a schema this code does not know."""
    if addresses.owner is not None:
        await asyncio.to_thread(migrate.upgrade, addresses.owner)
        return
    found = await asyncio.to_thread(migrate.current, addresses.app)
    if found != migrate.newest():
        msg = (
            f"the database is at schema {found or 'none'}, this release needs {migrate.newest()}:"
            " run `enalysis db migrate` with DATABASE_OWNER_URL set"
        )
        raise ConfigError(msg)


async def _check_key(db: Database, keyring: Keyring) -> None:
    """Refuse to start with a key that did not seal what is stored: nothing may be overwritten by mistake."""
    async with db.world() as conn:
        await accounts.add_instance(conn, keyring.canary())
        instance = await accounts.find_instance(conn)
    assert instance is not None  # noqa: S101 - added one line above
    try:
        keyring.check_canary(instance.canary)
    except SealBroken as error:
        msg = f"ENCRYPTION_KEY is not the key that sealed this database's credentials: {error}"
        raise ConfigError(msg) from None
