"""The live flow in words and arrow widths."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from enalysis.queries.shapes import MeterFeed, SiteNow
from enalysis.web.flow import Flow, flow

NOW = datetime(2026, 6, 2, 12, 0, tzinfo=UTC)
METERS = tuple(MeterFeed(UUID(int=n), kind, kind, ()) for n, kind in enumerate(("pv", "grid", "battery")))


def drawn(pv: float | None, grid: float | None, battery: float | None, load: float | None) -> Flow:
    """Return the flow of a site with pv, grid and battery meters, seven minutes old."""
    now_at_site = SiteNow(pv, grid, battery, load, 55.0, NOW - timedelta(minutes=7), derived=True)
    return flow(now_at_site, METERS, NOW)


@pytest.mark.parametrize(
    ("grid", "battery", "words", "inward", "colour"),
    [
        (900.0, 400.0, ("importing", "discharging"), (True, True), "import"),
        (-900.0, -400.0, ("exporting", "charging"), (False, False), "export"),
        (0.0, 2.0, ("balanced", "resting"), (None, None), "import"),
        (None, None, ("unknown", "unknown"), (None, None), "import"),
    ],
)
def test_signs_become_words(
    grid: float | None,
    battery: float | None,
    words: tuple[str, str],
    inward: tuple[bool | None, bool | None],
    colour: str,
) -> None:
    shown = drawn(3000.0, grid, battery, 2000.0)
    assert (shown.grid.word, shown.battery.word) == words
    assert (shown.grid.inward, shown.battery.inward) == inward
    assert shown.grid.colour == colour
    assert shown.grid.power_w == (None if grid is None else abs(grid))


def test_arrows_grow_with_power_and_the_house_takes() -> None:
    shown = drawn(4000.0, -1000.0, -1000.0, 2000.0)
    assert shown.pv.width > shown.house.width > shown.grid.width == shown.battery.width > 2
    assert shown.pv.width == 12
    assert (shown.house.inward, shown.house.word) == (False, "using")


def test_unknown_is_not_zero() -> None:
    shown = drawn(None, None, None, None)
    assert {b.power_w for b in shown.branches} == {None}
    assert shown.sentence == "Nothing is known about now"
    night = drawn(0.0, 500.0, 0.0, 500.0)
    assert (night.pv.power_w, night.pv.word) == (0.0, "not producing")


def test_a_site_without_battery_shows_none_and_the_house_always() -> None:
    shown = flow(SiteNow(1.0, None, None, None, None, NOW, derived=False), METERS[:1], NOW)
    assert [b.present for b in shown.branches] == [True, False, False, True]


def test_old_values_are_told_as_old() -> None:
    young = SiteNow(1.0, 1.0, None, 2.0, None, NOW - timedelta(minutes=59), derived=False)
    old = SiteNow(1.0, 1.0, None, 2.0, None, NOW - timedelta(minutes=61), derived=False)
    assert (flow(young, METERS, NOW).stale, flow(old, METERS, NOW).stale) == (False, True)
