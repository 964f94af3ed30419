"""When each stream is due next, and why: quotas spent instead of broken, nights free, load spread."""

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from enalysis.core.intervals import Window, ceil_time
from enalysis.core.quotas import SLICE_S, SPAN_S, Alignment, Budget, Quota, QuotaWindow, calendar_window
from enalysis.core.sharing import DAY_S, Group, Sharers, lit_share

# Parts of a long window (a day or more) that scheduled polls leave alone: for people's clicks, token renewal
# and repair; and what backfill leaves to the live polls on top of that.
PEOPLE_SHARE = 0.05
LIVE_SHARE = 0.25
_LONG = (QuotaWindow.DAY, QuotaWindow.MONTH)
# Slower than wanted by so little that nobody sees it, but from here on polls are counted out over the day.
_BARELY = 1.001
# A slot's polls are spread over this many seconds of it, or over more where a minute's quota asks for it.
_SPREAD_S = 300
_SPREAD_STEP_S = 60
_SLOT_S = 900
# However little there is, a stream is looked at again within a year.
_SLOWEST_S = 366 * DAY_S
_NOBODY: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StreamNeed:
    """One stream as the planner sees it.

    Attributes:
        key: stable name, hashed into the offset within a slot. scopes: keys of the budgets it spends.
        every_s: cadence wanted. cost: calls a fetch spends. delay_s: how late the vendor publishes.
        daylight: windows in which it may have news, covering at least the next two days, and the hours since
            the last dusk so that the day's last slots are fetched; None: always.
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


@dataclass(frozen=True, slots=True)
class _Pace:
    """What sharing a scope means for a stream.

    Attributes:
        stretch: factor on its cadence at a steady pace. drought: factor until `until`, while others' calls
        count. spread_s: over how many seconds of a slot polls are spread.
    """

    stretch: float
    drought: float
    until: datetime
    spread_s: int


def plan(
    needs: Sequence[StreamNeed],
    budgets: Iterable[Budget],
    now: datetime,
    others: Mapping[str, float] = _NOBODY,
    only: Collection[str] | None = None,
) -> dict[str, Due]:
    """Return for each stream when it is due next, or for those of them whose keys are in `only`.

    Streams that share a budget share its stretch: all of them slow down by the same factor, just enough that
    the calls of the rest of the window fit what is left after the people's share.

    Args: others: calls a day that streams beside these want, by scope: another connection's, another
        organization's. They count in the pace of everybody.
    """
    by_scope: dict[str, list[Budget]] = {}
    for budget in budgets:
        by_scope.setdefault(budget.scope, []).append(budget)
    sharing = _sharers(needs, by_scope, others)
    paces = {s: _pace(sharing[s], b, now) for s, b in by_scope.items()}
    wanted = needs if only is None else [n for n in needs if n.key in only]
    return {need.key: _due(need, by_scope, paces, now) for need in wanted}


def _sharers(needs: Sequence[StreamNeed], scopes: Collection[str], others: Mapping[str, float]) -> dict[str, Sharers]:
    """Put streams with the same daylight together: what is asked of a thousand of them is asked once."""
    groups: dict[str, dict[int, Group]] = {scope: {} for scope in scopes}
    for need in needs:
        for scope in dict.fromkeys(need.scopes):
            if scope in groups:
                group = groups[scope].get(id(need.daylight))
                if group is None:
                    group = groups[scope][id(need.daylight)] = Group(need.daylight, _active_share(need))
                group.rates.append(need.cost / need.every_s)
                group.costs.append(need.cost)
    return {s: Sharers(list(found.values()), max(0.0, others.get(s, 0.0))) for s, found in groups.items()}


def demand_per_day(need: StreamNeed) -> float:
    """Return the calls a stream would spend in a day at the cadence it wants, nights left out."""
    return need.cost * _active_share(need) * DAY_S / need.every_s


def keep_for_people(limit: int, window: QuotaWindow) -> int:
    """Return how many calls of a quota scheduled polls must leave to people and renewal."""
    return int(limit * PEOPLE_SHARE) if window in _LONG else 0


def keep_for_live(limit: int, window: QuotaWindow) -> int:
    """Return how many calls of a quota backfill must leave to everything else."""
    return int(limit * (PEOPLE_SHARE + LIVE_SHARE)) if window in _LONG else max(1, limit // 5)


def offset_s(key: str, within_s: int) -> int:
    """Return a stable offset in [0, within_s) so that streams do not all call in the same second."""
    return _digest(key) % max(1, within_s)


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest())


def _rounded(value: float, key: str) -> int:
    """Round down or up, by `key`, so that many roundings of one value average to it."""
    whole = math.floor(value)
    return whole + (_digest(key) / 2**64 < value - whole)


def _active_share(need: StreamNeed) -> float:
    return lit_share(need.daylight)


def _pace(sharers: Sharers, budgets: Sequence[Budget], now: datetime) -> _Pace:
    stretch = _stretch(sharers, budgets, now)
    return _Pace(stretch, *_drought(sharers, budgets, now), _spread(sharers, budgets, stretch))


def _stretch(sharers: Sharers, budgets: Sequence[Budget], now: datetime) -> float:
    """Return the factor by which cadences slow down so that the demand of a span fits every limit.

    The whole limit per whole span is compared with the whole demand: a steady pace that fits the span fits
    every alignment of it, and does not sprint on the first day.
    """
    worst = 1.0
    for budget in budgets:
        quota = budget.quota
        limit = max(1, quota.limit - keep_for_people(quota.limit, quota.window))
        span_s = _span_s(quota, now)
        paced = sharers.most_in(span_s)
        if quota.window in _LONG:
            if paced + sharers.edges(math.ceil(span_s / DAY_S)) > limit:
                worst = max(worst, _BARELY, paced / limit)
        elif paced > limit:
            worst = max(worst, paced / limit)
    return worst


def _span_s(quota: Quota, now: datetime) -> float:
    if quota.alignment is Alignment.CALENDAR:
        return calendar_window(quota.window, now).seconds
    return SPAN_S[quota.window]


def _drought(sharers: Sharers, budgets: Sequence[Budget], now: datetime) -> tuple[float, datetime]:
    """Return the factor with which what is left lasts until what was spent comes back, and until when.

    It exceeds the steady one where others spent more than their part: people, history, another organization
    with the same account.
    """
    worst, until = 1.0, now
    for budget in budgets:
        quota = budget.quota
        ahead_s = (budget.turns_at - now).total_seconds()
        if quota.window in _LONG and ahead_s > 0:
            left = quota.limit - keep_for_people(quota.limit, quota.window) - budget.taken
            wanted = sharers.ahead(now, ahead_s)
            if wanted / max(1, left) > worst:
                worst, until = wanted / max(1, left), budget.turns_at
    return worst, until


def _spread(sharers: Sharers, budgets: Sequence[Budget], stretch: float) -> int:
    """Return over how many seconds of a slot to spread calls so that they fit the minute's quota."""
    calls = sharers.in_a_slot(_SLOT_S, stretch)
    wanted = [
        calls * SPAN_S[b.quota.window] / max(1, b.quota.limit) for b in budgets if b.quota.window is QuotaWindow.MINUTE
    ]
    # In whole steps, so that one site more does not move every other one's offset.
    return max([_SPREAD_S, *(_SPREAD_STEP_S * math.ceil(w / _SPREAD_STEP_S) for w in wanted)])


