"""Sums fine intervals into coarser ones: exactly, and only where every part is known."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from enalysis.core.intervals import floor_time
from enalysis.core.metrics import Metric

Readings = Mapping[datetime, Mapping[int, Mapping[Metric, float]]]
"""By start, then device: Wh and %."""


def coarser(fine: Readings, step_s: int, into_s: int) -> dict[datetime, dict[int, dict[Metric, float]]]:
    """Return the sums of intervals of `step_s` seconds over `into_s`, aligned to UTC; % is that of the last part.

    A sum of which any part is unknown is left out: a part of an energy is not the energy.
    """
    parts = into_s // step_s
    out: dict[datetime, dict[int, dict[Metric, float]]] = {}
    for start in {floor_time(at, into_s) for at in fine}:
        rows = [fine.get(start + timedelta(seconds=n * step_s), {}) for n in range(parts)]
        for device, last in rows[-1].items():
            whole = [row.get(device, {}) for row in rows]
            summed = {
                metric: value if metric is Metric.SOC_PCT else sum(one[metric] for one in whole)
                for metric, value in last.items()
                if all(metric in one for one in whole)
            }
            if summed:
                out.setdefault(start, {})[device] = summed
    return out


def filled(coarse: Readings, fine: Readings) -> dict[datetime, dict[int, dict[Metric, float]]]:
    """Return the readings of both, of a device and metric either the coarse or the fine ones, never both.

    Args: fine: sums over intervals as long as the coarse ones, of devices that may tell the same twice.
    """
    own = {(device, metric) for row in coarse.values() for device, told in row.items() for metric in told}
    out = {start: {device: dict(told) for device, told in row.items()} for start, row in coarse.items()}
    for start, row in fine.items():
        for device, told in row.items():
            new = {metric: value for metric, value in told.items() if (device, metric) not in own}
            if new:
                out.setdefault(start, {}).setdefault(device, {}).update(new)
    return out
