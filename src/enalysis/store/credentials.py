"""The one credential of a connection that changes by itself: tokens, renewed under a lock of their row."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from enalysis.core.access import Scope
from enalysis.core.errors import NotFound
from enalysis.store.pool import Conn, Database

# Longer than the vendor may take, so that the lock outlives the call it guards.
_LIMITS = (
    "select set_config('lock_timeout', '9s', true), set_config('statement_timeout', '10s', true),"
    " set_config('idle_in_transaction_session_timeout', '15s', true)"
)
# A consent or a disconnection waits for a renewal under way rather than fail.
_PATIENT = "select set_config('lock_timeout', '12s', true)"


@dataclass(frozen=True, slots=True)
class Held:
    """The tokens of a connection, sealed, and what is known of them in clear."""

    sealed: bytes
    expires_at: datetime | None
    refresh_expires_at: datetime | None
    refreshed_at: datetime | None
    refresh_mark: str | None


_COLUMNS = "sealed, expires_at, refresh_expires_at, refreshed_at, refresh_mark"


@dataclass(frozen=True, slots=True)
class Fresh:
    """New tokens to put in place of spent ones.

    Attributes:
        refresh_mark: the mark of the refresh token in it. next_at: when to renew at the latest, polled or not.
    """

    sealed: bytes
    expires_at: datetime
    refresh_expires_at: datetime | None
    refresh_mark: str | None
    next_at: datetime | None


async def find_held(scope: Scope, conn: Conn, connection: UUID, *, lock: bool = False) -> Held:
    """Return a connection's tokens. Raises NotFound where there are none."""
    async with conn.cursor(row_factory=class_row(Held)) as cur:
        await cur.execute(
            f"select {_COLUMNS} from connections where organization_id = %s and id = %s and sealed is not null"
            # The weaker lock: calls made meanwhile are written down with a reference to this very row.
            + (" for no key update" if lock else ""),
            (scope.organization, connection),
        )
        found = await cur.fetchone()
    if found is None:
        msg = "this connection has no credential"
        raise NotFound(msg)
    return found


@asynccontextmanager
async def locked(db: Database, scope: Scope, connection: UUID) -> AsyncIterator[tuple[Conn, Held]]:
    """Hold a connection's tokens for one renewal: nobody else reads them to renew until this ends.

    A transaction of a pool of its own, so that renewals and polls cannot starve one another. It is the one
    transaction that may be held over a call to a vendor. Raises NotFound.
    """
    async with db.renewals(scope) as conn:
        await conn.execute(_LIMITS)
        yield conn, await find_held(scope, conn, connection, lock=True)


async def put_fresh(
    scope: Scope, conn: Conn, connection: UUID, fresh: Fresh, spent_mark: str | None, now: datetime
) -> bool:
    """Put new tokens in place of the ones with this mark; False where others stand there already."""
    done = await conn.execute(
        "update connections set sealed = %s, sealed_at = %s, refreshed_at = %s, expires_at = %s,"
        " refresh_expires_at = %s, refresh_mark = %s, refresh_next_at = %s, warned_at = null"
        " where organization_id = %s and id = %s and sealed is not null and refresh_mark is not distinct from %s",
        (
            fresh.sealed,
            now,
            now,
            fresh.expires_at,
            fresh.refresh_expires_at,
            fresh.refresh_mark,
            fresh.next_at,
            scope.organization,
            connection,
            spent_mark,
        ),
    )
    return done.rowcount == 1


async def set_grant(
    scope: Scope, conn: Conn, connection: UUID, fresh: Fresh, subject_mark: str | None, now: datetime
) -> None:
    """Give a connection the tokens of a new consent, whatever it had before."""
    await conn.execute(_PATIENT)
    await conn.execute(
        "update connections set sealed = %s, sealed_at = %s, refreshed_at = %s, expires_at = %s,"
        " refresh_expires_at = %s, refresh_mark = %s, refresh_next_at = %s, warned_at = null,"
        " subject_mark = coalesce(%s, subject_mark) where organization_id = %s and id = %s",
        (
            fresh.sealed,
            now,
            now,
            fresh.expires_at,
            fresh.refresh_expires_at,
            fresh.refresh_mark,
            fresh.next_at,
            subject_mark,
            scope.organization,
            connection,
        ),
    )


async def wipe(scope: Scope, conn: Conn, connection: UUID) -> bytes | None:
    """Delete a connection's secret and return what it was, sealed; None where there was none."""
    await conn.execute(_PATIENT)
    row = await (
        await conn.execute(
            "with was as (select id, sealed from connections where organization_id = %s and id = %s for no key update)"
            " update connections c set sealed = null, sealed_at = null, expires_at = null, refresh_expires_at = null,"
            " refresh_mark = null, refresh_next_at = null, refreshed_at = null from was"
            " where c.organization_id = %s and c.id = was.id returning was.sealed",
            (scope.organization, connection, scope.organization),
        )
    ).fetchone()
    return None if row is None or row[0] is None else bytes(row[0])


async def set_next_renewal(scope: Scope, conn: Conn, connection: UUID, at: datetime | None) -> None:
    """Set when to renew at the latest; None: not by itself."""
    await conn.execute(
        "update connections set refresh_next_at = %s where organization_id = %s and id = %s",
        (at, scope.organization, connection),
    )


async def set_warned(scope: Scope, conn: Conn, connection: UUID, now: datetime) -> bool:
    """Note that people were warned of the grant's end; False where they were before."""
    done = await conn.execute(
        "update connections set warned_at = %s where organization_id = %s and id = %s and warned_at is null",
        (now, scope.organization, connection),
    )
    return done.rowcount == 1


async def list_due_renewals(conn: Conn, now: datetime, limit: int) -> list[tuple[UUID, UUID]]:
    """Return (organization, connection) of tokens to renew though nobody polls; the engine's transaction.

    Each is put off by an hour, so that it is handed out once, and again if nothing came of it.
    """
    rows = await (
        await conn.execute(
            "update connections c set refresh_next_at = %s + interval '1 hour' from"
            " (select organization_id, id from connections where refresh_next_at <= %s"
            "  order by refresh_next_at limit %s for update skip locked) d"
            " where c.organization_id = d.organization_id and c.id = d.id returning c.organization_id, c.id",
            (now, now, limit),
        )
    ).fetchall()
    return [(UUID(str(org)), UUID(str(connection))) for org, connection in rows]
