"""Half-open windows of time, slots, and the days of a site's own zone, daylight saving included."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """[start, end), both aware UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Raise ValueError for naive times or an end before the start."""
        if self.start.tzinfo is None or self.end.tzinfo is None:
            msg = "a window needs aware times"
            raise ValueError(msg)
        if self.end < self.start:
            msg = "a window ends at or after its start"
            raise ValueError(msg)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end - self.start).total_seconds()

    def __contains__(self, at: datetime) -> bool:
        """Tell whether `at` lies in [start, end)."""
        return self.start <= at < self.end

    def meet(self, other: "Window") -> "Window | None":
        """Return the part both share, or None where they share nothing."""
        start, end = max(self.start, other.start), min(self.end, other.end)
        return Window(start, end) if start < end else None

    def chunks(self, length_s: float) -> Iterator["Window"]:
        """Yield the window in pieces of at most `length_s` seconds, oldest first."""
        start, step = self.start, timedelta(seconds=length_s)
        while start < self.end:
            end = min(start + step, self.end)
            yield Window(start, end)
            start = end

    def slots(self, step_s: int) -> Iterator[datetime]:
        """Yield the starts of the whole slots of `step_s` seconds, counted from the window's start."""
        start, step = self.start, timedelta(seconds=step_s)
        while start + step <= self.end:
            yield start
            start += step


def floor_time(at: datetime, step_s: int) -> datetime:
    """Round down to a multiple of `step_s` seconds since 1970 in UTC."""
    whole = int((at - _EPOCH).total_seconds() // step_s) * step_s
    return _EPOCH + timedelta(seconds=whole)


def ceil_time(at: datetime, step_s: int) -> datetime:
    """Round up to a multiple of `step_s` seconds since 1970 in UTC."""
    low = floor_time(at, step_s)
    return low if low == at else low + timedelta(seconds=step_s)


def local_day(at: datetime, zone: ZoneInfo) -> date:
    """Return the calendar day of the site at the instant `at`."""
    return at.astimezone(zone).date()


def day_window(day: date, zone: ZoneInfo) -> Window:
    """Return the site's day as a window in UTC: 23, 24 or 25 hours, or 23.5 where zones shift by half."""
    return Window(_midnight(day, zone), _midnight(day + timedelta(days=1), zone))


def local_days(window: Window, zone: ZoneInfo) -> list[date]:
    """Return the site's days the window touches, oldest first."""
    if window.start == window.end:
        return []
    first = local_day(window.start, zone)
    last = local_day(window.end - timedelta(microseconds=1), zone)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def day_slots(day: date, zone: ZoneInfo, step_s: int) -> list[datetime]:
    """Return the starts, in UTC, of the slots of the site's day."""
    return list(day_window(day, zone).slots(step_s))


def resolve_local(stamps: Sequence[datetime], zone: ZoneInfo) -> list[datetime | None]:
    """Place naive local times, in the order the vendor sent them, on the UTC line.

    An hour that happens twice is told apart by order: the second pass is the later one. A local time that
    never happened (clocks went forward) is None. Out-of-order input is placed by its own clock reading.
    """
    out: list[datetime | None] = []
    last: datetime | None = None
    for naive in stamps:
        first = naive.replace(tzinfo=zone, fold=0).astimezone(UTC)
        second = naive.replace(tzinfo=zone, fold=1).astimezone(UTC)
        if first.astimezone(zone).replace(tzinfo=None) != naive:
            out.append(None)
            continue
        at = second if last is not None and first <= last < second else first
        out.append(at)
        last = at
    return out


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant of the site's day.

    Where clocks go forward at midnight, 00:00 does not exist: fold=0 then maps the gap to the instant of the
    change itself, which is when the day begins.
    """
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
