"""Fixtures every room shares: one PostgreSQL a run, one fresh database a test."""

import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from enalysis.core.access import Role, Scope
from enalysis.store import accounts
from enalysis.store.embedded import EmbeddedServer
from enalysis.store.logins import APP, ENGINE, JOBS, OWNER, create_database, create_logins
from enalysis.store.migrate import upgrade
from enalysis.store.pool import Database

NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL with the four logins and a migrated template to copy."""

    server: EmbeddedServer
    passwords: dict[str, str]
    template: str

    def conninfo(self, login: str, database: str) -> str:
        """Return how `login` reaches `database`."""
        return self.server.conninfo(login, self.passwords[login], database)


@dataclass(frozen=True)
class Base:
    """One test's own database."""

    name: str
    cluster: Cluster

    @property
    def app(self) -> str:
        """Return the app's conninfo."""
        return self.cluster.conninfo(APP, self.name)

    @property
    def engine(self) -> str:
        """Return the engine's conninfo."""
        return self.cluster.conninfo(ENGINE, self.name)

    @property
    def jobs(self) -> str:
        """Return the job queue's conninfo."""
        return self.cluster.conninfo(JOBS, self.name)

    @property
    def owner(self) -> str:
        """Return the owner's conninfo."""
        return self.cluster.conninfo(OWNER, self.name)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start PostgreSQL once and migrate a template once."""
    folder: Path = tmp_path_factory.mktemp("pg")
    with EmbeddedServer(folder) as server:
        passwords = {name: secrets.token_urlsafe(18) for name in (APP, ENGINE, JOBS, OWNER)}
        with psycopg.connect(server.admin_conninfo, autocommit=True) as admin:
            create_logins(admin, passwords)
            create_database(admin, "template_enalysis")
        made = Cluster(server, passwords, "template_enalysis")
        upgrade(made.conninfo(OWNER, made.template))
        yield made


_numbers = itertools.count(1)


@pytest.fixture
def base(cluster: Cluster) -> Iterator[Base]:
    """Copy the template to a database of the test's own and drop it after."""
    name = f"t{next(_numbers)}"
    with psycopg.connect(cluster.server.admin_conninfo, autocommit=True) as admin:
        admin.execute(f"create database {name} template {cluster.template} owner {OWNER} strategy file_copy")
        yield Base(name, cluster)
        admin.execute(f"drop database {name} with (force)")


@pytest.fixture
async def db(base: Base) -> AsyncIterator[Database]:
    """Open the app's and the engine's pools over the test's database."""
    async with Database(base.app, base.engine) as opened:
        yield opened


async def make_organization(db: Database, name: str = "Org") -> Scope:
    """Add an organization and return its owner's scope."""
    scope = Scope(uuid4(), None, Role.OWNER)
    async with db.org(scope) as conn:
        await accounts.add_organization(scope, conn, name, b"wrapped", NOW)
    return scope


@pytest.fixture
async def scope(db: Database) -> Scope:
    """Return the scope of a fresh organization."""
    return await make_organization(db)


@pytest.fixture
def stranger() -> UUID:
    """Return an id that belongs to nobody."""
    return uuid4()
