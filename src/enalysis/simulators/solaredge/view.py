"""What SolarEdge makes of a site: quarter hours, nulls at night, whole Wh, series by serial number."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from enalysis.core.intervals import Window, day_window, floor_time, local_days
from enalysis.core.metrics import Metric
from enalysis.core.sites import DeviceKind, MeterKind
from enalysis.simulators.views import Told
from enalysis.simulators.world import Bucket, World

STEP_S = 900
STEP = timedelta(seconds=STEP_S)
# Chosen: nobody knows how long after its end a bucket is published.
DELAY_S = 300
_QUARTERS_PER_H = 3600 / STEP_S

Points = list[tuple[datetime, float | None]]


class Resolution(StrEnum):
    """How long a bucket is; the longer ones follow the site's calendar."""

    QUARTER_HOUR = "QUARTER_HOUR"
    HOUR = "HOUR"
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"
    YEAR = "YEAR"
    TOTAL = "TOTAL"


SUB_DAILY = frozenset({Resolution.QUARTER_HOUR, Resolution.HOUR})


class Join(StrEnum):
    """How quarters become a longer bucket."""

    SUM = "sum"
    MEAN = "mean"
    LAST = "last"


@dataclass(frozen=True, slots=True)
class Channel:
    """One series: its name and unit on the wire, its value of a quarter, and the metric of ours it is.

    `pick` returns Wh, W, %, V, A or Hz before `scale` (to the unit on the wire) and rounding to `digits`.
    """

    name: str
    unit: str
    join: Join
    pick: Callable[["Unit", Bucket], float]
    digits: int
    scale: float = 1.0
    metric: Metric | None = None

    def value(self, unit: "Unit", bucket: Bucket) -> float:
        """Return the value on the wire of a bucket that has one."""
        return round(self.pick(unit, bucket) * self.scale, self.digits)


@dataclass(frozen=True, slots=True)
class Unit:
    """One device: `feeds` is what a meter measures; `share` of the site's inverter power it carries.

    `since` and `until` bound the time in which it told anything; an old inverter is `active` no more.
    """

    kind: DeviceKind
    serial: str
    name: str
    channels: tuple[Channel, ...]
    since: datetime
    until: datetime | None = None
    share: float = 1.0
    feeds: MeterKind | None = None

    def tells(self, bucket: Bucket) -> bool:
        """Tell whether this device was there in the bucket and awake."""
        if bucket.start < self.since or (self.until is not None and bucket.start >= self.until):
            return False
        return self.kind is not DeviceKind.INVERTER or bucket.awake or bucket.energies.battery_discharge_wh > 0


def _energies(name: str, metric: Metric, pick: Callable[[Unit, Bucket], float]) -> tuple[Channel, Channel]:
    """Return the pair of series SolarEdge gives of each direction: mean power in W and energy in Wh."""
    return (
        Channel(f"{name}Power", "W", Join.MEAN, lambda u, b: pick(u, b) * _QUARTERS_PER_H, 2),
        Channel(f"{name}Energy", "WH", Join.SUM, pick, 0, metric=metric),
    )


def _inverter_wh(unit: Unit, bucket: Bucket) -> float:
    # A battery hangs on the inverter's direct-current side: its output is pv less charge plus discharge.
    e = bucket.energies
    return max(0.0, e.pv_wh - e.battery_charge_wh + e.battery_discharge_wh) * unit.share


def _inverter_w(unit: Unit, bucket: Bucket) -> float:
    return _inverter_wh(unit, bucket) * _QUARTERS_PER_H


def _noise(unit: Unit, bucket: Bucket, what: str) -> float:
    digest = hashlib.blake2b(f"{what}|{unit.serial}|{bucket.start.timestamp()}".encode(), digest_size=4)
    return int.from_bytes(digest.digest()) / 2**31 - 1.0


def _volt(unit: Unit, bucket: Bucket) -> float:
    return round(231.0 + 4.0 * _noise(unit, bucket, "volt"), 2)


