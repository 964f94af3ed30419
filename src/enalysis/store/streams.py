"""Streams: what is fetched again and again, when it is due, how far it has come."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from enalysis.core.access import Scope
from enalysis.core.metrics import Metric
from enalysis.store.pool import Conn


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One stream of a connection as stored.

    cursor: end of the last closed interval stored. backfill_until: the oldest instant asked for;
    backfill_at: history is complete from here to where live collection began. demand: calls a day it wants;
    every_s: the cadence it was last planned with, s; None: never yet.
    """

    id: int
    connection_id: UUID
    site_id: UUID | None
    name: str
    subject: str
    enabled: bool
    next_at: datetime
    polled_at: datetime | None
    last_ok_at: datetime | None
    cursor: datetime | None
    backfill_until: datetime | None
    backfill_at: datetime | None
    backfill_next_at: datetime | None
    failures: int
    wait_until: datetime | None
    fault: str | None
    fault_text: str | None
    demand: float
    every_s: int | None


@dataclass(frozen=True, slots=True)
class Source:
    """A connection as the engine sees it: how many live streams are due and free, and how many are claimed."""

    organization: UUID
    connection: UUID
    vendor: str
    state: str
    paused: bool
    due: int
    claimed: int


@dataclass(frozen=True, slots=True)
class Crowd:
    """Streams seen from afar: how many, the calls a day they want, and how many were never planned."""

    members: int
    demand: float
    unsaid: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """Streams of one connection that the engine claimed together."""

    organization: UUID
    connection: UUID
    vendor: str
    streams: tuple[int, ...]


# A connection in one of these is only asked for its list of sites, to see whether it came back.
STOPPED = ("reauth_required", "vendor_api_retired", "app_misconfigured", "waiting_for_vendor", "account_locked")

# What may be asked now of a stream `s` of a connection `c`, whether it is due or not.
_MAY_BE_ASKED = (
    "s.enabled and c.paused_at is null"
    " and c.state <> 'disconnected' and (s.subject = '' or c.state <> all(%(stopped)s))"
    # Of a locked account nothing is asked before its end: a call or a login might prolong it.
    " and (c.state <> 'account_locked' or c.state_until is null or c.state_until <= %(now)s)"
)

_COLUMNS = (
    "id, connection_id, site_id, name, subject, enabled, next_at, polled_at, last_ok_at, cursor,"
    " backfill_until, backfill_at, backfill_next_at, failures, wait_until, fault, fault_text, demand, every_s"
)


async def add_stream(
    scope: Scope,
    conn: Conn,
    connection: UUID,
    site: UUID | None,
    name: str,
    subject: str,
    metrics: Iterable[Metric],
    now: datetime,
) -> None:
    """Add a stream that is due at once; one that is there at most learns its site and its metrics."""
    await conn.execute(
        "insert into streams (organization_id, connection_id, site_id, name, subject, metrics, next_at, why)"
        " values (%s, %s, %s, %s, %s, %s, %s, 'never asked yet')"
        " on conflict (organization_id, connection_id, name, subject)"
        " do update set site_id = coalesce(streams.site_id, excluded.site_id), metrics = excluded.metrics"
        " where streams.site_id is null or streams.metrics <> excluded.metrics",
        (scope.organization, connection, site, name, subject, [m.value for m in metrics], now),
    )


async def list_streams(
    scope: Scope, conn: Conn, connection: UUID, only: Iterable[int] | None = None
) -> Sequence[StreamRow]:
    """Return the streams of a connection, or those of them named."""
    async with conn.cursor(row_factory=class_row(StreamRow)) as cur:
        await cur.execute(
            f"select {_COLUMNS} from streams where organization_id = %s and connection_id = %s"
            " and (%s::bigint[] is null or id = any(%s)) order by id",
            (
                scope.organization,
                connection,
                None if only is None else list(only),
                None if only is None else list(only),
            ),
        )
        return await cur.fetchall()


