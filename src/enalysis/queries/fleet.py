"""The fleet: totals and the list of sites, worst first."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from enalysis.core.access import Scope
from enalysis.core.daylight import Place, sun_elevation_deg
from enalysis.queries import health as judging
from enalysis.queries.places import place_of
from enalysis.queries.shapes import FleetPage, FleetRow, FleetTotals, Health
from enalysis.store.pool import Conn, Database, named_rows
from enalysis.store.sites import Site

_FRESH = timedelta(hours=3)
_HOURS = 24

# One row a site: its worst connection, its newest pv power, today's and yesterday's pv energy by its own zone.
_SITES = """
    with pv as (
        select d.site_id, l.start + make_interval(secs => l.duration_s) as told, l.pv_wh * 3600 / l.duration_s as w,
               max(l.start) over (partition by d.site_id) = l.start as newest
        from meters m
        join meter_sources ms on ms.organization_id = m.organization_id and ms.meter_id = m.id
        join devices d on d.organization_id = m.organization_id and d.id = ms.device_id
        join latest l on l.organization_id = m.organization_id and l.device_id = d.id
        where m.organization_id = %(org)s and m.kind = 'pv' and m.parent_id is null and ms.valid_until is null
    ), newest as (
        select site_id, max(told) as at, case when bool_and(newest) then sum(w) end as pv_w from pv group by 1
    ), fed as (
        select s.site_id, array_agg(distinct c.vendor) as vendors, max(s.last_ok_at) as heard_at,
               (array_agg(c.state order by array_position(%(worst)s::text[], c.state)))[1] as state,
               (array_agg(c.fault order by array_position(%(worst)s::text[], c.state)))[1] as fault
        from streams s
        join connections c on c.organization_id = s.organization_id and c.id = s.connection_id
        where s.organization_id = %(org)s and s.site_id is not null group by 1
    )
    select si.id, si.name, si.address, si.zone, si.latitude, si.longitude, si.capacity_wp, si.sandbox,
           coalesce(f.vendors, '{}') as vendors, f.state, f.fault, f.heard_at, n.at, n.pv_w,
           t.pv_wh as today, case when y.complete then y.pv_wh end as yesterday
    from sites si
    left join fed f on f.site_id = si.id
    left join newest n on n.site_id = si.id
    left join site_days t on t.organization_id = si.organization_id and t.site_id = si.id
        and t.day = (%(now)s at time zone si.zone)::date
    left join site_days y on y.organization_id = si.organization_id and y.site_id = si.id
        and y.day = (%(now)s at time zone si.zone)::date - 1
    where si.organization_id = %(org)s
