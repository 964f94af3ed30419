"""The JSON of Enphase's telemetry, daily series and registers, each endpoint with its own names."""

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from starlette.datastructures import QueryParams

from enalysis.core.intervals import floor_time
from enalysis.simulators.enphase import ask as asks
from enalysis.simulators.enphase.ask import Ask
from enalysis.simulators.enphase.view import METER_S, MICRO_S, Quarter, Sums, View

Body = dict[str, object]

_MICROS_PER_H = 3600 // MICRO_S
_QUARTERS_PER_H = 3600 // METER_S


def stamp(at: datetime) -> int:
    """Return an instant as the cloud writes it: seconds since 1970."""
    return int(at.timestamp())


def meta(view: View, now: datetime) -> Body:
    """Return how the system is doing now, whatever stretch was asked for."""
    last = view.last_quarter(now)
    return {
        "status": view.status(now),
        "last_report_at": stamp(view.last_report(now)),
        "last_energy_at": stamp(last.end) if last else None,
        "operational_at": stamp(view.operational_at),
    }


def production_micro(view: View, params: QueryParams, now: datetime) -> Body:
    """Return energy and mean power of the microinverters in five minutes."""
    ask = asks.telemetry(params, view, now, MICRO_S)
    intervals: list[Body] = []
    for five in view.fives(ask.window, now):
        wh, reporting = five.at(now)
        intervals.append(
            {"end_at": stamp(five.end), "devices_reporting": reporting, "powr": wh * _MICROS_PER_H, "enwh": wh}
        )
    return _telemetry(view, ask, view.hardware.panels, intervals) | {"meta": meta(view, now)}


def production_meter(view: View, params: QueryParams, now: datetime) -> Body:
    """Return energy delivered past the production meter; this answer has no meta."""
    ask = asks.telemetry(params, view, now, METER_S)
    return _telemetry(view, ask, int(view.hardware.metered), _metered(view, ask, now, "wh_del", lambda q: q.sums.pv))


def consumption_meter(view: View, params: QueryParams, now: datetime) -> Body:
    """Return what the consumption meter measures: in Net configuration production plus import less export."""
    ask = asks.telemetry(params, view, now, METER_S)
    intervals = _metered(view, ask, now, "enwh", lambda q: q.sums.used)
    return _telemetry(view, ask, int(view.hardware.metered), intervals) | {"meta": meta(view, now)}


def battery(view: View, params: QueryParams, now: datetime) -> Body:
    """Return charge, discharge and state of charge; this answer has no meta."""
    ask = asks.telemetry(params, view, now, METER_S)
    there = view.hardware.battery is not None
    intervals = [
        {
            "end_at": stamp(q.end),
            "charge": {"enwh": q.sums.charged, "devices_reporting": 1},
            "discharge": {"enwh": q.sums.discharged, "devices_reporting": 1},
            "soc": {"percent": q.soc_pct, "devices_reporting": 1},
        }
        for q in (view.quarters(ask.window, now) if there else ())
    ]
    last = view.last_quarter(now)
    told = f"{last.soc_pct}%" if there and last else None
    return _telemetry(view, ask, int(there), intervals) | {"last_reported_aggregate_soc": told}


def energy_import_telemetry(view: View, params: QueryParams, now: datetime) -> Body:
    """Return energy from the grid, in a list within a list."""
    return _nested(view, params, now, "wh_imported", lambda q: q.sums.imported)


def energy_export_telemetry(view: View, params: QueryParams, now: datetime) -> Body:
    """Return energy into the grid, in a list within a list."""
    return _nested(view, params, now, "wh_exported", lambda q: q.sums.exported)


def rgm_stats(view: View, params: QueryParams, now: datetime) -> Body:
    """Return metered production with its channels: two of three are in use."""
    window, there = asks.metered(params, view, now), view.hardware.metered
    quarters = list(view.quarters(window, now)) if there else []
    channels: list[Body] = []
    for number in (1, 2, 3):
        for q in quarters:
            # What a grid outage interrupts has a sum, but no channel.
            known = number < 3 and not q.outage  # noqa: PLR2004 - the unused channel
            part = q.exact_wh / 2 * (1.0005 if number == 1 else 0.9995)
            amps = round(part * _QUARTERS_PER_H * _sample(view, q.end))
            values = {"wh_del": part, "curr_w": amps} if known else {"wh_del": None, "curr_w": None}
            channels.append({"channel": number, **values, "end_at": stamp(q.end)})
    meter = {
        "meter_serial_number": view.hardware.meter(1),
        "envoy_serial_number": view.hardware.envoy,
        "intervals": channels,
    }
    return {
        "system_id": view.site_id,
        "total_devices": int(there),
        "intervals": [{"end_at": stamp(q.end), "devices_reporting": 1, "wh_del": q.sums.pv} for q in quarters],
        "meta": meta(view, now),
        "meter_intervals": [meter] if there else [],
    }


def energy_lifetime(view: View, params: QueryParams, now: datetime) -> Body:
    """Return production by day: the meter's where there is one; `production=all` also tells both apart."""
    first, sums = _days(view, params, now)
    metered = view.hardware.metered
    micro, meter = [s.micro for s in sums], [s.pv for s in sums] if metered else []
    body: Body = {"system_id": view.site_id, "start_date": first}
    if metered:
        body["meter_start_date"] = view.world.site.installed.isoformat()
    body["production"] = meter if metered else micro
    if params.get("production") == "all":
        body |= {"micro_production": micro, "meter_production": meter}
    return body | {"meta": meta(view, now)}


