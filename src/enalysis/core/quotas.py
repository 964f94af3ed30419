"""Vendors' quotas: what may be spent in which window, counted so that no alignment of theirs is broken."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from enalysis.core.intervals import Window, floor_time


class QuotaScope(StrEnum):
    """Who shares a quota."""

    APP = "app"
    ACCOUNT = "account"
    SITE = "site"
    HOST = "host"


class QuotaWindow(StrEnum):
    """How long a quota lasts."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Alignment(StrEnum):
    """Where the vendor's windows begin.

    CALENDAR: at the UTC minute, hour, day or month. UNKNOWN: nobody told us (a billing anniversary, first
    use, a sliding window): we then keep every span of that length inside the limit, which holds under all.
    """

    CALENDAR = "calendar"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `limit` calls per `window`, shared by `scope`; `chosen` marks a figure we assume."""

    scope: QuotaScope
    window: QuotaWindow
    limit: int
    alignment: Alignment = Alignment.UNKNOWN
    chosen: bool = False


# (slice kept in the database, span that must hold the limit). Spans are longer than the window they guard:
# by a second or two for calls that travel at different speeds, by a slice for the one we are in.
SLICE_S: dict[QuotaWindow, int] = {
    QuotaWindow.MINUTE: 1,
    QuotaWindow.HOUR: 60,
    QuotaWindow.DAY: 3600,
    QuotaWindow.MONTH: 86400,
}
SPAN_S: dict[QuotaWindow, int] = {
    QuotaWindow.MINUTE: 62,
    QuotaWindow.HOUR: 3662,
    QuotaWindow.DAY: 90002,
    # The longest month and a slice.
    QuotaWindow.MONTH: 32 * 86400 + 2,
}


def counting_window(quota: Quota, now: datetime) -> Window:
    """Return the stretch of time whose calls count against the quota at `now`, up to its end.

    For UNKNOWN alignment it slides and ends now; for CALENDAR it is the vendor's own window.
    """
    if quota.alignment is Alignment.UNKNOWN:
        start = now - timedelta(seconds=SPAN_S[quota.window])
        slice_s = SLICE_S[quota.window]
        # A slice counts as long as it began within the span, so the first whole one is the oldest.
        return Window(floor_time(start, slice_s) + timedelta(seconds=slice_s), now)
    return calendar_window(quota.window, now)


def calendar_window(window: QuotaWindow, now: datetime) -> Window:
    """Return the UTC minute, hour, day or month that `now` lies in."""
    if window is QuotaWindow.MONTH:
        start = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return Window(start, (start + timedelta(days=32)).replace(day=1))
    length = {QuotaWindow.MINUTE: 60, QuotaWindow.HOUR: 3600, QuotaWindow.DAY: 86400}[window]
    start = floor_time(now, length)
    return Window(start, start + timedelta(seconds=length))


@dataclass(frozen=True, slots=True)
class Budget:
    """What is left of one quota now.

    Attributes:
        scope: opaque key of who shares it. taken: calls counted against it. hold_until: the vendor said wait.
        turns_at: when something (UNKNOWN) or everything (CALENDAR) of it comes back.
    """

    scope: str
    quota: Quota
    taken: int
    turns_at: datetime
    hold_until: datetime | None = None

    @property
    def left(self) -> int:
        """Calls left, never negative."""
        return max(0, self.quota.limit - self.taken)
