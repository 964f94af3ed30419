"""Daylight: the sun's elevation against pvlib, and the windows in which pv may produce."""

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pvlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enalysis.core.daylight import Place, daylight, sun_elevation_deg
from enalysis.core.intervals import Window

START = datetime(2026, 1, 1, tzinfo=UTC)
GRAZ, TROMSO, QUITO = Place(47.07, 15.44), Place(69.65, 18.96), Place(-0.18, -78.47)


@pytest.mark.parametrize(
    "place",
    [
        GRAZ,
        TROMSO,
        QUITO,
        Place(-33.87, 151.21),
        Place(-54.8, -68.3),
        Place(90, 0),
        Place(-90, 0),
        Place(0, 180),
        Place(0, -180),
        Place(64.13, -21.9),
        Place(27.7, 85.32),
        Place(-31.55, 159.08),
    ],
    ids=str,
)
def test_elevation_is_within_a_third_of_a_degree_of_pvlib(place: Place) -> None:
    """Every 7 h 13 min over eight years: all hours of the day and all days of the year come by."""
    times = pd.date_range("2022-01-01", "2030-01-01", freq="433min", tz="UTC")
    solar = pvlib.solarposition.get_solarposition(times, place.latitude, place.longitude)
    ours = np.array([sun_elevation_deg(at.to_pydatetime(), place) for at in times])
    assert len(times) > 9000
    assert float(np.abs(ours - solar["elevation"].to_numpy()).max()) < 0.34


def test_a_summers_day_has_one_window_with_the_margin_on_both_sides() -> None:
    (window,) = daylight(Window(datetime(2026, 6, 2, tzinfo=UTC), datetime(2026, 6, 2, 22, tzinfo=UTC)), GRAZ)
    assert sun_elevation_deg(window.start, GRAZ) < -1 < sun_elevation_deg(window.start + timedelta(minutes=40), GRAZ)
    assert sun_elevation_deg(window.end, GRAZ) < -1 < sun_elevation_deg(window.end - timedelta(minutes=40), GRAZ)


def test_where_only_the_zone_is_known_the_day_is_an_hour_longer_on_both_sides() -> None:
    around = Window(datetime(2026, 6, 2, 6, tzinfo=UTC), datetime(2026, 6, 3, 6, tzinfo=UTC))
    (exact,) = daylight(around, QUITO)
    (rough,) = daylight(around, Place(QUITO.latitude, QUITO.longitude, exact=False))
    assert exact.start - rough.start == timedelta(hours=1)
    assert rough.end - exact.end == timedelta(hours=1)


def test_the_sun_does_not_set_in_june_nor_rise_in_december_beyond_the_circle() -> None:
    june = Window(datetime(2026, 6, 20, tzinfo=UTC), datetime(2026, 6, 23, tzinfo=UTC))
    december = Window(datetime(2026, 12, 20, tzinfo=UTC), datetime(2026, 12, 23, tzinfo=UTC))
    assert daylight(june, TROMSO) == [june]
    assert daylight(december, TROMSO) == []


def test_nobody_knows_where_means_it_may_be_day() -> None:
    window = Window(START, START + timedelta(days=2))
    assert daylight(window, None) == [window]


@settings(deadline=None, max_examples=25)
@given(
    st.floats(-90, 90),
    st.floats(-180, 180),
    st.integers(0, 365 * 24 * 60),
    st.integers(1, 50 * 60),
)
def test_whenever_the_sun_is_up_it_is_daylight(latitude: float, longitude: float, minute: int, length_min: int) -> None:
    place = Place(latitude, longitude)
    start = START + timedelta(minutes=minute)
    window = Window(start, start + timedelta(minutes=length_min))
    found = daylight(window, place)
    assert all(window.meet(part) == part for part in found)
    assert all(one.end < two.start for one, two in itertools.pairwise(found))
    for at in window.slots(23 * 60):
        if sun_elevation_deg(at, place) > -0.8:
            assert any(at in part for part in found), at
        elif all(sun_elevation_deg(at + timedelta(minutes=m), place) < -1 for m in range(-41, 42)):
            assert not any(at in part for part in found), at
