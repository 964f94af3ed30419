"""The planner's word on one moment: nothing before its time, nobody forgotten, the same for the same."""

import itertools
import random
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enalysis.core.intervals import Window, floor_time
from enalysis.core.planner import (
    StreamNeed,
    demand_per_day,
    keep_for_live,
    keep_for_people,
    offset_s,
    plan,
)
from enalysis.core.quotas import Alignment, Budget, QuotaWindow
from tests.core.fleet import quota

NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
DAWN, DUSK = datetime(2026, 6, 2, 3, tzinfo=UTC), datetime(2026, 6, 2, 19, tzinfo=UTC)
LIT = tuple(Window(DAWN + n * DAY, DUSK + n * DAY) for n in (0, 1, 2))
PLENTY = Budget("a", quota(QuotaWindow.MONTH, 10**6), 0, NOW)


def need(key: str = "s", polled_at: datetime | None = NOW, **more: object) -> StreamNeed:
    """Return a stream of a quarter of an hour that spends scope `a`."""
    return replace(StreamNeed(key, ("a",), 900, 1, 300, None, polled_at), **more)  # type: ignore[arg-type]


def due_at(wanted: StreamNeed, now: datetime = NOW, *budgets: Budget) -> datetime:
    """Return when the planner wants one stream."""
    return plan([wanted], budgets or [PLENTY], now)[wanted.key].at


moments = st.integers(-40 * 3600, 40 * 3600).map(lambda s: NOW + timedelta(seconds=s))
maybe = st.one_of(st.none(), moments)
needs_drawn = st.builds(
    StreamNeed,
    st.text("abcdef0123456789", min_size=1, max_size=6),
    st.sampled_from([("a",), ("b",), ("a", "b"), ()]),
    st.sampled_from([60, 300, 900, 1000, 3600, 86400, 7 * 86400]),
    st.integers(1, 5),
    st.sampled_from([0, 300, 900]),
    st.sampled_from([None, (), LIT, LIT[:1], LIT[1:], (Window(NOW - 2 * HOUR, NOW + 2 * DAY),)]),
    maybe,
    maybe,
)
budgets_drawn = st.builds(
    lambda scope, window, limit, calendar, taken, turns, hold: Budget(
        scope,
        quota(window, limit, Alignment.CALENDAR if calendar else Alignment.UNKNOWN),
        taken,
        NOW + timedelta(seconds=turns),
        hold,
    ),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(QuotaWindow),
    st.sampled_from([0, 1, 10, 100, 2000, 10**6]),
    st.booleans(),
    st.integers(0, 2500),
    st.integers(0, 32 * 86400),
    maybe,
)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(needs_drawn, max_size=6, unique_by=lambda n: n.key),
    st.lists(budgets_drawn, max_size=5),
    st.randoms(),
)
def test_every_plan_is_complete_not_in_the_past_patient_and_repeatable(
    needs: list[StreamNeed], budgets: list[Budget], chance: random.Random
) -> None:
    dues = plan(needs, budgets, NOW)
    assert set(dues) == {n.key for n in needs}
    for wanted in needs:
        due = dues[wanted.key]
        assert due.at >= NOW
        assert due.every_s >= wanted.every_s
        assert due.why
        if wanted.wait_until is not None:
            assert due.at >= wanted.wait_until
        for budget in budgets:
            if budget.scope in wanted.scopes and budget.hold_until is not None:
                assert due.at >= budget.hold_until
            kept = keep_for_people(budget.quota.limit, budget.quota.window)
            if budget.scope in wanted.scopes and budget.left - kept < wanted.cost:
                assert due.at >= budget.turns_at
    chance.shuffle(needs)
    chance.shuffle(budgets)
    assert plan(needs, budgets, NOW) == dues


