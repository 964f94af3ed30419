"""Enphase's buckets become energies, and several answers one batch; no I/O."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import msgspec

from enalysis.connectors.base import Batch
from enalysis.connectors.enphase_wire import (
    Bucket,
    LifetimeBody,
    Meta,
    MeteredBody,
    TelemetryBody,
    check_site,
    flat,
    moment,
    whole,
)
from enalysis.connectors.values import NULL, day, number, text
from enalysis.core.intervals import Window, floor_time
from enalysis.core.metrics import Metric, Quality
from enalysis.core.readings import Interval, Rejected

MICRO_S, METER_S = 300, 900
# For so long a bucket may be missing, or grow while the rest of the devices report: one client reads three
# hours again. What is missing longer than that, while later ones are told, is the vendor's word.
_SETTLED = timedelta(hours=3)
# Enough to know a value by, too little of a text to be a secret.
_SHOWN = 12


class _Part(msgspec.Struct):
    """One side of a battery's bucket, with its own count of devices that told of it."""

    enwh: msgspec.Raw = NULL
    percent: msgspec.Raw = NULL
    devices_reporting: msgspec.Raw = NULL


@dataclass(slots=True)
class Told:
    """What one answer says of the buckets asked for.

    Attributes:
        values: Wh and %, by start of the bucket. derived: those computed from mean power.
        newest: the end of the newest bucket listed, None where none is.
        partial: starts of buckets of which not every device has told yet.
        known: until when the vendor can know anything, by what it says of the system; None: it does not say.
    """

    values: dict[datetime, dict[Metric, float]] = field(default_factory=dict)
    derived: set[datetime] = field(default_factory=set)
    rejected: list[Rejected] = field(default_factory=list)
    newest: datetime | None = None
    partial: set[datetime] = field(default_factory=set)
    known: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """One number of a bucket as told; `reporting` of how many devices, None where the answer does not say."""

    metric: Metric
    raw: msgspec.Raw
    reporting: int | None
    scale: float = 1.0
    derived: bool = False


_Read = Callable[[Bucket], Iterable[_Reading]]


def parse_micros(body: TelemetryBody, site: str, asked: Window) -> Told:
    """Read the pv energy that the micro-inverters tell, in buckets of 5 minutes.

    `asked` holds closed buckets; all others are passed over. Raises BadPayload for another system's answer.
    """
    return _parse("micros", body, site, asked, MICRO_S, _micros)


def parse_production(body: TelemetryBody, site: str, asked: Window) -> Told:
    """Read the pv energy that the production meter tells, in quarters; asked and errors as for micros."""
    return _parse("production", body, site, asked, METER_S, _plain("wh_del", Metric.PV_WH))


def parse_consumption(body: TelemetryBody, site: str, asked: Window) -> Told:
    """Read the energy of the load, in quarters; asked and errors as for micros."""
    return _parse("consumption", body, site, asked, METER_S, _plain("enwh", Metric.LOAD_WH))


def parse_import(body: TelemetryBody, site: str, asked: Window) -> Told:
    """Read the energy bought, in quarters; asked and errors as for micros."""
    return _parse("import", body, site, asked, METER_S, _plain("wh_imported", Metric.GRID_IMPORT_WH))


def parse_export(body: TelemetryBody, site: str, asked: Window) -> Told:
    """Read the energy fed in, in quarters; asked and errors as for micros."""
    return _parse("export", body, site, asked, METER_S, _plain("wh_exported", Metric.GRID_EXPORT_WH))


def parse_battery(body: TelemetryBody, site: str, asked: Window) -> Told:
    """Read charge, discharge and state of charge of all batteries; asked and errors as for micros."""
    return _parse("battery", body, site, asked, METER_S, _battery)


def parse_rgm(body: MeteredBody, site: str, asked: Window) -> tuple[Told, dict[tuple[str, int], dict[datetime, float]]]:
    """Read the metered pv energy, of the system and by (serial number of the meter, channel), in Wh.

    A channel that is not used is null throughout and not told; around an outage the system may have a value
    where its channels have none. `curr_w` is the power of one moment, not the bucket's mean, and is not read.
    """
    told = _parse("rgm_stats", body, site, asked, METER_S, _plain("wh_del", Metric.PV_WH))
    channels: dict[tuple[str, int], dict[datetime, float]] = {}
    for meter in body.meter_intervals:
        serial = text(meter.meter_serial_number)
        for bucket in meter.intervals if serial else ():
            channel, end = whole(bucket.channel), moment(bucket.end_at)
            if serial is None or channel is None or end is None or bytes(bucket.wh_del) == b"null":
                continue
            start = end - timedelta(seconds=METER_S)
            try:
                if start in asked:
                    channels.setdefault((serial, channel), {})[start] = number(Metric.PV_WH, bucket.wh_del, 1.0)
            except ValueError as error:
                told.rejected.append(_rejected(site, start, Metric.PV_WH, str(error), bucket.wh_del))
    return told, channels


def parse_lifetime(body: LifetimeBody, site: str) -> dict[date, dict[Metric, float]]:
    """Return the energies, Wh, of each of the site's days since `start_date`.

    Zeroes at the end mean that nothing was reported, so they are left out, and so is every null.
    Raises BadPayload for an answer about another system.
    """
    check_site("lifetime", body.system_id, site)
    first, found = day(body.start_date), dict[date, dict[Metric, float]]()
    if first is None:
        return found
    for metric, series in (
        (Metric.PV_WH, body.production),
        (Metric.LOAD_WH, body.consumption),
        (Metric.BATTERY_CHARGE_WH, body.charge),
        (Metric.BATTERY_DISCHARGE_WH, body.discharge),
        (Metric.GRID_IMPORT_WH, body.imported),
        (Metric.GRID_EXPORT_WH, body.exported),
    ):
        values = [_number_or_none(metric, raw) for raw in series]
        while values and not values[-1]:
            values.pop()
        for offset, value in enumerate(values):
            if value is not None:
                found.setdefault(first + timedelta(days=offset), {})[metric] = value
    return found


