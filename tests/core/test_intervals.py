"""Windows, slots and the days of a site's zone."""

import itertools
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enalysis.core.intervals import (
    Window,
    ceil_time,
    day_slots,
    day_window,
    floor_time,
    local_day,
    local_days,
    resolve_local,
)

BERLIN, BEIRUT, HAVANA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Beirut"), ZoneInfo("America/Havana")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
# Half hours, three quarters, Ramadan, changes at midnight, two hours at once, a day that never was.
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "Asia/Beirut",
    "America/Havana",
    "America/Santiago",
    "Atlantic/Azores",
    "Africa/Cairo",
    "Antarctica/Troll",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "Asia/Pyongyang",
]
YEARS = [2011, 2018, 2025, 2026]
TICK = timedelta(microseconds=1)


def utc(*parts: int) -> datetime:
    """Return an instant."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]  # parts are year to second only


def days_of(year: int) -> Iterable[date]:
    """Yield the days of a year."""
    first = date(year, 1, 1)
    return (first + timedelta(days=n) for n in range((date(year + 1, 1, 1) - first).days))


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("year", YEARS)
def test_days_tile_the_line_and_quarters_tile_the_days(name: str, year: int) -> None:
    """No instant lies in no day or in two, none is lost to a change of clocks, and each knows its own day."""
    zone = ZoneInfo(name)
    end = day_window(date(year, 1, 1), zone).start
    seconds = 0.0
    for day in days_of(year):
        window = day_window(day, zone)
        assert window.start == end, day
        slots = day_slots(day, zone, 900)
        assert len(slots) * 900 == window.seconds, day
        assert all(local_day(slot, zone) == day for slot in slots), day
        if window.seconds:
            assert slots[0] == window.start
            assert local_day(window.start - TICK, zone) < day
            assert local_day(window.end - TICK, zone) == day
        end, seconds = window.end, seconds + window.seconds
    whole = Window(day_window(date(year, 1, 1), zone).start, end)
    assert whole.seconds == seconds
    existing = [d for d in days_of(year) if day_window(d, zone).seconds]
    assert [d for d in local_days(whole, zone) if day_window(d, zone).seconds] == existing


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 6, 2), 24),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
        ("Asia/Kathmandu", date(2026, 3, 29), 24),
        ("Africa/Casablanca", date(2026, 2, 15), 25),
        ("Africa/Casablanca", date(2026, 3, 22), 23),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),
        ("America/Sao_Paulo", date(2018, 2, 17), 25),
        ("Asia/Beirut", date(2026, 3, 29), 23),
        ("Asia/Beirut", date(2026, 10, 24), 25),
        ("America/Havana", date(2026, 3, 8), 23),
        ("America/Havana", date(2026, 11, 1), 25),
        ("Antarctica/Troll", date(2026, 3, 29), 22),
        ("Pacific/Apia", date(2011, 12, 30), 0),
    ],
)
def test_length_of_a_day(zone: str, day: date, hours: float) -> None:
    assert day_window(day, ZoneInfo(zone)).seconds == hours * 3600


def test_a_day_whose_midnight_does_not_exist_begins_when_the_clocks_change() -> None:
    """In Beirut 2026-03-28 ends at 24:00 winter time, which already reads 01:00."""
    start = day_window(date(2026, 3, 29), BEIRUT).start
    assert start == utc(2026, 3, 28, 22)
    assert start.astimezone(BEIRUT).hour == 1


def test_a_day_whose_midnight_comes_twice_begins_with_the_first() -> None:
    """In Havana 00:00 to 01:00 of 2026-11-01 happens twice; both hours are of that day."""
    start = day_window(date(2026, 11, 1), HAVANA).start
    assert start == utc(2026, 11, 1, 4)
    assert {(start + timedelta(minutes=m)).astimezone(HAVANA).hour for m in range(0, 120, 15)} == {0}


def test_a_day_that_went_on_after_midnight_keeps_its_second_last_hour() -> None:
    """In São Paulo 2018-02-18 00:00 read 23:00 again: the hour still belongs to the 17th."""
    window = day_window(date(2018, 2, 17), SAO_PAULO)
    late = [at for at in window.slots(3600) if at.astimezone(SAO_PAULO).hour == 23]
    assert [b - a for a, b in itertools.pairwise(late)] == [timedelta(hours=1)]


@settings(deadline=None)
@given(
    st.sampled_from(ZONES),
    st.datetimes(datetime(2012, 1, 1), datetime(2032, 1, 1)),  # noqa: DTZ001 - made aware below
    st.integers(0, 400_000),
)
def test_every_instant_of_a_window_lies_in_exactly_one_of_its_days(name: str, naive: datetime, length_s: int) -> None:
    zone = ZoneInfo(name)
    window = Window(naive.replace(tzinfo=UTC), naive.replace(tzinfo=UTC) + timedelta(seconds=length_s))
    parts = [part for d in local_days(window, zone) if (part := window.meet(day_window(d, zone)))]
    assert sum((part.end - part.start for part in parts), timedelta()) == window.end - window.start
    for one, two in itertools.pairwise(parts):
        assert one.end == two.start
    assert naive.replace(tzinfo=UTC) in day_window(local_day(naive.replace(tzinfo=UTC), zone), zone)


@settings(deadline=None)
@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001 - made aware below
    st.sampled_from([1, 60, 300, 900, 3600, 86400]),
)
def test_rounding_brackets_the_instant(naive: datetime, step_s: int) -> None:
    at = naive.replace(tzinfo=UTC)
    low, high = floor_time(at, step_s), ceil_time(at, step_s)
    assert low <= at <= high
    assert (high - low).total_seconds() == (0 if low == at else step_s)
    assert low.timestamp() % step_s == 0
    assert floor_time(low, step_s) == ceil_time(low, step_s) == low


def test_rounding_works_in_any_zone_and_before_1970() -> None:
    assert floor_time(datetime(2026, 6, 2, 11, 7, tzinfo=BERLIN), 900) == utc(2026, 6, 2, 9)
    assert floor_time(utc(1969, 12, 31, 23, 59), 900) == utc(1969, 12, 31, 23, 45)


@settings(deadline=None)
@given(st.integers(0, 100_000), st.integers(50, 50_000))
def test_chunks_tile_the_window(length_s: int, chunk_s: int) -> None:
    window = Window(utc(2026, 6, 2), utc(2026, 6, 2) + timedelta(seconds=length_s))
    pieces = list(window.chunks(chunk_s))
    assert sum(p.seconds for p in pieces) == window.seconds
    assert all(p.seconds <= chunk_s for p in pieces)
    assert all(p.seconds == chunk_s for p in pieces[:-1])
    edges = [window.start, *(p.end for p in pieces)]
    assert edges[-1] == window.end
    assert all(p.start == edge for p, edge in zip(pieces, edges, strict=False))


def test_slots_are_the_whole_ones_only() -> None:
    window = Window(utc(2026, 6, 2), utc(2026, 6, 2, 0, 59))
    assert list(window.slots(900)) == [utc(2026, 6, 2), utc(2026, 6, 2, 0, 15), utc(2026, 6, 2, 0, 30)]
    assert list(Window(utc(2026, 6, 2), utc(2026, 6, 2)).slots(900)) == []


def test_a_window_is_half_open_and_meets_only_what_it_shares() -> None:
    one, two, three = utc(2026, 6, 2), utc(2026, 6, 3), utc(2026, 6, 4)
    assert one in Window(one, two)
    assert two not in Window(one, two)
    assert Window(one, two).meet(Window(two, three)) is None
    assert Window(one, three).meet(Window(two, three)) == Window(two, three)
    assert Window(one, one).meet(Window(one, two)) is None


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (datetime(2026, 6, 2), utc(2026, 6, 3)),  # noqa: DTZ001 - what is refused
        (utc(2026, 6, 2), datetime(2026, 6, 3)),  # noqa: DTZ001 - what is refused
        (utc(2026, 6, 3), utc(2026, 6, 2)),
    ],
)
def test_a_window_that_is_none_is_refused(start: datetime, end: datetime) -> None:
    with pytest.raises(ValueError, match="window"):
        Window(start, end)


@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "Asia/Beirut", "America/Havana"])
@pytest.mark.parametrize("year", YEARS)
def test_local_stamps_in_order_find_their_instants_over_every_change_of_clocks(name: str, year: int) -> None:
    """What a vendor writes without an offset, quarter by quarter, comes back whole."""
    zone = ZoneInfo(name)
    changes = [d for d in days_of(year) if day_window(d, zone).seconds != 86400]
    true = [at for d in changes for n in (-1, 0, 1) for at in day_slots(d + timedelta(days=n), zone, 900)]
    assert len(changes) in {2, 4}
    told = [at.astimezone(zone).replace(tzinfo=None) for at in true]
    assert resolve_local(told, zone) == true


def test_gaps_in_the_repeated_hour_do_not_lose_its_second_pass() -> None:
    told = [datetime(2026, 10, 25, 2, m) for m in (0, 45)] + [datetime(2026, 10, 25, 2, m) for m in (15, 30)]  # noqa: DTZ001 - a vendor's
    assert resolve_local(told, BERLIN) == [
        utc(2026, 10, 25, 0, 0),
        utc(2026, 10, 25, 0, 45),
        utc(2026, 10, 25, 1, 15),
        utc(2026, 10, 25, 1, 30),
    ]


def test_a_time_that_never_happened_is_nothing() -> None:
    told = [datetime(2026, 3, 29, h, 30) for h in (1, 2, 3)]  # noqa: DTZ001 - a vendor's
    assert resolve_local(told, BERLIN) == [utc(2026, 3, 29, 0, 30), None, utc(2026, 3, 29, 1, 30)]
    assert resolve_local([datetime(2026, 3, 29, 0, 30)], BEIRUT) == [None]  # noqa: DTZ001 - a vendor's


def test_newest_first_keeps_each_stamp_on_its_own_clock() -> None:
    told = [datetime(2026, 6, 2, h) for h in (3, 2, 1)]  # noqa: DTZ001 - a vendor's
    assert resolve_local(told, BERLIN) == [utc(2026, 6, 2, h) for h in (1, 0)] + [utc(2026, 6, 1, 23)]


@settings(deadline=None, max_examples=10)
@given(st.sampled_from(ZONES), st.integers(2012, 2031), st.sampled_from([300, 900]))
def test_no_energy_is_lost_or_doubled_over_a_year_of_days(name: str, year: int, step_s: int) -> None:
    zone = ZoneInfo(name)
    slots = [slot for day in days_of(year) for slot in day_slots(day, zone, step_s)]
    assert len(slots) == len(set(slots))
    span = Window(day_window(date(year, 1, 1), zone).start, day_window(date(year, 12, 31), zone).end)
    assert len(slots) * step_s == span.seconds
