"""Geometry of the charts the server draws: a site's day and the sparkline of a row. Pure."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from enalysis.core.balance import DUSK_DEG
from enalysis.core.daylight import Place, sun_elevation_deg
from enalysis.core.metrics import Quality
from enalysis.queries.shapes import Quarter, SiteDay
from enalysis.web.formats import clock, scale_of

# Where a quarter's energy comes from stands above the zero line, where it goes besides the load below it.
SOURCES = ("pv_wh", "battery_discharge_wh", "grid_import_wh")
SINKS = ("battery_charge_wh", "grid_export_wh")
LOAD = "load_wh"
SERIES: dict[str, str] = {
    "pv_wh": "PV",
    "battery_discharge_wh": "Battery discharging",
    "grid_import_wh": "Grid import",
    "battery_charge_wh": "Battery charging",
    "grid_export_wh": "Grid export",
    LOAD: "Load",
}
COLOURS: dict[str, str] = {
    "pv_wh": "pv",
    "battery_discharge_wh": "battery",
    "grid_import_wh": "import",
    "battery_charge_wh": "battery",
    "grid_export_wh": "export",
    LOAD: "load",
}
_REASONS = {
    "vendor_null": "the vendor has no value for this time",
    "retrying": "the fetch failed and will be tried again",
    "expired": "lost: the vendor no longer has it",
    "quarantined": "the value cannot be true and was set aside",
    "ahead": "not fetched yet",
    "stored": "no PV value came with the others",
}
# Words that tell without alarm: they are in the table and on hover, and nothing is shaded for them.
_STILL_AHEAD = "still ahead"
_NIGHT = "night"
_NOT_YET = "not published yet"
# Vendors publish quarters up to an hour late; two hours and it is missing.
_PATIENCE = timedelta(hours=2)
# A place known only by its zone may be hundreds of kilometres off: its dusk is taken earlier.
_VAGUE_DUSK_DEG = 12.0
_QUALITY_WORDS = {
    Quality.DERIVED: "computed",
    Quality.ESTIMATED: "estimated",
    Quality.CLIPPED: "clipped at zero",
    Quality.RESTATED: "corrected by the vendor",
    Quality.SUSPECT: "suspect",
    Quality.IMPORTED: "imported",
    Quality.SANDBOX: "simulated",
}
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_TICKS = 7
_LABEL_EVERY_H = 3
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A block of one quarter and series; x, y, width and height in percent of the plot."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    estimated: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch without a pv value that should have one; x and width in percent of the plot."""

    x: float
    width: float
    reason: str


@dataclass(frozen=True, slots=True)
class Absence:
    """Why a quarter has no pv value, in words, empty where it has one; `shaded` where it should have one."""

    words: str
    shaded: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled line of an axis at `at` percent of the plot, from the top or the left."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class DayChart:
    """A day as stacked mean power: positions in percent of the plot, the load as paths on 1000 by 1000."""

    unit: str
    bars: tuple[Bar, ...]
    load: tuple[str, ...]
    gaps: tuple[Gap, ...]
    absent: tuple[Absence, ...]
    power_ticks: tuple[Tick, ...]
    time_ticks: tuple[Tick, ...]
    zero: float
    now: float | None
    series: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Tell whether there is nothing to draw."""
        return not self.series


@dataclass(frozen=True, slots=True)
class Spark:
    """A sparkline on a canvas as wide as there are hours and 10 high: (hour, height) bars, missing hours."""

    hours: int
    bars: tuple[tuple[int, float], ...]
    missing: tuple[int, ...]
    peak_w: float | None
    peak_hour: int | None


def absences(day: SiteDay, now: datetime, place: Place | None) -> tuple[Absence, ...]:
    """Say for each quarter why its pv value is missing: the future and the night are no fault, the rest is.

    Args: place: where the site is; None, unknown, never counts as dark.
    """
    some = any(q.pv_wh is not None for q in day.quarters)
    dusk_deg = DUSK_DEG if place is not None and place.exact else _VAGUE_DUSK_DEG

    def absence(quarter: Quarter) -> Absence:
        if quarter.pv_wh is not None:
            return Absence("", shaded=False)
        if quarter.end > now:
            return Absence(_STILL_AHEAD, shaded=False)
        told = quarter.state in {"vendor_null", "stored"}
        if told and place is not None and sun_elevation_deg(quarter.start, place) < dusk_deg:
            return Absence(_NIGHT, shaded=False)
        if quarter.state == "ahead" and now - quarter.end < _PATIENCE:
            return Absence(_NOT_YET, shaded=False)
        words = _REASONS.get(quarter.state, quarter.state.replace("_", " "))
        return Absence(words, shaded=some or quarter.state != "stored")

    return tuple(absence(q) for q in day.quarters)


def quality_words(quality: int) -> str:
    """Say in words how a number came to be; measured where no flag is set."""
    words = [word for flag, word in _QUALITY_WORDS.items() if quality & flag]
    return ", ".join(words) or "measured"


def value_of(quarter: Quarter, series: str) -> float | None:
    """Return a quarter's energy of one series, Wh."""
    found: float | None = getattr(quarter, series)
    return found


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plot's axes: watts between `low` and `high`, `slots` quarters side by side."""

    high: float
    low: float
    slots: int

    @property
    def slot(self) -> float:
        """Width of a quarter in percent."""
        return 100 / max(1, self.slots)

    def y(self, watts: float) -> float:
        """Percent from the top."""
        return round((self.high - watts) / (self.high - self.low) * 100, 3)

    def height(self, watts: float) -> float:
        """Percent of the plot's height."""
        return round(watts / (self.high - self.low) * 100, 3)


