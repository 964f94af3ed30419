"""SolarEdge's series of quarter-hours become energies, and several answers one batch; no I/O."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec

from enalysis.connectors.base import Batch
from enalysis.connectors.solaredge_wire import (
    STEP_S,
    MetersBody,
    Period,
    Point,
    Series,
    SeriesBody,
    StorageBody,
    bad_payload,
)
from enalysis.connectors.values import NULL, number, text
from enalysis.core.errors import UnknownUnit
from enalysis.core.intervals import Window, ceil_time, floor_time
from enalysis.core.metrics import Metric, Quality
from enalysis.core.readings import Interval, Rejected
from enalysis.core.units import percent_per, watt_hours_per, watts_per

_STEP = timedelta(seconds=STEP_S)
# A null this young may be a bucket not published yet; an older one is the vendor's word that it has nothing.
_LATE = timedelta(hours=2)
# A period written as ending at 09:59:59 speaks of the bucket that ends at 10:00.
_ROUNDING = timedelta(seconds=1)
# Enough to know a value by, too little of a text to be a secret.
_SHOWN = 12
_STAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)"
    r"(?:\.([0-9]{1,9}))?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
# Our metric -> the vendor's word for the flow: `import` has the series `importEnergy` and `importPower`.
_METER_FLOWS = {
    Metric.GRID_IMPORT_WH: "import",
    Metric.GRID_EXPORT_WH: "export",
    Metric.PV_WH: "production",
    Metric.LOAD_WH: "consumption",
}
_STORAGE_FLOWS = {Metric.BATTERY_CHARGE_WH: "charge", Metric.BATTERY_DISCHARGE_WH: "discharge"}


@dataclass(slots=True)
class Told:
    """What one answer says of the buckets asked for.

    Attributes:
        values: Wh and %, by device and start of the bucket. derived: those computed from mean power.
        newest: by device, the end of the newest bucket in which it said anything but null.
        covered: the buckets the answer speaks of, null or not; None where it lists none at all.
    """

    values: dict[tuple[str, datetime], dict[Metric, float]] = field(default_factory=dict)
    derived: set[tuple[str, datetime]] = field(default_factory=set)
    rejected: list[Rejected] = field(default_factory=list)
    newest: dict[str, datetime] = field(default_factory=dict)
    covered: Window | None = None


def parse_time(stamp: str) -> datetime:
    """Return the UTC time of an ISO 8601 stamp with an offset; a fraction may have nine digits.

    Raises ValueError, with the reason, for anything else; a stamp without an offset is one of these.
    """
    match = _STAMP.fullmatch(stamp)
    if match is None:
        raise ValueError("not an ISO 8601 time")
    whole, fraction, zone = match.groups()
    if zone is None:
        raise ValueError("time without a zone")
    try:
        at = datetime.fromisoformat(whole + zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("no such time") from None
    return at.replace(microsecond=int((fraction or "")[:6].ljust(6, "0")))


def parse_power(body: SeriesBody, site: str, now: datetime) -> tuple[float, datetime] | None:
    """Return the newest mean power of the last day, in W, and when its bucket ended; None where all are null.

    Raises BadPayload for a period that is no range of time.
    """
    told, newest_bucket = Told(), floor_time(now, STEP_S)
    span = _span("power", body.period, Window(newest_bucket - timedelta(days=1), newest_bucket + _STEP))
    if span is None:
        return None
    _judge(told, f"site:{site}", Metric.PV_W, body, span, watts_per)
    if not told.values:
        return None
    (_, at), row = max(told.values.items(), key=lambda item: item[0])
    return row[Metric.PV_W], min(at + _STEP, now)


def parse_energy(body: SeriesBody, site: str, asked: Window) -> Told:
    """Read the pv energy of the whole site. `asked` holds closed buckets; all others are passed over.

    Raises BadPayload for a period that is no range of time.
    """
    told, span = Told(), _span("energy", body.period, asked)
    if span is not None:
        _judge(told, f"site:{site}", Metric.PV_WH, body, span, watt_hours_per)
    return told


def parse_meters(body: MetersBody, site: str, asked: Window) -> Told:
    """Read import, export, production and consumption of each meter; asked and errors as for energy."""
    return _telemetry("meters", f"meter:{site}", body.meters, body.period, asked, _METER_FLOWS)


def parse_storage(body: StorageBody, site: str, asked: Window) -> Told:
    """Read charge, discharge and state of charge of each battery; asked and errors as for energy."""
    return _telemetry("storage", f"battery:{site}", body.storage, body.period, asked, _STORAGE_FLOWS)


def gather(tolds: Sequence[Told], asked: Window, now: datetime) -> Batch:
    """Join the answers of one fetch, oldest first, and say of which closed buckets they speak.

    What is answered ends where every device that told anything has told it, or two hours ago if that is
    later: nulls beyond it may be buckets not published yet, and stay to be asked for again.
    """
    newest: dict[str, datetime] = {}
    covered: Window | None = None
    for told in tolds:
        newest |= told.newest
        if covered is None:
            covered = told.covered
        elif told.covered is None or told.covered.start > covered.end:
            break
        else:
            covered = Window(covered.start, told.covered.end)
    sure = max(floor_time(now - _LATE, STEP_S), min(newest.values(), default=asked.start), asked.start)
    return Batch(
        intervals=tuple(
            Interval(*key, STEP_S, row, Quality.DERIVED if key in told.derived else Quality.MEASURED)
            for told in tolds
            for key, row in sorted(told.values.items(), key=lambda item: item[0])
        ),
        rejected=tuple(one for told in tolds for one in told.rejected),
        answered=covered and covered.meet(Window(asked.start, min(asked.end, sure))),
    )


def _span(operation: str, period: Period | None, asked: Window) -> Window | None:
    """Return the whole buckets of `asked` inside the period the vendor says it answered for."""
    if period is None:
        return asked
    try:
        start, end = parse_time(period.start), parse_time(period.end) + _ROUNDING
    except (ValueError, OverflowError):
        raise bad_payload(operation, "SolarEdge sent a period that is no range of time") from None
    if start > end:
        raise bad_payload(operation, "SolarEdge sent a period that ends before it starts")
    start, end = ceil_time(start, STEP_S), floor_time(end, STEP_S)
    return asked.meet(Window(start, end)) if start < end else None


def _telemetry(
    operation: str,
    family: str,
    devices: Mapping[str, Mapping[str, msgspec.Raw]],
    period: Period | None,
    asked: Window,
    flows: Mapping[Metric, str],
) -> Told:
    told, span = Told(), _span(operation, period, asked)
    if span is None:
        return told
    for serial, series in devices.items():
        device = f"{family}:{text(serial)}"
        for metric, flow in flows.items():
            energy = _series(told, device, metric, series.get(f"{flow}Energy", NULL))
            power = _series(told, device, metric, series.get(f"{flow}Power", NULL))
            settled = _judge(told, device, metric, energy, span, watt_hours_per)
            for at in _judge(told, device, metric, power, span, _quarter_wh_per, settled):
                if metric in told.values.get((device, at), {}):
                    told.derived.add((device, at))
        charge = _series(told, device, Metric.SOC_PCT, series.get("stateOfEnergy", NULL))
        _judge(told, device, Metric.SOC_PCT, charge, span, percent_per)
    return told


def _quarter_wh_per(unit: str) -> float:
    return watts_per(unit) * STEP_S / 3600


def _series(told: Told, device: str, metric: Metric, raw: msgspec.Raw) -> Series:
    """Return a device's series, empty where it has none or one that is not as documented."""
    try:
        return msgspec.json.decode(raw, type=Series | None) or Series(values=[])
    except msgspec.MsgspecError:
        told.rejected.append(Rejected(device, None, metric.value, "a series of another shape or resolution"))
        return Series(values=[])


