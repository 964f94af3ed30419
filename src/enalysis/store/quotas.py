"""Reserving vendors' quotas in the database, exactly, before a call is made."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from enalysis.core.intervals import floor_time
from enalysis.core.planner import keep_for_live, keep_for_people
from enalysis.core.quotas import (
    SLICE_S,
    SPAN_S,
    Alignment,
    Budget,
    Quota,
    QuotaScope,
    QuotaWindow,
    counting_window,
)
from enalysis.store.pool import Conn

# No vendor grants more calls than this; a header that says so is no statement about quota.
_TOP = 1_000_000_000


class Caller(IntEnum):
    """Who asks for quota; each leaves what the ones before it keep."""

    PERSON = 0
    LIVE = 1
    BACKFILL = 2


@dataclass(frozen=True, slots=True)
class Grant:
    """Whether the calls are reserved; if not, when some will be free (None: nobody declared the scope)."""

    granted: bool
    until: datetime | None
    blocked_by: QuotaWindow | None


async def declared(conn: Conn, scope: str) -> bool:
    """Tell whether the quotas of a scope are known."""
    row = await (await conn.execute("select exists (select from quota_limits where scope = %s)", (scope,))).fetchone()
    return row is not None and bool(row[0])


async def declare(conn: Conn, scope: str, quotas: Iterable[Quota]) -> None:
    """State the quotas of a scope; what was taken of a window stays counted, windows not named go."""
    quotas = list(quotas)
    await _lock(conn, scope)
    await conn.execute(
        "delete from quota_limits where scope = %s and not quota_window = any(%s)",
        (scope, [q.window.value for q in quotas]),
    )
    for q in sorted(quotas, key=lambda quota: quota.window.value):
        await conn.execute(
            "insert into quota_limits as l (scope, quota_window, cap, calendar, slice_s, span_s, people_keep,"
            " live_keep, chosen) values (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (scope, quota_window) do update set cap = excluded.cap,"
            " calendar = excluded.calendar, slice_s = excluded.slice_s, span_s = excluded.span_s,"
            " people_keep = excluded.people_keep, live_keep = excluded.live_keep, chosen = excluded.chosen",
            (
                scope,
                q.window.value,
                q.limit,
                q.alignment is Alignment.CALENDAR,
                SLICE_S[q.window],
                SPAN_S[q.window],
                keep_for_people(q.limit, q.window),
                keep_for_live(q.limit, q.window),
                q.chosen,
            ),
        )


async def forget(conn: Conn, scope: str) -> None:
    """Drop the quotas of a scope that nobody uses any more, and what was taken of them."""
    await _lock(conn, scope)
    await conn.execute("delete from quota_limits where scope = %s", (scope,))


async def take(conn: Conn, scope: str, cost: int, now: datetime, caller: Caller) -> Grant:
    """Reserve `cost` calls in every window of the scope, or in none. Commit before the call is made."""
    row = await (
        await conn.execute(
            "select granted, until, blocked_by from quota_take(%s, %s, %s, %s)",
            (scope, cost, now, int(caller)),
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - the function returns one row
    return Grant(row[0], row[1], None if row[2] is None else QuotaWindow(row[2]))


async def hold(conn: Conn, scope: str, window: QuotaWindow | None, until: datetime) -> None:
    """Grant nothing of a window (None: of any) before `until`; an earlier word never shortens a later one."""
    only = None if window is None else window.value
    await _lock(conn, scope)
    await conn.execute(
        "update quota_limits set hold_until = greatest(coalesce(hold_until, %(until)s), %(until)s)"
        " where scope = %(scope)s and (%(window)s::text is null or quota_window = %(window)s)",
        {"scope": scope, "until": until, "window": only},
    )


async def observe(conn: Conn, scope: str, window: QuotaWindow, limit: int, remaining: int, now: datetime) -> None:
    """Believe the vendor where it says less is left than we counted, and where it states another limit.

    A limit of nothing, or of more than anybody grants, is no statement about quota and changes nothing.
    """
    if not 0 < limit <= _TOP:
        return
    # Two answers that arrive together must not both add the same missing calls.
    await _lock(conn, scope)
    await conn.execute(
        "update quota_limits set cap = %s, people_keep = %s, live_keep = %s, chosen = false"
        " where scope = %s and quota_window = %s and cap <> %s",
        (limit, keep_for_people(limit, window), keep_for_live(limit, window), scope, window.value, limit),
    )
    await conn.execute(
        "insert into quota_windows as w (scope, quota_window, window_start, taken)"
        " select l.scope, l.quota_window, %(at)s, %(used)s - coalesce(sum(x.taken), 0) from quota_limits l"
        " left join quota_windows x on x.scope = l.scope and x.quota_window = l.quota_window"
        "   and x.window_start > quota_since(l, %(now)s)"
        " where l.scope = %(scope)s and l.quota_window = %(window)s"
        " group by l.scope, l.quota_window having %(used)s > coalesce(sum(x.taken), 0)"
        " on conflict (scope, quota_window, window_start) do update set taken = w.taken + excluded.taken",
        {
            "scope": scope,
            "window": window.value,
            "at": floor_time(now, SLICE_S[window]),
            "used": min(limit, limit - remaining),
            "now": now,
        },
    )


async def budgets(conn: Conn, scopes: Iterable[str], now: datetime) -> list[Budget]:
    """Return what is left of every quota of the scopes."""
    rows = await (
        await conn.execute(
            "select l.scope, l.quota_window, l.cap, l.calendar, l.chosen, l.hold_until,"
            "  coalesce(sum(w.taken) filter (where w.window_start > quota_since(l, %(now)s)), 0),"
            "  min(w.window_start) filter (where w.window_start > quota_since(l, %(now)s))"
            " from quota_limits l left join quota_windows w using (scope, quota_window)"
            " where l.scope = any(%(scopes)s) group by l.scope, l.quota_window order by 1, 2",
            {"now": now, "scopes": list(scopes)},
        )
    ).fetchall()
    out = []
    for scope, window, cap, calendar, chosen, hold_until, taken, oldest in rows:
        alignment = Alignment.CALENDAR if calendar else Alignment.UNKNOWN
        quota = Quota(QuotaScope.ACCOUNT, QuotaWindow(window), cap, alignment, chosen)
        turns = counting_window(quota, now).end
        if not calendar:
            turns = now if oldest is None else oldest + timedelta(seconds=SPAN_S[quota.window])
        out.append(Budget(scope, quota, int(taken), turns, hold_until))
    return out


async def sweep(conn: Conn, now: datetime) -> int:
    """Drop slices that no window counts any more and return how many."""
    done = await conn.execute(
        "delete from quota_windows w using quota_limits l where l.scope = w.scope"
        " and l.quota_window = w.quota_window and w.window_start < %s - make_interval(secs => 2 * l.span_s)",
        (now,),
    )
    return done.rowcount


async def _lock(conn: Conn, scope: str) -> None:
    """Wait until nobody else changes the scope's quotas; let go at the end of the transaction."""
    await conn.execute("select quota_lock(%s)", (scope,))