def gather(tolds: Sequence[Told], site: str, asked: Window, step_s: int, now: datetime) -> Batch:
    """Join the answers of one fetch, oldest first, and say of which closed buckets they speak.

    An empty list says nothing at all: so it is between midnight and a gateway's first report. Else what is
    answered ends with the newest bucket listed, before the first one of the last three hours that is missing
    or that some device has not told of yet; and where the system reported since, three hours ago if that is
    later: then it has nothing of its nights.
    """
    newest = max((told.newest for told in tolds if told.newest), default=None)
    if newest is None:
        return Batch(rejected=tuple(one for told in tolds for one in told.rejected))
    settled = floor_time(now - _SETTLED, step_s)
    known = max((told.known for told in tolds if told.known), default=newest)
    until = min(asked.end, max(newest, floor_time(known, step_s)))
    listed = {start for told in tolds for start in (*told.values, *told.partial)}
    listed |= {one.at for told in tolds for one in told.rejected if one.at}
    partial = {start for told in tolds for start in told.partial}
    for start in asked.slots(step_s):
        if start >= until:
            break
        if start >= settled and (start in partial or start not in listed):
            until = start
    return Batch(
        intervals=tuple(
            Interval(
                f"system:{site}", start, step_s, row, Quality.DERIVED if start in told.derived else Quality.MEASURED
            )
            for told in tolds
            for start, row in sorted(told.values.items())
        ),
        rejected=tuple(one for told in tolds for one in told.rejected),
        answered=Window(asked.start, until) if until > asked.start else None,
    )


def _parse(operation: str, body: TelemetryBody, site: str, asked: Window, step_s: int, read: _Read) -> Told:
    check_site(operation, body.system_id, site)
    told, total = Told(), whole(body.total_devices) or 0
    told.known = _known(body.meta)
    for bucket in flat(body.intervals):
        end = moment(bucket.end_at)
        if end is None or floor_time(end, step_s) != end:
            told.rejected.append(_rejected(site, None, None, "not the end of a bucket", bucket.end_at))
            continue
        start = end - timedelta(seconds=step_s)
        if not asked.start <= start < asked.end:
            continue
        told.newest = max(end, told.newest or end)
        for one in read(bucket):
            _keep(told, site, start, one, total)
    return told


def _keep(told: Told, site: str, start: datetime, one: _Reading, total: int) -> None:
    """Put one number in its place, unless nobody told it; note where somebody is still to tell of it."""
    if one.reporting is not None and one.reporting < total:
        told.partial.add(start)
    if bytes(one.raw) == b"null" or one.reporting == 0:
        # A sum over no devices is 0 and means nothing.
        return
    try:
        value = number(one.metric, one.raw, one.scale)
        if told.values.get(start, {}).get(one.metric, value) != value:
            raise ValueError("told twice with different numbers: the first is kept")
    except ValueError as error:
        told.rejected.append(_rejected(site, start, one.metric, str(error), one.raw))
        return
    told.values.setdefault(start, {})[one.metric] = value
    if one.derived:
        told.derived.add(start)


def _micros(bucket: Bucket) -> Iterable[_Reading]:
    """Energy, or where that is not told the mean power over 5 minutes: the two are equal in recordings."""
    reporting = whole(bucket.devices_reporting)
    if bytes(bucket.enwh) == b"null":
        yield _Reading(Metric.PV_WH, bucket.powr, reporting, MICRO_S / 3600, derived=True)
    else:
        yield _Reading(Metric.PV_WH, bucket.enwh, reporting)


def _plain(name: str, metric: Metric) -> _Read:
    def read(bucket: Bucket) -> Iterable[_Reading]:
        yield _Reading(metric, getattr(bucket, name), whole(bucket.devices_reporting))

    return read


def _battery(bucket: Bucket) -> Iterable[_Reading]:
    charge, discharge, soc = (_part(raw) for raw in (bucket.charge, bucket.discharge, bucket.soc))
    yield _Reading(Metric.BATTERY_CHARGE_WH, charge.enwh, whole(charge.devices_reporting))
    yield _Reading(Metric.BATTERY_DISCHARGE_WH, discharge.enwh, whole(discharge.devices_reporting))
    yield _Reading(Metric.SOC_PCT, soc.percent, whole(soc.devices_reporting))


def _part(raw: msgspec.Raw) -> _Part:
    try:
        return msgspec.json.decode(raw, type=_Part | None) or _Part()
    except msgspec.MsgspecError:
        return _Part()


def _known(raw: msgspec.Raw) -> datetime | None:
    """Return until when the system has reported and told of energy, whichever is earlier."""
    try:
        meta = msgspec.json.decode(raw, type=Meta | None)
    except msgspec.MsgspecError:
        return None
    told = [moment(meta.last_report_at), moment(meta.last_energy_at)] if meta else []
    known = [at for at in told if at is not None]
    return min(known) if len(known) == len(told) and known else None


def _number_or_none(metric: Metric, raw: msgspec.Raw) -> float | None:
    try:
        return number(metric, raw, 1.0)
    except ValueError:
        return None


def _rejected(site: str, at: datetime | None, metric: Metric | None, reason: str, raw: msgspec.Raw) -> Rejected:
    shown = bytes(raw)[:_SHOWN].decode("ascii", "backslashreplace")
    return Rejected(f"system:{site}", at, metric.value if metric else "end_at", reason, shown)