def _judge(
    told: Told,
    device: str,
    metric: Metric,
    series: Series,
    span: Window,
    scale_of: Callable[[str], float],
    settled: Collection[datetime] = (),
) -> set[datetime]:
    """Sort a series into `told`, all but the starts in `settled`; return the starts it says anything of."""
    seen: set[datetime] = set()
    if series.values:
        told.covered = span
    for point in series.values:
        if bytes(point.value) == b"null":
            continue
        at = None
        try:
            at = parse_time(str(point.timestamp))
            if at in settled or not span.start <= at <= span.end - _STEP:
                continue
            seen.add(at)
            _keep(told, device, metric, at, number(metric, point.value, scale_of(str(series.unit))))
        except (ValueError, UnknownUnit) as error:
            told.rejected.append(Rejected(device, at, metric.value, str(error), _excerpt(point)))
    for at in seen:
        end = floor_time(at, STEP_S) + _STEP
        told.newest[device] = max(end, told.newest.get(device, end))
    return seen


def _keep(told: Told, device: str, metric: Metric, at: datetime, value: float) -> None:
    """Put a value in its place. Raises ValueError where it has none."""
    if floor_time(at, STEP_S) != at:
        raise ValueError("not the start of a quarter of an hour")
    if told.values.setdefault((device, at), {}).setdefault(metric, value) != value:
        raise ValueError("told twice with different numbers: the first is kept")


def _excerpt(point: Point) -> str:
    return bytes(point.value)[:_SHOWN].decode("ascii", "backslashreplace")
