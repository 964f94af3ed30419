"""One site: who it is and how it is doing, its day by quarters, its devices."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from enalysis.core.access import Scope
from enalysis.core.coverage import Slot, coarsen
from enalysis.core.errors import NotFound
from enalysis.core.intervals import day_window, local_day
from enalysis.core.metrics import Quality
from enalysis.queries import health as judging
from enalysis.queries.fleet import is_dark
from enalysis.queries.places import place_of
from enalysis.queries.shapes import DayTotals, DeviceRow, MeterFeed, Quarter, SiteDay, SiteHead, SiteNow
from enalysis.store import sites
from enalysis.store.pool import Conn, Database, named_rows

_QUARTER_S = 900
_QUARTER = timedelta(seconds=_QUARTER_S)
_FLOWS = (
    "pv_wh, grid_import_wh, grid_export_wh, battery_charge_wh, battery_discharge_wh, load_wh, soc_pct,"
    " residual_wh, quality"
)
_TOTALS = (
    *("day", "pv_wh", "grid_import_wh", "grid_export_wh", "battery_charge_wh", "battery_discharge_wh", "load_wh"),
    *("residual_wh", "quality", "slots", "stored", "told_null", "complete"),
)
_STATE_WORDS = {
    Slot.AHEAD.value: "ahead",
    Slot.STORED.value: "stored",
    Slot.VENDOR_NULL.value: "vendor_null",
    Slot.RETRYING.value: "retrying",
    Slot.EXPIRED.value: "expired",
    Slot.QUARANTINED.value: "quarantined",
}
_STORED = _STATE_WORDS[Slot.STORED.value]


async def head(scope: Scope, db: Database, site: UUID, now: datetime) -> SiteHead:
    """Return a site's head. Raises NotFound, also for a site of another organization."""
    async with db.org(scope) as conn:
        found = await sites.find_site(scope, conn, site)
        row = await (
            await conn.execute(
                "select array_agg(distinct c.vendor),"
                " (array_agg(c.state order by c.state = 'healthy', c.state_since))[1],"
                " (array_agg(c.fault order by c.state = 'healthy', c.state_since))[1], max(s.last_ok_at)"
                " from streams s join connections c on c.organization_id = s.organization_id"
                "  and c.id = s.connection_id where s.organization_id = %s and s.site_id = %s",
                (scope.organization, site),
            )
        ).fetchone()
        vendors, state, fault, heard_at = (None, None, None, None) if row is None else row
        at = await _newest_at(scope, conn, site)
        current = await _now(scope, conn, site, now)
        meters = await _meters(scope, conn, site)
    signs = judging.Signs(state, fault, heard_at, at, is_dark(place_of(found), now))
    health, reason = judging.judge(signs, now)
    return SiteHead(
        found.id,
        found.name,
        found.address,
        found.zone,
        found.latitude,
        found.longitude,
        found.capacity_wp,
        tuple(sorted(vendors or ())),
        health,
        reason,
        current,
        meters,
        sandbox=found.sandbox,
    )


