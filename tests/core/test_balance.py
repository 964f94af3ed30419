"""The balance of a site: whatever is known closes, and what is unknown is never 0."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enalysis.core.balance import Flows, add, close, join, load_w
from enalysis.core.metrics import ENERGIES, Metric, Quality
from enalysis.core.sites import Meter, MeterKind, MeterSource

AT = datetime(2026, 6, 2, 9, tzinfo=UTC)
ENERGY = st.one_of(st.none(), st.floats(0, 1e7))
KINDS = st.frozensets(st.sampled_from(MeterKind))
ALL = frozenset(MeterKind)
PARTS = [m.value for m in ENERGIES]

flows = st.builds(
    Flows,
    pv_wh=ENERGY,
    grid_import_wh=ENERGY,
    grid_export_wh=ENERGY,
    battery_charge_wh=ENERGY,
    battery_discharge_wh=ENERGY,
    load_wh=ENERGY,
    soc_pct=st.one_of(st.none(), st.floats(0, 100)),
    quality=st.sampled_from([Quality.MEASURED, Quality.SUSPECT, Quality.IMPORTED | Quality.SANDBOX]),
)


def supply_of(f: Flows, kinds: frozenset[MeterKind], *, dark: bool) -> float | None:
    """Work out pv + import - export + discharge - charge by another road; None where a part is unknown."""
    signed = [(MeterKind.GRID, f.grid_import_wh, 1), (MeterKind.GRID, f.grid_export_wh, -1)]
    signed += [(MeterKind.BATTERY, f.battery_discharge_wh, 1), (MeterKind.BATTERY, f.battery_charge_wh, -1)]
    signed += [(MeterKind.PV, 0.0 if f.pv_wh is None and dark else f.pv_wh, 1)]
    if MeterKind.GRID not in kinds or any(kind in kinds and wh is None for kind, wh, _ in signed):
        return None
    return sum(sign * wh for kind, wh, sign in signed if kind in kinds and wh is not None)


@settings(deadline=None, max_examples=150)
@given(flows, KINDS, st.booleans())
def test_whatever_is_known_closes_and_nothing_unknown_becomes_a_number(
    f: Flows, kinds: frozenset[MeterKind], dark: bool
) -> None:
    out = close(f, kinds, dark=dark)
    supply = supply_of(f, kinds, dark=dark)
    for part in PARTS:
        if part != "load_wh":
            assert getattr(out, part) == getattr(f, part)
    assert out.soc_pct == f.soc_pct
    assert (out.residual_wh is not None) == (supply is not None and out.load_wh is not None)
    if out.residual_wh is not None and supply is not None and out.load_wh is not None:
        assert supply - out.load_wh == pytest.approx(out.residual_wh, abs=1e-6)
    if f.load_wh is not None:
        assert (out.load_wh, out.quality) == (f.load_wh, f.quality)
    elif MeterKind.LOAD in kinds or supply is None:
        assert (out.load_wh, out.residual_wh, out.quality) == (None, None, f.quality)
    else:
        assert out.load_wh == pytest.approx(max(0.0, supply), abs=1e-6)
        assert Quality.DERIVED in out.quality
        assert (Quality.CLIPPED in out.quality) == (out.residual_wh is not None and out.residual_wh < 0)
        assert (Quality.ESTIMATED in out.quality) == (MeterKind.PV in kinds and f.pv_wh is None)
        assert f.quality in out.quality


@settings(deadline=None)
@given(flows, KINDS, st.booleans())
def test_closing_twice_changes_nothing_more(f: Flows, kinds: frozenset[MeterKind], dark: bool) -> None:
    once = close(f, kinds, dark=dark)
    again = close(replace(once, residual_wh=None), kinds, dark=dark)
    assert again.load_wh == once.load_wh
    assert again.residual_wh == once.residual_wh


@pytest.mark.parametrize("missing", [p for p in PARTS if p != "load_wh"])
def test_one_unknown_part_makes_the_load_unknown_by_day(missing: str) -> None:
    known = Flows(500.0, 100.0, 50.0, 30.0, 20.0)
    assert close(known, ALL - {MeterKind.LOAD}, dark=False).load_wh == 540.0
    lacking = replace(known, **{missing: None})  # type: ignore[arg-type]  # a name of PARTS
    assert close(lacking, ALL - {MeterKind.LOAD}, dark=False).load_wh is None


def test_a_clipped_load_shows_its_shortfall() -> None:
    """Exporting 600 of 500 produced: the meters disagree by 100, and the load is not -100."""
    out = close(Flows(500.0, 0.0, 600.0), frozenset({MeterKind.PV, MeterKind.GRID}), dark=False)
    assert (out.load_wh, out.residual_wh) == (0.0, -100.0)
    assert out.quality == Quality.DERIVED | Quality.CLIPPED


def test_a_measured_load_keeps_its_figure_and_the_rest_is_residual() -> None:
    out = close(Flows(500.0, 100.0, 50.0, load_wh=530.0), ALL - {MeterKind.BATTERY}, dark=False)
    assert (out.load_wh, out.residual_wh, out.quality) == (530.0, 20.0, Quality.MEASURED)


def test_in_the_dark_an_inverter_asleep_counts_as_nothing_in_the_load_only() -> None:
    kinds = frozenset({MeterKind.PV, MeterKind.GRID})
    out = close(Flows(None, 80.0, 0.0), kinds, dark=True)
    assert (out.pv_wh, out.load_wh, out.residual_wh) == (None, 80.0, 0.0)
    assert out.quality == Quality.DERIVED | Quality.ESTIMATED
    assert close(Flows(None, 80.0, 0.0), kinds, dark=False).load_wh is None
    assert close(Flows(3.0, 80.0, 0.0), kinds, dark=True).load_wh == 83.0


def test_without_a_grid_meter_no_load_is_made_up() -> None:
    assert close(Flows(500.0), frozenset({MeterKind.PV}), dark=False).load_wh is None


@settings(deadline=None)
@given(st.lists(ENERGY, max_size=6), st.integers(0, 6))
def test_a_sum_with_an_unknown_part_is_unknown(values: list[float | None], at: int) -> None:
    known = [v for v in values if v is not None]
    total = add(values)
    if not values or len(known) < len(values):
        assert total is None
    else:
        assert total == pytest.approx(sum(known))
    assert add([*values[:at], None, *values[at:]]) is None


def test_a_sum_of_nothing_is_unknown_and_of_zeros_is_zero() -> None:
    assert add([]) is None
    assert add([0.0, 0.0]) == 0.0


@pytest.mark.parametrize(
    ("pv", "grid", "battery", "load"),
    [(500, -200, 0, 300), (0, 400, 100, 500), (500, -100, -300, 100), (0, 0, 0, 0), (None, 1, 1, None)],
)
def test_power(pv: float | None, grid: float, battery: float, load: float | None) -> None:
    """+ import and + discharge bring power to the load; what is exported or charged does not reach it."""
    assert load_w(pv, grid, battery) == load
    assert load_w(1, None, 1) is None
    assert load_w(1, 1, None) is None


def site() -> tuple[dict[MeterKind, Meter], list[MeterSource]]:
    """Return a site with every kind of meter, pv from two inverters, and a car below the house's load."""
    meters = {kind: Meter(uuid4(), kind) for kind in MeterKind}
    feeds = [
        (MeterKind.PV, 1),
        (MeterKind.PV, 2),
        (MeterKind.GRID, 3),
        (MeterKind.BATTERY, 4),
        (MeterKind.LOAD, 5),
    ]
    return meters, [MeterSource(meters[kind].id, device) for kind, device in feeds]


