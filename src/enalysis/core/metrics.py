"""The metrics Enalysis stores, each with its unit, kind, sign and the range physics allows."""

from dataclasses import dataclass
from enum import IntFlag, StrEnum


class Kind(StrEnum):
    """What a number means over time; never inferred from its name."""

    INSTANT = "instant"
    COUNTER = "counter"
    ENERGY = "energy"


class Metric(StrEnum):
    """Every column a reading may fill. W, Wh, % and degrees C only."""

    PV_W = "pv_w"
    GRID_W = "grid_w"
    BATTERY_W = "battery_w"
    LOAD_W = "load_w"
    SOC_PCT = "soc_pct"
    TEMP_C = "temp_c"
    PV_TOTAL_WH = "pv_total_wh"
    GRID_IMPORT_TOTAL_WH = "grid_import_total_wh"
    GRID_EXPORT_TOTAL_WH = "grid_export_total_wh"
    BATTERY_CHARGE_TOTAL_WH = "battery_charge_total_wh"
    BATTERY_DISCHARGE_TOTAL_WH = "battery_discharge_total_wh"
    LOAD_TOTAL_WH = "load_total_wh"
    PV_WH = "pv_wh"
    GRID_IMPORT_WH = "grid_import_wh"
    GRID_EXPORT_WH = "grid_export_wh"
    BATTERY_CHARGE_WH = "battery_charge_wh"
    BATTERY_DISCHARGE_WH = "battery_discharge_wh"
    LOAD_WH = "load_wh"


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What one metric is: unit, kind, sign in words, and the lowest and highest value that can be true."""

    unit: str
    kind: Kind
    sign: str
    meaning: str
    low: float
    high: float


# 10 GW and 1 PWh bound what any site on earth can report; a vendor's slip beyond them is never a measurement.
_TOP_W = 1e10
_TOP_WH = 1e15
_POSITIVE = "never negative"

INFO: dict[Metric, MetricInfo] = {
    Metric.PV_W: MetricInfo("W", Kind.INSTANT, _POSITIVE, "power produced by the photovoltaic arrays", 0, _TOP_W),
    Metric.GRID_W: MetricInfo("W", Kind.INSTANT, "+ import, - export", "power at the grid connection", -_TOP_W, _TOP_W),
    Metric.BATTERY_W: MetricInfo("W", Kind.INSTANT, "+ discharge, - charge", "power of the battery", -_TOP_W, _TOP_W),
    Metric.LOAD_W: MetricInfo("W", Kind.INSTANT, _POSITIVE, "power used on the site", 0, _TOP_W),
    Metric.SOC_PCT: MetricInfo("%", Kind.INSTANT, "0 to 100", "state of charge of the battery", 0, 100),
    Metric.TEMP_C: MetricInfo("°C", Kind.INSTANT, "signed", "temperature of the device", -80, 200),
    Metric.PV_TOTAL_WH: MetricInfo("Wh", Kind.COUNTER, _POSITIVE, "pv energy since installation", 0, _TOP_WH),
    Metric.GRID_IMPORT_TOTAL_WH: MetricInfo(
        "Wh", Kind.COUNTER, _POSITIVE, "energy bought from the grid since installation", 0, _TOP_WH
    ),
    Metric.GRID_EXPORT_TOTAL_WH: MetricInfo(
        "Wh", Kind.COUNTER, _POSITIVE, "energy fed into the grid since installation", 0, _TOP_WH
    ),
    Metric.BATTERY_CHARGE_TOTAL_WH: MetricInfo(
        "Wh", Kind.COUNTER, _POSITIVE, "energy charged since installation", 0, _TOP_WH
    ),
    Metric.BATTERY_DISCHARGE_TOTAL_WH: MetricInfo(
        "Wh", Kind.COUNTER, _POSITIVE, "energy discharged since installation", 0, _TOP_WH
    ),
    Metric.LOAD_TOTAL_WH: MetricInfo("Wh", Kind.COUNTER, _POSITIVE, "energy used since installation", 0, _TOP_WH),
    Metric.PV_WH: MetricInfo("Wh", Kind.ENERGY, _POSITIVE, "pv energy of the interval", 0, _TOP_WH),
    Metric.GRID_IMPORT_WH: MetricInfo("Wh", Kind.ENERGY, _POSITIVE, "energy bought in the interval", 0, _TOP_WH),
    Metric.GRID_EXPORT_WH: MetricInfo("Wh", Kind.ENERGY, _POSITIVE, "energy fed in in the interval", 0, _TOP_WH),
    Metric.BATTERY_CHARGE_WH: MetricInfo("Wh", Kind.ENERGY, _POSITIVE, "energy charged in the interval", 0, _TOP_WH),
    Metric.BATTERY_DISCHARGE_WH: MetricInfo(
        "Wh", Kind.ENERGY, _POSITIVE, "energy discharged in the interval", 0, _TOP_WH
    ),
    Metric.LOAD_WH: MetricInfo("Wh", Kind.ENERGY, _POSITIVE, "energy used in the interval", 0, _TOP_WH),
}

ENERGIES: tuple[Metric, ...] = tuple(m for m, i in INFO.items() if i.kind is Kind.ENERGY)
COUNTERS: tuple[Metric, ...] = tuple(m for m, i in INFO.items() if i.kind is Kind.COUNTER)
INSTANTS: tuple[Metric, ...] = tuple(m for m, i in INFO.items() if i.kind is Kind.INSTANT)
SAMPLE_METRICS: tuple[Metric, ...] = INSTANTS + COUNTERS
INTERVAL_METRICS: tuple[Metric, ...] = (*ENERGIES, Metric.SOC_PCT)


class Quality(IntFlag):
    """How a number came to be; MEASURED is the absence of every flag."""

    MEASURED = 0
    DERIVED = 1
    ESTIMATED = 2
    CLIPPED = 4
    RESTATED = 8
    SUSPECT = 16
    IMPORTED = 32
    SANDBOX = 64
