"""A make-believe site whose power and energy every vendor's simulator tells from the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from enalysis.core.intervals import Window, day_window, local_day, local_days
from enalysis.core.sites import MeterKind
from enalysis.simulators.house import (
    QUANTA_PER_WH,
    Battery,
    Dispatch,
    House,
    Quanta,
    dispatch,
    island,
    load_w,
    quanta,
)
from enalysis.simulators.weather import SLOT_S, WAKE_DEG, Array, Bools, Floats, cloud, pv_w, sun

_SLOT = timedelta(seconds=SLOT_S)
_MOMENT = timedelta(microseconds=1)
# A battery's day turns five hours after local midnight: it works through the night and is empty by dawn.
_BATTERY_DAY_SLOTS = 5 * 3600 // SLOT_S
# A day held costs about 30 kB: two months of a site are 2 MB and serve every walk from day to day.
_DAYS_KEPT = 64


class Awkward(StrEnum):
    """What can befall a site for a while."""

    GRID_OUTAGE = "grid_outage"
    GATEWAY_OFFLINE = "gateway_offline"
    LATE = "late"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Spell:
    """A stretch in which something awkward happens, on one date or again and again.

    Attributes:
        start_h, hours: from local midnight, elapsed hours. on: the only date; None: every `every_days` days,
            `phase` days after the first of them. late_h: for LATE, how long the readings take to the cloud.
    """

    kind: Awkward
    start_h: float
    hours: float
    on: date | None = None
    every_days: int = 1
    phase: int = 0
    late_h: float = 6.0

    def window(self, day: date, zone: ZoneInfo) -> Window | None:
        """Return the stretch that begins on this day of the site, if one does."""
        due = day == self.on if self.on else (day.toordinal() - self.phase) % self.every_days == 0
        if not due:
            return None
        start = day_window(day, zone).start + timedelta(hours=self.start_h)
        return Window(start, start + timedelta(hours=self.hours))


@dataclass(frozen=True, slots=True)
class WorldSite:
    """What a make-believe site is.

    Attributes:
        key: stable name that seeds its weather and load. zone: IANA. latitude, longitude: degrees, north and
            east positive. inverter_ac_w: clips pv. inverters: how many share it evenly. standby_w: what they
            draw asleep, part of the load. meters: what is measured beside the inverters.
        counter_reset: day on which the lifetime counters start again at 0. inverter_replaced: day on which
            every inverter got a new serial number.
    """

    key: str
    name: str
    zone: str
    latitude: float
    longitude: float
    city: str
    country: str
    arrays: tuple[Array, ...]
    inverter_ac_w: float
    installed: date
    inverters: int = 1
    battery: Battery | None = None
    house: House = field(default_factory=House)
    standby_w: float = 6.0
    meters: frozenset[MeterKind] = frozenset()
    spells: tuple[Spell, ...] = ()
    counter_reset: date | None = None
    inverter_replaced: date | None = None

    @property
    def capacity_wp(self) -> float:
        """Rating of all arrays in Wp."""
        return sum(a.capacity_wp for a in self.arrays)


@dataclass(frozen=True, slots=True)
class Flow:
    """Mean powers of a slot in W: grid + import, battery + discharge; soc_pct at the very instant."""

    pv_w: float
    grid_w: float
    battery_w: float
    load_w: float
    soc_pct: float | None


@dataclass(frozen=True, slots=True)
class Energies:
    """Energies of a stretch in Wh, never negative; soc_pct at its end, None without a battery."""

    pv_wh: float
    grid_import_wh: float
    grid_export_wh: float
    battery_charge_wh: float
    battery_discharge_wh: float
    load_wh: float
    soc_pct: float | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The energies of [start, end), whether the inverters ran in it, and when its end leaves the site.

    `awake` is False in the dark, and in an outage without a battery. `told_at` is None if it never leaves.
    """

    start: datetime
    end: datetime
    energies: Energies
    awake: bool
    told_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Raw:
    """A day before its battery and its outages: quanta per slot."""

    window: Window
    pv: Quanta
    load: Quanta
    awake: Bools


@dataclass(frozen=True, slots=True)
class _Day:
    """A finished day: signed quanta per slot, and the six energies summed from its start (slots + 1 rows)."""

    window: Window
    pv: Quanta
    grid: Quanta
    battery: Quanta
    load: Quanta
    sums: Quanta
    stored: Quanta
    awake: Bools


