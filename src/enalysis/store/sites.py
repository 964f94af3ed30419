"""Sites, their meters, the devices that feed them, and the vendor's sites behind a connection."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from enalysis.core.access import Scope
from enalysis.core.errors import NotFound
from enalysis.core.sites import Meter, MeterKind, MeterSource
from enalysis.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Site:
    """A place with a grid connection; capacity in Wp, degrees north and east. sandbox: it is made up."""

    id: UUID
    name: str
    address: str | None
    zone: str
    latitude: float | None
    longitude: float | None
    capacity_wp: float | None
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class VendorSite:
    """A site as one connection names it, and ours that it belongs to (None: nobody decided yet)."""

    ref: str
    name: str
    active: bool
    site_id: UUID | None


_SITE = "id, name, address, zone, latitude, longitude, capacity_wp, sandbox"


async def add_site(scope: Scope, conn: Conn, site: Site, now: datetime) -> None:
    """Add a site."""
    await conn.execute(
        "insert into sites (organization_id, id, name, address, zone, latitude, longitude, capacity_wp, sandbox,"
        " created_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            scope.organization,
            site.id,
            site.name,
            site.address,
            site.zone,
            site.latitude,
            site.longitude,
            site.capacity_wp,
            site.sandbox,
            now,
        ),
    )


async def fill_site(scope: Scope, conn: Conn, site: Site) -> None:
    """Fill what a vendor told of a site where nobody told it before; the zone is the vendor's word."""
    await conn.execute(
        "update sites set zone = %s, address = coalesce(address, %s), latitude = coalesce(latitude, %s),"
        " longitude = coalesce(longitude, %s), capacity_wp = coalesce(capacity_wp, %s)"
        " where organization_id = %s and id = %s",
        (
            site.zone,
            site.address,
            site.latitude,
            site.longitude,
            site.capacity_wp,
            scope.organization,
            site.id,
        ),
    )


async def find_site(scope: Scope, conn: Conn, site: UUID) -> Site:
    """Return a site. Raises NotFound."""
    async with conn.cursor(row_factory=class_row(Site)) as cur:
        await cur.execute(
            f"select {_SITE} from sites where organization_id = %s and id = %s", (scope.organization, site)
        )
        found = await cur.fetchone()
    if found is None:
        msg = "no such site"
        raise NotFound(msg)
    return found


async def list_sites(scope: Scope, conn: Conn, only: Iterable[UUID] | None = None) -> Sequence[Site]:
    """Return the sites of the organization by name, or those of them named."""
    named = None if only is None else list(only)
    async with conn.cursor(row_factory=class_row(Site)) as cur:
        await cur.execute(
            f"select {_SITE} from sites where organization_id = %s and (%s::uuid[] is null or id = any(%s))"
            " order by lower(name)",
            (scope.organization, named, named),
        )
        return await cur.fetchall()


async def set_vendor_site(
    scope: Scope, conn: Conn, connection: UUID, ref: str, name: str, *, active: bool, now: datetime
) -> None:
    """Note a site that discovery saw; what it belongs to stays as it was."""
    await conn.execute(
        "insert into vendor_sites as v (organization_id, connection_id, ref, name, active, seen_at)"
        " values (%s, %s, %s, %s, %s, %s) on conflict (organization_id, connection_id, ref)"
        " do update set name = excluded.name, active = excluded.active, seen_at = excluded.seen_at",
        (scope.organization, connection, ref, name, active, now),
    )


async def map_vendor_site(scope: Scope, conn: Conn, connection: UUID, ref: str, site: UUID) -> None:
    """Say which of our sites a vendor's site is; the database refuses to join what is simulated to what is real."""
    await conn.execute(
        "update vendor_sites set site_id = %s where organization_id = %s and connection_id = %s and ref = %s",
        (site, scope.organization, connection, ref),
    )


async def list_vendor_sites(scope: Scope, conn: Conn, connection: UUID) -> Sequence[VendorSite]:
    """Return the sites discovery saw behind a connection."""
    async with conn.cursor(row_factory=class_row(VendorSite)) as cur:
        await cur.execute(
            "select ref, name, active, site_id from vendor_sites"
            " where organization_id = %s and connection_id = %s order by ref",
            (scope.organization, connection),
        )
        return await cur.fetchall()


