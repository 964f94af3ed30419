"""The ledger of slots: runs split at the site's midnight, merged so that nothing known gets worse."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enalysis.core.coverage import Run, Slot, count, expected, joined, merge, runs
from enalysis.core.intervals import Window, day_window

BERLIN = ZoneInfo("Europe/Berlin")
DAY = date(2026, 6, 2)
QUARTER = timedelta(minutes=15)
# The order of worth, written out once more: the last is the best.
WORTH = ".rxnqs"


def run_of(slots: int) -> st.SearchStrategy[Run]:
    """Draw a run that lies within a day of `slots` slots."""
    return st.integers(0, slots - 1).flatmap(
        lambda first: st.builds(
            Run,
            st.just(DAY),
            st.just(slots),
            st.just(first),
            st.text(WORTH, min_size=1, max_size=slots - first),
        )
    )


def best(*rows: str) -> str:
    """Return slot by slot the best letter of rows that begin at the first slot."""
    return "".join(max(column, key=WORTH.index) for column in itertools.zip_longest(*rows, fillvalue="."))


def laid(run: Run) -> str:
    """Return a run as the letters of its whole day."""
    return ("." * run.first + run.letters).ljust(run.slots, ".")


def test_every_letter_has_its_worth() -> None:
    assert set(WORTH) == {s.value for s in Slot}


@settings(deadline=None, max_examples=50)
@given(st.lists(run_of(24), min_size=1, max_size=6), st.randoms())
def test_runs_may_come_in_any_order_and_any_number_of_times(found: list[Run], chance: object) -> None:
    """Commutative, associative and idempotent: the day is the best that anybody ever told of each slot."""
    whole = best(*(laid(r) for r in found))
    shuffled = [*found, *found]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    row = ""
    for run in shuffled:
        row = merge(row, run)
    assert row == whole


@settings(deadline=None, max_examples=50)
@given(run_of(24), run_of(24), st.text(WORTH, max_size=24))
def test_joining_runs_first_is_merging_both(one: Run, two: Run, old: str) -> None:
    both = joined(one, two)
    assert (both.day, both.slots) == (DAY, 24)
    assert merge(old, both) == merge(merge(old, one), two) == merge(merge(old, two), one)


@settings(deadline=None, max_examples=50)
@given(st.text(WORTH, max_size=24), run_of(24))
def test_no_slot_gets_worse(old: str, run: Run) -> None:
    new = merge(old, run)
    assert len(new) == 24
    for before, after in zip(old.ljust(24, "."), new, strict=True):
        assert WORTH.index(after) >= WORTH.index(before)


def test_a_run_beyond_the_day_is_cut_and_a_longer_day_padded() -> None:
    assert merge("s", Run(DAY, 4, 3, "nnnn")) == "s..n"
    assert merge("ssssss", Run(DAY, 4, 0, "n")) == "ssss"


def test_a_window_is_split_at_the_sites_midnight_and_each_slot_named_once() -> None:
    window = Window(datetime(2026, 6, 1, 21, tzinfo=UTC), datetime(2026, 6, 1, 23, tzinfo=UTC))
    stored = [window.start + QUARTER * n for n in (0, 1, 5)]
    bad = [window.start + QUARTER * n for n in (1, 2)]
    assert runs(window, 900, BERLIN, stored, bad) == [
        Run(date(2026, 6, 1), 96, 92, "ssqn"),
        Run(date(2026, 6, 2), 96, 0, "nsnn"),
    ]


@pytest.mark.parametrize(
    ("zone", "day", "slots"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 92),
        ("Europe/Berlin", date(2026, 10, 25), 100),
        ("Australia/Lord_Howe", date(2026, 4, 5), 98),
        ("Australia/Lord_Howe", date(2026, 10, 4), 94),
        ("Asia/Beirut", date(2026, 3, 29), 92),
        ("Asia/Kathmandu", DAY, 96),
    ],
)
def test_a_day_of_changed_clocks_has_its_own_number_of_slots(zone: str, day: date, slots: int) -> None:
    window = day_window(day, ZoneInfo(zone))
    (run,) = runs(window, 900, ZoneInfo(zone), window.slots(900))
    assert run == Run(day, slots, 0, "s" * slots)
    assert merge("", run) == "s" * slots


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "Asia/Beirut", "Asia/Kathmandu", "Pacific/Apia"]),
    st.sampled_from([date(2026, 3, 27), date(2026, 10, 23), date(2026, 4, 3), date(2011, 12, 28), DAY]),
    st.integers(0, 96 * 4),
    st.integers(1, 96 * 3),
    st.sampled_from([300, 900]),
)
def test_every_slot_of_an_answer_is_named_in_exactly_one_run(
    name: str, day: date, first: int, length: int, step_s: int
) -> None:
    zone = ZoneInfo(name)
    start = day_window(day, zone).start + first * timedelta(seconds=step_s)
    window = Window(start, start + length * timedelta(seconds=step_s))
    stored = [at for n, at in enumerate(window.slots(step_s)) if n % 3]
    named = []
    for run in runs(window, step_s, zone, stored):
        whole = day_window(run.day, zone)
        assert run.slots * step_s == whole.seconds
        named += [
            (whole.start + timedelta(seconds=step_s * (run.first + n)), letter) for n, letter in enumerate(run.letters)
        ]
    assert named == [(at, "s" if at in stored else "n") for at in window.slots(step_s)]


def test_what_a_vendor_must_have_told_by_now() -> None:
    midnight = day_window(DAY, BERLIN).start
    ahead = [-1, 0, 900, 1199, 1200, 86400, 86400 + 300, 86400 * 9]
    told = [expected(DAY, BERLIN, 900, midnight + timedelta(seconds=s), 300) for s in ahead]
    assert told == [0, 0, 0, 0, 1, 95, 96, 96]


@settings(deadline=None, max_examples=50)
@given(st.text(WORTH, max_size=100))
def test_the_states_of_a_day_add_up_to_its_slots(letters: str) -> None:
    assert sum(count(letters).values()) == len(letters)
    assert set(count(letters)) == set(Slot)
