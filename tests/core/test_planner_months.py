"""Fleets that follow the planner for days and months: no quota broken, none wasted, nobody starved."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from enalysis.core.daylight import Place
from enalysis.core.intervals import Window, floor_time
from enalysis.core.quotas import SPAN_S, Alignment, Quota, QuotaWindow
from tests.core.fleet import START, Fleet, Ledger, Stream, gaps_s, house, quota

GRAZ, LOS_ANGELES, SYDNEY = Place(47.07, 15.44), Place(34.05, -118.24), Place(-33.87, 151.21)
TROMSO = Place(69.65, 18.96, exact=False)
DAY = timedelta(days=1)
FREE = [quota(QuotaWindow.MONTH, 2000), quota(QuotaWindow.MINUTE, 10)]
PLENTY = [quota(QuotaWindow.MONTH, 200_000), quota(QuotaWindow.MINUTE, 300)]


def assert_kept(ledger: Ledger) -> None:
    """Hold every real window of every quota against its limit."""
    for q in ledger.quotas:
        assert ledger.most_in_any(q) <= q.limit, q


def random_fleet(chance: random.Random) -> tuple[list[Stream], list[Quota]]:
    """Make up a fleet and quotas of an account."""
    places = [None, GRAZ, LOS_ANGELES, SYDNEY, TROMSO]
    streams = [
        Stream(
            f"s{n}",
            chance.choice([900, 900, 3600, 86400]),
            chance.choice([1, 1, 3]),
            chance.choice([0, 300, 900]),
            chance.choice(places),
            fails=chance.random() < 0.1,
        )
        for n in range(chance.randint(1, 5))
    ]
    kinds = chance.sample(list(QuotaWindow), chance.randint(1, 3))
    limits = {QuotaWindow.MINUTE: 5, QuotaWindow.HOUR: 30, QuotaWindow.DAY: 60, QuotaWindow.MONTH: 700}
    return streams, [quota(w, round(limits[w] * chance.uniform(0.5, 3)), chance.choice(list(Alignment))) for w in kinds]


@pytest.mark.parametrize("seed", range(4))
def test_no_fleet_breaks_its_quota_in_a_month(seed: int) -> None:
    """Whatever the fleet, wherever the vendor's windows begin; and the ledger hardly ever has to say no."""
    chance = random.Random(seed)  # noqa: S311 - a fleet, no secret
    streams, quotas = random_fleet(chance)
    fleet = Fleet(streams, Ledger("a", quotas)).run(START, 33, late_s=60, seed=seed)
    assert fleet.ledger.calls
    assert_kept(fleet.ledger)
    assert fleet.refused <= 0.02 * len(fleet.ledger.calls) + 20


@pytest.mark.parametrize("place", [GRAZ, LOS_ANGELES])
def test_a_free_account_lasts_all_month_and_is_used_up(place: Place) -> None:
    """One site, three streams, 2,000 calls: every day alike, at most the people's share left over."""
    fleet = Fleet(house(place), Ledger("a", FREE)).run(START, 36)
    assert_kept(fleet.ledger)
    days = fleet.ledger.per_day()[1:35]
    assert max(days) <= 1.15 * min(days)
    assert fleet.ledger.most_in_any(FREE[0]) >= 0.95 * 0.95 * 2000
    # Best is every stream at one even pace, with news told `delay_s` and an offset of at most 300 s late.
    for stream in fleet.streams:
        every = len(days) * 86400 / len([p for p in stream.polls if DAY < p - START < 35 * DAY])
        light = Window(START + DAY, START + 35 * DAY)
        lit_share = sum(w.seconds for p in stream.light if (w := p.meet(light))) / light.seconds
        best = every * lit_share / 2 + stream.delay_s
        assert stream.mean_age_s(light) <= 1.1 * best, stream.key


def test_five_sites_on_a_free_account_get_fewer_polls_each_and_all_of_them_alike() -> None:
    streams = [Stream(f"s{n}", place=GRAZ) for n in range(5)]
    fleet = Fleet(streams, Ledger("a", [quota(QuotaWindow.MONTH, 1000)])).run(START, 33)
    assert_kept(fleet.ledger)
    counts = [len(s.polls) for s in streams]
    assert max(counts) <= 1.1 * min(counts)
    days = fleet.ledger.per_day()[1:32]
    assert max(days) <= 1.2 * min(days)


def test_a_fleet_too_big_for_one_poll_a_day_takes_turns() -> None:
    streams = [Stream(f"s{n}", place=GRAZ) for n in range(24)]
    fleet = Fleet(streams, Ledger("a", [quota(QuotaWindow.MONTH, 360)])).run(START, 33)
    assert_kept(fleet.ledger)
    assert all(8 <= len(s.polls) <= 18 for s in streams)
    days = Counter(p.date() for s in streams for p in s.polls)
    assert all(2 <= days[(START + n * DAY).date()] <= 22 for n in range(20, 33))


@pytest.mark.parametrize("late_s", [0, 120, 400])
def test_with_quota_to_spare_every_slot_is_asked_for(late_s: int) -> None:
    """96 polls a day around the clock and one for every lit quarter, also where each comes late."""
    fleet = Fleet(house(GRAZ), Ledger("a", PLENTY)).run(START, 5, late_s=late_s)
    assert fleet.refused == 0
    energy, meters, storage = fleet.streams
    for stream in (meters, storage):
        assert len(stream.polls) in {480, 481}
        assert max(gaps_s(stream.polls[1:])) <= 900 + late_s
    told = {floor_time(p - timedelta(seconds=300), 900) for p in energy.polls}
    lit = Window(START + timedelta(hours=1), START + 4 * DAY)
    grid = Window(floor_time(lit.start, 900), lit.end).slots(900)
    wanted = {at for at in grid if at in lit and any(at in part for part in energy.light)}
    assert len(wanted) > 200
    assert wanted - told == set()