ROWS = {
    1: {Metric.PV_WH: 300.0},
    2: {Metric.PV_WH: 200.0},
    3: {Metric.GRID_IMPORT_WH: 10.0, Metric.GRID_EXPORT_WH: 100.0},
    4: {Metric.BATTERY_CHARGE_WH: 50.0, Metric.BATTERY_DISCHARGE_WH: 5.0, Metric.SOC_PCT: 40.0},
    5: {Metric.LOAD_WH: 360.0},
}


def test_the_devices_of_several_vendors_join_into_one_balance() -> None:
    meters, sources = site()
    out = join(ROWS, meters.values(), sources, AT, dark=False)
    assert out == Flows(500.0, 10.0, 100.0, 50.0, 5.0, 360.0, 40.0, 5.0)


@pytest.mark.parametrize("silent", sorted(ROWS))
def test_a_device_that_did_not_answer_makes_its_kind_unknown_never_smaller(silent: int) -> None:
    meters, sources = site()
    whole = join(ROWS, meters.values(), sources, AT, dark=False)
    out = join({d: v for d, v in ROWS.items() if d != silent}, meters.values(), sources, AT, dark=False)
    gone = {m.value for m in ROWS[silent]}
    for part in [*PARTS, "soc_pct"]:
        assert getattr(out, part) == (None if part in gone else getattr(whole, part)), part
    assert out.residual_wh is None


def test_a_car_below_the_house_is_not_added_to_it() -> None:
    meters, sources = site()
    car = Meter(uuid4(), MeterKind.LOAD, meters[MeterKind.LOAD].id)
    out = join(
        {**ROWS, 6: {Metric.LOAD_WH: 111.0}},
        [car, *meters.values()],
        [*sources, MeterSource(car.id, 6)],
        AT,
        dark=False,
    )
    assert out.load_wh == 360.0


def test_only_the_devices_that_fed_a_meter_then_are_added() -> None:
    """Inverter 2 took over from inverter 1; both still answer for the quarter of the change."""
    meters, _ = site()
    pv = meters[MeterKind.PV]
    change = AT + timedelta(hours=1)
    sources = [MeterSource(pv.id, 1, None, change), MeterSource(pv.id, 2, change)]
    told = [
        join(ROWS, [pv], sources, at, dark=False).pv_wh
        for at in (AT, change - timedelta(minutes=15), change, AT + timedelta(days=900))
    ]
    assert told == [300.0, 300.0, 200.0, 200.0]


def test_the_charge_of_several_batteries_is_their_mean_and_unknown_with_one_of_them() -> None:
    battery = Meter(uuid4(), MeterKind.BATTERY)
    sources = [MeterSource(battery.id, n) for n in (1, 2)]
    rows = {1: {Metric.SOC_PCT: 20.0}, 2: {Metric.SOC_PCT: 80.0}}
    assert join(rows, [battery], sources, AT, dark=False).soc_pct == 50.0
    assert join({1: rows[1]}, [battery], sources, AT, dark=False).soc_pct is None
    assert join({}, [battery], [], AT, dark=False).soc_pct is None
