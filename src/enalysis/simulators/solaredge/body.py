"""The JSON of SolarEdge's answers, made from its views, and the questions they answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from starlette.datastructures import QueryParams

from enalysis.core.intervals import Window, day_window, floor_time, local_day, local_days
from enalysis.core.sites import DeviceKind
from enalysis.simulators.solaredge.view import (
    SITE_ENERGY,
    SITE_POWER,
    STAMPED_AT_END,
    STEP_S,
    SUB_DAILY,
    Channel,
    Points,
    Resolution,
    Unit,
    View,
    join,
)

Body = dict[str, object]

FAMILIES = {"inverters": DeviceKind.INVERTER, "meters": DeviceKind.METER, "storage": DeviceKind.BATTERY}
_TYPES = {"INVERTER": DeviceKind.INVERTER, "METER": DeviceKind.METER, "BATTERY": DeviceKind.BATTERY}
# Types the vendor knows and none of our sites has.
_OTHER_TYPES = frozenset(
    {
        "BATTERY_MODULE",
        "BUI",  # codespell:ignore
        "EV_CHARGER",
        "GATEWAY",
        "OPTIMIZER",
    }
)
_LONGEST = {
    Resolution.QUARTER_HOUR: timedelta(hours=12),
    # A day on which clocks go back has 25 hours.
    Resolution.HOUR: timedelta(hours=25),
    Resolution.DAY: timedelta(days=31, hours=1),
}
# Without the documented cap a request may still not bring the cloud to its knees; this one is chosen.
_LONGEST_UNCAPPED = timedelta(days=31, hours=1)
_SCALES = {
    "WH": {"WH": 1.0, "KWH": 1e-3, "MWH": 1e-6, "GWH": 1e-9},
    "W": {"W": 1.0, "KW": 1e-3, "MW": 1e-6},
}
_LENGTHS = {
    Resolution.QUARTER_HOUR: timedelta(minutes=15),
    Resolution.HOUR: timedelta(hours=1),
    Resolution.DAY: timedelta(days=1),
}
# Grid mix and car the vendor reckons with; chosen.
_CO2_KG_PER_WH = 0.0004
_MILES_PER_WH = 0.0035


class Refused(Exception):
    """A question the cloud does not answer: an HTTP status, a title and a sentence."""

    def __init__(self, status: int, title: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a time series; `open_end` where the client named no end and now was taken."""

    window: Window
    resolution: Resolution
    unit: str | None
    open_end: bool


def parse_ask(
    params: QueryParams, zone: ZoneInfo, now: datetime, allowed: frozenset[Resolution], *, capped: bool
) -> Ask:
    """Return the question a query string asks. Raises Refused with 400 for nonsense or too long a range.

    Args: allowed: resolutions this endpoint has. capped: whether 12 h is the most for quarter hours.
    """
    try:
        resolution = Resolution(params.get("resolution", Resolution.QUARTER_HOUR))
    except ValueError:
        raise _bad("Unknown resolution") from None
    if resolution not in allowed:
        raise _bad("Resolution is not supported here")
    end = _time(params["to"], zone) if "to" in params else now
    start = _time(params["from"], zone) if "from" in params else day_window(local_day(end, zone), zone).start
    if end < start:
        raise _bad("'to' is before 'from'")
    longest = _LONGEST.get(resolution)
    if resolution is Resolution.QUARTER_HOUR and (not capped or "from" not in params):
        longest = _LONGEST_UNCAPPED
    if longest is not None and end - start > longest:
        raise _bad(f"The range is too long for {resolution.value}")
    return Ask(Window(start, end), resolution, params.get("unit"), "to" not in params)


def sites_page(views: Sequence[View], page: int, size: int) -> Body:
    """Return one page of the sites, counted from 1; `count` is of all pages together."""
    shown = views[(page - 1) * size : page * size]
    return {"sites": {"count": len(views), "site": [_listed(view) for view in shown]}}


def site(view: View, now: datetime) -> Body:
    """Return one site with its zone, which the list does not tell."""
    place = view.world.site
    return {
        "siteId": view.site_id,
        "name": place.name,
        "accountId": 90_000 + view.site_id % 9_999,
        "peakPower": _kilo(place.capacity_wp),
        "installationDate": stamp(view.installed, view.zone),
        "lastUpdateTime": stamp(floor_time(now - view.delay, STEP_S), view.zone),
        "location": {"city": place.city, "country": place.country, "timezone": place.zone},
        "activationStatus": "ACTIVE",
    }


def overview(view: View, params: QueryParams, now: datetime) -> Body:
    """Return the totals from midnight at the site until now, or of the range asked for."""
    ask = parse_ask(params, view.zone, now, frozenset(Resolution), capped=False)
    found = view.overview(ask.window, now)
    return {
        "siteId": view.site_id,
        "production": {
            "total": found.pv_wh,
            "unit": "WH",
            "toSelfConsumption": found.own_wh,
            "toStorage": found.stored_wh,
            "toGrid": found.exported_wh,
        },
        "consumption": {
            "total": found.used_wh,
            "unit": "WH",
            "fromPv": found.own_wh,
            "fromStorage": found.drawn_wh,
            "fromGrid": found.imported_wh,
        },
    }


