"""What many programs do instead: ask for every stream every fifteen minutes, whatever the vendor allows."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from enalysis.core.intervals import Window
from enalysis.core.quotas import QuotaWindow
from tests.plan_month.ages import Ages, Watch, light_of
from tests.plan_month.scenarios import START, Scenario, members

EVERY_S = 900
# One call after the other, half a second each: a program that asks for all at once is refused sooner.
CALL_S = 0.5


@dataclass(frozen=True, slots=True)
class Fixed:
    """What came of it: `spent_day` is the day on which the month's quota was gone, None: never; ages in min."""

    calls: int
    spent_day: float | None
    before_min: float
    after_min: float
    violations: int


def poll_fixed(scenario: Scenario, *, days: float = 31, seed: int = 1, start: datetime = START) -> Fixed:
    """Let the month pass with fixed polling; a call beyond a limit is refused and brings nothing."""
    limits = {q.window: q.limit for q in scenario.offer.quotas}
    month, minute = limits[QuotaWindow.MONTH], limits.get(QuotaWindow.MINUTE, 10**9)
    asked = [m for m in members(scenario, seed) if m.tells]
    # The first of each minute's calls are answered; who comes first changes from slot to slot.
    a_minute = int(60 / CALL_S)
    answered = [n for n in range(len(asked)) if n % a_minute < minute]
    slots = int(days * 86400 / EVERY_S)
    spent_slot = month // len(answered) if month // len(answered) < slots else None
    end = start + timedelta(days=days)
    spent_at = end if spent_slot is None else start + timedelta(seconds=spent_slot * EVERY_S)
    known: dict[object, list[Window]] = {}
    whole = Window(start, end)
    watches = [Watch(m, Window(start, spent_at), light_of(m, whole, known)) for m in asked]
    before, after, unused = Ages(), Ages(), Ages()
    for slot in range(slots if spent_slot is None else spent_slot):
        at = start + timedelta(seconds=slot * EVERY_S)
        for n in answered:
            watches[(n + slot * 7) % len(asked)].poll(at + timedelta(seconds=n * CALL_S), before, unused)
    for watch in watches:
        watch.pass_until(spent_at, before, unused)
        if spent_slot is not None:
            watch.seen_until, watch.span = spent_at, Window(spent_at, end)
            watch.pass_until(end, after, unused)
    calls = slots * len(asked)
    served = (slots if spent_slot is None else spent_slot) * len(answered)
    return Fixed(
        calls,
        None if spent_slot is None else spent_slot * EVERY_S / 86400,
        before.mean_min(),
        after.mean_min(),
        calls - served,
    )
