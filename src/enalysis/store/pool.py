"""Connection pools, one per login, and the transactions that put row-level security to work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, namedtuple_row
from psycopg_pool import AsyncConnectionPool

from enalysis.core.access import Scope

Conn = AsyncConnection[TupleRow]
named_rows = namedtuple_row

# PostgreSQL's own defaults are 0: a forgotten transaction would hold its locks for ever (BAR K2).
_OPTIONS = "-c statement_timeout=30s -c lock_timeout=5s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"


class Database:
    """The app's and the engine's pools over one PostgreSQL.

    Every use is one transaction: `org` sees one organization, `user` one person's memberships, `world` only
    what belongs to nobody (users, sessions, quotas), `engine` plans over all organizations without secrets.
    """

    def __init__(self, app_conninfo: str, engine_conninfo: str, *, size: int = 8) -> None:
        self._app = _pool(app_conninfo, "enalysis_app", size)
        self._engine = _pool(engine_conninfo, "enalysis_engine", 2)
        # Of its own: a renewal holds its connection over a call to a vendor, and must not wait for a page's.
        self._renewals = _pool(app_conninfo, "enalysis_renewals", 4, least=0)

    async def open(self, timeout_s: float = 30) -> None:
        """Open the pools and wait until a connection of the app's and the engine's works."""
        await self._app.open(wait=True, timeout=timeout_s)
        await self._engine.open(wait=True, timeout=timeout_s)
        await self._renewals.open()

    async def close(self) -> None:
        """Close the pools."""
        await self._renewals.close()
        await self._app.close()
        await self._engine.close()

    async def __aenter__(self) -> Self:
        """Open."""
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    @asynccontextmanager
    async def org(self, scope: Scope) -> AsyncIterator[Conn]:
        """Begin a transaction that sees the scope's organization and nothing else."""
        async with self._app.connection() as conn, conn.transaction():
            await conn.execute("select set_config('app.org', %s, true)", (str(scope.organization),))
            yield conn

    @asynccontextmanager
    async def renewals(self, scope: Scope) -> AsyncIterator[Conn]:
        """Begin a transaction like `org`, on the connections kept for renewing tokens."""
        async with self._renewals.connection() as conn, conn.transaction():
            await conn.execute("select set_config('app.org', %s, true)", (str(scope.organization),))
            yield conn

    @asynccontextmanager
    async def user(self, user: UUID) -> AsyncIterator[Conn]:
        """Begin a transaction that sees one person's memberships, to find the organizations to enter."""
        async with self._app.connection() as conn, conn.transaction():
            await conn.execute("select set_config('app.user', %s, true)", (str(user),))
            yield conn

    @asynccontextmanager
    async def world(self) -> AsyncIterator[Conn]:
        """Begin a transaction that sees no organization."""
        async with self._app.connection() as conn, conn.transaction():
            yield conn

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Conn]:
        """Begin a transaction of the planning engine."""
        async with self._engine.connection() as conn, conn.transaction():
            yield conn


def _pool(conninfo: str, name: str, size: int, least: int = 1) -> AsyncConnectionPool[Conn]:
    return AsyncConnectionPool(
        conninfo,
        min_size=least,
        max_size=size,
        open=False,
        name=name,
        timeout=15,
        kwargs={"options": _OPTIONS, "application_name": name},
        check=AsyncConnectionPool.check_connection,
    )