async def day(scope: Scope, db: Database, site: UUID, wanted: date | None, now: datetime) -> SiteDay:
    """Return a site's local day (None: today) with every quarter of it, known or not. Raises NotFound."""
    about = {"org": scope.organization, "site": site, "day": wanted, "now": now, "step_s": _QUARTER_S}
    async with db.org(scope) as conn:
        # One round trip, and in binary: what is found fast would take long to read from text.
        row = await (await conn.execute(_DAY, about, binary=True)).fetchone()
    if row is None:
        msg = "no such site"
        raise NotFound(msg)
    zone_name, sandbox, which, first, letters, *known = row
    zone = ZoneInfo(zone_name)
    window = day_window(which, zone)
    totals = None if known[0] is None else DayTotals(*known[: len(_TOTALS)])
    seconds, *flows = (column or () for column in known[len(_TOTALS) :])
    told: dict[int, tuple[Any, ...]] = dict(zip(seconds, zip(*flows, strict=True), strict=True))
    slots = int(window.seconds // _QUARTER_S)
    letters = [coarsen(text, slots) for text in letters]
    nothing: tuple[Any, ...] = (*[None] * 8, 0)
    begin = int(window.start.timestamp())
    quarters = []
    for number, start in enumerate(window.slots(_QUARTER_S)):
        flow = told.get(begin + number * _QUARTER_S, nothing)
        values = (*flow, _why_unknown(letters, number) if flow[0] is None else _STORED)
        quarters.append(Quarter(start, start + _QUARTER, *values))
    return SiteDay(which, zone_name, tuple(quarters), totals, first, local_day(now, zone), sandbox)


# The zone, the day, the first day there is, the coverage of the streams that bring pv, the day's totals, its quarters
# column by column: an hour more at both ends, as PostgreSQL may know other rules of a zone than Python, whose count.
_DAY = f"""
    with wanted as materialized (
        select zone, sandbox, day, day::timestamp at time zone zone - interval '1 hour' as since,
               (day + 1)::timestamp at time zone zone + interval '1 hour' as until
        from (
            select zone, sandbox, coalesce(%(day)s::date, (%(now)s at time zone zone)::date) as day
            from sites where organization_id = %(org)s and id = %(site)s
        ) s
    )
    select w.zone, w.sandbox, w.day,
           (select min(day) from site_days where organization_id = %(org)s and site_id = %(site)s),
           array(select c.slots from streams s
                 join coverage c on c.organization_id = s.organization_id and c.stream_id = s.id
                 where s.organization_id = %(org)s and s.site_id = %(site)s and 'pv_wh' = any(s.metrics)
                   and c.day = w.day and c.step_s <= %(step_s)s),
           {", ".join(f"d.{c}" for c in _TOTALS)}, q.*
    from wanted w cross join lateral (
        select array_agg(extract(epoch from start)::int8),
               {", ".join(f"array_agg({c})" for c in _FLOWS.split(","))}
        from site_quarters
        where organization_id = %(org)s and site_id = %(site)s and start >= w.since and start < w.until
    ) q left join site_days d on d.organization_id = %(org)s and d.site_id = %(site)s and d.day = w.day
"""


async def devices(scope: Scope, db: Database, site: UUID) -> tuple[DeviceRow, ...]:
    """Return a site's devices with their newest values, parents before parts. Raises NotFound."""
    async with db.org(scope) as conn:
        await sites.find_site(scope, conn, site)
        async with conn.cursor(row_factory=named_rows) as cur:
            await cur.execute(_DEVICES, (scope.organization, site))
            rows: list[Any] = await cur.fetchall()
    return tuple(
        DeviceRow(
            r.id,
            r.ref,
            r.parent_ref,
            r.kind,
            r.name,
            r.manufacturer,
            r.model,
            r.serial,
            r.firmware,
            r.vendor,
            r.connection,
            tuple(r.feeds),
            r.active,
            r.told,
            r.power_w,
            r.soc_pct,
            sandbox=r.sandbox,
        )
        for r in rows
    )


# Power of a device: + is what it brings to the site (pv, import, discharge), - what it takes (export, charge).
_DEVICES = """
    select d.id, d.ref, d.parent_ref, d.kind, d.name, d.manufacturer, d.model, d.serial, d.firmware,
           c.vendor, c.name as connection, c.sandbox, d.feeds, d.active,
           coalesce(l.start + make_interval(secs => l.duration_s), l.at) as told,
           coalesce((coalesce(l.pv_wh, l.grid_import_wh - l.grid_export_wh,
                              l.battery_discharge_wh - l.battery_charge_wh, -l.load_wh) * 3600 / l.duration_s),
                    l.pv_w, l.grid_w, l.battery_w, -l.load_w) as power_w,
           l.soc_pct
    from devices d
    join connections c on c.organization_id = d.organization_id and c.id = d.connection_id
    left join latest l on l.organization_id = d.organization_id and l.device_id = d.id
    where d.organization_id = %s and d.site_id = %s
    order by d.parent_ref is not null, d.kind, d.name, d.id
"""


async def _now(scope: Scope, conn: Conn, site: UUID, now: datetime) -> SiteNow:
    """Return power of the newest quarter whose balance closes, else of the newest there is, within two days."""
    row = await (
        await conn.execute(
            f"select start, {_FLOWS} from site_quarters"
            " where organization_id = %s and site_id = %s and start > %s"
            " order by load_wh is null, start desc limit 1",
            (scope.organization, site, now - timedelta(days=2)),
        )
    ).fetchone()
    if row is None:
        return SiteNow(None, None, None, None, None, None, derived=False)
    start, pv, imported, exported, charged, discharged, load, soc, _, quality = row
    return SiteNow(
        _w(pv),
        _difference_w(imported, exported),
        _difference_w(discharged, charged),
        _w(load),
        soc,
        start + timedelta(seconds=_QUARTER_S),
        derived=bool(quality & Quality.DERIVED),
    )


def _w(wh: float | None) -> float | None:
    return None if wh is None else wh * 3600 / _QUARTER_S


def _difference_w(plus_wh: float | None, minus_wh: float | None) -> float | None:
    return None if plus_wh is None or minus_wh is None else _w(plus_wh - minus_wh)


async def _newest_at(scope: Scope, conn: Conn, site: UUID) -> datetime | None:
    row = await (
        await conn.execute(
            "select max(greatest(l.start + make_interval(secs => l.duration_s), l.at)) from devices d"
            " join latest l on l.organization_id = d.organization_id and l.device_id = d.id"
            " where d.organization_id = %s and d.site_id = %s",
            (scope.organization, site),
        )
    ).fetchone()
    return None if row is None else row[0]


async def _meters(scope: Scope, conn: Conn, site: UUID) -> tuple[MeterFeed, ...]:
    rows = await (
        await conn.execute(
            "select m.id, m.kind, m.name, coalesce(array_agg(d.name order by d.name)"
            "   filter (where d.id is not null), '{}')"
            " from meters m"
            " left join meter_sources s on s.organization_id = m.organization_id and s.meter_id = m.id"
            "   and s.valid_until is null"
            " left join devices d on d.organization_id = m.organization_id and d.id = s.device_id"
            " where m.organization_id = %s and m.site_id = %s group by m.id, m.kind, m.name"
            " order by array_position(array['pv', 'grid', 'battery', 'load'], m.kind), m.name",
            (scope.organization, site),
        )
    ).fetchall()
    return tuple(MeterFeed(i, kind, name, tuple(fed)) for i, kind, name, fed in rows)


def _why_unknown(letters: Sequence[str], slot: int) -> str:
    """Return the best word any stream has for why pv of a slot is not known.

    A stream that brings more than pv may have stored the slot without pv: that explains nothing here.
    """
    found = (text[slot] for text in letters if slot < len(text) and text[slot] != Slot.STORED.value)
    return _STATE_WORDS[max(found, key=".rxnq".index, default=Slot.AHEAD.value)]
