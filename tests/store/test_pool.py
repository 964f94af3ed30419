"""A transaction begins with one message, which is also the check of its connection."""

import asyncio
import contextlib
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL

from enalysis.core.access import Scope
from enalysis.store import pool
from enalysis.store.pool import Database
from tests.bar.tenancy import superuser
from tests.databases import Base

SIZE = 4


@pytest.fixture
def admin(base: Base) -> Iterator[psycopg.Connection]:
    """Open the test's database as a superuser."""
    with superuser(base) as opened:
        yield opened


def end_all(admin: psycopg.Connection) -> int:
    """End every connection to the database but this one; return how many there were."""
    row = admin.execute(
        "select count(*) from (select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where datname = current_database() and pid <> pg_backend_pid()) ended"
    ).fetchone()
    return 0 if row is None else int(row[0])


async def fill(db: Database, scope: Scope) -> None:
    """Let the app's pool open all the connections it may."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(SIZE):
            await stack.enter_async_context(db.org(scope))


async def organization(conn: pool.Conn) -> object:
    row = await (await conn.execute("select current_setting('app.org', true)")).fetchone()
    return None if row is None else row[0]


async def test_dead_connections_are_replaced_before_a_request_notices(
    base: Base, admin: psycopg.Connection, scope: Scope
) -> None:
    entered = 0

    async def ask(db: Database) -> None:
        nonlocal entered
        async with db.org(scope) as conn:
            entered += 1
            assert await organization(conn) == str(scope.organization)

    async with Database(base.app, base.engine, size=SIZE) as db:
        for together in (1, 3 * SIZE):
            await fill(db, scope)
            assert end_all(admin) >= SIZE
            entered = 0
            await asyncio.gather(*(ask(db) for _ in range(together)))
            assert entered == together
        async with db.engine() as conn:
            assert not await organization(conn)


async def test_a_body_whose_connection_dies_is_not_run_again(
    base: Base, admin: psycopg.Connection, scope: Scope
) -> None:
    entered = 0

    async def ask(db: Database) -> None:
        nonlocal entered
        async with db.org(scope) as conn:
            entered += 1
            end_all(admin)
            await conn.execute("select 1")

    async with Database(base.app, base.engine, size=1) as db:
        with pytest.raises(psycopg.OperationalError):
            await ask(db)
        assert entered == 1
        async with db.org(scope) as conn:
            assert await organization(conn) == str(scope.organization)


async def test_a_refused_begin_is_told_and_its_connection_kept(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Database(base.app, base.engine, size=1) as db:
        async with db.world() as conn:
            pid = conn.info.backend_pid
        with monkeypatch.context() as patch:
            patch.setattr(pool, "_BEGIN", SQL("begin; select 1 / 0"))
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with db.world():
                    pytest.fail("a transaction that did not begin")
        async with db.world() as conn:
            assert conn.info.backend_pid == pid
            assert conn.info.transaction_status is TransactionStatus.INTRANS


async def test_cut_off_at_the_begin_nothing_of_it_stays(
    base: Base, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SQL("begin; select set_config({}, {}, true); select pg_sleep(5)")
    async with Database(base.app, base.engine, size=1) as db:
        with monkeypatch.context() as patch:
            patch.setattr(pool, "_BEGIN_WITH", slow)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3), db.org(scope):
                    pytest.fail("a transaction that did not begin")
        async with db.world() as conn:
            assert not await organization(conn)


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, KeyboardInterrupt, None])
async def test_what_a_body_wrote_stays_only_if_it_ended_well(
    db: Database, scope: Scope, error: type[BaseException] | None
) -> None:
    with contextlib.suppress(*[error] if error else []):
        async with db.org(scope) as conn:
            await conn.execute("update organizations set name = 'outer'")
            with contextlib.suppress(psycopg.errors.DivisionByZero):
                async with conn.transaction():
                    await conn.execute("update organizations set name = 'inner'")
                    await conn.execute("select 1 / 0")
            if error:
                raise error
    async with db.org(scope) as conn:
        row = await (await conn.execute("select name from organizations")).fetchone()
    assert row == (("Org" if error else "outer"),)