async def set_polled(
    scope: Scope,
    conn: Conn,
    stream: int,
    now: datetime,
    *,
    ok: bool,
    asked: bool = True,
    fault: str | None,
    fault_text: str | None,
    wait_until: datetime | None,
) -> None:
    """Write down how a poll ended, and whether the vendor was asked at all. The cursor moves with the data."""
    await conn.execute(
        "update streams set claimed_until = null, wait_until = %s, fault = %s, fault_text = %s,"
        " polled_at = case when %s then %s else polled_at end,"
        " failures = case when %s then 0 else failures + 1 end,"
        " last_ok_at = case when %s then %s else last_ok_at end"
        " where organization_id = %s and id = %s",
        (wait_until, fault, fault_text, asked, now, ok, ok, now, scope.organization, stream),
    )


async def set_next(scope: Scope, conn: Conn, dues: Sequence[tuple[int, datetime, str]]) -> None:
    """Set when streams are due next, and why."""
    async with conn.cursor() as cur:
        await cur.executemany(
            "update streams set next_at = %s, why = %s, claimed_until = null where organization_id = %s and id = %s",
            [(at, why, scope.organization, stream) for stream, at, why in sorted(dues)],
        )


async def set_pace(scope: Scope, conn: Conn, paces: Sequence[tuple[int, float, int | None]]) -> None:
    """Write down how many calls a day streams want, and the cadence they are planned with, s; None: as before."""
    async with conn.cursor() as cur:
        await cur.executemany(
            "update streams set demand = %s, every_s = coalesce(%s, every_s) where organization_id = %s and id = %s",
            [(demand, every_s, scope.organization, stream) for stream, demand, every_s in sorted(paces)],
        )


