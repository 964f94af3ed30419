"""Testing, adding and removing connections, and applying what discovery finds."""

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from enalysis.actions.vendors import Vendors
from enalysis.connectors.base import Batch, Check, FoundDevice, FoundSite, Spec, Subject
from enalysis.core.access import Role, Scope
from enalysis.core.errors import NotFound, Refused
from enalysis.core.intervals import local_day
from enalysis.core.sites import MeterKind
from enalysis.store import connections, quotas, sites, streams
from enalysis.store.connections import Connection
from enalysis.store.pool import Conn, Database
from enalysis.store.sites import Site

_LONGEST_NAME = 80
_LONGEST_FIELD = 4096


async def test(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    *,
    vendor: str,
    plan: str,
    fields: Mapping[str, str],
    now: datetime,
) -> Check:
    """Prove that a credential works, inside the account's quota. Raises Refused or VendorError."""
    scope.allow(Role.ADMIN)
    spec = vendors.spec(vendor)
    clean = _clean(spec, fields)
    account = vendors.account(vendor, clean)
    async with db.world() as conn:
        if not await quotas.declared(conn, account):
            await quotas.declare(conn, account, spec.plan(plan).quotas)
    async with vendors.draft(scope, vendor, account, clean) as connector:
        return await connector.check(now)


async def add(
    scope: Scope,
    db: Database,
    vendors: Vendors,
    *,
    vendor: str,
    name: str,
    plan: str,
    fields: Mapping[str, str],
    now: datetime,
) -> tuple[UUID, Check]:
    """Test a credential, seal and save it, and leave discovery to the worker.

    Returns: the new connection and what its test found. Raises: Refused or VendorError; nothing is saved.
    """
    scope.allow(Role.ADMIN)
    spec = vendors.spec(vendor)
    clean = _clean(spec, fields)
    name = " ".join(name.split())[:_LONGEST_NAME] or spec.label
    account = vendors.account(vendor, clean)
    async with db.org(scope) as conn:
        for other in await connections.list_connections(scope, conn):
            if other.account == account:
                msg = f"this credential is connected already, as {other.name!r}"
                raise Refused(msg)
    async with db.world() as conn:
        await quotas.declare(conn, account, spec.plan(plan).quotas)
    found = await test(scope, db, vendors, vendor=vendor, plan=plan, fields=clean, now=now)
    connection = uuid4()
    sealed = await vendors.seal(scope, connection, clean)
    async with db.org(scope) as conn:
        await connections.add_connection(scope, conn, connection, vendor, name, spec.plan(plan).key, account, now)
        await connections.set_sealed(scope, conn, connection, sealed, now)
        for stream in spec.streams:
            if stream.subject is Subject.CONNECTION:
                await streams.add_stream(scope, conn, connection, None, stream.name, "", stream.metrics, now)
        await connections.add_event(scope, conn, connection, None, "connected", f"{name} connected", now)
    return connection, found


async def remove(scope: Scope, db: Database, connection: UUID) -> None:
    """Disconnect: the secret, the devices and their readings are deleted at once; sites stay. Raises NotFound."""
    scope.allow(Role.ADMIN)
    async with db.org(scope) as conn:
        if not await connections.remove_connection(scope, conn, connection):
            msg = "no such connection"
            raise NotFound(msg)


async def poll_now(scope: Scope, db: Database, connection: UUID, now: datetime) -> int:
    """Make every stream of a connection due now, inside its quota; return how many. Raises NotFound."""
    scope.allow(Role.OPERATOR)
    async with db.org(scope) as conn:
        await connections.find_connection(scope, conn, connection)
        return await streams.set_due(scope, conn, connection, now)


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
            site = await _set_site(scope, conn, connection.id, site, found, now)
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
        kinds = tuple(d.kind.value for d in found_devices)
        await _add_streams(scope, conn, spec, connection.id, site, ref, kinds, backfill_days, now)


async def _set_site(
    scope: Scope, conn: Conn, connection: UUID, site: UUID | None, found: FoundSite, now: datetime
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
    )
    if site is None:
        await sites.add_site(scope, conn, row, now)
        await sites.map_vendor_site(scope, conn, connection, found.ref, row.id)
        await connections.add_event(scope, conn, connection, row.id, "discovered", f"{found.name} discovered", now)
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
    kinds: tuple[str, ...],
    backfill_days: int,
    now: datetime,
) -> None:
    """Add the streams whose needs the site meets; those with intervals wait until we know its zone."""
    for stream in spec.streams:
        if stream.subject is not Subject.SITE or (stream.step_s is not None and site is None):
            continue
        if stream.needs and not any(kind.value in kinds for kind in stream.needs):
            continue
        await streams.add_stream(scope, conn, connection, site, stream.name, ref, stream.metrics, now)
    if site is not None and backfill_days:
        zone = ZoneInfo((await sites.find_site(scope, conn, site)).zone)
        first = local_day(now - timedelta(days=min(backfill_days, spec.history_days)), zone)
        until = datetime.combine(first, time(), tzinfo=zone)
        names = [s.name for s in spec.streams if s.backfill]
        await streams.ask_backfill(scope, conn, connection, site, ref, names, until)


def _clean(spec: Spec, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the card's fields, pasted spaces and line ends taken off. Raises Refused naming what is missing."""
    out = {}
    for field in spec.fields:
        value = fields.get(field.name, "").strip().strip("\"'").strip()
        if not value and field.required:
            msg = f"{field.label} is missing. {field.help}"
            raise Refused(msg)
        if len(value) > _LONGEST_FIELD or not value.isprintable():
            msg = f"{field.label} holds characters no {spec.label} credential has; copy it again"
            raise Refused(msg)
        if value:
            out[field.name] = value
    return out


_METER_NAMES = {
    MeterKind.PV: "PV",
    MeterKind.GRID: "Grid connection",
    MeterKind.BATTERY: "Battery",
    MeterKind.LOAD: "Load",
}
