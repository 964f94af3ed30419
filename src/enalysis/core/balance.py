"""The energy balance of one site: load = pv + grid + battery, closed or its residual shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from enalysis.core.metrics import Metric, Quality
from enalysis.core.sites import METER_ENERGIES, Meter, MeterKind, MeterSource, devices_of

# Below this elevation an array yields a few percent at most: a vendor's null there is an inverter asleep.
DUSK_DEG = 5.0


@dataclass(frozen=True, slots=True)
class Flows:
    """Energies of a site in one interval, Wh, never negative; None is unknown.

    residual_wh is pv + import - export + discharge - charge - load where every part is known: what the
    meters do not agree on. `quality` speaks of load_wh.
    """

    pv_wh: float | None = None
    grid_import_wh: float | None = None
    grid_export_wh: float | None = None
    battery_charge_wh: float | None = None
    battery_discharge_wh: float | None = None
    load_wh: float | None = None
    soc_pct: float | None = None
    residual_wh: float | None = None
    quality: Quality = Quality.MEASURED


def load_w(pv_w: float | None, grid_w: float | None, battery_w: float | None) -> float | None:
    """Return the load in W from pv, grid (+ import) and battery (+ discharge); None if one is unknown."""
    if pv_w is None or grid_w is None or battery_w is None:
        return None
    return pv_w + grid_w + battery_w


def add(values: Iterable[float | None]) -> float | None:
    """Return the sum, or None where there is nothing or any part is unknown."""
    total, seen = 0.0, False
    for value in values:
        if value is None:
            return None
        total, seen = total + value, True
    return total if seen else None


def close(flows: Flows, kinds: frozenset[MeterKind], *, dark: bool) -> Flows:
    """Fill the load where nobody measures it and state the residual.

    Args: flows: the measured energies, Wh. kinds: the kinds of meter the site has. dark: the sun is too low
        for pv, so a pv null counts as 0 in the load (never in pv itself), flagged estimated.
    Returns: the same flows with load_wh (derived: pv + import - export + discharge - charge; None without a
        grid meter or with a part unknown; clipped at 0 with the shortfall as residual) and residual_wh.
    """
    quality = flows.quality
    pv = flows.pv_wh
    if MeterKind.PV not in kinds:
        pv = 0.0
    elif pv is None and dark:
        pv, quality = 0.0, quality | Quality.ESTIMATED
    battery: float | None = 0.0
    if MeterKind.BATTERY in kinds:
        battery = _minus(flows.battery_discharge_wh, flows.battery_charge_wh)
    grid = _minus(flows.grid_import_wh, flows.grid_export_wh) if MeterKind.GRID in kinds else None
    supply = add((pv, grid, battery))
    load, residual = flows.load_wh, None
    if load is not None:
        # Measured: what was assumed of pv in the dark touches the residual only.
        residual, quality = (None if supply is None else supply - load), flows.quality
    elif supply is not None and MeterKind.LOAD not in kinds:
        quality |= Quality.DERIVED
        load = max(0.0, supply)
        residual = supply - load
        if residual < 0:
            quality |= Quality.CLIPPED
    return Flows(
        flows.pv_wh,
        flows.grid_import_wh,
        flows.grid_export_wh,
        flows.battery_charge_wh,
        flows.battery_discharge_wh,
        load,
        flows.soc_pct,
        residual,
        quality if load is not None else flows.quality,
    )


def join(
    rows: Mapping[int, Mapping[Metric, float]],
    meters: Iterable[Meter],
    sources: Iterable[MeterSource],
    at: datetime,
    *,
    dark: bool,
) -> Flows:
    """Join the devices' readings of one interval into the site's balance.

    Args: rows: per device the values it told, Wh and %. at: start of the interval, for the sources' validity.
    Returns: the closed Flows; a kind whose devices did not all answer is None, never a partial sum.
    """
    meters, sources = list(meters), list(sources)
    found: dict[Metric, float | None] = {}
    for kind, metrics in METER_ENERGIES.items():
        devices = devices_of(sources, meters, kind, at)
        for metric in metrics:
            found[metric] = add(rows.get(d, {}).get(metric) for d in devices)
    batteries = devices_of(sources, meters, MeterKind.BATTERY, at)
    charges = [rows[d][Metric.SOC_PCT] for d in batteries if Metric.SOC_PCT in rows.get(d, {})]
    soc = sum(charges) / len(charges) if charges and len(charges) == len(batteries) else None
    flows = Flows(
        found[Metric.PV_WH],
        found[Metric.GRID_IMPORT_WH],
        found[Metric.GRID_EXPORT_WH],
        found[Metric.BATTERY_CHARGE_WH],
        found[Metric.BATTERY_DISCHARGE_WH],
        found[Metric.LOAD_WH],
        soc,
    )
    return close(flows, frozenset(m.kind for m in meters), dark=dark)


def _minus(plus: float | None, minus: float | None) -> float | None:
    return None if plus is None or minus is None else plus - minus