def _due(need: StreamNeed, by_scope: Mapping[str, Sequence[Budget]], paces: Mapping[str, _Pace], now: datetime) -> Due:
    found = [paces[s] for s in need.scopes if s in paces]
    steady = max([1.0, *(p.stretch for p in found)])
    stretch = max([steady, *(p.drought for p in found)])
    slot = min(need.every_s, _SLOT_S)
    spread = min(slot // 3, _SPREAD_S)
    spread = max([spread, *(min(slot, p.spread_s) for p in found if p.spread_s > _SPREAD_S)])
    every = _slowed(need, stretch)
    if need.polled_at is None:
        at, why = now, "never asked yet"
    else:
        why = "at the cadence wanted"
        if every > need.every_s:
            why = f"every {_spell(every)} instead of {_spell(need.every_s)}: what the quota allows"
        shift = timedelta(seconds=need.delay_s + offset_s(need.key, spread))
        # A poll that a wrong clock put into the future must not silence the stream until then.
        asked = min(need.polled_at, now) - shift
        told, why = _next_news(need, every, slot, asked, why)
        if stretch > steady:
            # A drought ends when calls come back: until then at the longest, and not into the next one.
            usual, _ = _next_news(need, _slowed(need, steady), slot, asked, why)
            rain = max(p.until for p in found if p.drought > steady) - shift
            told = min(told, max(usual, ceil_time(rain, slot)))
        at = max(now, told + shift)
    if need.wait_until is not None and need.wait_until > at:
        at, why = need.wait_until, "waiting as the vendor asked or after a failure"
    budgets = [b for s in need.scopes for b in by_scope.get(s, ())]
    at, why = max([(at, why), *(held for b in budgets for held in _held(need, b, at, spread))])
    return Due(need.key, at, every, why)


def _slowed(need: StreamNeed, stretch: float) -> int:
    return max(need.every_s, math.ceil(min(need.every_s * stretch, _SLOWEST_S)))


# The functions below count in the time of the data: a poll at t tells what was until t - delay - offset.


def _next_news(need: StreamNeed, every: int, slot: int, asked: datetime, why: str) -> tuple[datetime, str]:
    """Return the end of the slots that the next poll is for, and why then."""
    share = _active_share(need)
    if need.daylight is None or share > 1 - slot / DAY_S:
        return _steadily(need, every, slot, asked), why
    if share * DAY_S < every:
        # Less than one poll a day: it goes on at the hour at which the last one was.
        days = every / (share * DAY_S) if share else 1.0
        why = why if share else "once a day: the sun does not rise"
        return _steadily(need, _rounded(days, f"{need.key} {asked.date()}") * DAY_S, slot, asked), why
    for window in need.daylight:
        if asked < window.end:
            if every > need.every_s:
                counted = _counted_out(need, every, share, slot, asked, window)
                if counted is not None:
                    return counted, why
                continue
            dawn, dusk = ceil_time(window.start, slot), ceil_time(window.end, slot)
            told = _steadily(need, every, slot, asked)
            if told < dawn:
                return dawn, "at dawn: this stream has no news at night"
            # The poll after dusk picks up the day's last slots, and waiting longer would bring nothing more.
            return min(told, dusk), why
    return _steadily(need, max(every, DAY_S), slot, asked), why


def _steadily(need: StreamNeed, every: float, slot: int, asked: datetime) -> datetime:
    """Return the slot's end `every` seconds after the last one asked for, however late that was asked.

    A cadence between two multiples of the slot takes now the one, now the other.
    """
    base = ceil_time(asked - timedelta(seconds=slot / 2), slot)
    slots = max(1, _rounded(every / slot, f"{need.key} {base.timestamp():.0f}"))
    return base + timedelta(seconds=slots * slot)


def _counted_out(
    need: StreamNeed, every: int, share: float, slot: int, asked: datetime, window: Window
) -> datetime | None:
    """Return the next of the day's polls, evenly spaced and the last of them at dusk; None: none is left."""
    lit = share * DAY_S
    polls = _rounded(lit / every, f"{need.key} {window.end.date()}")
    base = ceil_time(asked - timedelta(seconds=slot / 2), slot)
    for before_dusk in range(polls - 1, -1, -1):
        told = ceil_time(window.end - timedelta(seconds=before_dusk * lit / polls), slot)
        if (told - base).total_seconds() >= max(slot, lit / polls / 2):
            return told
    return None


def _held(need: StreamNeed, budget: Budget, at: datetime, spread: int) -> Iterator[tuple[datetime, str]]:
    """Yield until when a budget forbids a poll at `at`, and why; each stream a little later than the next."""
    window = budget.quota.window
    later = timedelta(seconds=offset_s(need.key, min(spread, SLICE_S[window])))
    if budget.hold_until is not None and budget.hold_until > at:
        yield budget.hold_until + later, "the vendor asked this account to wait"
    kept = keep_for_people(budget.quota.limit, window)
    if budget.left - kept < need.cost and budget.turns_at > at:
        yield budget.turns_at + later, f"the quota of this {window.value} is spent"


def _spell(seconds: int) -> str:
    if seconds < 7200:  # noqa: PLR2004 - two hours read better in minutes
        return f"{round(seconds / 60)} min"
    if seconds < 2 * DAY_S:
        return f"{seconds / 3600:.1f} h"
    return f"{round(seconds / DAY_S)} days"