def energy(view: View, ask: Ask, now: datetime) -> Body:
    """Return the site's pv energy in the resolution asked for."""
    begins = _begins(ask, view.zone)
    if ask.resolution in SUB_DAILY:
        points = join(view.site_energy(_whole(ask, begins), now), SITE_ENERGY, begins)
    else:
        first = max(begins(ask.window.start), view.installed)
        days = local_days(Window(first, max(first, min(ask.window.end, now))), view.zone)
        totals: Points = [(day_window(d, view.zone).start, view.day_wh(d, now)) for d in days]
        points = join(totals, SITE_ENERGY, begins)
    return _envelope(view, ask, SITE_ENERGY, points)


def power(view: View, ask: Ask, now: datetime) -> Body:
    """Return the site's mean pv power in the resolution asked for."""
    begins = _begins(ask, view.zone)
    points = join(view.site_power(_whole(ask, begins), now), SITE_POWER, begins)
    return _envelope(view, ask, SITE_POWER, points)


def devices(view: View, types: Sequence[str]) -> list[Body]:
    """Return the devices of the types asked for, inverters where none is. Raises Refused for others."""
    wanted = {name for listed in types for name in listed.split(",")} or {"INVERTER"}
    if wanted - _TYPES.keys() - _OTHER_TYPES:
        raise _bad("Unknown device type")
    return [_device(view, unit, name) for name, kind in _TYPES.items() if name in wanted for unit in view.family(kind)]


def telemetry(view: View, family: str, ask: Ask, now: datetime, serials: Sequence[str] | None = None) -> Body:
    """Return all series of a family of devices by serial number, or those of the serials asked for."""
    units = _chosen(view, family, serials)
    found = {
        unit.serial: {c.name: _series(view, unit, c, ask, now, full=family == "inverters") for c in unit.channels}
        for unit in units
        if unit.since < ask.window.end and (unit.until is None or unit.until > ask.window.start)
    }
    if family == "inverters":
        return {family: found}
    return {"period": _period(ask, view.zone), "resolution": ask.resolution.value, family: found}


def single(view: View, family: str, serial: str, series: str, ask: Ask, now: datetime) -> Body:
    """Return one series of one device. Raises Refused with 404 for a device or series it has not."""
    unit = _chosen(view, family, [serial])[0]
    first, *rest = series.split("-")
    name = first + "".join(word.capitalize() for word in rest)
    channel = next((c for c in unit.channels if c.name == name), None)
    if channel is None:
        raise Refused(404, "Not Found", "Unknown endpoint")
    begins = _begins(ask, view.zone)
    points = join(view.series(unit, channel, _whole(ask, begins), now), channel, begins)
    return _envelope(view, ask, channel, points)


def benefits(view: View, unit: str, now: datetime) -> Body:
    """Return what the site spared the world since it was built; the real body is not documented."""
    if unit not in {"METRIC", "IMPERIAL"}:
        raise _bad("Unknown unit")
    days = local_days(Window(view.installed, max(view.installed, now)), view.zone)
    produced_wh = sum(view.day_wh(day, now) or 0.0 for day in days)
    pounds = 1.0 if unit == "METRIC" else 2.20462
    return {
        "co2Emissions": round(produced_wh * _CO2_KG_PER_WH * pounds, 2),
        "evMiles": round(produced_wh * _MILES_PER_WH, 2),
        "unit": unit,
    }


def stamp(at: datetime, zone: ZoneInfo) -> str:
    """Return a time as the cloud writes it: the site's wall clock with its offset, Z where that is zero."""
    return _zulu(at.astimezone(zone).isoformat(timespec="seconds"))


def _chosen(view: View, family: str, serials: Sequence[str] | None) -> list[Unit]:
    units = view.family(FAMILIES[family])
    if serials is None:
        return units
    known = {unit.serial: unit for unit in units}
    if not set(serials) <= known.keys():
        raise Refused(404, "Not Found", "Unknown device")
    return [known[serial] for serial in serials]


def _series(view: View, unit: Unit, channel: Channel, ask: Ask, now: datetime, *, full: bool) -> Body:
    begins = _begins(ask, view.zone)
    points = join(view.series(unit, channel, _whole(ask, begins), now), channel, begins)
    if channel.name in STAMPED_AT_END:
        points = [(at + _LENGTHS[ask.resolution], value) for at, value in points]
    body: Body = {"unit": channel.unit}
    if full:
        body["resolution"] = ask.resolution.value
    return body | {"values": _values(points, view.zone)}


