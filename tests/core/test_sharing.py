"""Who shares a quota counts: streams known one by one, and others of whom only the day's sum is known."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from enalysis.core.daylight import Place, daylight, lit_around
from enalysis.core.intervals import Window, floor_time
from enalysis.core.planner import StreamNeed, demand_per_day, plan
from enalysis.core.quotas import Alignment, Budget, QuotaWindow
from tests.core.fleet import quota

NOW = datetime(2026, 6, 2, 17, 7, 30, tzinfo=UTC)
MONTH = Budget("a", quota(QuotaWindow.MONTH, 50_000, Alignment.CALENDAR), 1000, NOW + timedelta(days=28))
MINUTE = Budget("a", quota(QuotaWindow.MINUTE, 50), 0, NOW)


def fleet(number: int) -> list[StreamNeed]:
    """Return streams of sites in the west of America, half of them by day."""
    lights = [lit_around(Place(30 + n / 50, -110.0), floor_time(NOW, 3600)) for n in range(20)]
    ago = NOW - timedelta(seconds=600)
    return [StreamNeed(f"{n}", ("a",), 900, 1, 300, lights[n % 20] if n % 2 else None, ago) for n in range(number)]


def test_others_count_as_if_they_were_known_one_by_one() -> None:
    """Half the fleet told by its sum slows the other half down as the whole fleet does."""
    needs = fleet(400)
    mine, rest = needs[:200], needs[200:]
    whole = plan(needs, [MONTH, MINUTE], NOW)
    halved = plan(mine, [MONTH, MINUTE], NOW, {"a": sum(map(demand_per_day, rest))})
    alone = plan(mine, [MONTH, MINUTE], NOW)
    for need in mine:
        assert halved[need.key].every_s == pytest.approx(whole[need.key].every_s, rel=0.03)
        assert halved[need.key].every_s > 1.9 * alone[need.key].every_s


def test_others_of_another_quota_change_nothing() -> None:
    needs = fleet(40)
    assert plan(needs, [MONTH], NOW, {"b": 10**6}) == plan(needs, [MONTH], NOW)


def test_others_widen_the_spread_within_a_slot() -> None:
    needs = [replace(n, daylight=None) for n in fleet(20)]
    calm = [d.at for d in plan(needs, [MINUTE], NOW).values()]
    busy = [d.at for d in plan(needs, [MINUTE], NOW, {"a": 500 * 96.0}).values()]
    assert (max(busy) - min(busy)) > 1.5 * (max(calm) - min(calm))


def test_only_some_are_planned_at_the_pace_of_all() -> None:
    needs = fleet(400)
    only = {n.key for n in needs[:7]}
    assert plan(needs, [MONTH, MINUTE], NOW, only=only) == {
        key: due for key, due in plan(needs, [MONTH, MINUTE], NOW).items() if key in only
    }


def test_planning_a_batch_of_a_big_fleet_takes_less_than_50_ms() -> None:
    needs = fleet(4000)
    only = {n.key for n in needs[:100]}
    took = []
    for _ in range(7):
        begun = time.perf_counter()
        plan(needs, [MONTH, MINUTE], NOW, only=only)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.05


def test_daylight_put_together_from_days_is_that_of_the_whole() -> None:
    for place in (Place(47.07, 15.44), Place(-33.87, 151.21), Place(69.65, 18.96), Place(34.05, -118.24)):
        for hours in range(0, 48, 5):
            hour = floor_time(NOW, 3600) + timedelta(hours=hours)
            told = Window(hour - timedelta(hours=24), hour + timedelta(hours=48))
            whole = sum(w.seconds for w in daylight(told, place))
            assert sum(w.seconds for w in lit_around(place, hour)) == pytest.approx(whole, abs=6000)
