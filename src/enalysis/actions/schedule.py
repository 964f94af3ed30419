"""When a connection's streams are due next: the planner fed from the database, its answer written back."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from uuid import UUID

from enalysis.connectors.base import Spec
from enalysis.core.access import Scope
from enalysis.core.daylight import Place, daylight
from enalysis.core.intervals import Window, floor_time
from enalysis.core.planner import StreamNeed, plan
from enalysis.queries.places import place_of
from enalysis.store import quotas, sites, streams
from enalysis.store.connections import Connection
from enalysis.store.pool import Database
from enalysis.store.streams import StreamRow


async def plan_next(
    scope: Scope, db: Database, connection: Connection, spec: Spec, polled: Sequence[StreamRow], now: datetime
) -> None:
    """Set when the polled streams are due next, in view of everything that shares their quota."""
    async with db.org(scope) as conn:
        rows = await streams.list_streams(scope, conn, connection.id)
        own = {r.site_id for r in rows if r.site_id is not None}
        places = {s.id: place_of(s) for s in await sites.list_sites(scope, conn, own)}
    async with db.world() as conn:
        budgets = await quotas.budgets(conn, [connection.account], now)
    names = {s.name for s in spec.streams}
    needs = [_need(connection, spec, r, places, now) for r in rows if r.enabled and r.name in names]
    dues = plan(needs, budgets, now)
    ids = {r.id for r in polled}
    async with db.org(scope) as conn:
        await streams.set_next(
            scope,
            conn,
            [(r.id, dues[str(r.id)].at, dues[str(r.id)].why) for r in rows if r.id in ids and str(r.id) in dues],
        )


async def postpone(scope: Scope, db: Database, rows: Sequence[StreamRow], at: datetime) -> None:
    """Let streams that a stopped batch never came to go on as soon as what stopped it is over."""
    async with db.org(scope) as conn:
        await streams.set_next(scope, conn, [(r.id, at, "its turn had not come when the batch stopped") for r in rows])


def _need(
    connection: Connection, spec: Spec, row: StreamRow, places: dict[UUID, Place | None], now: datetime
) -> StreamNeed:
    stream = spec.stream(row.name)
    lit: tuple[Window, ...] | None = None
    if stream.daylight_only and row.site_id is not None:
        place = places.get(row.site_id)
        lit = None if place is None else _lit(place, floor_time(now, 3600))
    return StreamNeed(
        str(row.id),
        (connection.account,),
        stream.every_s,
        stream.cost,
        stream.delay_s,
        lit,
        # From the last success: a failed poll is repeated when its pause is over, not a cadence later.
        row.last_ok_at,
        row.wait_until,
    )


@lru_cache(maxsize=20_000)
def _lit(place: Place, hour: datetime) -> tuple[Window, ...]:
    """Return the daylight from a day ago, for the poll after dusk, to two days ahead, once per place and hour."""
    return tuple(daylight(Window(hour - timedelta(hours=24), hour + timedelta(hours=48)), place))