SITE_ENERGY = Channel("energy", "WH", Join.SUM, lambda _, b: b.energies.pv_wh, 0, metric=Metric.PV_WH)
SITE_POWER = Channel("power", "W", Join.MEAN, lambda _, b: b.energies.pv_wh * _QUARTERS_PER_H, 2)
INVERTER_CHANNELS = (
    Channel("power", "KW", Join.MEAN, _inverter_w, 5, 0.001),
    Channel("energy", "WH", Join.SUM, _inverter_wh, 0),
    Channel("voltage", "VOLT", Join.LAST, _volt, 2),
    Channel("current", "AMPERE", Join.MEAN, lambda u, b: _inverter_w(u, b) / _volt(u, b), 3),
    Channel("frequency", "HERTZ", Join.LAST, lambda u, b: 50.0 + 0.04 * _noise(u, b, "hertz"), 3),
)
METER_CHANNELS: dict[MeterKind, tuple[Channel, ...]] = {
    MeterKind.GRID: (
        *_energies("import", Metric.GRID_IMPORT_WH, lambda _, b: b.energies.grid_import_wh),
        *_energies("export", Metric.GRID_EXPORT_WH, lambda _, b: b.energies.grid_export_wh),
    ),
    MeterKind.PV: _energies("production", Metric.PV_WH, lambda _, b: b.energies.pv_wh),
    MeterKind.LOAD: _energies("consumption", Metric.LOAD_WH, lambda _, b: b.energies.load_wh),
}
_METER_NAMES = {
    MeterKind.GRID: "Import Export Meter",
    MeterKind.PV: "Production Meter",
    MeterKind.LOAD: "Consumption Meter",
}
# Told at the end of voltage's and frequency's buckets instead of the start, as the documentation says.
STAMPED_AT_END = frozenset({"voltage", "frequency"})


@dataclass(frozen=True, slots=True)
class Overview:
    """Totals of a stretch in Wh; None is not known.

    pv went to own use, storage and the grid; own is also what the site used of it; drawn came from storage.
    """

    pv_wh: float | None
    own_wh: float | None = None
    stored_wh: float | None = None
    exported_wh: float | None = None
    used_wh: float | None = None
    drawn_wh: float | None = None
    imported_wh: float | None = None


class View:
    """One site as SolarEdge shows it. Buckets are quarter hours labelled by their start."""

    def __init__(self, world: World, delay_s: int = DELAY_S) -> None:
        self.world = world
        self.zone: ZoneInfo = world.zone
        self.site_id = 1_000_000 + _number("site", world) % 8_999_999
        self.delay = timedelta(seconds=delay_s)
        self.installed = day_window(world.site.installed, world.zone).start
        self.units = tuple(self._make_units())
        self._whole: dict[date, float | None] = {}

    def family(self, kind: DeviceKind) -> list[Unit]:
        """Return the devices of a kind, the oldest first."""
        return [u for u in self.units if u.kind is kind]

    def site_energy(self, window: Window, now: datetime) -> Points:
        """Return the site's pv energy in Wh, quarter by quarter; None at night and before publication."""
        return self._points(self.buckets(window), now, lambda b: b.awake, SITE_ENERGY, self.units[0])

    def site_power(self, window: Window, now: datetime) -> Points:
        """Return the site's mean pv power in W, quarter by quarter; None at night and before publication."""
        return self._points(self.buckets(window), now, lambda b: b.awake, SITE_POWER, self.units[0])

    def series(self, unit: Unit, channel: Channel, window: Window, now: datetime) -> Points:
        """Return one series of a device in the unit it has on the wire, quarter by quarter."""
        return self._points(self.buckets(window), now, unit.tells, channel, unit)

    def day_wh(self, day: date, now: datetime) -> float | None:
        """Return the published pv energy of a day of the site, Wh; None where no quarter has any."""
        if day in self._whole:
            return self._whole[day]
        window = day_window(day, self.zone)
        found = total(self.site_energy(window, now))
        if all(self._published(b, now) for b in self.world.buckets(day, STEP_S)):
            self._whole[day] = found
        return found

    def overview(self, window: Window, now: datetime) -> Overview:
        """Return the totals of the window; without a grid meter only production is known.

        The parts are made to add up to the totals, as SolarEdge's do.
        """
        totals = {
            channel.name: total(self.series(unit, channel, window, now))
            for unit in self.units
            if unit.kind is not DeviceKind.INVERTER
            for channel in unit.channels
            if channel.join is Join.SUM
        }
        pv = total(self.site_energy(window, now))
        imported, exported = totals.get("importEnergy"), totals.get("exportEnergy")
        if imported is None or exported is None:
            return Overview(pv)
        stored, drawn = totals.get("chargeEnergy") or 0.0, totals.get("dischargeEnergy") or 0.0
        own = max(0.0, (pv or 0.0) - exported - stored)
        return Overview(pv, own, stored, exported, own + drawn + imported, drawn, imported)

    def told(self, window: Window, now: datetime) -> list[Told]:
        """Return every number given out at `now` of the quarters inside the window, in our words."""
        found = []
        for at, value in self.site_energy(window, now):
            if value is not None and Window(at, at + STEP).meet(window) == Window(at, at + STEP):
                found.append(Told(DeviceKind.SITE_TOTAL, None, at, STEP_S, Metric.PV_WH, value))
        for unit in self.units:
            for channel in unit.channels:
                if channel.metric is None:
                    continue
                found += [
                    Told(unit.kind, unit.serial, at, STEP_S, channel.metric, value)
                    for at, value in self.series(unit, channel, window, now)
                    if value is not None and at >= window.start and at + STEP <= window.end
                ]
        return found

    def buckets(self, window: Window) -> list[Bucket]:
        """Return the quarters that touch the window."""
        touched = Window(floor_time(window.start, STEP_S), window.end)
        days = local_days(touched, self.zone)
        return [b for day in days for b in self.world.buckets(day, STEP_S) if touched.start <= b.start < touched.end]

    def _points(
        self,
        buckets: Sequence[Bucket],
        now: datetime,
        tells: Callable[[Bucket], bool],
        channel: Channel,
        unit: Unit,
    ) -> Points:
        return [(b.start, channel.value(unit, b) if self._published(b, now) and tells(b) else None) for b in buckets]

    def _published(self, bucket: Bucket, now: datetime) -> bool:
        return bucket.told_at is not None and bucket.told_at + self.delay <= now and bucket.start >= self.installed

    def _make_units(self) -> list[Unit]:
        site, replaced = self.world.site, self.world.site.inverter_replaced
        changes = [self.installed, *([day_window(replaced, self.zone).start] if replaced else [])]
        units = []
        for generation, since in enumerate(changes):
            until = changes[generation + 1] if generation + 1 < len(changes) else None
            for n in range(site.inverters):
                number = f"{_number(f'inverter {generation} {n}', self.world):010X}"
                units.append(
                    Unit(
                        DeviceKind.INVERTER,
                        f"{number[:8]}-{number[8:]}",
                        f"Inverter {n + 1}",
                        INVERTER_CHANNELS,
                        since,
                        until,
                        share=1.0 / site.inverters,
                    )
                )
        for kind in sorted(site.meters):
            serial = str(600_000_000 + _number(f"meter {kind}", self.world) % 99_999_999)
            name, channels = _METER_NAMES[kind], METER_CHANNELS[kind]
            units.append(Unit(DeviceKind.METER, serial, name, channels, self.installed, feeds=kind))
        if site.battery is not None:
            serial = f"BAT-{_number('battery', self.world) % 99_999_999:08d}"
            channels = _battery_channels(site.battery.capacity_wh)
            units.append(Unit(DeviceKind.BATTERY, serial, "Battery 1", channels, self.installed))
        return units