def daily(view: View, params: QueryParams, now: datetime, *fields: str) -> Body:
    """Return series by day of the fields named; empty where nothing measures them."""
    first, sums = _days(view, params, now)
    hardware = view.hardware
    known = {
        "consumption": hardware.metered,
        "import": hardware.net,
        "export": hardware.net,
        "charge": hardware.battery is not None,
        "discharge": hardware.battery is not None,
    }
    values: dict[str, Callable[[Sums], int]] = {
        "consumption": lambda s: s.used,
        "import": lambda s: s.imported,
        "export": lambda s: s.exported,
        "charge": lambda s: s.charged,
        "discharge": lambda s: s.discharged,
    }
    body: Body = {"system_id": view.site_id, "start_date": first if any(known[f] for f in fields) else None}
    body |= {f: [values[f](s) for s in sums] if known[f] else [] for f in fields}
    return body | {"meta": meta(view, now)}


def production_meter_readings(view: View, params: QueryParams, now: datetime) -> Body:
    """Return the register of the production meter, and what a retired one read last."""
    since = view.hardware.quirk.meter_since
    readings: list[Body] = []
    if view.hardware.metered and (read := _read_at(view, params, now)) is not None:
        value, old = view.register(read).pv, 0
        if since is not None and read >= (changed := asks.midnight(since, view)):
            old = view.before(since).pv
            readings.append({"serial_number": view.hardware.meter(4), "value": old, "read_at": stamp(changed)})
        readings.append({"serial_number": view.hardware.meter(1), "value": value - old, "read_at": stamp(read)})
    return {"system_id": view.site_id, "meter_readings": readings, "meta": meta(view, now)}


def consumption_meter_readings(view: View, params: QueryParams, now: datetime) -> Body:
    """Return the register of the consumption meter; the serial number has another name here."""
    read = _read_at(view, params, now) if view.hardware.metered else None
    readings: list[Body] = []
    if read is not None:
        value = view.register(read).used
        readings.append({"serial_num": view.hardware.meter(2), "value": value, "read_at": stamp(read)})
    return {"system_id": view.site_id, "meter_readings": readings, "meta": meta(view, now)}


def storage_meter_readings(view: View, params: QueryParams, now: datetime) -> Body:
    """Return both registers of the battery's meter."""
    read = _read_at(view, params, now) if view.hardware.battery else None
    readings: list[Body] = []
    if read is not None:
        sums = view.register(read)
        readings.append(
            {
                "serial_num": view.hardware.meter(3),
                "value_charged": sums.charged,
                "value_discharged": sums.discharged,
                "read_at": stamp(read),
            }
        )
    return {"system_id": view.site_id, "meter_readings": readings, "meta": meta(view, now)}


def _telemetry(view: View, ask: Ask, total: int, intervals: list[Body]) -> Body:
    start, end = ask.window.start, ask.window.end
    if ask.dated:
        # Their form is not documented; this one is chosen.
        span: Body = {
            "start_date": start.astimezone(view.zone).isoformat(),
            "end_date": end.astimezone(view.zone).isoformat(),
        }
    else:
        span = {"start_at": stamp(start), "end_at": stamp(end)}
    head = {"system_id": view.site_id, "granularity": ask.granularity, "total_devices": total}
    return {**head, **span, "items": "intervals", "intervals": intervals}


def _metered(view: View, ask: Ask, now: datetime, name: str, value: Callable[[Quarter], int]) -> list[Body]:
    """Return the quarters of a meter; a site without it has none, which is no error."""
    quarters = view.quarters(ask.window, now) if view.hardware.metered else ()
    return [{"end_at": stamp(q.end), "devices_reporting": 1, name: value(q)} for q in quarters]


def _nested(view: View, params: QueryParams, now: datetime, name: str, value: Callable[[Quarter], int]) -> Body:
    ask = asks.telemetry(params, view, now, METER_S)
    inner = [{"end_at": stamp(q.end), name: value(q)} for q in view.quarters(ask.window, now)]
    body = _telemetry(view, ask, 0, [])
    # Nothing yet is a list with an empty list in it; nothing ever is an empty list. Both are seen.
    return body | {"intervals": [inner] if view.hardware.net else [], "meta": meta(view, now)}


def _days(view: View, params: QueryParams, now: datetime) -> tuple[str, list[Sums]]:
    first, last = asks.days(params, view, now)
    return first.isoformat(), [view.day(first + timedelta(days=n), now) for n in range((last - first).days + 1)]


def _read_at(view: View, params: QueryParams, now: datetime) -> datetime | None:
    """Return the newest quarter hour before the end asked for at which a register was read and told."""
    last = view.last_quarter(now)
    if last is None:
        return None
    at = min(last.end, floor_time(asks.read_at(params, now), METER_S))
    return at if at >= view.operational_at else None


def _sample(view: View, at: datetime) -> float:
    """Return by how much a momentary value is off the mean: a sample is no average."""
    digest = hashlib.blake2b(f"{view.site_id}|{stamp(at)}".encode(), digest_size=2).digest()
    return 0.95 + int.from_bytes(digest) / 65_535 * 0.1
