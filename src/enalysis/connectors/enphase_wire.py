"""What Enphase sends: the shapes of its answers, and the sites and devices they tell of; no I/O."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec

from enalysis.connectors.base import FoundDevice, FoundSite
from enalysis.connectors.values import NULL, number_or_none, text, zone
from enalysis.core.errors import BadPayload
from enalysis.core.metrics import Metric
from enalysis.core.sites import DeviceKind, MeterKind
from enalysis.core.units import watt_hours_per, watts_per

VENDOR = "enphase"

# What counts as a time: anything else is a counter or rubbish. The last one is the year 2100.
_FIRST_S, _LAST_S = 946_684_800, 4_102_444_800
_WHOLE: msgspec.json.Decoder[int | None] = msgspec.json.Decoder(int | None)
# States of a system that has been given up; with any other it may report (`micro` was seen on a producing one).
_GONE = {"deactivated", "disabled", "retired", "unused"}
# Families in an answer about devices -> what they are here. System controllers, relays, chargers, heat pumps
# and whatever is added next are left out.
_FAMILIES = {
    "gateways": DeviceKind.GATEWAY,
    "meters": DeviceKind.METER,
    "micros": DeviceKind.INVERTER,
    "encharges": DeviceKind.BATTERY,
    "acbs": DeviceKind.BATTERY,
}
# `config_type` of a meter -> what it measures; Net sits at the grid connection, Total before the loads.
_METER_FEEDS = {"production": MeterKind.PV, "net": MeterKind.GRID, "total": MeterKind.LOAD}
# A meter silent for so long while its gateway reports measures nothing any more (clamp off, meter replaced).
_MUTE_S = 7 * 86400


class Shape(msgspec.Struct):
    """Base of all shapes; Raw and `object` fields are judged one by one: rubbish spoils only itself."""


class SystemBody(Shape):
    """A system, in the list or on its own; its energies and size there are always -1 and not read."""

    system_id: int
    name: object = None
    timezone: object = None
    address: object = None
    status: object = None
    operational_at: msgspec.Raw = NULL


class SystemsBody(Shape):
    """A page of the systems that a token may read; no link leads to the next one."""

    systems: list[SystemBody]
    total: msgspec.Raw = NULL
    current_page: msgspec.Raw = NULL
    size: msgspec.Raw = NULL


class SummaryBody(Shape):
    """How a system does: W and Wh; `energy_lifetime` leaves out the day of the summary."""

    system_id: int
    size_w: msgspec.Raw = NULL
    current_power: msgspec.Raw = NULL
    energy_today: msgspec.Raw = NULL
    last_interval_end_at: msgspec.Raw = NULL
    last_report_at: msgspec.Raw = NULL
    status: object = None


class DevicesBody(Shape):
    """Active devices by family; only families that the system has are there, and new ones come often."""

    system_id: int
    devices: dict[str, object]


class Meta(Shape):
    """How the system stands now, whatever range was asked for."""

    last_report_at: msgspec.Raw = NULL
    last_energy_at: msgspec.Raw = NULL


class Bucket(Shape):
    """One bucket: when it ended, how many devices told of it, and what they told, by endpoint."""

    end_at: msgspec.Raw
    devices_reporting: msgspec.Raw = NULL
    powr: msgspec.Raw = NULL
    enwh: msgspec.Raw = NULL
    wh_del: msgspec.Raw = NULL
    wh_imported: msgspec.Raw = NULL
    wh_exported: msgspec.Raw = NULL
    charge: msgspec.Raw = NULL
    discharge: msgspec.Raw = NULL
    soc: msgspec.Raw = NULL


class TelemetryBody(Shape):
    """The buckets of a system; those of import and export come as lists in a list."""

    system_id: int
    intervals: list[Bucket | list[Bucket]]
    total_devices: msgspec.Raw = NULL
    meta: msgspec.Raw = NULL


class ChannelBucket(Shape):
    """One bucket of one channel of a meter: Wh, and the W of one moment in it."""

    end_at: msgspec.Raw
    channel: msgspec.Raw = NULL
    wh_del: msgspec.Raw = NULL


class MeterBody(Shape):
    """The channels of one production meter; three are listed, an unused one is all null."""

    meter_serial_number: object
    intervals: list[ChannelBucket]


class MeteredBody(TelemetryBody, kw_only=True):
    """Metered production of at most seven days, of the system and of each channel."""

    meter_intervals: list[MeterBody] = []


class LifetimeBody(Shape):
    """Energies of every day from `start_date` on, without dates of their own; one of the series is there."""

    system_id: int
    start_date: object = None
    production: list[msgspec.Raw] = []
    consumption: list[msgspec.Raw] = []
    charge: list[msgspec.Raw] = []
    discharge: list[msgspec.Raw] = []
    imported: list[msgspec.Raw] = msgspec.field(name="import", default_factory=list)
    exported: list[msgspec.Raw] = msgspec.field(name="export", default_factory=list)


@dataclass(frozen=True, slots=True)
class Summary:
    """How a system does: W, Wh and Wp; None is not told, or stale."""

    size_wp: float | None
    power_w: float | None
    energy_today_wh: float | None
    interval_end: datetime | None
    reported_at: datetime | None
    status: str | None


def parse_systems(body: SystemsBody) -> tuple[FoundSite, ...]:
    """Return the sites of one page. Raises BadPayload for one without an id."""
    return tuple(parse_system(system) for system in body.systems)


def parse_system(body: SystemBody, size_wp: float | None = None) -> FoundSite:
    """Return a site; its size is told by its summary only. Raises BadPayload without an id."""
    if body.system_id <= 0:
        raise bad_payload("systems", "Enphase sent a system without an id")
    place = body.address if isinstance(body.address, dict) else {}
    parts = [text(place.get(key)) for key in ("city", "postal_code", "state", "country")]
    named = zone(body.timezone)
    begun = moment(body.operational_at)
    return FoundSite(
        ref=str(body.system_id),
        name=text(body.name) or f"System {body.system_id}",
        zone=named,
        address=", ".join(part for part in parts if part) or None,
        capacity_wp=size_wp,
        installed_on=begun.astimezone(ZoneInfo(named or "UTC")).date() if begun else None,
        active=(text(body.status) or "").lower() not in _GONE,
    )


def parse_summary(body: SummaryBody, site: str, now: datetime) -> Summary:
    """Return how a system does; its power only where it is of the last hour, for it may stick after sunset.

    Raises BadPayload for an answer about another system.
    """
    check_site("summary", body.system_id, site)
    size_wp = number_or_none(Metric.PV_W, body.size_w, "W", watts_per)
    ended = moment(body.last_interval_end_at)
    fresh = ended is not None and (now - ended).total_seconds() <= 3600  # noqa: PLR2004 - an hour
    return Summary(
        size_wp=size_wp or None,
        power_w=number_or_none(Metric.PV_W, body.current_power, "W", watts_per) if fresh else None,
        energy_today_wh=number_or_none(Metric.PV_WH, body.energy_today, "Wh", watt_hours_per),
        interval_end=ended,
        reported_at=moment(body.last_report_at),
        status=text(body.status),
    )


def parse_devices(body: DevicesBody, site: str) -> tuple[FoundDevice, ...]:
    """Return the site's total, then its gateways, meters, micro-inverters and batteries; others are left out.

    Only the total and the meters feed: the numbers are told of the site as a whole, and a meter below it that
    feeds the same kind says who measures it. Raises BadPayload for an answer about another system.
    """
    check_site("devices", body.system_id, site)
    found = {family: list(_listed(body.devices.get(family))) for family in _FAMILIES}
    newest_s = max((_told_s(item) for item in found["gateways"]), default=0)
    measured = {serial: feed for serial, item in found["meters"] if (feed := _measures(item, newest_s)) is not None}
    feeds = {MeterKind.PV, *measured.values()}
    if found["encharges"] or found["acbs"]:
        feeds.add(MeterKind.BATTERY)
    total = FoundDevice(f"system:{site}", site, DeviceKind.SITE_TOTAL, "Whole site", feeds=frozenset(feeds))
    gateways = [f"{DeviceKind.GATEWAY.value}:{site}:{serial}" for serial, _ in found["gateways"]]
    # No answer says which micro-inverter speaks through which gateway, so that is known only where there is one.
    above = gateways[0] if len(set(gateways)) == 1 else total.ref
    devices = {total.ref: total}
    for family, kind in _FAMILIES.items():
        for serial, item in found[family]:
            feed = measured.get(serial) if kind is DeviceKind.METER else None
            device = FoundDevice(
                f"{kind.value}:{site}:{serial}",
                site,
                kind,
                text(item.get("name")) or serial,
                parent=above if kind in {DeviceKind.INVERTER, DeviceKind.BATTERY} else total.ref,
                manufacturer="Enphase",
                model=text(item.get("product_name")) or text(item.get("model")) or text(item.get("sku")),
                serial=serial,
                firmware=text(item.get("emu_sw_version")),
                feeds=frozenset({feed}) if feed else frozenset(),
                active=not _off(item),
            )
            devices.setdefault(device.ref, device)
    return tuple(devices.values())


def moment(raw: msgspec.Raw) -> datetime | None:
    """Return the time of whole seconds since 1970; None for anything else, and for no sensible time."""
    seconds = whole(raw)
    if seconds is None or not _FIRST_S <= seconds <= _LAST_S:
        return None
    return datetime.fromtimestamp(seconds, UTC)


def whole(raw: msgspec.Raw) -> int | None:
    """Return a whole number; None for anything else."""
    try:
        return _WHOLE.decode(raw)
    except msgspec.MsgspecError:
        return None


def flat(intervals: Iterable[Bucket | list[Bucket]]) -> Iterator[Bucket]:
    """Yield the buckets one by one, whether they come in one list or in several."""
    for one in intervals:
        if isinstance(one, Bucket):
            yield one
        else:
            yield from one


def check_site(operation: str, told: int, site: str) -> None:
    """Raise BadPayload where an answer is about another system than was asked about."""
    if str(told) != site:
        raise bad_payload(operation, "Enphase answered for another system")


def bad_payload(operation: str, message: str) -> BadPayload:
    """Build the error for an answer that is not what Enphase documents."""
    return BadPayload(message, vendor=VENDOR, operation=operation)


def _listed(items: object) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Yield serial number and fields of each device; ids repeat and may be empty, so they name nothing."""
    for item in items if isinstance(items, list) else ():
        serial = text(item.get("serial_number")) if isinstance(item, dict) else None
        if serial is not None:
            yield serial, item


def _told_s(item: tuple[str, Mapping[str, object]]) -> int:
    told = item[1].get("last_report_at")
    return told if isinstance(told, int) and _FIRST_S <= told <= _LAST_S else 0


def _off(item: Mapping[str, object]) -> bool:
    """Tell whether a device is off; one capture has the text "true" where the documentation has a boolean."""
    return item.get("active") is False or item.get("active") == "false"


def _measures(item: Mapping[str, object], newest_s: int) -> MeterKind | None:
    """Return what a meter measures; None where it is off, has never reported, or stopped a week ago."""
    if (text(item.get("state")) or "").lower() != "enabled" or _off(item):
        return None
    told_s = _told_s(("", item))
    if not told_s or newest_s - told_s > _MUTE_S:
        return None
    return _METER_FEEDS.get((text(item.get("config_type")) or "").lower())