@pytest.mark.parametrize("every_s", [60, 300, 900, 3600, 6 * 3600, 86400, 7 * 86400])
def test_a_stream_is_asked_again_one_cadence_later_on_its_own_second(every_s: int) -> None:
    at = due_at(need(every_s=every_s, polled_at=None))
    seen = []
    for _ in range(50):
        at = due_at(need(every_s=every_s, polled_at=at), at)
        seen.append(at)
    assert {(b - a).total_seconds() for a, b in itertools.pairwise(seen)} == {every_s}
    slot = min(every_s, 900)
    assert (seen[0].timestamp() - 300) % slot == offset_s("s", min(slot // 3, 300))


@pytest.mark.parametrize("late_s", [0, 1, 200, 449])
def test_lateness_below_half_a_slot_never_costs_a_slot(late_s: int) -> None:
    first = due_at(need())
    second = due_at(need(polled_at=first + timedelta(seconds=late_s)), first + timedelta(seconds=late_s))
    assert second - first == timedelta(seconds=900)


def test_asking_early_because_somebody_clicked_does_not_bring_the_next_slot_twice() -> None:
    regular = due_at(need())
    clicked = regular - timedelta(seconds=60)
    assert due_at(need(polled_at=clicked), clicked) == regular + timedelta(seconds=900)


def test_planning_again_before_it_is_due_changes_nothing() -> None:
    for lit in (None, LIT):
        due = due_at(need(daylight=lit))
        for ago_s in range(0, int((due - NOW).total_seconds()), 37):
            assert due_at(need(daylight=lit), NOW + timedelta(seconds=ago_s)) == due


def test_a_stream_never_asked_is_due_at_once_also_at_night() -> None:
    night = DUSK + 4 * HOUR
    assert due_at(need(polled_at=None, daylight=LIT), night) == night
    hold = replace(PLENTY, hold_until=night + HOUR)
    assert due_at(need(polled_at=None), night, hold) >= night + HOUR


def test_what_was_missed_while_nobody_ran_is_asked_for_at_once() -> None:
    assert due_at(need(polled_at=NOW - 3 * DAY)) == NOW
    assert due_at(need(polled_at=DUSK - HOUR, daylight=LIT), DUSK + HOUR) == DUSK + HOUR


@pytest.mark.parametrize("ahead", [timedelta(minutes=1), HOUR, DAY, 400 * DAY])
def test_a_poll_that_a_wrong_clock_put_into_the_future_silences_nobody(ahead: timedelta) -> None:
    assert due_at(need(polled_at=NOW + ahead)) <= NOW + timedelta(seconds=1800)


def test_the_night_waits_for_dawn_and_dusk_is_picked_up_once() -> None:
    at, seen = DUSK - HOUR, []
    while at < DAWN + DAY + HOUR:
        at = due_at(need(daylight=LIT, polled_at=at), at)
        seen.append(at)
    closed = [floor_time(a - timedelta(seconds=300), 900) for a in seen]
    assert closed == [DUSK + n * timedelta(minutes=15) for n in (-4, -3, -2, -1, 0)] + [
        DAWN + DAY + n * timedelta(minutes=15) for n in range(5)
    ]


@pytest.mark.parametrize(("windows", "why"), [((), "sun does not rise"), (LIT[:1], "cadence")])
def test_where_no_daylight_is_ahead_the_stream_is_asked_once_a_day(windows: tuple[Window, ...], why: str) -> None:
    now = DUSK + HOUR
    due = plan([need(daylight=windows, polled_at=now)], [PLENTY], now)["s"]
    assert DAY - HOUR < due.at - now < DAY + HOUR
    assert why in due.why


def test_where_the_sun_does_not_set_day_is_around_the_clock() -> None:
    always = (Window(NOW - 2 * HOUR, NOW + 2 * DAY),)
    assert due_at(need(daylight=always)) == due_at(need())


def test_the_same_dawn_the_same_hold_and_the_same_turn_do_not_make_a_herd() -> None:
    keys = [f"s{n}" for n in range(600)]
    night = DUSK + 3 * HOUR
    spent = Budget("a", quota(QuotaWindow.DAY, 100_000), 100_000, night + HOUR)
    cases = {
        "dawn": ([need(k, night, daylight=LIT) for k in keys], [PLENTY]),
        "hold": ([need(k, night) for k in keys], [replace(PLENTY, hold_until=night + HOUR)]),
        "turn": ([need(k, night) for k in keys], [spent]),
    }
    for name, (needs, budgets) in cases.items():
        dues = plan(needs, budgets, night).values()
        assert max(Counter(d.at for d in dues).values()) <= 10, name
        assert (max(d.at for d in dues) - min(d.at for d in dues)).total_seconds() < 900, name


def test_offsets_spread_ten_thousand_streams_evenly() -> None:
    """J2: no second has twice the calls of the mean one."""
    seconds = Counter(offset_s(f"stream {n}", 300) for n in range(10_000))
    assert len(seconds) == 300
    assert max(seconds.values()) <= 2 * 10_000 / 300
    assert {offset_s(f"{n}", w) for n in range(9) for w in (0, 1)} == {0}


def test_a_minutes_quota_widens_the_spread_until_its_calls_fit() -> None:
    minute = Budget("a", quota(QuotaWindow.MINUTE, 10), 0, NOW)
    needs = [need(f"s{n}") for n in range(100)]
    seconds = sorted(d.at.timestamp() for d in plan(needs, [minute], NOW).values())
    assert seconds[-1] - seconds[0] > 600
    few = sorted(d.at.timestamp() for d in plan(needs[:20], [minute], NOW).values())
    assert few[-1] - few[0] < 300


def test_the_strictest_of_several_scopes_sets_the_pace() -> None:
    shared = StreamNeed("s", ("a", "b"), 900, 1, 0, None, NOW)
    month = quota(QuotaWindow.MONTH, 1000)
    tight, wide = Budget("a", month, 0, NOW), Budget("b", quota(QuotaWindow.MONTH, 10**6), 0, NOW)
    for budgets in ([tight, wide], [replace(wide, scope="a"), replace(tight, scope="b")]):
        due = plan([shared, need("t")], budgets, NOW)["s"]
        assert due.every_s > 2000
        assert "what the quota allows" in due.why
    assert plan([shared], [wide], NOW)["s"].every_s == 900


def test_what_the_budget_does_not_know_stops_nobody() -> None:
    assert plan([need()], [], NOW)["s"].every_s == 900


def test_others_spending_slows_the_rest_of_the_window_not_its_end() -> None:
    """History took 1,300 of 2,000 on the first day: the 600 left are spread over the month they must last."""
    burst = Budget("a", quota(QuotaWindow.MONTH, 2000), 1300, NOW + 31 * DAY)
    assert plan([need()], [burst], NOW)["s"].every_s == pytest.approx(31 * 86400 / 600, rel=0.02)
    half = Budget("a", quota(QuotaWindow.MONTH, 2000, Alignment.CALENDAR), 1300, NOW + 15 * DAY)
    assert plan([need()], [half], NOW)["s"].every_s == pytest.approx(15 * 86400 / 600, rel=0.02)


@pytest.mark.parametrize("alignment", list(Alignment))
def test_a_spent_quota_puts_nobody_off_beyond_its_return(alignment: Alignment) -> None:
    """Whatever the arithmetic of nothing left says, a stream is due when calls come back."""
    back = NOW + HOUR
    for window in (QuotaWindow.DAY, QuotaWindow.MONTH):
        for taken in (1899, 1900, 2000, 5000):
            budget = Budget("a", quota(window, 2000, alignment), taken, back)
            for lit in (None, LIT):
                due = due_at(need(daylight=lit), NOW, budget)
                assert back - HOUR <= due <= back + timedelta(seconds=1800), (window, taken, lit)


@pytest.mark.parametrize(("lit", "calls"), [(None, 192), ((), 0), (LIT, 128), ((Window(NOW, NOW + 2 * DAY),), 192)])
def test_demand_counts_the_light_only(lit: tuple[Window, ...] | None, calls: float) -> None:
    assert demand_per_day(need(daylight=lit, cost=2)) == pytest.approx(calls)


def test_the_demand_of_a_day_does_not_depend_on_the_hour_at_which_it_is_asked() -> None:
    days = [Window(DAWN + n * DAY, DUSK + n * DAY) for n in range(-2, 5)]
    for hour in range(24):
        told = Window(DAWN + (hour - 2) * HOUR, DAWN + (hour + 48) * HOUR)
        lit = tuple(part for w in days if (part := w.meet(told)) is not None)
        assert demand_per_day(need(daylight=lit)) == pytest.approx(64), hour


@pytest.mark.parametrize(
    ("window", "people", "live"),
    [
        (QuotaWindow.MONTH, 100, 600),
        (QuotaWindow.DAY, 100, 600),
        (QuotaWindow.HOUR, 0, 400),
        (QuotaWindow.MINUTE, 0, 400),
    ],
)
def test_what_is_kept_for_whom(window: QuotaWindow, people: int, live: int) -> None:
    assert keep_for_people(2000, window) == people
    assert keep_for_live(2000, window) == live
    assert keep_for_live(2, QuotaWindow.MINUTE) == 1
