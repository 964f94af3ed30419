"""When a connection's streams are due next: the planner fed from the database, its answer written back."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from enalysis.connectors.base import Spec
from enalysis.core.access import Scope
from enalysis.core.daylight import Place
from enalysis.core.planner import StreamNeed, demand_per_day, plan
from enalysis.queries.needs import need_of
from enalysis.queries.places import place_of
from enalysis.store import quotas, sites, streams
from enalysis.store.connections import Connection
from enalysis.store.pool import Database
from enalysis.store.streams import StreamRow

# Demand that changed by less is not written again: days grow longer by the minute, for every stream at once.
_SAME = 0.02
# Of a connection with more streams than this beside the polled ones, only the sum of their wishes is looked at.
CROWD: Final = 400


async def plan_next(
    scope: Scope, db: Database, connection: Connection, spec: Spec, polled: Sequence[StreamRow], now: datetime
) -> None:
    """Set when the polled streams are due next, in view of everything that shares their quota."""
    cards = {s.name: s for s in spec.streams}
    ids = [r.id for r in polled]
    async with db.org(scope) as conn:
        crowd = await streams.crowd(scope, conn, connection.id, ids)
        # Of a crowd its sum tells as much as its members, once each of them has said what it wants.
        alone = crowd.members > CROWD and not crowd.unsaid
        rows = await streams.list_streams(scope, conn, connection.id, ids if alone else None)
        own = {r.site_id for r in rows if r.site_id is not None}
        places = {s.id: place_of(s) for s in await sites.list_sites(scope, conn, own)}
    async with db.engine() as conn:
        # Of other organizations the engine sees nothing but this sum.
        others = await streams.demand_of_accounts(conn, [connection.account], connection.id)
    if alone:
        others[connection.account] = others.get(connection.account, 0.0) + crowd.demand
    async with db.world() as conn:
        budgets = await quotas.budgets(conn, [connection.account], now)
    known = [r for r in rows if r.enabled and r.name in cards]
    needs = {r.id: need_of(cards[r.name], connection.account, _place(r, places), r, now) for r in known}
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
