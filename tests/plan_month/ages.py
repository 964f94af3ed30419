"""How old the newest value was, minute by minute: what was told when, and the best any schedule could have done."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from enalysis.core.daylight import daylight
from enalysis.core.intervals import Window, floor_time
from tests.plan_month.scenarios import Member

MINUTE_S = 60
# Older than this counts as this: a month and more.
_OLDEST_MIN = 50_000


@dataclass
class Ages:
    """Counts minutes by the age of the newest value in them."""

    _edges: list[int] = field(default_factory=lambda: [0] * (_OLDEST_MIN + 2))

    def add(self, from_s: float, to_s: float) -> None:
        """Count the minutes in which the age grew from one length to another, s."""
        first = min(_OLDEST_MIN, max(0, round(from_s / MINUTE_S)))
        last = min(_OLDEST_MIN + 1, max(first, round(to_s / MINUTE_S)))
        self._edges[first] += 1
        self._edges[last] -= 1

    def add_all(self, other: "Ages") -> None:
        """Count what another one counted too."""
        for age, change in enumerate(other._edges):
            if change:
                self._edges[age] += change

    def counts(self) -> list[int]:
        """Return how many minutes had each age, in minutes."""
        out, level = [], 0
        for change in self._edges:
            level += change
            out.append(level)
        return out

    def mean_min(self) -> float:
        """Return the mean age, min; of nothing it is not a number."""
        counts = self.counts()
        total = sum(counts)
        return sum((age + 0.5) * n for age, n in enumerate(counts)) / total if total else math.nan

    def share_min(self, share: float) -> float:
        """Return the age, min, that so large a share of the minutes stays below."""
        counts = self.counts()
        wanted, seen = share * sum(counts), 0
        for age, n in enumerate(counts):
            seen += n
            if n and seen >= wanted:
                return age + 1
        return math.nan


@dataclass
class Watch:
    """Follows one stream: each answered poll tells what was until the vendor's delay before it."""

    member: Member
    span: Window
    light: Sequence[Window]
    told: datetime | None = None
    seen_until: datetime | None = None

    def poll(self, at: datetime, by_day: Ages, always: Ages) -> None:
        """Count the minutes up to a poll, and take note of what it told."""
        self.pass_until(at, by_day, always)
        step_s = self.member.card.step_s or MINUTE_S
        self.told = max(self.told or at, floor_time(at - timedelta(seconds=self.member.card.delay_s), step_s))
        if self.seen_until is None:
            self.told = floor_time(at - timedelta(seconds=self.member.card.delay_s), step_s)
        self.seen_until = at

    def pass_until(self, at: datetime, by_day: Ages, always: Ages) -> None:
        """Count the minutes since the last poll."""
        if self.told is None or self.seen_until is None:
            return
        since = Window(self.seen_until, at).meet(self.span) if at > self.seen_until else None
        if since is None:
            return
        if not self.member.card.daylight_only:
            always.add((since.start - self.told).total_seconds(), (since.end - self.told).total_seconds())
            return
        dusk = None
        for window in self.light:
            if window.start >= since.end:
                break
            lit = window.meet(since)
            if lit is not None:
                told = self.told
                if dusk is None or told >= dusk:
                    # The night brought nothing new: what was told whole after dusk is whole until dawn.
                    told = max(told, window.start)
                by_day.add((lit.start - told).total_seconds(), (lit.end - told).total_seconds())
            dusk = window.end - timedelta(seconds=self.member.card.step_s or MINUTE_S)


def light_of(member: Member, span: Window, known: dict[object, list[Window]]) -> list[Window]:
    """Return when pv may produce at a member's site: the hours that the product calls daylight."""
    if member.place is None or not member.card.daylight_only:
        return []
    if member.place not in known:
        known[member.place] = daylight(span, member.place)
    return known[member.place]


def even_pace_s(watches: Sequence[Watch], calls: float) -> float:
    """Return the cadence at which all streams can be asked alike in their own hours with so many calls."""
    active = math.fsum(
        w.member.card.cost * (math.fsum(p.seconds for p in w.light) if w.member.card.daylight_only else w.span.seconds)
        for w in watches
    )
    return max(900.0, active / max(1.0, calls))


def best_by_day_min(watches: Sequence[Watch], pace_s: float) -> float:
    """Return the least mean age by day, min, that a schedule of that pace can give and still end every day whole.

    Of the n polls of a day of length L the last comes after dusk, for the day's last values; the others come when
    the age would be the same before each of them: the first a little later than the others follow, because at
    dawn nothing is old.
    """
    area = length = 0.0
    for watch in watches:
        if watch.member.card.daylight_only:
            delay = watch.member.card.delay_s
            for window in watch.light:
                whole = window.seconds
                between = max(0.0, whole / pace_s - 1)
                gap = max(0.0, (whole - delay) / (between + 1))
                area += min((gap + delay) ** 2 / 2 + between * (delay * gap + gap * gap / 2), whole * whole / 2)
                length += whole
    return area / length / MINUTE_S if length else math.nan
