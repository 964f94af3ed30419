"""What SolarEdge sends: the shapes of its answers, and the sites and devices they tell of; no I/O."""

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from enalysis.connectors.base import FoundDevice, FoundSite
from enalysis.connectors.values import NULL, day, number_or_none, text, zone
from enalysis.core.errors import BadPayload
from enalysis.core.metrics import Metric
from enalysis.core.sites import DeviceKind, MeterKind
from enalysis.core.units import watt_hours_per, watts_per

VENDOR = "solaredge"
STEP_S = 900
# Every series is asked for in this resolution; the sums of another one would be stored as if they were ours.
Quarter = Literal["QUARTER_HOUR"]
KINDS = {"INVERTER": DeviceKind.INVERTER, "METER": DeviceKind.METER, "BATTERY": DeviceKind.BATTERY}

# What a meter measures shows in the names of its series. Production is left out: the site's total feeds pv
# already, and the two would add up.
_METER_FEEDS = {
    "importEnergy": MeterKind.GRID,
    "importPower": MeterKind.GRID,
    "exportEnergy": MeterKind.GRID,
    "exportPower": MeterKind.GRID,
    "consumptionEnergy": MeterKind.LOAD,
    "consumptionPower": MeterKind.LOAD,
}


class Shape(msgspec.Struct, rename="camel"):
    """Base of all shapes; Raw and `object` fields are judged one by one: rubbish spoils only itself."""


class SiteBody(Shape):
    """A site, in the list or on its own; on its own it may come wrapped in `site`."""

    site_id: int | None = None
    name: object = None
    peak_power: msgspec.Raw = NULL
    installation_date: object = None
    location: object = None
    activation_status: object = None
    site: "SiteBody | None" = None


class SiteList(Shape):
    """The inner part of a page of sites."""

    site: list[SiteBody]


class SitesBody(Shape):
    """A page of the sites a key may read."""

    sites: SiteList


class DeviceBody(Shape):
    """A device; older answers say `model` where newer ones say `partNumber`."""

    type: str
    serial_number: object = None
    name: object = None
    manufacturer: object = None
    part_number: object = None
    model: object = None
    firmware_version: object = None
    active: object = True


class Production(Shape):
    """Energy produced since the site's midnight."""

    total: msgspec.Raw
    unit: object


class OverviewBody(Shape):
    """Totals of a site from its midnight until now: today's, not lifetime."""

    site_id: int
    production: Production


class Period(Shape):
    """The range an answer speaks of."""

    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")


class Point(Shape):
    """One bucket: its start, and its value or null."""

    timestamp: object
    value: msgspec.Raw = NULL


class Series(Shape):
    """The buckets of one metric, with a unit of their own."""

    values: list[Point]
    unit: object = None
    resolution: Quarter | None = None


class SeriesBody(Series, kw_only=True):
    """The answer of /energy and of /power."""

    period: Period
    unit: object
    resolution: Quarter


class MetersBody(Shape):
    """Series by name, by serial number of the meter."""

    meters: dict[str, dict[str, msgspec.Raw]]
    resolution: Quarter
    period: Period | None = None


class StorageBody(Shape):
    """Series by name, by serial number of the battery."""

    storage: dict[str, dict[str, msgspec.Raw]]
    resolution: Quarter
    period: Period | None = None


def parse_sites(body: SitesBody) -> tuple[FoundSite, ...]:
    """Return the sites of one page. Raises BadPayload for a site without an id."""
    return tuple(parse_site(site) for site in body.sites.site)


def parse_site(body: SiteBody) -> FoundSite:
    """Return a site; only the answer about one site tells its zone. Raises BadPayload without an id."""
    body = body.site or body
    if body.site_id is None or body.site_id <= 0:
        raise bad_payload("sites", "SolarEdge sent a site without an id")
    place = body.location if isinstance(body.location, dict) else {}
    parts = [text(place.get(key)) for key in ("address", "zip", "city", "country")]
    peak_w = number_or_none(Metric.PV_W, body.peak_power, "kW", watts_per)
    status = text(body.activation_status)
    return FoundSite(
        ref=str(body.site_id),
        name=text(body.name) or f"Site {body.site_id}",
        zone=zone(place.get("timezone")),
        address=", ".join(part for part in parts if part) or text(body.location),
        capacity_wp=round(peak_w, 3) if peak_w else None,
        installed_on=day(body.installation_date),
        active=status is None or status.upper() == "ACTIVE",
    )


def parse_devices(
    bodies: Iterable[DeviceBody], site: str, meters: Mapping[str, Collection[str]]
) -> tuple[FoundDevice, ...]:
    """Return the site's total, then its inverters, meters and batteries; other types are left out.

    Args: meters: names of the series each meter has, by serial number; a meter found only there is a device
        too, because its readings will come.
    """
    total = FoundDevice(f"site:{site}", site, DeviceKind.SITE_TOTAL, "Whole site", feeds=frozenset({MeterKind.PV}))
    found = {total.ref: total}
    unlisted = [DeviceBody(type="METER", serial_number=serial) for serial in meters]
    for body in (*bodies, *unlisted):
        kind, serial = KINDS.get(body.type), text(body.serial_number)
        if kind is None or serial is None:
            continue
        device = FoundDevice(
            f"{kind.value}:{site}:{serial}",
            site,
            kind,
            text(body.name) or serial,
            parent=total.ref,
            manufacturer=text(body.manufacturer),
            model=text(body.part_number) or text(body.model),
            serial=serial,
            firmware=text(body.firmware_version),
            feeds=_feeds(kind, meters.get(serial, ())),
            active=body.active is not False,
        )
        found.setdefault(device.ref, device)
    return tuple(found.values())


def parse_overview(body: OverviewBody, site: str) -> float | None:
    """Return the energy produced today, in Wh; None where it or its unit is not told.

    Raises BadPayload for an answer about another site.
    """
    if str(body.site_id) != site:
        raise bad_payload("overview", "SolarEdge answered for another site")
    return number_or_none(Metric.PV_WH, body.production.total, body.production.unit, watt_hours_per)


def bad_payload(operation: str, message: str) -> BadPayload:
    """Build the error for an answer that is not what SolarEdge documents."""
    return BadPayload(message, vendor=VENDOR, operation=operation)


def _feeds(kind: DeviceKind, series: Collection[str]) -> frozenset[MeterKind]:
    match kind:
        case DeviceKind.BATTERY:
            return frozenset({MeterKind.BATTERY})
        case DeviceKind.METER:
            return frozenset(_METER_FEEDS[name] for name in series if name in _METER_FEEDS)
    return frozenset()