def _envelope(view: View, ask: Ask, channel: Channel, points: Points) -> Body:
    unit, scales = ask.unit or channel.unit, _SCALES.get(channel.unit, {channel.unit: 1.0})
    if unit not in scales:
        raise _bad("Unknown unit")
    if unit != channel.unit:
        points = [(at, None if value is None else round(value * scales[unit], 9)) for at, value in points]
    return {
        "period": _period(ask, view.zone),
        "unit": unit,
        "resolution": ask.resolution.value,
        "values": _values(points, view.zone),
    }


def _values(points: Points, zone: ZoneInfo) -> list[Body]:
    return [{"timestamp": stamp(at, zone), "value": value} for at, value in points]


def _period(ask: Ask, zone: ZoneInfo) -> Body:
    end = stamp(ask.window.end, zone)
    if ask.open_end:
        # Where the cloud takes its own clock it writes nanoseconds: nine digits.
        local = ask.window.end.astimezone(zone).isoformat(timespec="microseconds")
        end = _zulu(f"{local[:26]}{ask.window.end.microsecond * 7 % 1000:03d}{local[26:]}")
    return {"from": stamp(ask.window.start, zone), "to": end}


def _zulu(text: str) -> str:
    return text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text


def _begins(ask: Ask, zone: ZoneInfo) -> Callable[[datetime], datetime]:
    """Return the function from an instant to the start of its bucket by the site's clock and calendar."""

    def day(at: datetime) -> date:
        return at.astimezone(zone).date()

    makers: dict[Resolution, Callable[[datetime], datetime]] = {
        Resolution.QUARTER_HOUR: lambda at: floor_time(at, STEP_S),
        # Counted by the wall clock: in a zone of +05:45 hours begin at a quarter past in UTC.
        Resolution.HOUR: lambda at: (
            floor_time(at, STEP_S) - timedelta(minutes=floor_time(at, STEP_S).astimezone(zone).minute)
        ),
        Resolution.DAY: lambda at: day_window(day(at), zone).start,
        Resolution.WEEK: lambda at: day_window(day(at) - timedelta(days=day(at).weekday()), zone).start,
        Resolution.MONTH: lambda at: day_window(day(at).replace(day=1), zone).start,
        Resolution.YEAR: lambda at: day_window(day(at).replace(month=1, day=1), zone).start,
        Resolution.TOTAL: lambda _: ask.window.start,
    }
    return makers[ask.resolution]


def _whole(ask: Ask, begins: Callable[[datetime], datetime]) -> Window:
    """Return the window asked for, begun at the start of its first bucket."""
    return Window(begins(ask.window.start), ask.window.end)


def _time(text: str, zone: ZoneInfo) -> datetime:
    """Return the UTC time of an ISO 8601 text; without an offset it is the site's wall clock."""
    try:
        # A plus sign that was not escaped in the query arrives as a space.
        at = datetime.fromisoformat(text.strip().replace(" ", "+"))
        return (at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _bad("Invalid time") from None


def _listed(view: View) -> Body:
    place = view.world.site
    return {
        "siteId": view.site_id,
        "name": place.name,
        "peakPower": _kilo(place.capacity_wp),
        "installationDate": stamp(view.installed, view.zone),
        "location": {
            "address": f"{place.name} {view.site_id % 90 + 1}",
            "city": place.city,
            "state": None,
            "zip": f"{view.site_id % 90_000 + 10_000}",
            "country": place.country,
        },
        "activationStatus": "ACTIVE",
        "note": "",
    }


def _device(view: View, unit: Unit, type_: str) -> Body:
    battery = view.world.site.battery
    parts: Mapping[DeviceKind, tuple[str, str | None, str]] = {
        DeviceKind.INVERTER: (
            f"SE{view.world.site.inverter_ac_w / view.world.site.inverters:.0f}H",
            None,
            "ETHERNET",
        ),
        DeviceKind.METER: ("SE-MTR-3Y-400V-A", "PHYSICAL", "RS485"),
        DeviceKind.BATTERY: ("BAT-10K1P", None, "RS485"),
    }
    part, form, bus = parts[unit.kind]
    inverter = unit.kind is DeviceKind.INVERTER
    body: Body = {
        "type": type_,
        "serialNumber": unit.serial,
        "manufacturer": "SolarEdge",
        "partNumber": part,
        "createdAt": stamp(unit.since, view.zone),
        "firmwareVersion": "4.25.13" if inverter else None,
        "connectedTo": None if inverter else view.family(DeviceKind.INVERTER)[-1].serial,
        "active": unit.until is None,
        "nameplate": battery.capacity_wh if battery and unit.kind is DeviceKind.BATTERY else 0,
        "name": unit.name,
        "form": form,
        "communicationType": bus,
        "firmware": "4.25.13.1.100.2061.2.100.1751" if inverter else None,
    }
    return body | {"connectedOptimizers": 16} if inverter else body


def _kilo(watts: float) -> float:
    return round(watts / 1000.0, 3)


def _bad(detail: str) -> Refused:
    return Refused(400, "Bad Request", detail)