def total(points: Points) -> float | None:
    """Return the sum of the values there are; None where there is none."""
    values = [value for _, value in points if value is not None]
    return sum(values) if values else None


def join(points: Points, channel: Channel, starts: Callable[[datetime], datetime]) -> Points:
    """Return quarters joined into longer buckets, each labelled by what `starts` makes of its quarters."""
    groups: dict[datetime, list[float]] = {}
    for at, value in points:
        group = groups.setdefault(starts(at), [])
        if value is not None:
            group.append(value)
    return [(at, _joined(group, channel)) for at, group in groups.items()]


def _joined(values: list[float], channel: Channel) -> float | None:
    if not values:
        return None
    if channel.join is Join.LAST:
        return values[-1]
    return round(sum(values) / (len(values) if channel.join is Join.MEAN else 1), channel.digits)


def _battery_channels(capacity_wh: float) -> tuple[Channel, ...]:
    def soc_pct(_: Unit, bucket: Bucket) -> float:
        return bucket.energies.soc_pct or 0.0

    return (
        *_energies("charge", Metric.BATTERY_CHARGE_WH, lambda _, b: b.energies.battery_charge_wh),
        *_energies("discharge", Metric.BATTERY_DISCHARGE_WH, lambda _, b: b.energies.battery_discharge_wh),
        Channel("stateOfEnergy", "PERCENTAGE", Join.LAST, soc_pct, 1, metric=Metric.SOC_PCT),
        Channel("remainingEnergy", "KWH", Join.LAST, soc_pct, 3, capacity_wh / 100_000),
    )


def _number(what: str, world: World) -> int:
    digest = hashlib.blake2b(f"solaredge|{world.seed}|{world.site.key}|{what}".encode(), digest_size=5)
    return int.from_bytes(digest.digest())