async def set_device(
    scope: Scope,
    conn: Conn,
    connection: UUID,
    site: UUID,
    ref: str,
    kind: str,
    name: str,
    *,
    parent: str | None,
    manufacturer: str | None,
    model: str | None,
    serial: str | None,
    firmware: str | None,
    feeds: Iterable[str],
    active: bool,
    now: datetime,
) -> int:
    """Add a device or bring it up to date, and return its id."""
    row = await (
        await conn.execute(
            "insert into devices as d (organization_id, connection_id, site_id, ref, parent_ref, kind, name,"
            "  manufacturer, model, serial, firmware, feeds, active, seen_at)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (organization_id, connection_id, ref) do update set"
            "  parent_ref = excluded.parent_ref, name = excluded.name,"
            "  manufacturer = coalesce(excluded.manufacturer, d.manufacturer),"
            "  model = coalesce(excluded.model, d.model), serial = coalesce(excluded.serial, d.serial),"
            "  firmware = coalesce(excluded.firmware, d.firmware),"
            "  feeds = case when excluded.feeds = '{}' then d.feeds else excluded.feeds end,"
            "  active = excluded.active, seen_at = excluded.seen_at"
            " returning id",
            (
                scope.organization,
                connection,
                site,
                ref,
                parent,
                kind,
                name,
                manufacturer,
                model,
                serial,
                firmware,
                sorted(feeds),
                active,
                now,
            ),
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - an upsert that returns
    return int(row[0])


async def find_devices(scope: Scope, conn: Conn, connection: UUID, refs: Iterable[str]) -> dict[str, int]:
    """Return the ids of those of the named devices that the connection is known to have, by the vendor's ref."""
    rows = await (
        await conn.execute(
            "select ref, id from devices where organization_id = %s and connection_id = %s and ref = any(%s)",
            (scope.organization, connection, list(refs)),
        )
    ).fetchall()
    return {str(ref): int(number) for ref, number in rows}


async def add_meter(
    scope: Scope, conn: Conn, site: UUID, kind: MeterKind, name: str, parent: UUID | None = None
) -> UUID:
    """Add a measuring point to a site and return its id."""
    row = await (
        await conn.execute(
            "insert into meters (organization_id, site_id, kind, name, parent_id) values (%s, %s, %s, %s, %s)"
            " returning id",
            (scope.organization, site, kind.value, name, parent),
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - an insert that returns
    return UUID(str(row[0]))


async def list_meters(scope: Scope, conn: Conn, site: UUID) -> list[Meter]:
    """Return the meters of a site."""
    rows = await (
        await conn.execute(
            "select id, kind, parent_id from meters where organization_id = %s and site_id = %s order by id",
            (scope.organization, site),
        )
    ).fetchall()
    return [Meter(i, MeterKind(k), p) for i, k, p in rows]


async def add_source(scope: Scope, conn: Conn, meter: UUID, device: int, valid_from: datetime | None = None) -> None:
    """Let a device feed a meter from `valid_from` on (None: for all its past); once there, nothing changes."""
    await conn.execute(
        "insert into meter_sources (organization_id, meter_id, device_id, valid_from)"
        " values (%s, %s, %s, coalesce(%s, '-infinity'::timestamptz)) on conflict do nothing",
        (scope.organization, meter, device, valid_from),
    )


async def list_sources(scope: Scope, conn: Conn, site: UUID) -> list[MeterSource]:
    """Return which devices feed the meters of a site, and when."""
    rows = await (
        await conn.execute(
            "select s.meter_id, s.device_id, nullif(s.valid_from, '-infinity'), s.valid_until"
            " from meter_sources s join meters m on m.organization_id = s.organization_id and m.id = s.meter_id"
            " where s.organization_id = %s and m.site_id = %s",
            (scope.organization, site),
        )
    ).fetchall()
    return [MeterSource(*row) for row in rows]
