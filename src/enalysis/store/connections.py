"""Connections: our accounts at vendors, their sealed credentials, states and calls."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from enalysis.core.access import Scope
from enalysis.core.errors import NotFound
from enalysis.core.readings import Rejected
from enalysis.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection without its secret. `account` is the opaque key of the vendor account's quotas."""

    id: UUID
    vendor: str
    name: str
    plan: str
    account: str
    state: str
    state_since: datetime
    fault: str | None
    clock_ahead_s: float | None
    paused_at: datetime | None
    last_ok_at: datetime | None
    sealed_at: datetime | None
    created_at: datetime
    way: str
    app_id: UUID | None
    expires_at: datetime | None
    refresh_expires_at: datetime | None
    refreshed_at: datetime | None
    warned_at: datetime | None
    subject_mark: str | None
    state_until: datetime | None
    sandbox: bool
    twin_of: UUID | None


COLUMNS = (
    "id, vendor, name, plan, account, state, state_since, fault, clock_ahead_s, paused_at, last_ok_at,"
    " sealed_at, created_at, way, app_id, expires_at, refresh_expires_at, refreshed_at, warned_at, subject_mark,"
    " state_until, sandbox, twin_of"
)


async def add_connection(
    scope: Scope,
    conn: Conn,
    connection: UUID,
    vendor: str,
    name: str,
    plan: str,
    account: str,
    now: datetime,
    *,
    way: str,
    app: UUID | None = None,
    twin_of: UUID | None = None,
) -> None:
    """Add a connection in state `connecting`, without a credential yet; the twin of another one is simulated."""
    await conn.execute(
        "insert into connections (organization_id, id, vendor, name, way, app_id, plan, account, state, state_since,"
        " created_at, sandbox, twin_of) values (%s, %s, %s, %s, %s, %s, %s, %s, 'connecting', %s, %s, %s, %s)",
        (
            *(scope.organization, connection, vendor, name, way, app, plan, account, now, now),
            *(twin_of is not None, twin_of),
        ),
    )


async def move_connection(
    scope: Scope, conn: Conn, connection: UUID, *, way: str, app: UUID | None, plan: str, account: str, now: datetime
) -> None:
    """Let a connection go on through another app, way or credential; sites, devices and readings stay."""
    await conn.execute(
        "update connections set way = %s, app_id = %s, plan = %s, account = %s, state = 'connecting', fault = null,"
        " state_until = null, state_since = %s where organization_id = %s and id = %s",
        (way, app, plan, account, now, scope.organization, connection),
    )


async def set_paused(scope: Scope, conn: Conn, connection: UUID, at: datetime | None) -> bool:
    """Pause a connection, or let it go on (None); False where there is no such connection."""
    done = await conn.execute(
        "update connections set paused_at = %s where organization_id = %s and id = %s",
        (at, scope.organization, connection),
    )
    return done.rowcount == 1


async def set_sealed(scope: Scope, conn: Conn, connection: UUID, sealed: bytes, now: datetime) -> None:
    """Put a sealed credential in place of the one before."""
    await conn.execute(
        "update connections set sealed = %s, sealed_at = %s where organization_id = %s and id = %s",
        (sealed, now, scope.organization, connection),
    )


async def find_sealed(scope: Scope, conn: Conn, connection: UUID) -> bytes:
    """Return the sealed credential. Raises NotFound."""
    row = await (
        await conn.execute(
            "select sealed from connections where organization_id = %s and id = %s",
            (scope.organization, connection),
        )
    ).fetchone()
    if row is None or row[0] is None:
        msg = "this connection has no credential"
        raise NotFound(msg)
    return bytes(row[0])


async def find_connection(scope: Scope, conn: Conn, connection: UUID) -> Connection:
    """Return a connection. Raises NotFound."""
    async with conn.cursor(row_factory=class_row(Connection)) as cur:
        await cur.execute(
            f"select {COLUMNS} from connections where organization_id = %s and id = %s",
            (scope.organization, connection),
        )
        found = await cur.fetchone()
    if found is None:
        msg = "no such connection"
        raise NotFound(msg)
    return found


async def list_connections(scope: Scope, conn: Conn) -> Sequence[Connection]:
    """Return all connections of the organization, oldest first."""
    async with conn.cursor(row_factory=class_row(Connection)) as cur:
        await cur.execute(
            f"select {COLUMNS} from connections where organization_id = %s order by created_at, name",
            (scope.organization,),
        )
        return await cur.fetchall()


