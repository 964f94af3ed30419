"""What a quota will come to: how long it lasts at the present pace, and how fresh the data are at a cadence."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from enalysis.core.planner import keep_for_live, keep_for_people
from enalysis.core.quotas import SPAN_S, Alignment, Budget, QuotaWindow
from enalysis.core.sharing import DAY_S

# A forecast that misses by so little is no news: polls are whole, and days are not all alike.
_CLOSE = 1.02
_LONG = (QuotaWindow.DAY, QuotaWindow.MONTH)


class Fate(StrEnum):
    """How a window ends at the present pace."""

    LASTS = "lasts"
    RUNS_OUT = "runs_out"
    SPENT = "spent"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class Outlook:
    """A quota from now to when something of it comes back.

    Attributes:
        planned: calls scheduled polls will make until then. people, live: calls kept for people and renewal,
            and beyond those for live polls, where history may not spend them. left_over: free calls nobody has
            planned. ends_at: until when it is held or spent, or when it runs out; None: it lasts.
    """

    planned: int
    people: int
    live: int
    left_over: int
    fate: Fate
    ends_at: datetime | None


def outlook(budget: Budget, per_day: float, lit: float, now: datetime) -> Outlook:
    """Return what becomes of a quota at `per_day` calls a day, made in the part `lit` of the day."""
    quota = budget.quota
    people = keep_for_people(quota.limit, quota.window)
    live = keep_for_live(quota.limit, quota.window) - people
    per_s = per_day / DAY_S
    if quota.window in _LONG:
        planned = per_s * _ahead_s(budget, now)
    else:
        # Of a minute or an hour nobody asks for the average of day and night.
        planned = min(quota.limit, per_s / max(lit, 0.01) * SPAN_S[quota.window])
    free = quota.limit - people - budget.taken
    fate, ends_at = Fate.LASTS, None
    if budget.hold_until is not None and budget.hold_until > now:
        fate, ends_at = Fate.HELD, budget.hold_until
    elif free <= 0:
        fate, ends_at = Fate.SPENT, budget.turns_at
    elif quota.window in _LONG and planned > free * _CLOSE:
        fate, ends_at = Fate.RUNS_OUT, now + timedelta(seconds=free / per_s)
    return Outlook(round(planned), people, live, max(0, round(free - planned)), fate, ends_at)


def mean_age_s(every_s: float, delay_s: float, lit: float) -> float:
    """Return how old the newest value is on average over the day's light, s, where it is asked for every `every_s`.

    Right after a poll it is as old as the vendor is late; right before the next one a cadence older.
    """
    if lit <= 0 or every_s <= lit * DAY_S:
        return delay_s + every_s / 2
    # Less than once a day: whole days lie between two polls, nights and all.
    return delay_s + every_s / lit / 2


def _ahead_s(budget: Budget, now: datetime) -> float:
    if budget.quota.alignment is Alignment.UNKNOWN and not budget.taken:
        return SPAN_S[budget.quota.window]
    return max(0.0, (budget.turns_at - now).total_seconds())
