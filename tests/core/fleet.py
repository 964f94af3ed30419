"""A make-believe fleet that follows the planner event by event against a ledger that enforces its quotas."""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from enalysis.core.daylight import Place, daylight
from enalysis.core.intervals import Window, floor_time
from enalysis.core.planner import Due, StreamNeed, keep_for_people, plan
from enalysis.core.quotas import (
    SLICE_S,
    SPAN_S,
    Alignment,
    Budget,
    Quota,
    QuotaScope,
    QuotaWindow,
    calendar_window,
)

START = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)
REAL_S = {
    QuotaWindow.MINUTE: 60,
    QuotaWindow.HOUR: 3600,
    QuotaWindow.DAY: 86400,
    QuotaWindow.MONTH: 31 * 86400,
}
# How far around a poll its caller tells the planner of daylight.
PAST, AHEAD = timedelta(hours=2), timedelta(hours=48)


def quota(window: QuotaWindow, limit: int, alignment: Alignment = Alignment.UNKNOWN) -> Quota:
    """Return an account's quota."""
    return Quota(QuotaScope.ACCOUNT, window, limit, alignment)


@dataclass
class Ledger:
    """Counts calls as the database does and refuses what would go beyond a limit."""

    scope: str
    quotas: Sequence[Quota]
    calls: list[tuple[datetime, int]] = field(default_factory=list)
    hold_until: datetime | None = None

    def __post_init__(self) -> None:
        """Begin with nothing taken."""
        self._slices: dict[QuotaWindow, deque[tuple[datetime, int]]] = {q.window: deque() for q in self.quotas}
        self._sums = dict.fromkeys(self._slices, 0)

    def budgets(self, now: datetime) -> list[Budget]:
        """Return what is left of each quota."""
        found = []
        for q in self.quotas:
            slices, calendar = self._slices[q.window], q.alignment is Alignment.CALENDAR
            whole = calendar_window(q.window, now)
            since = whole.start if calendar else now - timedelta(seconds=SPAN_S[q.window])
            while slices and (slices[0][0] < since if calendar else slices[0][0] <= since):
                self._sums[q.window] -= slices.popleft()[1]
            turns = whole.end
            if not calendar:
                oldest = slices[0][0] if slices else since
                turns = oldest + timedelta(seconds=SPAN_S[q.window])
            found.append(Budget(self.scope, q, self._sums[q.window], turns, self.hold_until))
        return found

    def take(self, now: datetime, cost: int, *, live: bool = True) -> datetime | None:
        """Reserve `cost` calls; None where that was granted, else when to ask again."""
        until = [b.turns_at for b in self.budgets(now) if b.left - self._kept(b, live=live) < cost]
        if self.hold_until is not None and self.hold_until > now:
            until.append(self.hold_until)
        if until:
            return max(*until, now + timedelta(seconds=1))
        for window, slices in self._slices.items():
            at = floor_time(now, SLICE_S[window])
            before = slices.pop()[1] if slices and slices[-1][0] == at else 0
            slices.append((at, before + cost))
            self._sums[window] += cost
        self.calls.append((now, cost))
        return None

    @staticmethod
    def _kept(budget: Budget, *, live: bool) -> int:
        return keep_for_people(budget.quota.limit, budget.quota.window) if live else 0

    def most_in_any(self, q: Quota) -> int:
        """Return the most calls that any real window held: every alignment, or every one of the calendar."""
        most = total = first = 0
        for n, (at, cost) in enumerate(self.calls):
            total += cost
            while (
                at - self.calls[first][0] >= timedelta(seconds=REAL_S[q.window])
                if q.alignment is Alignment.UNKNOWN
                else calendar_window(q.window, self.calls[first][0]) != calendar_window(q.window, at)
            ):
                total -= self.calls[first][1]
                first += 1
            most = max(most, total)
            assert first <= n
        return most

    def per_day(self) -> list[int]:
        """Return the calls of each whole day since the first."""
        start = self.calls[0][0]
        days: list[int] = [0] * ((self.calls[-1][0] - start).days + 1)
        for at, cost in self.calls:
            days[(at - start).days] += cost
        return days


