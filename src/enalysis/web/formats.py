"""Numbers, units, ages and times as a person reads them; the only place that writes kW and kWh."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from statistics import median
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UNKNOWN = "–"
_STEP = 1000.0
_DIGITS = 3
# A column changes to the next unit only where five figures would stand in it: no unit is mixed in a column.
_WIDEST = 99_999.0
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Scale:
    """A unit and how many base units (W, Wh, Wp) one of it is."""

    unit: str
    factor: float

    def text(self, value: float | None) -> str:
        """Write a base-unit value in this unit with at most three significant digits; None is a dash."""
        return digits(None if value is None else value / self.factor)


@dataclass(frozen=True, slots=True)
class Shown:
    """A number ready for a page: its text, its unit, and the exact base value for the hover."""

    text: str
    unit: str
    exact: str

    @property
    def known(self) -> bool:
        """Tell whether there is a number at all."""
        return self.text != UNKNOWN


_LADDERS: dict[str, tuple[Scale, ...]] = {
    base: tuple(Scale(prefix + base, _STEP**power) for power, prefix in enumerate(("", "k", "M", "G")))
    for base in ("W", "Wh", "Wp")
}


def digits(value: float | None) -> str:
    """Write a number with at most three significant digits and two decimals; None is a dash.

    A value that is not zero never reads as zero: below 0.01 it is "<0.01".
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    size = abs(value)
    sign = "−" if value < 0 else ""
    if size < 0.005:  # noqa: PLR2004 - half of the last decimal shown
        return f"{sign}<0.01"
    # Rounded to three digits first, because 9.996 is 10.0 and then needs one decimal, not two.
    rounded = round(size, _DIGITS - 1 - math.floor(math.log10(size)))
    decimals = max(0, min(2, _DIGITS - 1 - math.floor(math.log10(rounded))))
    return f"{sign}{rounded:,.{decimals}f}"


def scale_of(base: str, values: Iterable[float | None], *, least: str = "") -> Scale:
    """Return the one unit for a column: it fits the middle of the values and can hold the largest.

    Args: base: "W", "Wh" or "Wp". values: in that unit. least: the smallest prefix allowed, such as "k".
    """
    ladder = _LADDERS[base]
    first = next((n for n, rung in enumerate(ladder) if rung.unit == least + base), 0)
    known = [abs(v) for v in values if v is not None and math.isfinite(v) and v != 0]
    if not known:
        return ladder[first]
    middle, top = median(known), max(known)
    chosen = ladder[first]
    for rung in ladder[first + 1 :]:
        if middle >= rung.factor or top / chosen.factor > _WIDEST:
            chosen = rung
    return chosen


def quantity(value: float | None, base: str, scale: Scale | None = None) -> Shown:
    """Return a base-unit value as shown: in the column's scale if given, else in the unit of its size."""
    scale = scale or scale_of(base, (value,))
    if value is None or not math.isfinite(value):
        return Shown(UNKNOWN, scale.unit, "unknown")
    return Shown(scale.text(value), scale.unit, f"{value:,.10g} {base}")


def percent(value: float | None) -> Shown:
    """Return a share of 100 as shown."""
    if value is None or not math.isfinite(value):
        return Shown(UNKNOWN, "%", "unknown")
    return Shown(digits(value), "%", f"{value:g} %")


def age(at: datetime | None, now: datetime) -> str:
    """Say how long ago `at` was: "just now", "3 min ago", "2 h ago", "5 days ago"; None is "never"."""
    if at is None:
        return "never"
    seconds = (now - at).total_seconds()
    return "just now" if -_MINUTE_S < seconds < _MINUTE_S else f"{span(seconds)} ago" if seconds > 0 else until(at, now)


def until(at: datetime | None, now: datetime) -> str:
    """Say how far ahead `at` is: "now" once it has come, "in 4 min", "in 2 h"; None is "not planned"."""
    if at is None:
        return "not planned"
    seconds = (at - now).total_seconds()
    return "now" if seconds < _MINUTE_S else f"in {span(seconds)}"


def span(seconds: float) -> str:
    """Say a length of time in its largest fitting unit, rounded down: "3 min", "2 h", "1 day", "40 days"."""
    seconds = abs(seconds)
    if seconds < _HOUR_S:
        return f"{int(seconds // _MINUTE_S)} min"
    if seconds < 2 * _DAY_S:
        return f"{int(seconds // _HOUR_S)} h"
    return f"{int(seconds // _DAY_S)} days"


def zone_of(name: str) -> ZoneInfo:
    """Return the zone of that IANA name; a name this machine does not know reads as UTC."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def moment(at: datetime | None, zone: str = "UTC") -> str:
    """Write an instant in a zone: "22 Nov 2026, 14:05"; None is a dash."""
    if at is None:
        return UNKNOWN
    local = at.astimezone(zone_of(zone))
    return f"{calendar_day(local.date())}, {local:%H:%M}"


def clock(at: datetime, zone: str) -> str:
    """Write the time of day of an instant in a zone: "14:05"."""
    return f"{at.astimezone(zone_of(zone)):%H:%M}"


def calendar_day(day: date) -> str:
    """Write a date: "22 Nov 2026"."""
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def weekday(day: date) -> str:
    """Write the day of the week in full."""
    return _WEEKDAYS[day.weekday()]


def iso(at: datetime | None) -> str:
    """Write an instant in ISO 8601 UTC with a Z, to the second; None is empty."""
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun: "1 site", "1,204 sites"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def sentence(text: str) -> str:
    """Make a message stand alone: a capital at its start and a stop at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) or not text else ".")