def day_chart(day: SiteDay, now: datetime, place: Place | None = None) -> DayChart:
    """Lay out a site's day; a gap stays a gap, and hours still ahead stay empty.

    Args: place: where the site is, for telling the night; None is unknown.
    """
    quarters = day.quarters
    absent = absences(day, now, place)
    high_w = max((max(_stack(q, SOURCES), _mean_w(q, LOAD) or 0.0) for q in quarters), default=0.0)
    low_w = max((_stack(q, SINKS) for q in quarters), default=0.0)
    scale = scale_of("W", (max(high_w, low_w),), least="k")
    lines = _lines(high_w / scale.factor, low_w / scale.factor)
    frame = _Frame(lines[0] * scale.factor, lines[-1] * scale.factor, len(quarters))
    return DayChart(
        unit=scale.unit,
        bars=tuple(bar for n, q in enumerate(quarters) for bar in _bars(n, q, frame)),
        load=_load_paths([_mean_w(q, LOAD) for q in quarters], frame),
        gaps=gaps(absent),
        absent=absent,
        power_ticks=tuple(Tick(frame.y(v * scale.factor), _tick_text(v)) for v in lines),
        time_ticks=_time_ticks(quarters, day.zone),
        zero=frame.y(0.0),
        now=_share_of_day(quarters, now),
        series=tuple(s for s in SERIES if any(value_of(q, s) is not None for q in quarters)),
    )


def _bars(n: int, quarter: Quarter, frame: _Frame) -> Iterator[Bar]:
    estimated = bool(quarter.quality & Quality.ESTIMATED)
    for series, sign in ((SOURCES, 1), (SINKS, -1)):
        level = 0.0
        for name in series:
            power = _mean_w(quarter, name)
            if not power:
                continue
            top = level + power if sign > 0 else -level
            level += power
            yield Bar(
                round((n + 0.07) * frame.slot, 3),
                frame.y(top),
                round(0.86 * frame.slot, 3),
                frame.height(power),
                COLOURS[name],
                estimated,
            )


def _load_paths(loads: Sequence[float | None], frame: _Frame) -> tuple[str, ...]:
    """Return the load as stepped paths on 1000 by 1000, broken wherever it is unknown."""
    paths: list[str] = []
    steps: list[str] = []
    for n, watts in enumerate(loads):
        if watts is None:
            paths, steps = [*paths, *(["".join(steps)] if steps else [])], []
            continue
        x, y = n * frame.slot * 10, frame.y(watts) * 10
        steps.append(f"{'V' if steps else f'M{x:.1f} '}{y:.1f}H{x + frame.slot * 10:.1f}")
    return tuple(paths if not steps else [*paths, "".join(steps)])


def _time_ticks(quarters: Sequence[Quarter], zone: str) -> tuple[Tick, ...]:
    """Return a label for every third hour of the site's clock, and one for the end of the day."""
    width = 100 / max(1, len(quarters))
    ticks = []
    for n, quarter in enumerate(quarters):
        label = clock(quarter.start, zone)
        if int(label[:2]) % _LABEL_EVERY_H == 0 and label.endswith(":00"):
            ticks.append(Tick(round(n * width, 3), label))
    return (*ticks, Tick(100, "24:00")) if ticks else ()


def _share_of_day(quarters: Sequence[Quarter], now: datetime) -> float | None:
    """Return where `now` stands in the day, in percent; None on any other day."""
    if not quarters or not quarters[0].start < now < quarters[-1].end:
        return None
    start = quarters[0].start
    return round((now - start) / (quarters[-1].end - start) * 100, 2)


def gaps(absent: Sequence[Absence]) -> tuple[Gap, ...]:
    """Join neighbouring shaded quarters of one reason into stretches."""
    width = 100 / max(1, len(absent))
    found: list[Gap] = []
    at = 0
    for one, run in itertools.groupby(absent):
        many = len(list(run))
        if one.shaded:
            found.append(Gap(round(at * width, 3), round(many * width, 3), one.words))
        at += many
    return tuple(found)


def spark(hours: Sequence[float | None]) -> Spark:
    """Lay out mean pv power per hour, W; hours unknown between known ones are missing, others not yet."""
    known = [n for n, value in enumerate(hours) if value is not None]
    peak = max((v for v in hours if v is not None), default=None)
    bars = tuple((n, round(10 * v / peak, 2)) for n, v in enumerate(hours) if v is not None and peak and v > 0)
    inside = range(known[0], known[-1]) if known else range(0)
    missing = tuple(n for n in inside if hours[n] is None)
    return Spark(len(hours) or 24, bars, missing, peak, None if peak is None else list(hours).index(peak))


def _mean_w(quarter: Quarter, series: str) -> float | None:
    value = value_of(quarter, series)
    if value is None:
        return None
    return value * _HOUR_S / (quarter.end - quarter.start).total_seconds()


def _stack(quarter: Quarter, series: Sequence[str]) -> float:
    return sum(_mean_w(quarter, name) or 0.0 for name in series)


def _lines(high: float, low: float) -> list[float]:
    """Return evenly spaced grid lines, top first, with zero among them, that cover -low to high."""
    rough = max(high + low, 0.1) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in _STEPS if s * power >= rough)
    ups, downs = max(1, math.ceil(high / step - 1e-9)), math.ceil(low / step - 1e-9)
    return [n * step for n in range(ups, -downs - 1, -1)]


def _tick_text(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")
