"""Windows in which quotas are counted, and what is left of them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enalysis.core.quotas import (
    SLICE_S,
    SPAN_S,
    Alignment,
    Budget,
    Quota,
    QuotaScope,
    QuotaWindow,
    calendar_window,
    counting_window,
)

NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)
LONGEST_S = {
    QuotaWindow.MINUTE: 60,
    QuotaWindow.HOUR: 3600,
    QuotaWindow.DAY: 86400,
    QuotaWindow.MONTH: 31 * 86400,
}
FIRST, LAST = datetime(2024, 1, 1), datetime(2033, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone
instants = st.datetimes(FIRST, LAST, timezones=st.just(UTC))


def quota(window: QuotaWindow, alignment: Alignment) -> Quota:
    """Return a quota of ten."""
    return Quota(QuotaScope.ACCOUNT, window, 10, alignment)


@pytest.mark.parametrize("window", list(QuotaWindow))
def test_a_call_is_counted_for_longer_than_any_window_of_the_vendor(window: QuotaWindow) -> None:
    """The last call of a slice is let go a second after any real window of it has ended."""
    assert SPAN_S[window] - SLICE_S[window] >= LONGEST_S[window] + 1


@settings(deadline=None, max_examples=150)
@given(instants, st.sampled_from(QuotaWindow), st.integers(1, 1200))
def test_what_counts_now_covers_the_window_and_not_much_more(now: datetime, window: QuotaWindow, ago: int) -> None:
    """A call counts at least as long as the vendor's window, and at most its span."""
    counted = counting_window(quota(window, Alignment.UNKNOWN), now)
    age_s = ago / 1000 * SPAN_S[window]
    call = now - timedelta(seconds=age_s)
    assert counted.end == now
    if age_s <= LONGEST_S[window] + 1:
        assert call in counted
    if age_s > SPAN_S[window]:
        assert call not in counted
    assert (counted.start.timestamp() % SLICE_S[window]) == 0


@settings(deadline=None)
@given(instants, st.sampled_from(QuotaWindow))
def test_calendar_windows_tile_the_line(now: datetime, window: QuotaWindow) -> None:
    here = calendar_window(window, now)
    assert now in here
    assert calendar_window(window, here.start) == here
    assert calendar_window(window, here.end).start == here.end
    assert calendar_window(window, here.end - timedelta(microseconds=1)) == here
    assert here.seconds <= LONGEST_S[window]
    assert counting_window(quota(window, Alignment.CALENDAR), now) == here


@pytest.mark.parametrize(
    ("at", "days"),
    [
        (datetime(2026, 2, 10, tzinfo=UTC), 28),
        (datetime(2028, 2, 29, 23, 59, 59, tzinfo=UTC), 29),
        (datetime(2026, 12, 31, tzinfo=UTC), 31),
        (datetime(2026, 7, 1, 1, tzinfo=timezone(timedelta(hours=2))), 30),
    ],
)
def test_a_calendar_month_is_utcs(at: datetime, days: int) -> None:
    month = calendar_window(QuotaWindow.MONTH, at)
    assert month.seconds == days * 86400
    assert month.start.day == month.end.day == 1


@pytest.mark.parametrize(("taken", "left"), [(0, 10), (9, 1), (10, 0), (500, 0)])
def test_what_is_left_is_never_less_than_nothing(taken: int, left: int) -> None:
    assert Budget("a", quota(QuotaWindow.DAY, Alignment.UNKNOWN), taken, NOW).left == left
