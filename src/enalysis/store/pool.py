"""Connection pools, one per login, and the transactions that put row-level security to work."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Self
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, namedtuple_row
from psycopg.sql import SQL, Composed
from psycopg_pool import AsyncConnectionPool

from enalysis.core.access import Scope

Conn = AsyncConnection[TupleRow]
named_rows = namedtuple_row

# PostgreSQL's own defaults are 0: a forgotten transaction would hold its locks for ever (BAR K2).
_OPTIONS = "-c statement_timeout=30s -c lock_timeout=5s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
# Without parameters, or both could not go in one message; `format` quotes the values.
_BEGIN = SQL("begin")
_BEGIN_WITH = SQL("begin; select set_config({}, {}, true)")


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

    def org(self, scope: Scope) -> AbstractAsyncContextManager[Conn]:
        """Begin a transaction that sees the scope's organization and nothing else."""
        return _transaction(self._app, _BEGIN_WITH.format("app.org", str(scope.organization)))

    def renewals(self, scope: Scope) -> AbstractAsyncContextManager[Conn]:
        """Begin a transaction like `org`, on the connections kept for renewing tokens."""
        return _transaction(self._renewals, _BEGIN_WITH.format("app.org", str(scope.organization)))

    def user(self, user: UUID) -> AbstractAsyncContextManager[Conn]:
        """Begin a transaction that sees one person's memberships, to find the organizations to enter."""
        return _transaction(self._app, _BEGIN_WITH.format("app.user", str(user)))

    def world(self) -> AbstractAsyncContextManager[Conn]:
        """Begin a transaction that sees no organization."""
        return _transaction(self._app, _BEGIN)

    def engine(self) -> AbstractAsyncContextManager[Conn]:
        """Begin a transaction of the planning engine."""
        return _transaction(self._engine, _BEGIN)


@asynccontextmanager
async def _transaction(pool: AsyncConnectionPool[Conn], begin: SQL | Composed) -> AsyncIterator[Conn]:
    """Begin with one message on a connection of the pool; commit at the end, roll back on any error.

    The message is also the check that the connection still works: one that PostgreSQL closed while it lay in the
    pool is left for the next, as nothing was done on it yet. Raises PoolTimeout where none is to be had.
    """
    # After a restart of PostgreSQL as many may be dead as the pool holds; what it gives after those is new.
    for dead in range(pool.max_size + 1):
        # At its end the pool's own block commits, or rolls back, and takes the connection back or discards it.
        async with pool.connection() as conn:
            try:
                await conn.execute(begin, prepare=False)
            except psycopg.Error:
                if conn.closed and dead < pool.max_size:
                    continue
                raise
            yield conn
            return


def _pool(conninfo: str, name: str, size: int, least: int = 1) -> AsyncConnectionPool[Conn]:
    return AsyncConnectionPool(
        conninfo,
        min_size=least,
        max_size=size,
        open=False,
        name=name,
        timeout=15,
        # Or psycopg would send a `begin` of its own, ahead of ours and in a round trip of its own.
        kwargs={"options": _OPTIONS, "application_name": name, "autocommit": True},
    )
