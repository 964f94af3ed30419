"""Recompute a site's quarters and days wherever its readings changed."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from enalysis.core.access import Scope
from enalysis.core.balance import DUSK_DEG, Flows, add, join
from enalysis.core.coverage import Slot, coarsen
from enalysis.core.daylight import Place, sun_elevation_deg
from enalysis.core.intervals import Window, day_window
from enalysis.core.metrics import ENERGIES, Metric, Quality
from enalysis.core.resample import coarser, filled
from enalysis.core.sites import Meter, MeterSource
from enalysis.queries.places import place_of
from enalysis.store import rollups, sites
from enalysis.store.pool import Conn, Database
from enalysis.store.rollups import DayRow

_FINE_S, _QUARTER_S, _DAY_S = 300, 900, 86400
_OPEN = {Slot.AHEAD.value, Slot.RETRYING.value}


async def roll_up(scope: Scope, db: Database, connection: UUID) -> int:
    """Recompute every site-day of the connection whose readings changed; return how many. Bounded by days."""
    async with db.org(scope) as conn:
        dirty = await rollups.list_dirty(scope, conn, connection)
    for site, day in dirty:
        async with db.org(scope) as conn:
            await _roll_up_day(scope, conn, site, day)
    return len(dirty)


async def _roll_up_day(scope: Scope, conn: Conn, site: UUID, day: date) -> None:
    letters = await rollups.clean(scope, conn, site, day)
    found = await sites.find_site(scope, conn, site)
    meters = await sites.list_meters(scope, conn, site)
    sources = await sites.list_sources(scope, conn, site)
    window = day_window(day, ZoneInfo(found.zone))
    rows = await rollups.read_intervals(scope, conn, {s.device for s in sources}, window)
    finer = coarser(rows.get(_FINE_S, {}), _FINE_S, _QUARTER_S)
    quarters = _quarters(filled(rows.get(_QUARTER_S, {}), finer), window, meters, sources, place_of(found))
    if found.sandbox:
        quarters = [(start, replace(flows, quality=flows.quality | Quality.SANDBOX)) for start, flows in quarters]
    whole = join(rows.get(_DAY_S, {}).get(window.start, {}), meters, sources, window.start, dark=False)
    await rollups.write_quarters(scope, conn, site, window, quarters)
    await rollups.write_day(scope, conn, site, _day(day, window, quarters, whole, letters))


def _quarters(
    rows: Mapping[datetime, Mapping[int, Mapping[Metric, float]]],
    window: Window,
    meters: list[Meter],
    sources: list[MeterSource],
    place: Place | None,
) -> list[tuple[datetime, Flows]]:
    """Return the balance of each quarter somebody told something about."""
    half = timedelta(seconds=_QUARTER_S / 2)
    out = []
    for start in window.slots(_QUARTER_S):
        if start in rows:
            dark = place is not None and sun_elevation_deg(start + half, place) < DUSK_DEG
            out.append((start, join(rows[start], meters, sources, start, dark=dark)))
    return out


def _day(day: date, window: Window, quarters: list[tuple[datetime, Flows]], whole: Flows, letters: list[str]) -> DayRow:
    """Return the day: each metric the sum of the quarters that know it, with how many slots were told at all.

    Where not all quarters of a metric are known, and the vendor tells it of the day as a whole, that is the day's.
    """
    sums = {m: _of_day(m, window, quarters, whole) for m in ENERGIES}
    quality = Quality.MEASURED
    for _, flows in quarters:
        quality |= flows.quality
    slots = int(window.seconds // _QUARTER_S)
    letters = [coarsen(text, slots) for text in letters]
    # Slots of the site are counted by the stream that knows most of them; streams of other parts do not add.
    stored = max((text.count(Slot.STORED) for text in letters), default=0)
    told = max((text.count(Slot.STORED) + text.count(Slot.VENDOR_NULL) for text in letters), default=0)
    complete = bool(letters) and all(len(text) >= slots and not set(text) & _OPEN for text in letters)
    residual = _known(f.residual_wh for _, f in quarters)
    return DayRow(day, sums, residual, int(quality), slots, stored, told - stored, complete)


def _of_day(metric: Metric, window: Window, quarters: list[tuple[datetime, Flows]], whole: Flows) -> float | None:
    told: float | None = getattr(whole, metric.value)
    values = [v for _, f in quarters if (v := getattr(f, metric.value)) is not None]
    if told is not None and len(values) < window.seconds // _QUARTER_S:
        return told
    return _known(values)


def _known(values: Iterable[float | None]) -> float | None:
    return add([v for v in values if v is not None])