class World:
    """One make-believe site, pure and deterministic: the same site and seed give the same numbers for ever.

    In every 5-minute slot load = pv + grid + battery holds exactly, on days of 23, 24 and 25 hours alike.
    """

    def __init__(self, site: WorldSite, seed: int) -> None:
        self.site = site
        self.seed = seed
        self.zone = ZoneInfo(site.zone)
        self._raw = lru_cache(maxsize=_DAYS_KEPT)(self._make_raw)
        self._dispatch = lru_cache(maxsize=_DAYS_KEPT)(self._make_dispatch)
        self._day = lru_cache(maxsize=_DAYS_KEPT)(self._make_day)
        self._buckets = lru_cache(maxsize=_DAYS_KEPT)(self._make_buckets)
        self._totals = lru_cache(maxsize=None)(self._make_totals)

    def power(self, at: datetime) -> Flow:
        """Return the mean powers, W, of the 5-minute slot that contains `at`."""
        day = self._day(local_day(at, self.zone))
        slot, part = divmod((at - day.window.start) / _SLOT, 1.0)
        k = int(slot)
        watts = 3600.0 / SLOT_S / QUANTA_PER_WH
        return Flow(
            float(day.pv[k] * watts),
            float(day.grid[k] * watts),
            float(day.battery[k] * watts),
            float(day.load[k] * watts),
            self._soc_pct(day, k + part),
        )

    def energy(self, start: datetime, end: datetime) -> Energies:
        """Return the energies of [start, end), Wh: exact sums of 5-minute slots, cut ones pro rata."""
        total = np.zeros(6)
        soc_pct = None
        window = Window(start, end)
        for date_ in local_days(window, self.zone):
            day = self._day(date_)
            part = window.meet(day.window)
            if part is None:
                continue
            until = (part.end - day.window.start) / _SLOT
            total += _at(day.sums, until) - _at(day.sums, (part.start - day.window.start) / _SLOT)
            soc_pct = self._soc_pct(day, until)
        pv, imported, exported, charged, discharged, load = (total / QUANTA_PER_WH).tolist()
        return Energies(pv, imported, exported, charged, discharged, load, soc_pct)

    def counters(self, at: datetime) -> Energies:
        """Return what lifetime counters read at `at`, Wh since the installation or the last counter reset."""
        today = local_day(at, self.zone)
        first = self.site.installed
        if self.site.counter_reset and first <= self.site.counter_reset <= today:
            first = self.site.counter_reset
        begun = day_window(today, self.zone).start
        now = self.energy(begun, at) if today >= first else self.energy(at, at)
        days = [first + timedelta(days=n) for n in range((today - first).days)]
        whole = np.sum([self._totals(d) for d in days], axis=0) / QUANTA_PER_WH if days else np.zeros(6)
        pv, imported, exported, charged, discharged, load = whole.tolist()
        return Energies(
            pv + now.pv_wh,
            imported + now.grid_import_wh,
            exported + now.grid_export_wh,
            charged + now.battery_charge_wh,
            discharged + now.battery_discharge_wh,
            load + now.load_wh,
            now.soc_pct,
        )

    def buckets(self, day: date, step_s: int) -> tuple[Bucket, ...]:
        """Return the site's day in buckets of `step_s` seconds: 300, 900 or 1800, which divide every day."""
        return self._buckets(day, step_s)

    def rows(self, day: date, step_s: int) -> Floats:
        """Return the energies of the site's day, Wh, shape (n, 6), in the order of the fields of Energies.

        Cheap beside `buckets`: for sums over years.
        """
        return np.asarray(np.diff(self._day(day).sums[:: step_s // SLOT_S], axis=0) / QUANTA_PER_WH)

    def spells(self, kind: Awkward, window: Window) -> list[Window]:
        """Return the stretches of this kind that touch the window."""
        found = []
        for spell in self.site.spells:
            if spell.kind is kind:
                found += [w for _, w in self._found(spell, window)]
        return found

    def told_at(self, measured: datetime) -> datetime | None:
        """Return when what was measured up to an instant leaves the site for a cloud; None: it never does.

        A gateway that was offline sends what it kept as soon as it is back; LATE readings take their time.
        """
        just_before = Window(measured - _MOMENT, measured)
        return _told_at(measured, [one for s in self.site.spells for one in self._found(s, just_before)])

    def _found(self, spell: Spell, window: Window) -> list[tuple[Spell, Window]]:
        reach = timedelta(hours=spell.start_h + spell.hours + 2)
        days = local_days(Window(window.start - reach, window.end), self.zone)
        stretches = [w for d in days if (w := spell.window(d, self.zone)) is not None]
        return [(spell, w) for w in stretches if w.meet(window) is not None]

    def _soc_pct(self, day: _Day, slots: float) -> float | None:
        battery = self.site.battery
        if battery is None:
            return None
        above_wh = float(_at(day.stored, slots)) / QUANTA_PER_WH
        return battery.reserve_pct + 100.0 * above_wh / battery.capacity_wh

    def _make_raw(self, date_: date) -> _Raw:
        site, window = self.site, day_window(date_, self.zone)
        slots = int(window.seconds // SLOT_S)
        start_s = window.start.timestamp()
        zenith, azimuth, day_of_year = sun(start_s, slots, site.latitude, site.longitude)
        index = cloud(self.seed, site.key, date_, slots)
        pv = pv_w(site.arrays, site.inverter_ac_w, zenith, azimuth, day_of_year, index)
        load = load_w(site.house, self.seed, site.key, date_, self._local_minutes(window, slots))
        load = load + np.where(pv > 0, 0.0, site.standby_w)
        return _Raw(window, quanta(pv), quanta(load), 90.0 - zenith > WAKE_DEG)

    def _local_minutes(self, window: Window, slots: int) -> Floats:
        """Return what a clock on the site's wall reads in the middle of each slot, minutes after midnight."""
        middles = [window.start + _SLOT * (k + 0.5) for k in range(0, slots, 6)]
        walls = [m.astimezone(self.zone) for m in middles]
        # Zones shift on whole half-hours, so six slots share an offset.
        coarse = np.array([w.hour * 60.0 + w.minute + w.second / 60.0 for w in walls])
        return np.asarray((np.repeat(coarse, 6) + np.tile(np.arange(6) * 5.0, len(coarse)))[:slots] % 1440.0)

    def _make_dispatch(self, date_: date) -> Dispatch | None:
        if self.site.battery is None:
            return None
        today, after = self._raw(date_), self._raw(date_ + timedelta(days=1))
        cut = _BATTERY_DAY_SLOTS
        pv = np.concatenate((today.pv[cut:], after.pv[:cut]))
        load = np.concatenate((today.load[cut:], after.load[:cut]))
        return dispatch(self.site.battery, pv, load)

    def _make_day(self, date_: date) -> _Day:
        raw = self._raw(date_)
        pv, load, awake, slots = raw.pv, raw.load, raw.awake, len(raw.pv)
        battery, stored = np.zeros(slots, np.int64), np.zeros(slots + 1, np.int64)
        before, today = self._dispatch(date_ - timedelta(days=1)), self._dispatch(date_)
        if before is not None and today is not None:
            cut = _BATTERY_DAY_SLOTS
            battery = np.concatenate((before.battery[-cut:], today.battery[: slots - cut]))
            stored = np.concatenate((before.stored[-cut - 1 :], today.stored[1 : slots - cut + 1]))
        dark = self._dark(raw.window, slots)
        if dark.any():
            if self.site.battery is None:
                pv, load, awake = np.where(dark, 0, pv), np.where(dark, 0, load), awake & ~dark
            else:
                pv, load = island(pv, load, battery, dark)
        grid = load - pv - battery
        parts = np.stack(
            (
                pv,
                np.maximum(grid, 0),
                np.maximum(-grid, 0),
                np.maximum(-battery, 0),
                np.maximum(battery, 0),
                load,
            ),
            axis=1,
        )
        sums = np.concatenate((np.zeros((1, 6), np.int64), np.cumsum(parts, axis=0)))
        return _Day(raw.window, pv, grid, battery, load, sums, stored, awake)

    def _make_buckets(self, date_: date, step_s: int) -> tuple[Bucket, ...]:
        day, each, step = self._day(date_), step_s // SLOT_S, timedelta(seconds=step_s)
        rows = self.rows(date_, step_s).tolist()
        awake = [bool(slots.any()) for slots in day.awake.reshape(-1, each)]
        befell = [one for s in self.site.spells for one in self._found(s, day.window)]
        found = []
        for n, (pv, imported, exported, charged, discharged, load) in enumerate(rows):
            start = day.window.start + n * step
            energies = Energies(pv, imported, exported, charged, discharged, load, self._soc_pct(day, (n + 1) * each))
            end = start + step
            touching = [(spell, w) for spell, w in befell if w.start < end <= w.end]
            found.append(Bucket(start, end, energies, awake[n], _told_at(end, touching)))
        return tuple(found)

    def _make_totals(self, date_: date) -> Quanta:
        return np.asarray(self._day(date_).sums[-1], np.int64)

    def _dark(self, window: Window, slots: int) -> Bools:
        dark = np.zeros(slots, np.bool_)
        for outage in self.spells(Awkward.GRID_OUTAGE, window):
            first = max(0, int((outage.start - window.start) // _SLOT))
            dark[first : max(first, int((outage.end - window.start) / _SLOT))] = True
        return dark


def _told_at(measured: datetime, befell: Sequence[tuple[Spell, Window]]) -> datetime | None:
    """Return when what was measured up to an instant leaves the site, given the spells of that instant."""
    at = measured
    for spell, window in befell:
        if spell.kind is Awkward.LOST:
            return None
        if spell.kind is Awkward.GATEWAY_OFFLINE:
            at = max(at, window.end)
        elif spell.kind is Awkward.LATE:
            at = max(at, measured + timedelta(hours=spell.late_h))
    return at


def _at(sums: Quanta, slots: float) -> Floats:
    """Return what a running series reads `slots` slots into the day; exact at whole slots, linear between."""
    k = int(slots)
    if k == slots:
        return np.asarray(sums[k], np.float64)
    return np.asarray(sums[k] + (slots - k) * (sums[k + 1] - sums[k]), np.float64)
