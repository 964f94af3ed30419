"""The JSON of Enphase's systems, their summaries and their devices."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from starlette.datastructures import QueryParams

from enalysis.core.intervals import Window, day_window, local_day
from enalysis.simulators.enphase import ask as asks
from enalysis.simulators.enphase.errors import unprocessable
from enalysis.simulators.enphase.hardware import MICRO
from enalysis.simulators.enphase.series import Body, stamp
from enalysis.simulators.enphase.view import METER_S, MICRO_S, View

_STALE = timedelta(days=7)
_METER = {"part_number": "800-00655-r09", "sku": None, "model": "Envoy S"}
_GATEWAY = {"part_number": "800-00655-r09", "emu_sw_version": "D8.2.4345 (a1b2c3)", "sku": "X-IQ-AM1-240-3-ES"}
_BATTERY = {"part_number": "836-01826-r76", "sku": "IQBATTERY-5P-1P-NA", "model": ""}
_IDLE_W = 20


def systems(views: Sequence[View], params: QueryParams, now: datetime, *, company: bool) -> Body:
    """Return one page of the systems. Raises Refused with 422 for a page, size or order that cannot be."""
    page, size = asks.paging(params)
    order = params.get("sort_by", "id")
    if order not in {"id", "-id"}:
        raise unprocessable("The sorting parameter is not supported")
    listed = sorted(views, key=lambda v: v.site_id, reverse=order == "-id")
    shown = listed[(page - 1) * size : page * size]
    return {
        "total": len(listed),
        "current_page": page,
        "size": size,
        "count": len(shown),
        "items": "systems",
        "systems": [system(view, now, company=company) for view in shown],
    }


def system(view: View, now: datetime, *, company: bool, alone: bool = False) -> Body:
    """Return one system; the figures that are -1 were taken out of this answer in 2023.

    Args: company: an installer asks, who also sees a reference. alone: not in a list, where a date is a number.
    """
    site, hardware, last = view.world.site, view.hardware, view.last_quarter(now)
    body: Body = {
        "system_id": view.site_id,
        "name": site.name,
        "public_name": "Residential System",
        "timezone": hardware.quirk.zone or site.zone,
        "address": {
            "city": site.city,
            "state": hardware.quirk.state,
            "country": hardware.country,
            "postal_code": hardware.postal_code,
        },
        "connection_type": hardware.link,
        "status": view.status(now),
        "last_report_at": stamp(view.last_report(now)),
        "last_energy_at": stamp(last.end) if last else None,
        "operational_at": stamp(view.operational_at),
        "attachment_type": "rack_mount",
        "interconnect_date": site.installed.isoformat() if alone else None,
        "energy_lifetime": -1,
        "energy_today": -1,
        "system_size": -1,
    }
    return body | {"reference": f"{view.site_id}"} if company else body


def summary(view: View, params: QueryParams, now: datetime) -> Body:
    """Return power and energy of a day; the lifetime is that of the days before it."""
    day, hardware, today = asks.summary_date(params, view, now), view.hardware, local_day(now, view.zone)
    sums, before = view.day(day, now), view.before(day)
    current = day == today
    window = day_window(day, view.zone)
    last = next(reversed(list(view.quarters(window, now))), None)
    body: Body = {
        "system_id": view.site_id,
        "current_power": _power_w(view, now) if current else 0,
        "energy_lifetime": before.pv if hardware.metered else before.micro,
        "energy_today": sums.pv if hardware.metered else sums.micro,
        "last_interval_end_at": stamp(last.end) if last else None,
        "last_report_at": stamp(view.last_report(now)),
        "modules": hardware.panels if current else 0,
        "operational_at": stamp(view.operational_at),
        "size_w": round(view.world.site.capacity_wp) if current else 0,
        "nmi": "",
        "source": "meter" if hardware.metered else "microinverters",
        "status": view.status(now),
        "summary_date": day.isoformat(),
    }
    if battery := view.world.site.battery:
        body |= {
            "battery_charge_w": round(battery.charge_w),
            "battery_discharge_w": round(battery.discharge_w),
            "battery_capacity_wh": round(battery.capacity_wh),
        }
    return body


def devices(view: View, now: datetime) -> Body:
    """Return the devices at work, by kind; a kind of which there is none is left out."""
    hardware, reported = view.hardware, stamp(view.last_report(now))
    state: Body = {"status": "normal", "active": True}
    micros: list[Body] = [
        {
            "id": hardware.ids + n,
            "last_report_at": reported,
            "name": f"Microinverter {serial}",
            "serial_number": serial,
            **MICRO,
            **state,
            "product_name": MICRO["model"],
        }
        for n, serial in enumerate(hardware.micros(local_day(now, view.zone)), start=1)
    ]
    if hardware.quirk.status == "micro":
        micros[0] |= {"status": "micro", "last_report_at": stamp(view.operational_at)}
    found: dict[str, list[Body]] = {"micros": micros}
    if hardware.metered:
        found["meters"] = _meters(view, now)
    found["gateways"] = [
        {
            "id": hardware.ids + 900,
            "last_report_at": reported,
            "name": f"Gateway {hardware.envoy}",
            "serial_number": hardware.envoy,
            **_GATEWAY,
            "model": "IQ Envoy",
            **state,
            "product_name": "IQ Gateway",
        }
    ]
    if hardware.quirk.cellular:
        found["gateways"][0]["cellular_modem"] = {
            "imei": f"35{view.site_id:013d}",
            "part_num": "CELLMODEM-M1",
            "sku": "CELLMODEM-M1-06",
            "plan_start_date": stamp(view.operational_at),
            "plan_end_date": stamp(view.operational_at + timedelta(days=5 * 365)),
        }
    if hardware.battery is not None:
        found["encharges"] = [
            {
                "id": hardware.ids + 950,
                "last_report_at": reported,
                "name": f"IQ Battery {hardware.battery}",
                "serial_number": hardware.battery,
                **_BATTERY,
                **state,
                "product_name": "IQ Battery 5P",
            }
        ]
    total = sum(len(listed) for listed in found.values())
    return {"system_id": view.site_id, "total_devices": total, "items": "devices", "devices": found}


def inverters_summary(view: View, params: QueryParams, now: datetime) -> list[Body]:
    """Return the microinverters of a gateway with the energy of their lives; the top level is a list."""
    page, size = asks.paging(params)
    serials = view.hardware.micros(local_day(now, view.zone))
    day = local_day(now, view.zone)
    today = sum(five.at(now)[0] for five in view.fives(day_window(day, view.zone), now))
    each_wh, each_w = (view.before(day).micro + today) / len(serials), _micro_w(view, now) / len(serials)
    listed: list[Body] = []
    for n, serial in enumerate(serials):
        watts = round(each_w)
        listed.append(
            {
                "id": view.hardware.ids + n + 1,
                "serial_number": serial,
                **MICRO,
                "status": "normal",
                # Both forms stand in one documented answer.
                "power_produced": watts if n % 2 else {"value": watts, "units": "W", "precision": 0},
                "proc_load": "521-00005-r00-v02.32.01",
                "param_table": "549-00018-r00-v02.32.01",
                "envoy_serial_number": view.hardware.envoy,
                "energy": {"value": int(each_wh * (1 + (n % 5 - 2) / 100)), "units": "Wh", "precision": 0},
                "grid_profile": "57227c50e4d7973ae602c4e6",
                "last_report_date": stamp(view.last_report(now)),
            }
        )
    return [{"signal_strength": 5, "micro_inverters": listed[(page - 1) * size : page * size]}]


def latest_telemetry(view: View, now: datetime) -> Body:
    """Return the power last reported by channel of each meter, W; the battery's is + on discharge, chosen."""
    last, hardware, found = view.last_quarter(now), view.hardware, {}
    fresh = last if last and now - last.end <= _STALE else None
    at = stamp(fresh.end) if fresh else None
    powers = [("production", fresh.sums.pv if fresh else None), ("consumption", fresh.sums.used if fresh else None)]
    found["meters"] = [
        {
            "id": hardware.ids + 800 + n,
            "name": name,
            "channel": channel,
            "last_report_at": at if channel < 3 else None,  # noqa: PLR2004 - the unused channel
            "power": None if wh is None or channel == 3 else round(wh * 2),  # noqa: PLR2004 - likewise
        }
        for n, (name, wh) in enumerate(powers, start=1)
        for channel in (1, 2, 3)
        if hardware.metered
    ]
    if hardware.battery is not None:
        watts = (fresh.sums.discharged - fresh.sums.charged) * (3600 // METER_S) if fresh else None
        mode = (
            None if watts is None else "Idle" if abs(watts) <= _IDLE_W else "Discharging" if watts > 0 else "Charging"
        )
        found["encharges"] = [
            {
                "id": hardware.ids + 950,
                "name": f"Encharge {hardware.battery}",
                "channel": 1,
                "last_report_at": at,
                "power": watts,
                "operational_mode": mode,
            }
        ]
    return {"system_id": view.site_id, "items": "devices", "devices": found}


def _meters(view: View, now: datetime) -> list[Body]:
    last, hardware = view.last_quarter(now), view.hardware
    kinds = (("production", "Production"), ("consumption", "Net" if hardware.net else "Total"))
    return [
        {
            "id": hardware.ids + 800 + n,
            "last_report_at": stamp(last.end) if last else None,
            "name": name,
            "serial_number": hardware.meter(n),
            **_METER,
            "status": "normal",
            "active": True,
            "state": "enabled",
            "config_type": config,
            "config_phase": "split",
            "product_name": "IQ Gateway",
        }
        for n, (name, config) in enumerate(kinds, start=1)
    ]


def _power_w(view: View, now: datetime) -> int:
    if not view.hardware.metered:
        return _micro_w(view, now)
    last = view.last_quarter(now)
    return last.sums.pv * (3600 // METER_S) if last else 0


def _micro_w(view: View, now: datetime) -> int:
    fives = list(view.fives(Window(now - timedelta(days=1), now), now))
    return fives[-1].at(now)[0] * (3600 // MICRO_S) if fives else 0
