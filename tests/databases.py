"""A real PostgreSQL for tests, the bar and benchmarks: one server, a migrated template, fresh copies."""

import itertools
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg

from enalysis.core.access import Role, Scope
from enalysis.store import accounts
from enalysis.store.embedded import EmbeddedServer
from enalysis.store.logins import APP, ENGINE, JOBS, OWNER, create_database, create_logins
from enalysis.store.migrate import upgrade
from enalysis.store.pool import Database

NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)
_TEMPLATE = "template_enalysis"


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


@contextmanager
def started_cluster(folder: Path) -> Iterator[Cluster]:
    """Start PostgreSQL in `folder`, migrate a template, and stop it at the end of the block."""
    with EmbeddedServer(folder) as server:
        passwords = {name: secrets.token_urlsafe(18) for name in (APP, ENGINE, JOBS, OWNER)}
        with psycopg.connect(server.admin_conninfo, autocommit=True) as admin:
            create_logins(admin, passwords)
            create_database(admin, _TEMPLATE)
        made = Cluster(server, passwords, _TEMPLATE)
        upgrade(made.conninfo(OWNER, made.template))
        yield made


@contextmanager
def temporary_cluster() -> Iterator[Cluster]:
    """Start PostgreSQL in a folder that is gone at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="enalysis-") as folder, started_cluster(Path(folder) / "pg") as made:
        yield made


_numbers = itertools.count(1)


@contextmanager
def fresh_base(cluster: Cluster) -> Iterator[Base]:
    """Copy the template to a database of the caller's own and drop it at the end of the block."""
    name = f"t{next(_numbers)}"
    with psycopg.connect(cluster.server.admin_conninfo, autocommit=True) as admin:
        admin.execute(f"create database {name} template {cluster.template} owner {OWNER} strategy wal_log")
        try:
            yield Base(name, cluster)
        finally:
            admin.execute(f"drop database {name} with (force)")


async def make_organization(db: Database, name: str = "Org") -> Scope:
    """Add an organization and return its owner's scope."""
    scope = Scope(uuid4(), None, Role.OWNER)
    async with db.org(scope) as conn:
        await accounts.add_organization(scope, conn, name, b"wrapped", NOW)
    return scope