@dataclass
class Stream:
    """One stream of the fleet; a place makes it a stream of daylight. `polls` are those that were granted."""

    key: str
    every_s: int = 900
    cost: int = 1
    delay_s: int = 300
    place: Place | None = None
    fails: bool = False
    polls: list[datetime] = field(default_factory=list)
    polled_at: datetime | None = None
    wait_until: datetime | None = None
    light: list[Window] = field(default_factory=list)

    def need(self, scope: str, now: datetime) -> StreamNeed:
        """Return what the planner is told of it."""
        lit = None
        if self.place is not None:
            hour = floor_time(now, 3600)
            told = Window(hour - PAST, hour + AHEAD)
            lit = tuple(part for w in self.light if (part := w.meet(told)) is not None)
        return StreamNeed(
            self.key, (scope,), self.every_s, self.cost, self.delay_s, lit, self.polled_at, self.wait_until
        )

    def mean_age_s(self, window: Window) -> float:
        """Return how old the newest told data were on average, over the light of the window."""
        area = length = 0.0
        told = self.polls[0] - timedelta(seconds=self.delay_s)
        for part in self.light:
            lit = part.meet(window)
            if lit is None:
                continue
            # The night brings nothing new: what was told before dawn is complete until dawn.
            marks = [lit.start, *(p for p in self.polls if p in lit), lit.end]
            told = max(told, lit.start)
            for one, two in itertools.pairwise(marks):
                if one in self.polls:
                    told = max(told, one - timedelta(seconds=self.delay_s))
                a, b = (one - told).total_seconds(), (two - told).total_seconds()
                area, length = area + (b * b - a * a) / 2, length + b - a
        return area / length


@dataclass
class Fleet:
    """Streams of one account that run by the planner's word; `refused` counts what the ledger had to stop."""

    streams: Sequence[Stream]
    ledger: Ledger
    refused: int = 0
    dues: list[tuple[datetime, Due]] = field(default_factory=list)

    def run(self, start: datetime, days: float, *, late_s: float = 0, seed: int = 1) -> "Fleet":
        """Poll for some days; each poll comes up to `late_s` seconds after it is due."""
        chance = random.Random(seed)  # noqa: S311 - lateness, no secret
        end = start + timedelta(days=days)
        around = Window(start - timedelta(days=1), end + timedelta(days=3))
        known: dict[Place | None, list[Window]] = {None: [around]}
        for stream in self.streams:
            if stream.place not in known:
                known[stream.place] = daylight(around, stream.place)
            stream.light = known[stream.place]
        order = [(start, n) for n in range(len(self.streams))]
        while order and order[0][0] < end:
            due, n = heapq.heappop(order)
            now = due + timedelta(seconds=chance.uniform(0, late_s))
            self._poll(self.streams[n], now)
            needs = [s.need(self.ledger.scope, now) for s in self.streams]
            planned = plan(needs, self.ledger.budgets(now), now)[self.streams[n].key]
            assert planned.at >= now
            self.dues.append((now, planned))
            heapq.heappush(order, (max(planned.at, now + timedelta(seconds=1)), n))
        return self

    def _poll(self, stream: Stream, now: datetime) -> None:
        until = self.ledger.take(now, stream.cost)
        stream.wait_until = until
        if until is not None:
            self.refused += 1
            return
        stream.polled_at = now
        if stream.fails:
            stream.wait_until = now + timedelta(minutes=5)
        else:
            stream.polls.append(now)


def house(place: Place, sites: int = 1) -> list[Stream]:
    """Return the streams of some sites: pv by day, meters and battery around the clock."""
    return [
        stream
        for n in range(sites)
        for stream in (
            Stream(f"{n} energy", place=place),
            Stream(f"{n} meters"),
            Stream(f"{n} storage"),
        )
    ]


def gaps_s(polls: Iterable[datetime]) -> list[float]:
    """Return the seconds between polls."""
    return [(b - a).total_seconds() for a, b in itertools.pairwise(polls)]