async def remove_connection(scope: Scope, conn: Conn, connection: UUID) -> bool:
    """Delete a connection, its secret, streams, devices and their readings; sites stay."""
    for table in ("intervals", "samples", "latest", "revisions"):
        await conn.execute(
            f"delete from {table} r using devices d where r.organization_id = %s and d.organization_id = %s"
            " and d.id = r.device_id and d.connection_id = %s",
            (scope.organization, scope.organization, connection),
        )
    await conn.execute(
        "delete from coverage c using streams s where c.organization_id = %s and s.organization_id = %s"
        " and s.id = c.stream_id and s.connection_id = %s",
        (scope.organization, scope.organization, connection),
    )
    done = await conn.execute(
        "delete from connections where organization_id = %s and id = %s", (scope.organization, connection)
    )
    return done.rowcount == 1


async def set_state(
    scope: Scope,
    conn: Conn,
    connection: UUID,
    state: str,
    fault: str | None,
    now: datetime,
    *,
    ok: bool,
    until: datetime | None = None,
) -> bool:
    """Set the state, its sentence and its end where one is known; True where it is another than before."""
    row = await (
        await conn.execute(
            "select state from connections where organization_id = %s and id = %s for no key update",
            (scope.organization, connection),
        )
    ).fetchone()
    if row is None:
        return False
    changed = bool(row[0] != state)
    await conn.execute(
        "update connections set state = %s, fault = %s, state_until = %s,"
        " state_since = case when state = %s then state_since else %s end,"
        " last_ok_at = case when %s then %s else last_ok_at end"
        " where organization_id = %s and id = %s",
        (state, fault, until, state, now, ok, now, scope.organization, connection),
    )
    return changed


async def may_call(scope: Scope, conn: Conn, connection: UUID, *, paused: bool) -> bool:
    """Tell whether the vendor may be called: the connection has its secret, and is not paused unless that counts."""
    row = await (
        await conn.execute(
            "select sealed is not null and (%s or paused_at is null) from connections"
            " where organization_id = %s and id = %s",
            (paused, scope.organization, connection),
        )
    ).fetchone()
    return row is not None and bool(row[0])


async def set_clock(scope: Scope, conn: Conn, connection: UUID, clock_ahead_s: float | None) -> None:
    """Note how far our clock is ahead of the vendor's, s."""
    await conn.execute(
        "update connections set clock_ahead_s = %s where organization_id = %s and id = %s",
        (clock_ahead_s, scope.organization, connection),
    )


async def add_call(
    scope: Scope,
    conn: Conn,
    connection: UUID,
    at: datetime,
    operation: str,
    cost: int,
    verdict: str,
    ms: float,
) -> None:
    """Write down one call to a vendor; nothing where its connection was removed while it was made."""
    await conn.execute(
        "insert into vendor_calls (organization_id, connection_id, at, operation, cost, verdict, ms)"
        " select organization_id, id, %s, %s, %s, %s, %s from connections where organization_id = %s and id = %s"
        " for key share",
        (at, operation, cost, verdict, ms, scope.organization, connection),
    )


async def add_rejected(scope: Scope, conn: Conn, connection: UUID, rejected: Iterable[Rejected], now: datetime) -> None:
    """Keep what could not be stored, with its reason and a short excerpt; NUL, which text refuses, is taken out."""
    rows = [
        (
            scope.organization,
            connection,
            r.device.replace("\0", "")[:200],
            r.at if r.at is not None and r.at.tzinfo is not None else None,
            r.metric[:60],
            r.reason[:200],
            r.shown.replace("\0", "")[:80],
            now,
        )
        for r in rejected
    ]
    if rows:
        async with conn.cursor() as cur:
            await cur.executemany(
                "insert into quarantine (organization_id, connection_id, device_ref, at, metric, reason, shown,"
                " seen_at) values (%s, %s, %s, %s, %s, %s, %s, %s)",
                rows,
            )


async def add_event(
    scope: Scope, conn: Conn, connection: UUID | None, site: UUID | None, kind: str, text: str, now: datetime
) -> None:
    """Add a line to the timeline."""
    await conn.execute(
        "insert into events (organization_id, at, connection_id, site_id, kind, text) values (%s, %s, %s, %s, %s, %s)",
        (scope.organization, now, connection, site, kind, text),
    )
