"""When each stream is due next, and why: quotas spent instead of broken, nights free, load spread."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from enalysis.core.intervals import Window, ceil_time
from enalysis.core.quotas import SPAN_S, Budget, QuotaWindow

# Parts of a long window (a day or more) that scheduled polls leave alone: for people's clicks, token renewal
# and repair; and what backfill leaves to the live polls on top of that.
PEOPLE_SHARE = 0.05
LIVE_SHARE = 0.25
_LONG = (QuotaWindow.DAY, QuotaWindow.MONTH)


@dataclass(frozen=True, slots=True)
class StreamNeed:
    """One stream as the planner sees it.

    Attributes:
        key: stable name, hashed into the offset within a slot. scopes: keys of the budgets it spends.
        every_s: cadence wanted. cost: calls a fetch spends. delay_s: how late the vendor publishes.
        daylight: windows in which it may have news, covering at least the next two days; None: always.
        polled_at: when it was last asked, or None. wait_until: a vendor's word or a back-off to respect.
    """

    key: str
    scopes: tuple[str, ...]
    every_s: int
    cost: int
    delay_s: int = 0
    daylight: tuple[Window, ...] | None = None
    polled_at: datetime | None = None
    wait_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """When a stream is due, the cadence that its quota allows, and the reason in one sentence."""

    key: str
    at: datetime
    every_s: int
    why: str


def plan(needs: Sequence[StreamNeed], budgets: Iterable[Budget], now: datetime) -> dict[str, Due]:
    """Return for each stream when it is due next.

    Streams that share a budget share its stretch: all of them slow down by the same factor, just enough that
    the calls of the rest of the window fit what is left after the people's share.
    """
    by_scope: dict[str, list[Budget]] = {}
    for budget in budgets:
        by_scope.setdefault(budget.scope, []).append(budget)
    stretches = {scope: _stretch(scope, needs, found) for scope, found in by_scope.items()}
    return {need.key: _due(need, by_scope, stretches, now) for need in needs}


def demand_per_day(need: StreamNeed) -> float:
    """Return the calls a stream would spend in a day at the cadence it wants, nights left out."""
    return need.cost * _active_share(need) * 86400 / need.every_s


def keep_for_people(limit: int, window: QuotaWindow) -> int:
    """Return how many calls of a quota scheduled polls must leave to people and renewal."""
    return int(limit * PEOPLE_SHARE) if window in _LONG else 0


def keep_for_live(limit: int, window: QuotaWindow) -> int:
    """Return how many calls of a quota backfill must leave to everything else."""
    return int(limit * (PEOPLE_SHARE + LIVE_SHARE)) if window in _LONG else max(1, limit // 5)


def offset_s(key: str, within_s: int) -> int:
    """Return a stable offset in [0, within_s) so that streams do not all call in the same second."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest) % max(1, within_s)


def _active_share(need: StreamNeed) -> float:
    if need.daylight is None:
        return 1.0
    if not need.daylight:
        return 0.0
    # The windows handed over cover two days; their lit share stands for the days to come.
    lit = sum(w.seconds for w in need.daylight)
    return min(1.0, lit / (2 * 86400))


def _stretch(scope: str, needs: Sequence[StreamNeed], budgets: Sequence[Budget]) -> float:
    """Return the factor by which cadences slow down so that the demand of a span fits every limit.

    The whole limit per whole span is compared with the whole demand, not what is left with what is to come:
    a steady pace that fits the span fits every alignment of it, and does not sprint on the first day.
    """
    per_day = sum(demand_per_day(n) for n in needs if scope in n.scopes)
    worst = 1.0
    for budget in budgets:
        limit = budget.quota.limit - keep_for_people(budget.quota.limit, budget.quota.window)
        wanted = per_day * SPAN_S[budget.quota.window] / 86400
        if wanted > limit:
            worst = max(worst, wanted / max(1, limit))
    return worst


def _due(
    need: StreamNeed, by_scope: Mapping[str, Sequence[Budget]], stretches: Mapping[str, float], now: datetime
) -> Due:
    stretch = max([1.0, *(stretches.get(s, 1.0) for s in need.scopes)])
    every = max(need.every_s, int(need.every_s * stretch))
    why = "at the cadence wanted"
    if stretch > 1.0:
        why = f"every {_spell(every)} instead of {_spell(need.every_s)}: what the quota allows"
    if need.polled_at is None:
        at, why = now, "never asked yet"
    else:
        at = _next_slot(need, every, now)
    if need.wait_until is not None and need.wait_until > at:
        at, why = need.wait_until, "waiting as the vendor asked or after a failure"
    at, why = _lit(need, at, why)
    for scope in need.scopes:
        for budget in by_scope.get(scope, ()):
            at, why = _afford(need, budget, at, why)
    return Due(need.key, at, every, why)


def _next_slot(need: StreamNeed, every: int, now: datetime) -> datetime:
    """Return the next time the vendor may have a new closed slot, at least `every` after the last poll."""
    assert need.polled_at is not None  # noqa: S101 - told by the caller one line above
    earliest = need.polled_at + timedelta(seconds=every)
    slot = min(need.every_s, 900)
    spread = offset_s(need.key, min(slot // 3, 300))
    shift = timedelta(seconds=need.delay_s + spread)
    at = ceil_time(earliest - shift - timedelta(seconds=slot // 2), slot) + shift
    return max(at, now)


def _lit(need: StreamNeed, at: datetime, why: str) -> tuple[datetime, str]:
    if need.daylight is None:
        return at, why
    late = timedelta(seconds=need.delay_s + need.every_s)
    for window in need.daylight:
        if at < window.start:
            return window.start, "at dawn: this stream has no news at night"
        # One poll after dusk picks up the day's last slots.
        if at < window.end + late:
            return at, why
    return at, why


def _afford(need: StreamNeed, budget: Budget, at: datetime, why: str) -> tuple[datetime, str]:
    if budget.hold_until is not None and budget.hold_until > at:
        return budget.hold_until, "the vendor asked this account to wait"
    kept = keep_for_people(budget.quota.limit, budget.quota.window)
    if budget.left - kept < need.cost and budget.turns_at > at:
        return budget.turns_at, f"the quota of this {budget.quota.window.value} is spent"
    return at, why


def _spell(seconds: int) -> str:
    if seconds < 7200:  # noqa: PLR2004 - two hours read better in minutes
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
