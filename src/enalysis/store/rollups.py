"""A site's quarters and days: read from intervals, written whole days at a time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from enalysis.core.access import Scope
from enalysis.core.balance import Flows
from enalysis.core.intervals import Window
from enalysis.core.metrics import INTERVAL_METRICS, Metric
from enalysis.store.pool import Conn
from enalysis.store.readings import keep_bulk_away

_COLUMNS = ", ".join(m.value for m in INTERVAL_METRICS)


@dataclass(frozen=True, slots=True)
class DayRow:
    """A site's day: sums of what is known, Wh, and how many of its slots are stored or were told null.

    complete: every stream was told of every slot, so the sums will only change if a vendor corrects them.
    """

    day: date
    sums: Mapping[Metric, float | None]
    residual_wh: float | None
    quality: int
    slots: int
    stored: int
    told_null: int
    complete: bool


async def list_dirty(scope: Scope, conn: Conn, connection: UUID) -> list[tuple[UUID, date]]:
    """Return the sites and days whose readings changed since they were last rolled up."""
    rows = await (
        await conn.execute(
            "select distinct s.site_id, c.day from coverage c join streams s"
            "  on s.organization_id = c.organization_id and s.id = c.stream_id"
            " where c.organization_id = %s and c.dirty and s.connection_id = %s and s.site_id is not null"
            " order by 1, 2",
            (scope.organization, connection),
        )
    ).fetchall()
    return [(UUID(str(site)), day) for site, day in rows]


async def clean(scope: Scope, conn: Conn, site: UUID, day: date) -> list[str]:
    """Lock and clear the dirty marks of a site's day; return what each of its streams knows of its slots.

    Called first in the transaction that recomputes: a reading that lands meanwhile marks the day again.
    Returns: the letters of every stream that brings intervals, empty for one not asked about the day yet.
    """
    await keep_bulk_away(scope, conn)
    await conn.execute(
        "update coverage c set dirty = false from streams s where c.organization_id = %s"
        " and s.organization_id = c.organization_id and s.id = c.stream_id and s.site_id = %s and c.day = %s",
        (scope.organization, site, day),
    )
    rows = await (
        await conn.execute(
            "select coalesce(c.slots, '') from streams s left join coverage c"
            "  on c.organization_id = s.organization_id and c.stream_id = s.id and c.day = %s"
            " where s.organization_id = %s and s.site_id = %s and s.enabled and s.metrics <> '{}'",
            (day, scope.organization, site),
        )
    ).fetchall()
    return [str(row[0]) for row in rows]


async def read_intervals(
    scope: Scope, conn: Conn, devices: Iterable[int], window: Window
) -> dict[int, dict[datetime, dict[int, dict[Metric, float]]]]:
    """Return the devices' intervals in the window, by duration in s, then start, then device: Wh and %."""
    rows = await (
        await conn.execute(
            f"select duration_s, start, device_id, {_COLUMNS} from intervals"
            " where organization_id = %s and device_id = any(%s) and start >= %s and start < %s",
            (scope.organization, list(devices), window.start, window.end),
        )
    ).fetchall()
    out: dict[int, dict[datetime, dict[int, dict[Metric, float]]]] = {}
    for duration_s, start, device, *values in rows:
        told = {m: v for m, v in zip(INTERVAL_METRICS, values, strict=True) if v is not None}
        out.setdefault(duration_s, {}).setdefault(start, {})[device] = told
    return out


async def write_quarters(
    scope: Scope, conn: Conn, site: UUID, window: Window, quarters: Sequence[tuple[datetime, Flows]]
) -> None:
    """Put a site's quarters of a window in place of those that were there."""
    await conn.execute(
        "delete from site_quarters where organization_id = %s and site_id = %s and start >= %s and start < %s",
        (scope.organization, site, window.start, window.end),
    )
    async with conn.cursor() as cur:
        await cur.executemany(
            "insert into site_quarters (organization_id, site_id, start, pv_wh, grid_import_wh, grid_export_wh,"
            " battery_charge_wh, battery_discharge_wh, load_wh, soc_pct, residual_wh, quality)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    scope.organization,
                    site,
                    start,
                    f.pv_wh,
                    f.grid_import_wh,
                    f.grid_export_wh,
                    f.battery_charge_wh,
                    f.battery_discharge_wh,
                    f.load_wh,
                    f.soc_pct,
                    f.residual_wh,
                    int(f.quality),
                )
                for start, f in quarters
            ],
        )


async def write_day(scope: Scope, conn: Conn, site: UUID, row: DayRow) -> None:
    """Put a site's day in place of the one that was there."""
    await conn.execute(
        "insert into site_days (organization_id, site_id, day, pv_wh, grid_import_wh, grid_export_wh,"
        " battery_charge_wh, battery_discharge_wh, load_wh, residual_wh, quality, slots, stored, told_null, complete)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " on conflict (organization_id, site_id, day) do update set pv_wh = excluded.pv_wh,"
        " grid_import_wh = excluded.grid_import_wh, grid_export_wh = excluded.grid_export_wh,"
        " battery_charge_wh = excluded.battery_charge_wh, battery_discharge_wh = excluded.battery_discharge_wh,"
        " load_wh = excluded.load_wh, residual_wh = excluded.residual_wh, quality = excluded.quality,"
        " slots = excluded.slots, stored = excluded.stored, told_null = excluded.told_null,"
        " complete = excluded.complete",
        (
            scope.organization,
            site,
            row.day,
            row.sums.get(Metric.PV_WH),
            row.sums.get(Metric.GRID_IMPORT_WH),
            row.sums.get(Metric.GRID_EXPORT_WH),
            row.sums.get(Metric.BATTERY_CHARGE_WH),
            row.sums.get(Metric.BATTERY_DISCHARGE_WH),
            row.sums.get(Metric.LOAD_WH),
            row.residual_wh,
            row.quality,
            row.slots,
            row.stored,
            row.told_null,
            row.complete,
        ),
    )