async def crowd(scope: Scope, conn: Conn, connection: UUID, without: Iterable[int]) -> Crowd:
    """Return how many streams of a connection there are beside some, and what they want together."""
    row = await (
        await conn.execute(
            "select count(*), coalesce(sum(demand), 0), count(*) filter (where every_s is null) from streams"
            " where organization_id = %s and connection_id = %s and enabled and not id = any(%s)",
            (scope.organization, connection, list(without)),
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - a sum has one row
    return Crowd(row[0], float(row[1]), row[2])


async def demand_of_accounts(conn: Conn, accounts: Iterable[str], without: UUID | None = None) -> dict[str, float]:
    """Return the calls a day that everybody who shares each quota wants, of any organization; engine's transaction.

    Args: without: a connection whose own wishes are left out.
    """
    rows = await (
        await conn.execute(
            "select c.account, sum(s.demand) from connections c"
            " join streams s on s.organization_id = c.organization_id and s.connection_id = c.id"
            " where c.account = any(%s) and c.id is distinct from %s and s.enabled and c.paused_at is null"
            " and (s.subject = '' or c.state <> all(%s)) group by c.account",
            (list(accounts), without, list(STOPPED)),
        )
    ).fetchall()
    return {account: float(demand) for account, demand in rows}


async def list_all_streams(scope: Scope, conn: Conn) -> Sequence[StreamRow]:
    """Return the streams of every connection of the organization that are fetched."""
    async with conn.cursor(row_factory=class_row(StreamRow)) as cur:
        await cur.execute(
            f"select {_COLUMNS} from streams where organization_id = %s and enabled order by id",
            (scope.organization,),
        )
        return await cur.fetchall()


async def ask_backfill(
    scope: Scope,
    conn: Conn,
    connection: UUID,
    site: UUID,
    subject: str,
    names: Iterable[str],
    until: datetime,
) -> None:
    """Ask for a site's history back to `until` where nobody did yet; it begins once live collection has."""
    await conn.execute(
        "update streams set backfill_until = %s where organization_id = %s and connection_id = %s"
        " and site_id = %s and subject = %s and name = any(%s) and backfill_until is null",
        (until, scope.organization, connection, site, subject, list(names)),
    )


async def set_backfill(
    scope: Scope, conn: Conn, stream: int, until: datetime, at: datetime, next_at: datetime | None
) -> None:
    """Set how far back history is wanted, how far it has come, and when it goes on (None: done)."""
    await conn.execute(
        "update streams set backfill_until = %s, backfill_at = %s, backfill_next_at = %s,"
        " backfill_start = coalesce(backfill_start, %s), claimed_until = null"
        " where organization_id = %s and id = %s",
        (until, at, next_at, at, scope.organization, stream),
    )


async def postpone_backfill(scope: Scope, conn: Conn, rows: Iterable[int], until: datetime) -> None:
    """Let the history of these streams, as far as it is not complete, wait until then."""
    await conn.execute(
        "update streams set backfill_next_at = greatest(backfill_next_at, %s)"
        " where organization_id = %s and id = any(%s) and backfill_next_at is not null",
        (until, scope.organization, list(rows)),
    )


async def set_due(scope: Scope, conn: Conn, connection: UUID, now: datetime) -> int:
    """Make every stream of a connection due now and return how many there are."""
    done = await conn.execute(
        "update streams set next_at = %s, why = 'somebody asked', wait_until = null,"
        " backfill_next_at = case when backfill_next_at is not null then %s end"
        " where organization_id = %s and connection_id = %s and enabled",
        (now, now, scope.organization, connection),
    )
    return done.rowcount


async def set_due_by_name(
    scope: Scope,
    conn: Conn,
    connection: UUID,
    subject: str,
    names: Iterable[str],
    at: datetime,
    why: str = "an unknown device turned up",
) -> None:
    """Make the named streams of one subject due at an instant, and say why."""
    await conn.execute(
        "update streams set next_at = %s, why = %s"
        " where organization_id = %s and connection_id = %s and subject = %s and name = any(%s)",
        (at, why, scope.organization, connection, subject, list(names)),
    )


async def claim_due(
    conn: Conn, now: datetime, lease_s: float, limit: int, per_batch: int, *, backfill: bool
) -> list[Claimed]:
    """Claim due streams over all organizations, in batches of one connection each; engine's transaction.

    A claim that nobody finishes lapses after `lease_s` seconds and the stream is planned again. Streams of one
    connection go to one batch at a time, so a connection is never polled twice at once.
    """
    column = "backfill_next_at" if backfill else "next_at"
    rows = await (
        await conn.execute(
            f"select s.organization_id, s.connection_id, c.vendor, s.id from streams s"
            " join connections c on c.organization_id = s.organization_id and c.id = s.connection_id"
            f" where {_MAY_BE_ASKED} and s.{column} <= %(now)s"
            " and (s.claimed_until is null or s.claimed_until < %(now)s)"
            " and not exists (select from streams b where b.organization_id = s.organization_id"
            "   and b.connection_id = s.connection_id and b.claimed_until >= %(now)s)"
            f" order by s.{column} limit %(limit)s for update of s skip locked",
            {"now": now, "limit": limit, "stopped": list(STOPPED)},
        )
    ).fetchall()
    by_connection: dict[tuple[UUID, UUID, str], list[int]] = {}
    for organization, connection, vendor, stream in rows:
        by_connection.setdefault((organization, connection, vendor), []).append(stream)
    batches = [Claimed(o, c, vendor, tuple(ids[:per_batch])) for (o, c, vendor), ids in by_connection.items()]
    for batch in batches:
        await conn.execute(
            "update streams set claimed_until = %s where organization_id = %s and id = any(%s)",
            (now + timedelta(seconds=lease_s), batch.organization, list(batch.streams)),
        )
    return batches


async def list_sources(conn: Conn, now: datetime) -> Sequence[Source]:
    """Return every connection of every organization with how much of it is due; engine's transaction."""
    async with conn.cursor(row_factory=class_row(Source)) as cur:
        await cur.execute(
            "select c.organization_id as organization, c.id as connection, c.vendor, c.state,"
            " c.paused_at is not null as paused,"
            f" count(s.id) filter (where {_MAY_BE_ASKED} and s.next_at <= %(now)s"
            "  and (s.claimed_until is null or s.claimed_until < %(now)s)) as due,"
            " count(s.id) filter (where s.claimed_until >= %(now)s) as claimed"
            " from connections c left join streams s"
            "  on s.organization_id = c.organization_id and s.connection_id = c.id"
            " group by c.organization_id, c.id, c.vendor, c.state, c.paused_at, c.state_until"
            " order by c.organization_id, c.id",
            {"now": now, "stopped": list(STOPPED)},
        )
        return await cur.fetchall()


async def release(scope: Scope, conn: Conn, streams: Iterable[int]) -> None:
    """Give back claimed streams without a word on how they went."""
    await conn.execute(
        "update streams set claimed_until = null where organization_id = %s and id = any(%s)",
        (scope.organization, list(streams)),
    )