"""
_WORST = [
    "reauth_required",
    "vendor_api_retired",
    "forbidden",
    "bad_payload",
    "vendor_unavailable",
    "waiting_for_vendor",
    "quota_spent",
    "degraded",
    "clock_off",
    "paused",
    "connecting",
    "healthy",
]


async def fleet(
    scope: Scope,
    db: Database,
    now: datetime,
    *,
    search: str = "",
    health: Health | None = None,
    vendor: str | None = None,
    sort: str = "worst",
    page: int = 1,
    per_page: int = 50,
) -> FleetPage:
    """Return one page of the organization's sites and the totals of all real ones.

    Args: sort: worst, name, power, today or last. page counts from 1.
    """
    async with db.org(scope) as conn:
        async with conn.cursor(row_factory=named_rows) as cur:
            await cur.execute(_SITES, {"org": scope.organization, "now": now, "worst": _WORST})
            found = await cur.fetchall()
        rows = [_row(r, now) for r in found]
        chosen = [r for r in rows if _matches(r, search, health, vendor)]
        chosen.sort(key=_ORDERS.get(sort, _ORDERS["worst"]))
        page = max(1, page)
        shown = chosen[(page - 1) * per_page : page * per_page]
        sparks = await _sparks(scope, conn, shown, now)
    shown = [replace(r, spark=sparks.get(r.id, ())) for r in shown]
    vendors = tuple(sorted({v for r in rows for v in r.vendors}))
    return FleetPage(_totals(rows, now), tuple(shown), len(chosen), page, per_page, vendors)


def _row(r: Any, now: datetime) -> FleetRow:  # noqa: ANN401 - a named row
    place = place_of(Site(r.id, r.name, r.address, r.zone, r.latitude, r.longitude, r.capacity_wp))
    dark = is_dark(place, now)
    state, reason = judging.judge(judging.Signs(r.state, r.fault, r.heard_at, r.at, dark), now)
    return FleetRow(
        r.id,
        r.name,
        r.address,
        r.zone,
        r.capacity_wp,
        tuple(r.vendors),
        state,
        reason,
        r.pv_w,
        r.at,
        r.today,
        r.yesterday,
        (),
        sandbox=r.sandbox,
    )


def is_dark(place: Place | None, now: datetime) -> bool:
    """Tell whether the sun is down at a place; an unknown place is never dark."""
    return place is not None and sun_elevation_deg(now, place) < 0


def _matches(row: FleetRow, search: str, health: Health | None, vendor: str | None) -> bool:
    words = search.casefold().split()
    text = f"{row.name} {row.address or ''}".casefold()
    return (
        all(word in text for word in words)
        and (health is None or row.health is health)
        and (vendor is None or vendor in row.vendors)
    )


def _shortfall(row: FleetRow) -> float:
    if row.pv_today_wh is None or not row.pv_yesterday_wh:
        return 0.0
    return row.pv_today_wh / row.pv_yesterday_wh


_ORDERS = {
    "worst": lambda r: (judging.rank(r.health), _shortfall(r), r.name.casefold()),
    "name": lambda r: (r.name.casefold(),),
    "power": lambda r: (-(r.pv_w if r.pv_w is not None else -1.0), r.name.casefold()),
    "today": lambda r: (-(r.pv_today_wh if r.pv_today_wh is not None else -1.0), r.name.casefold()),
    "last": lambda r: (r.at is not None, r.at, r.name.casefold()),
}


def _totals(every: Sequence[FleetRow], now: datetime) -> FleetTotals:
    rows = [r for r in every if not r.sandbox]
    fresh = [r.pv_w for r in rows if r.pv_w is not None and r.at is not None and now - r.at <= _FRESH]
    today = [r.pv_today_wh for r in rows if r.pv_today_wh is not None]
    yesterday = [r.pv_yesterday_wh for r in rows if r.pv_yesterday_wh is not None]
    capacities = [r.capacity_wp for r in rows if r.capacity_wp is not None]
    return FleetTotals(
        len(rows),
        sum(r.health is Health.GOOD for r in rows),
        sum(r.health is Health.ACT for r in rows),
        sum(r.health is Health.WATCH for r in rows),
        sum(capacities) if capacities else None,
        sum(fresh) if fresh else None,
        len(fresh),
        sum(today) if today else None,
        sum(yesterday) if yesterday else None,
        len(today),
        simulated=len(every) - len(rows),
    )


async def _sparks(
    scope: Scope, conn: Conn, rows: Sequence[FleetRow], now: datetime
) -> Mapping[UUID, tuple[float | None, ...]]:
    """Return the mean pv power in W of each local hour of today, 0 to 23 by the wall clock."""
    found = await (
        await conn.execute(
            "select q.site_id, extract(hour from q.start at time zone si.zone)::int, avg(q.pv_wh) * 4"
            " from site_quarters q join sites si on si.organization_id = q.organization_id and si.id = q.site_id"
            " where q.organization_id = %(org)s and q.site_id = any(%(sites)s) and q.start > %(now)s - interval '26 h'"
            " and (q.start at time zone si.zone)::date = (%(now)s at time zone si.zone)::date"
            " group by 1, 2",
            {"org": scope.organization, "sites": [r.id for r in rows], "now": now},
        )
    ).fetchall()
    out: dict[UUID, list[float | None]] = {r.id: [None] * _HOURS for r in rows}
    for site, hour, watts in found:
        out[site][hour] = watts
    return {site: tuple(values) for site, values in out.items()}
