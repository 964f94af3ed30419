"""Applies what discovery finds: a site of ours for each of the vendor's, its meters, devices and streams."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from enalysis.connectors.base import Batch, FoundDevice, FoundSite, Spec, Subject
from enalysis.core.access import Scope
from enalysis.core.intervals import local_day
from enalysis.core.sites import MeterKind
from enalysis.store import connections, sites, streams
from enalysis.store.connections import Connection
from enalysis.store.pool import Conn
from enalysis.store.sites import Site


async def apply_found(
    scope: Scope,
    conn: Conn,
    spec: Spec,
    connection: Connection,
    batch: Batch,
    *,
    backfill_days: int,
    now: datetime,
) -> None:
    """Write down the sites and devices a fetch found: one site of ours for each, its meters and its streams.

    A site of ours is made once the vendor tells its zone, for days and daylight hang on it.
    """
    for found in batch.sites or ():
        await sites.set_vendor_site(scope, conn, connection.id, found.ref, found.name, active=found.active, now=now)
    known = {v.ref: v for v in await sites.list_vendor_sites(scope, conn, connection.id)}
    for found in batch.sites or ():
        site = known[found.ref].site_id
        if found.zone is not None:
            site = await _set_site(scope, conn, connection, site, found, now)
        await _add_streams(scope, conn, spec, connection.id, site, found.ref, (), backfill_days, now)
    known = {v.ref: v for v in await sites.list_vendor_sites(scope, conn, connection.id)}
    by_site: dict[str, list[FoundDevice]] = {}
    for device in batch.devices or ():
        by_site.setdefault(device.site, []).append(device)
    for ref, found_devices in by_site.items():
        vendor_site = known.get(ref)
        if vendor_site is None or vendor_site.site_id is None:
            continue
        site = vendor_site.site_id
        await _set_devices(scope, conn, connection.id, site, found_devices, now)
        await _add_streams(scope, conn, spec, connection.id, site, ref, found_devices, backfill_days, now)


async def _set_site(
    scope: Scope, conn: Conn, connection: Connection, site: UUID | None, found: FoundSite, now: datetime
) -> UUID:
    assert found.zone is not None  # noqa: S101 - told by the caller one line above
    row = Site(
        site or uuid4(),
        found.name,
        found.address,
        found.zone,
        found.latitude,
        found.longitude,
        found.capacity_wp,
        sandbox=connection.sandbox,
    )
    if site is None:
        await sites.add_site(scope, conn, row, now)
        await sites.map_vendor_site(scope, conn, connection.id, found.ref, row.id)
        await connections.add_event(scope, conn, connection.id, row.id, "discovered", f"{found.name} discovered", now)
    else:
        await sites.fill_site(scope, conn, row)
    return row.id


async def _set_devices(
    scope: Scope, conn: Conn, connection: UUID, site: UUID, found: list[FoundDevice], now: datetime
) -> None:
    meters = {m.kind: m.id for m in await sites.list_meters(scope, conn, site) if m.parent is None}
    feeds = {d.ref: d.feeds for d in found}
    for device in found:
        number = await sites.set_device(
            scope,
            conn,
            connection,
            site,
            device.ref,
            device.kind.value,
            device.name,
            parent=device.parent,
            manufacturer=device.manufacturer,
            model=device.model,
            serial=device.serial,
            firmware=device.firmware,
            feeds=[kind.value for kind in device.feeds],
            active=device.active,
            now=now,
        )
        # A part of a device that feeds the same kind already is inside that device's numbers.
        for kind in sorted(device.feeds - feeds.get(device.parent or "", frozenset())):
            if kind not in meters:
                meters[kind] = await sites.add_meter(scope, conn, site, kind, _METER_NAMES[kind])
            await sites.add_source(scope, conn, meters[kind], number)


async def _add_streams(
    scope: Scope,
    conn: Conn,
    spec: Spec,
    connection: UUID,
    site: UUID | None,
    ref: str,
    devices: Sequence[FoundDevice],
    backfill_days: int,
    now: datetime,
) -> None:
    """Add the streams whose needs the site meets; those with intervals wait until we know its zone."""
    for stream in spec.streams:
        if stream.subject is not Subject.SITE or (stream.step_s is not None and site is None):
            continue
        if not stream.fits(devices):
            continue
        await streams.add_stream(scope, conn, connection, site, stream.name, ref, stream.metrics, now)
    if site is not None and backfill_days:
        zone = ZoneInfo((await sites.find_site(scope, conn, site)).zone)
        first = local_day(now - timedelta(days=min(backfill_days, spec.history_days)), zone)
        until = datetime.combine(first, time(), tzinfo=zone)
        names = [s.name for s in spec.streams if s.backfill]
        await streams.ask_backfill(scope, conn, connection, site, ref, names, until)


_METER_NAMES = {
    MeterKind.PV: "PV",
    MeterKind.GRID: "Grid connection",
    MeterKind.BATTERY: "Battery",
    MeterKind.LOAD: "Load",
}