def test_a_night_costs_one_poll_after_dusk_and_dusk_is_never_left_out() -> None:
    """With quota to spare and without: the day's last slots are there a quarter and the delay after dusk."""
    for quotas in (PLENTY, FREE):
        stream = Stream("energy", place=GRAZ)
        fleet = Fleet([stream, Stream("m"), Stream("n")], Ledger("a", quotas)).run(START, 6)
        assert fleet.refused == 0
        dusks = [w.end for w in stream.light if START < w.end < START + 5 * DAY]
        assert len(dusks) == 5
        for dusk in dusks:
            night = [p for p in stream.polls if dusk <= p < dusk + timedelta(hours=7)]
            after = [p for p in night if p >= dusk + timedelta(seconds=300)]
            assert len(after) == 1, dusk
            assert after[0] - dusk < timedelta(seconds=300 + 900 + 300)


def test_the_polar_night_costs_a_poll_a_day_and_the_polar_day_none_less_than_any_other() -> None:
    winter, summer = Stream("w", place=TROMSO), Stream("s", place=TROMSO)
    Fleet([winter], Ledger("a", PLENTY)).run(datetime(2026, 12, 14, tzinfo=UTC), 14)
    Fleet([summer], Ledger("a", PLENTY)).run(datetime(2026, 6, 14, tzinfo=UTC), 5)
    assert 13 <= len(winter.polls) <= 16
    assert len(summer.polls) in {480, 481}


def test_history_fetched_first_does_not_starve_the_month_that_follows() -> None:
    """Backfill took 1,300 of 2,000 in two hours; the rest is spread, and the pace recovers after 32 days."""
    ledger = Ledger("a", FREE)
    for n in range(1300):
        assert ledger.take(START + timedelta(seconds=6.5 * n), 1, live=False) is None
    fleet = Fleet([Stream("meters")], ledger)
    fleet.run(START + timedelta(hours=3), 45)
    assert_kept(ledger)
    assert max(gaps_s(fleet.streams[0].polls)) < 2 * 31 * 86400 / 600
    late = [p for p in fleet.streams[0].polls if p > START + 35 * DAY]
    assert len(late) > 9 * 50


@pytest.mark.parametrize("limit", [300, 900])
def test_a_calendar_month_is_spread_to_its_end(limit: int) -> None:
    month = quota(QuotaWindow.MONTH, limit, Alignment.CALENDAR)
    fleet = Fleet(house(GRAZ), Ledger("a", [month])).run(datetime(2026, 7, 1, tzinfo=UTC), 62)
    assert_kept(fleet.ledger)
    for first, last in ((0, 31), (31, 62)):
        days = fleet.ledger.per_day()[first:last]
        assert sum(days) >= 0.9 * 0.95 * limit
        assert max(gaps_s(sorted(p for s in fleet.streams for p in s.polls))) < 4 * 86400 * 31 / limit
        assert sum(days[-5:]) >= 0.6 * sum(days) / len(days) * 5


def test_a_stream_that_fails_is_asked_no_more_often_and_takes_nothing_from_the_others() -> None:
    broken, sound = Stream("broken", fails=True), Stream("sound")
    fleet = Fleet([broken, sound], Ledger("a", PLENTY)).run(START, 2)
    assert broken.polls == []
    asked = len(fleet.ledger.calls) - len(sound.polls)
    assert 180 <= asked <= 194
    assert len(sound.polls) in {192, 193}


def test_while_the_vendor_says_wait_nobody_asks_and_afterwards_everybody_does() -> None:
    ledger = Ledger("a", PLENTY, hold_until=START + timedelta(hours=5))
    fleet = Fleet(house(GRAZ), ledger).run(START, 1)
    assert min(at for at, _ in ledger.calls) >= START + timedelta(hours=5)
    for stream in fleet.streams:
        assert stream.polls[0] < START + timedelta(hours=5, minutes=20)


def test_thirty_streams_ask_within_three_calls_a_minute() -> None:
    """2.1 calls a minute fit three only if they are spread over the whole quarter of an hour."""
    streams = [Stream(f"s{n}") for n in range(30)]
    fleet = Fleet(streams, Ledger("a", [quota(QuotaWindow.MINUTE, 3)]))
    fleet.run(START, 0.12)
    assert_kept(fleet.ledger)
    settled = START + timedelta(hours=1)
    refusals = sum(1 for at, due in fleet.dues if at > settled and "quota" in due.why)
    assert refusals < 0.25 * len([at for at, _ in ledger_after(fleet, settled)])
    assert all(len(s.polls) >= 9 for s in streams)


def ledger_after(fleet: Fleet, at: datetime) -> list[tuple[datetime, int]]:
    """Return the calls after an instant."""
    return [call for call in fleet.ledger.calls if call[0] > at]


def test_the_ledger_of_these_tests_refuses_what_it_should() -> None:
    """The fleet proves something only while its ledger does."""
    ledger = Ledger("a", [quota(QuotaWindow.MINUTE, 3)])
    assert [ledger.take(START, 1) for _ in range(3)] == [None] * 3
    until = ledger.take(START + timedelta(seconds=61), 1)
    assert until == floor_time(START, 1) + timedelta(seconds=SPAN_S[QuotaWindow.MINUTE])
    assert ledger.take(until, 1) is None
    ledger.calls += [(START + timedelta(seconds=100 + n), 2) for n in range(2)]
    assert ledger.most_in_any(ledger.quotas[0]) == 5
