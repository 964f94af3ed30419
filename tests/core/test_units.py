"""Units as vendors spell them."""

import pytest

from enalysis.core.errors import UnknownUnit
from enalysis.core.units import percent_per, watt_hours_per, watts_per


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("W", 1), ("w", 1), ("kW", 1e3), ("KW", 1e3), ("MW", 1e6), ("mw", 1e6), ("GW", 1e9), (" kW ", 1e3)],
)
def test_power(unit: str, factor: float) -> None:
    assert watts_per(unit) == factor


@pytest.mark.parametrize(
    ("unit", "factor"), [("Wh", 1), ("WH", 1), ("kWh", 1e3), ("KWH", 1e3), ("MWh", 1e6), ("gwh", 1e9)]
)
def test_energy(unit: str, factor: float) -> None:
    assert watt_hours_per(unit) == factor


@pytest.mark.parametrize("unit", ["PERCENTAGE", "percent", "%"])
def test_share(unit: str) -> None:
    assert percent_per(unit) == 1


@pytest.mark.parametrize("unit", ["", "Wh", "VA", "kWp", "W/m2", "watts", "PERCENTAGE", "K W"])
def test_what_is_no_power_is_refused(unit: str) -> None:
    with pytest.raises(UnknownUnit, match="unknown unit of power"):
        watts_per(unit)


@pytest.mark.parametrize("unit", ["", "W", "kW", "J", "Ah", "BTU"])
def test_what_is_no_energy_is_refused(unit: str) -> None:
    with pytest.raises(UnknownUnit, match="unknown unit of energy"):
        watt_hours_per(unit)


@pytest.mark.parametrize("unit", ["PERCENTAGE_100", "ratio", "1", ""])
def test_a_share_whose_scale_nobody_told_is_refused(unit: str) -> None:
    with pytest.raises(UnknownUnit, match="unknown unit of share"):
        percent_per(unit)


def test_a_hostile_unit_is_shown_short_and_without_line_breaks() -> None:
    with pytest.raises(UnknownUnit) as caught:
        watts_per("kilo\nwatt" * 1000)
    assert len(str(caught.value)) < 80
    assert "\n" not in str(caught.value)
