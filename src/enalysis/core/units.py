"""Conversion of vendors' spelled units to W, Wh and %."""

from enalysis.core.errors import UnknownUnit

_POWER_W = {"w": 1.0, "kw": 1e3, "mw": 1e6, "gw": 1e9}
_ENERGY_WH = {"wh": 1.0, "kwh": 1e3, "mwh": 1e6, "gwh": 1e9}
_SHARE_PCT = {"percentage": 1.0, "percent": 1.0, "%": 1.0}


def watts_per(unit: str) -> float:
    """Factor from `unit` (W, kW, MW, GW, any case) to W; "mw" is megawatt. Raises UnknownUnit."""
    return _factor(_POWER_W, unit, "power")


def watt_hours_per(unit: str) -> float:
    """Factor from `unit` (Wh, kWh, MWh, GWh, any case) to Wh. Raises UnknownUnit."""
    return _factor(_ENERGY_WH, unit, "energy")


def percent_per(unit: str) -> float:
    """Factor from `unit` to percent. Raises UnknownUnit: a share whose scale is unknown is no number."""
    return _factor(_SHARE_PCT, unit, "share")


def _factor(table: dict[str, float], unit: str, kind: str) -> float:
    try:
        return table[unit.strip().lower()]
    except KeyError:
        raise UnknownUnit(unit, kind) from None
