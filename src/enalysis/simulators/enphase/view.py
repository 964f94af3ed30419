"""What Enphase makes of a site: fixed buckets, whole Wh, reports by the quarter hour, devices that come late."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from threading import Lock
from typing import NamedTuple

import numpy as np

from enalysis.core.intervals import Window, day_window, floor_time, local_day, local_days
from enalysis.core.metrics import Metric
from enalysis.core.sites import DeviceKind
from enalysis.simulators.enphase.hardware import Hardware, number
from enalysis.simulators.views import Told
from enalysis.simulators.world import Awkward, Bucket, World, WorldSite

MICRO_S, METER_S = 300, 900
# How often a gateway reports, over a cable or the air and over a mobile network, s.
REPORT_S, CELLULAR_S = 900, 6 * 3600
# The share of the microinverters that a noisy power line keeps away from the gateway; chosen.
_LATE_SHARE = 0.3
_SETTLED = timedelta(days=1)
_BLINK = timedelta(microseconds=1)
_DAYS_KEPT = 64


class Sums(NamedTuple):
    """Energies of a stretch in whole Wh: `micro` is pv as the microinverters count it, `used` consumption."""

    pv: int = 0
    micro: int = 0
    imported: int = 0
    exported: int = 0
    used: int = 0
    charged: int = 0
    discharged: int = 0

    def plus(self, other: "Sums") -> "Sums":
        """Return both together."""
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Quarter:
    """What the meters and the battery say of a quarter hour, whole Wh and %; seen_at None: never told.

    `outage` is whether the grid was away in it, `exact_wh` pv before rounding.
    """

    end: datetime
    sums: Sums
    soc_pct: int
    seen_at: datetime | None
    outage: bool
    exact_wh: float


@dataclass(frozen=True, slots=True)
class Five:
    """What the microinverters say of five minutes: at first without those that are late, then all of them."""

    end: datetime
    first_wh: int
    first_reporting: int
    seen_at: datetime
    wh: int
    reporting: int
    full_at: datetime

    def at(self, now: datetime) -> tuple[int, int]:
        """Return the energy in Wh and the number of devices reporting, as known at `now`."""
        return (self.wh, self.reporting) if self.full_at <= now else (self.first_wh, self.first_reporting)


class View:
    """One site as Enphase shows it; buckets are labelled by their end.

    Args: drift: by which share the microinverters count more than the meter; None: 0.5 to 1 %, by site.
    """

    def __init__(self, world: World, drift: float | None = None) -> None:
        self.world, self.zone = world, world.zone
        self.hardware = Hardware(world)
        self.site_id = self.hardware.site_id
        self.operational_at = day_window(world.site.installed, world.zone).start
        self.drift = 0.005 + number("drift", world) % 450 / 100_000 if drift is None else drift
        self._period_s = CELLULAR_S if self.hardware.quirk.cellular else REPORT_S
        self._phase = timedelta(seconds=60 + number("phase", world) % (self._period_s - 120))
        self._away = Awkward.GATEWAY_OFFLINE, *(() if world.site.battery else (Awkward.GRID_OUTAGE,))
        self._quarters = lru_cache(maxsize=_DAYS_KEPT)(self._make_quarters)
        self._fives = lru_cache(maxsize=_DAYS_KEPT)(self._make_fives)
        self._running, self._lock = _lifetime(world.site, world.seed, self.drift)

    def quarters(self, window: Window, now: datetime) -> Iterator[Quarter]:
        """Yield the quarters that end in (start, end] and are known at `now`."""
        for day in local_days(window, self.zone):
            for q in self._quarters(day):
                if window.start < q.end <= window.end and q.seen_at is not None and q.seen_at <= now:
                    yield q

    def fives(self, window: Window, now: datetime) -> Iterator[Five]:
        """Yield the five minutes of the microinverters that end in (start, end] and are known at `now`."""
        for day in local_days(window, self.zone):
            for five in self._fives(day):
                if window.start < five.end <= window.end and five.seen_at <= now:
                    yield five

    def last_report(self, now: datetime) -> datetime:
        """Return when the gateway reported last."""
        at = self._report(now, before=True)
        silent = self._silent(Window(now - timedelta(days=2), now + _BLINK))
        while (away := next((w for w in silent if at in w), None)) is not None:
            at = self._report(away.start - _BLINK, before=True)
        return max(at, self.operational_at)

    def last_quarter(self, now: datetime) -> Quarter | None:
        """Return the newest quarter known at `now`; None where there was none in the last week."""
        for back in range(8):
            window = day_window(local_day(now, self.zone) - timedelta(days=back), self.zone)
            known = list(self.quarters(window, now))
            if known:
                return known[-1]
        return None

    def status(self, now: datetime) -> str:
        """Return the vendor's word for how the site is doing."""
        silent_s = (now - self.last_report(now)).total_seconds()
        if silent_s > max(3600, 2 * self._period_s):
            return "comm"
        return self.hardware.quirk.status or "normal"

    def day(self, day: date, now: datetime) -> Sums:
        """Return the energies of a day of the site as known at `now`; what was lost on the way counts at last."""
        window = day_window(day, self.zone)
        if now >= window.end + _SETTLED:
            return self._whole(day)
        sums = Sums(micro=sum(five.at(now)[0] for five in self.fives(window, now)))
        for q in self.quarters(window, now):
            sums = sums.plus(q.sums)
        return sums

    def before(self, day: date) -> Sums:
        """Return the energies of all days before this one since the site was built."""
        wanted = max(0, (day - self.world.site.installed).days)
        with self._lock:
            while len(self._running) <= wanted:
                whole = self._whole(self.world.site.installed + timedelta(days=len(self._running) - 1))
                self._running.append(self._running[-1].plus(whole))
            return self._running[wanted]

    def register(self, at: datetime) -> Sums:
        """Return what registers begun with the site read at a quarter hour."""
        day = local_day(at, self.zone)
        sums = self.before(day)
        for q in self._quarters(day) if at > self.operational_at else ():
            if q.end <= at:
                sums = sums.plus(q.sums)
        return sums

    def told(self, window: Window, now: datetime) -> list[Told]:
        """Return every number given out at `now` of the buckets inside the window, in our words."""
        found: list[Told] = []
        hardware = self.hardware
        if not hardware.metered:
            step = timedelta(seconds=MICRO_S)
            for five in self.fives(window, now):
                if five.end - step >= window.start:
                    wh = five.at(now)[0]
                    found.append(_told(five.end - step, MICRO_S, Metric.PV_WH, wh))
        for q in self.quarters(window, now):
            start = q.end - timedelta(seconds=METER_S)
            if start < window.start:
                continue
            values: dict[Metric, int] = {}
            if hardware.metered:
                values[Metric.PV_WH] = q.sums.pv
            if hardware.net:
                values |= {Metric.GRID_IMPORT_WH: q.sums.imported, Metric.GRID_EXPORT_WH: q.sums.exported}
            elif hardware.metered:
                values[Metric.LOAD_WH] = q.sums.used
            if hardware.battery:
                values |= {
                    Metric.BATTERY_CHARGE_WH: q.sums.charged,
                    Metric.BATTERY_DISCHARGE_WH: q.sums.discharged,
                    Metric.SOC_PCT: q.soc_pct,
                }
            found += [_told(start, METER_S, metric, value) for metric, value in values.items()]
        return found

    def _whole(self, day: date) -> Sums:
        """Return the energies of a whole day: the same whole numbers as its buckets', summed."""
        pv, imported, exported, charged, discharged, load = np.rint(self.world.rows(day, METER_S)).astype(int).T
        used = np.maximum(pv + imported - exported, 0) if self.hardware.net else load
        micro = np.rint(self.world.rows(day, MICRO_S)[:, 0] * (1 + self.drift))
        columns = (pv, micro, imported, exported, used, charged, discharged)
        return Sums(*(int(column.sum()) for column in columns))

    def _make_quarters(self, day: date) -> list[Quarter]:
        if day < self.world.site.installed:
            return []
        window, net = day_window(day, self.zone), self.hardware.net
        silent = self._silent(Window(window.start, window.end + timedelta(days=2)))
        outages = self.world.spells(Awkward.GRID_OUTAGE, window)
        found = []
        for b in self.world.buckets(day, METER_S):
            e = b.energies
            pv, imported, exported = round(e.pv_wh), round(e.grid_import_wh), round(e.grid_export_wh)
            used = max(0, pv + imported - exported) if net else round(e.load_wh)
            sums = Sums(pv, 0, imported, exported, used, round(e.battery_charge_wh), round(e.battery_discharge_wh))
            seen_at = None if b.told_at is None else self._seen(b.told_at, silent)
            outage = any(w.meet(Window(b.start, b.end)) for w in outages)
            found.append(Quarter(b.end, sums, round(e.soc_pct or 0), seen_at, outage, e.pv_wh))
        return found

    def _make_fives(self, day: date) -> list[Five]:
        """Return a day of the microinverters. In the dark before dawn nothing reports; the first report of the
        day then fills it with zeros, and the dark after sunset is zeros as it comes.
        """
        if day < self.world.site.installed:
            return []
        window = day_window(day, self.zone)
        silent = self._silent(Window(window.start, window.end + timedelta(days=2)))
        noisy = self.world.spells(Awkward.LATE, window)
        dead = () if self.world.site.battery else self.world.spells(Awkward.GRID_OUTAGE, window)
        buckets = [b for b in self.world.buckets(day, MICRO_S) if not any(b.start in w for w in dead)]
        lit = [b for b in buckets if b.awake]
        dawn = lit[0].start if lit else window.end
        dawn_seen = self._seen(lit[0].end if lit else window.end, silent)
        found = []
        for b in buckets:
            if b.told_at is None:
                continue
            late = any(w.start < b.end <= w.end for w in noisy)
            full_at = self._seen(b.told_at, silent)
            seen_at = self._seen(b.end, silent) if late else full_at
            if b.start < dawn:
                seen_at = full_at = max(full_at, dawn_seen)
            found.append(self._five(b, seen_at, full_at))
        return found

    def _five(self, b: Bucket, seen_at: datetime, full_at: datetime) -> Five:
        panels = self.hardware.panels
        wh = round(b.energies.pv_wh * (1 + self.drift))
        # One that is dead for good is missing for ever, and took nothing with it.
        reporting = panels - (1 if self.hardware.quirk.status == "micro" else 0)
        late = max(1, round(panels * _LATE_SHARE)) if seen_at < full_at else 0
        first_wh = round(wh * (panels - late) / panels)
        return Five(b.end, first_wh, reporting - late, seen_at, wh, reporting, full_at)

    def _report(self, at: datetime, *, before: bool = False) -> datetime:
        """Return the first report due at or after an instant, or the last one before or at it."""
        last = floor_time(at - self._phase, self._period_s) + self._phase
        return last if before or last == at else last + timedelta(seconds=self._period_s)

    def _seen(self, told_at: datetime, silent: list[Window]) -> datetime:
        at = self._report(told_at)
        # Spells end before the next of their kind begins; two kinds may follow one another.
        for _ in range(4):
            away = next((w for w in silent if at in w), None)
            if away is None:
                break
            at = self._report(away.end)
        return at

    def _silent(self, window: Window) -> list[Window]:
        return [w for kind in self._away for w in self.world.spells(kind, window)]


@cache
def _lifetime(site: WorldSite, seed: int, drift: float) -> tuple[list[Sums], Lock]:  # noqa: ARG001 - they name it
    """Return the sums before each day of a site, as far as known, and their lock: one for all views of it.

    A day takes milliseconds and a site has hundreds: many sandboxes in one process share what never differs.
    """
    return [Sums()], Lock()


def _told(start: datetime, duration_s: int, metric: Metric, value: int) -> Told:
    return Told(DeviceKind.SITE_TOTAL, None, start, duration_s, metric, float(value))
