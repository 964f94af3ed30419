"""Who spends a quota together, and what they want of it: over a whole window, and in the hours ahead."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from enalysis.core.intervals import Window

DAY_S: Final = 86400
_HORIZON_S = 2 * DAY_S
# A day at full cadence costs up to two polls more than its lit hours alone: at dawn and after dusk.
_EDGE_POLLS = 2


@dataclass(slots=True)
class Group:
    """Streams that have news at the same hours (None: always), in calls a second at the cadence wanted.

    Attributes:
        share: part of a day in which they have news. rates: calls a second of each. costs: calls of a poll of each.
    """

    daylight: tuple[Window, ...] | None
    share: float
    rates: list[float] = field(default_factory=list)
    costs: list[int] = field(default_factory=list)
    # Summed with fsum, so that the order in which streams are told changes nothing.
    rate: float = 0.0

    def active_s(self, span_s: float) -> float:
        """Return the most seconds a span can hold in which they have news."""
        days, rest = divmod(span_s, DAY_S)
        lit = self.share * DAY_S
        return days * lit + min(lit, rest)

    def active_ahead_s(self, now: datetime, span_s: float) -> float:
        """Return the seconds ahead in which they have news: known for two days, by their share beyond."""
        if self.daylight is None:
            return span_s
        lit = _lit_s(self.daylight, now, now + timedelta(seconds=min(span_s, _HORIZON_S)))
        return lit + max(0.0, span_s - _HORIZON_S) * self.share


class Sharers:
    """Everybody who spends a quota: streams known one by one, in groups, and what all others want together.

    Of the others only their calls a day are known; they are taken to have their nights when ours have them.
    """

    def __init__(self, groups: Sequence[Group], others_per_day: float) -> None:
        self._groups = groups
        self._others = others_per_day
        for group in groups:
            group.rate = math.fsum(group.rates)
        self._per_day = math.fsum(g.share * g.rate for g in groups) * DAY_S
        whole = math.fsum(g.rate for g in groups) * DAY_S
        # The part of the day in which there is news, over all streams known one by one.
        self._lit = self._per_day / whole if self._per_day else 1.0
        self._round = sum(sum(g.costs) for g in groups)
        self._edges = _EDGE_POLLS * sum(sum(g.costs) for g in groups if g.daylight)

    def most_in(self, span_s: float) -> float:
        """Return the most calls a span can hold at the cadence wanted, nights left out."""
        days, rest = divmod(span_s, DAY_S)
        others = self._others * (days + min(1.0, rest / DAY_S / self._lit))
        return math.fsum(g.active_s(span_s) * g.rate for g in self._groups) + others

    def ahead(self, now: datetime, span_s: float) -> float:
        """Return the calls wanted from now on for so long."""
        own = math.fsum(g.active_ahead_s(now, span_s) * g.rate for g in self._groups)
        return own + self._others * (own / self._per_day if self._per_day else span_s / DAY_S)

    def edges(self, days: int) -> int:
        """Return the calls that so many dawns and dusks cost beyond the lit hours."""
        return self._edges * days

    def in_a_slot(self, slot_s: int, stretch: float) -> float:
        """Return the most calls of one slot, where everybody asks `stretch` times less often than wanted.

        Streams of the day count their polls back from dusk, and sites of one region have it together: they ask in
        the same slots however seldom. The others have long dispersed.
        """
        by_day = sum(sum(g.costs) for g in self._groups if g.daylight is not None)
        others = self._others * slot_s / DAY_S / self._lit
        return by_day + (self._round - by_day + others) / stretch


def lit_share(daylight: tuple[Window, ...] | None) -> float:
    """Return the part of a day that is lit, by the two days that end with the last window; None: always."""
    return 1.0 if daylight is None else _lit_share(daylight)


@lru_cache(maxsize=4096)
def _lit_share(daylight: tuple[Window, ...]) -> float:
    # Whatever hour the windows were cut at: they reach back beyond the last dusk.
    if not daylight:
        return 0.0
    end = daylight[-1].end
    return min(1.0, _lit_s(daylight, end - timedelta(seconds=_HORIZON_S), end) / _HORIZON_S)


def _lit_s(daylight: Sequence[Window], start: datetime, end: datetime) -> float:
    lit = 0.0
    for window in daylight:
        if window.start < end and window.end > start:
            lit += (min(window.end, end) - max(window.start, start)).total_seconds()
    return lit
