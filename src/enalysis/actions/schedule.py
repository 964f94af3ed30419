"""When a connection's streams are due next: the planner fed from the database, its answer written back."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from uuid import UUID

from enalysis.connectors.base import Spec, Stream
from enalysis.core.access import Scope
from enalysis.core.daylight import Place, daylight
from enalysis.core.intervals import Window, floor_time
from enalysis.core.planner import StreamNeed, demand_per_day, plan
from enalysis.queries.places import place_of
from enalysis.store import quotas, sites, streams
from enalysis.store.connections import Connection
from enalysis.store.pool import Database
from enalysis.store.streams import StreamRow

# Demand that changed by less is not written again: days grow longer by the minute, for every stream at once.
_SAME = 0.02
# A poll after dusk belongs to the day before; and a plan looks two days ahead.
_PAST, _AHEAD = timedelta(hours=24), timedelta(hours=48)


async def plan_next(
    scope: Scope, db: Database, connection: Connection, spec: Spec, polled: Sequence[StreamRow], now: datetime
) -> None:
    """Set when the polled streams are due next, in view of everything that shares their quota."""
    async with db.org(scope) as conn:
        rows = await streams.list_streams(scope, conn, connection.id)
        own = {r.site_id for r in rows if r.site_id is not None}
        places = {s.id: place_of(s) for s in await sites.list_sites(scope, conn, own)}
    async with db.engine() as conn:
        # Of other organizations the engine sees nothing but this sum.
        others = {connection.account: await streams.demand_of_others(conn, connection.account, connection.id)}
    async with db.world() as conn:
        budgets = await quotas.budgets(conn, [connection.account], now)
    cards = {s.name: s for s in spec.streams}
    known = [r for r in rows if r.enabled and r.name in cards]
    needs = {r.id: need_of(cards[r.name], connection.account, _place(r, places), r, now) for r in known}
    ids = {r.id for r in polled}
    dues = plan(list(needs.values()), budgets, now, others, {str(i) for i in ids})
    async with db.org(scope) as conn:
        due = [(r, dues[str(r.id)]) for r in known if str(r.id) in dues]
        await streams.set_next(scope, conn, [(r.id, d.at, d.why) for r, d in due])
        cadences = {r.id: d.every_s for r, d in due}
        await streams.set_pace(scope, conn, _changed(known, needs, cadences))


async def postpone(scope: Scope, db: Database, rows: Sequence[StreamRow], at: datetime) -> None:
    """Let streams that a stopped batch never came to go on as soon as what stopped it is over."""
    async with db.org(scope) as conn:
        await streams.set_next(scope, conn, [(r.id, at, "its turn had not come when the batch stopped") for r in rows])


def need_of(stream: Stream, account: str, place: Place | None, row: StreamRow, now: datetime) -> StreamNeed:
    """Return a stream as the planner sees it; a stream of daylight at an unknown place may have news at any hour."""
    lit = None if place is None or not stream.daylight_only else lit_around(place, floor_time(now, 3600))
    return StreamNeed(
        str(row.id),
        (account,),
        stream.every_s,
        stream.cost,
        stream.delay_s,
        lit,
        # From the last success: a failed poll is repeated when its pause is over, not a cadence later.
        row.last_ok_at,
        row.wait_until,
    )


@lru_cache(maxsize=20_000)
def lit_around(place: Place, hour: datetime) -> tuple[Window, ...]:
    """Return the daylight from a day ago, for the poll after dusk, to two days ahead, once per place and hour."""
    told = Window(hour - _PAST, hour + _AHEAD)
    whole: list[Window] = []
    day = told.start.date()
    while datetime.combine(day, time(), tzinfo=UTC) < told.end:
        for part in _lit_on(place, day):
            if whole and part.start <= whole[-1].end:
                whole[-1] = Window(whole[-1].start, max(whole[-1].end, part.end))
            else:
                whole.append(part)
        day += timedelta(days=1)
    return tuple(met for w in whole if (met := w.meet(told)) is not None)


@lru_cache(maxsize=50_000)
def _lit_on(place: Place, day: date) -> tuple[Window, ...]:
    """Return the daylight of a day of UTC: the sun is computed once for it, not once for every hour of it."""
    start = datetime.combine(day, time(), tzinfo=UTC)
    return tuple(daylight(Window(start, start + timedelta(days=1)), place))


def _place(row: StreamRow, places: Mapping[UUID, Place | None]) -> Place | None:
    return None if row.site_id is None else places.get(row.site_id)


def _changed(
    rows: Sequence[StreamRow], needs: Mapping[int, StreamNeed], cadences: Mapping[int, int]
) -> list[tuple[int, float, int | None]]:
    """Return what to write of demand and cadence; also of streams never polled, which others must count with."""
    found = []
    for row in rows:
        demand, every_s = demand_per_day(needs[row.id]), cadences.get(row.id)
        if abs(demand - row.demand) > _SAME * max(demand, row.demand) or every_s not in (None, row.every_s):
            found.append((row.id, demand, every_s))
    return found
