"""Numbers, ages and dates as people read them."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enalysis.web import formats

NOW = datetime(2026, 6, 2, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (0.0, "0"),
        (-0.0, "0"),
        (0.0001, "<0.01"),
        (-0.0001, "−<0.01"),
        (0.005, "0.01"),
        (0.0449, "0.04"),
        (1.0, "1.00"),
        (4.116, "4.12"),
        (9.996, "10.0"),
        (41.25, "41.2"),
        (99.96, "100"),
        (412.4, "412"),
        (999.6, "1,000"),
        (12345.0, "12,300"),
        (-3.14159, "−3.14"),
    ],
)
def test_at_most_three_digits(value: float | None, text: str) -> None:
    assert formats.digits(value) == text


@given(st.floats(min_value=0.005, max_value=1e12))
def test_no_number_strays_by_more_than_it_shows(value: float) -> None:
    shown = float(formats.digits(value).replace(",", "").replace("<", ""))
    assert shown == pytest.approx(value, rel=0.00501, abs=0.00501)
    assert len(formats.digits(value).replace(",", "").replace(".", "").strip("0")) <= 3


@pytest.mark.parametrize(
    ("values", "least", "unit"),
    [
        ((), "", "W"),
        ((None,), "k", "kW"),
        ((412.0,), "", "W"),
        ((412.0,), "k", "kW"),
        ((4120.0,), "", "kW"),
        ((0.0, 3100.0, 4120.0), "", "kW"),
        # One big site does not push the many small ones to 0.00 MW ...
        ((4e3, 5e3, 6e3, 2e6), "k", "kW"),
        # ... unless five figures would not hold it.
        ((4e3, 5e3, 6e3, 2e8), "k", "MW"),
        ((2e6, 3e6), "k", "MW"),
        ((-4e6,), "k", "MW"),
    ],
)
def test_a_column_has_one_unit(values: tuple[float | None, ...], least: str, unit: str) -> None:
    assert formats.scale_of("W", values, least=least).unit == unit


def test_unknown_is_a_dash_and_never_zero() -> None:
    shown = formats.quantity(None, "Wh")
    assert (shown.text, shown.exact, shown.known) == ("–", "unknown", False)
    zero = formats.quantity(0.0, "Wh")
    assert (zero.text, zero.unit, zero.known) == ("0", "Wh", True)


def test_a_quantity_keeps_its_exact_value_beside_the_short_one() -> None:
    shown = formats.quantity(12345.678, "Wh")
    assert (shown.text, shown.unit, shown.exact) == ("12.3", "kWh", "12,345.678 Wh")
    in_column = formats.quantity(4.0, "W", formats.scale_of("W", (4000.0,)))
    assert (in_column.text, in_column.unit) == ("<0.01", "kW")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-7200, "in 2 h"),
        (-30, "just now"),
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (3600, "1 h ago"),
        (47 * 3600, "47 h ago"),
        (48 * 3600, "2 days ago"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert formats.age(NOW - timedelta(seconds=seconds), NOW) == text


def test_what_lies_ahead() -> None:
    assert formats.until(NOW + timedelta(minutes=4, seconds=5), NOW) == "in 4 min"
    assert formats.until(NOW - timedelta(minutes=4), NOW) == "now"
    assert formats.until(None, NOW) == "not planned"
    assert formats.age(None, NOW) == "never"


def test_moments_stand_in_the_sites_zone() -> None:
    at = datetime(2026, 11, 22, 13, 5, tzinfo=UTC)
    assert formats.moment(at, "Europe/Berlin") == "22 Nov 2026, 14:05"
    assert formats.moment(at, "Asia/Kathmandu") == "22 Nov 2026, 18:50"
    assert formats.moment(at, "Not/AZone") == "22 Nov 2026, 13:05"
    assert formats.moment(at, "../../etc/passwd") == "22 Nov 2026, 13:05"
    assert formats.clock(at, "America/Denver") == "06:05"
    assert formats.moment(None) == "–"
    assert formats.iso(at) == "2026-11-22T13:05:00Z"


def test_dates_and_counts() -> None:
    assert formats.calendar_day(date(2026, 3, 1)) == "1 Mar 2026"
    assert formats.weekday(date(2026, 11, 22)) == "Sunday"
    assert formats.count(1, "site") == "1 site"
    assert formats.count(1204, "site") == "1,204 sites"
    assert formats.count(2, "fetch", "fetches") == "2 fetches"


def test_a_message_stands_alone() -> None:
    assert formats.sentence("the key is gone") == "The key is gone."
    assert formats.sentence("Wait.") == "Wait."
    assert formats.sentence(" ") == ""
