"""Meters, their parents, and the devices that feed them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from enalysis.core.sites import Meter, MeterKind, MeterSource, devices_of, top_meters

AT = datetime(2026, 6, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_child_is_never_counted_beside_its_parent() -> None:
    house, car, tail = uuid4(), uuid4(), uuid4()
    meters = [
        Meter(tail, MeterKind.LOAD, car),
        Meter(car, MeterKind.LOAD, house),
        Meter(house, MeterKind.LOAD),
        Meter(uuid4(), MeterKind.PV),
    ]
    assert top_meters(meters, MeterKind.LOAD) == [meters[2]]
    sources = [MeterSource(m.id, n) for n, m in enumerate(meters)]
    assert devices_of(sources, meters, MeterKind.LOAD, AT) == {2}


def test_a_meter_below_one_of_another_kind_counts_for_its_own_kind() -> None:
    """A pv meter behind the grid meter is still the site's pv."""
    grid = Meter(uuid4(), MeterKind.GRID)
    pv = Meter(uuid4(), MeterKind.PV, grid.id)
    assert top_meters([grid, pv], MeterKind.PV) == [pv]
    assert top_meters([grid, pv], MeterKind.GRID) == [grid]


def test_a_meter_whose_parent_is_gone_counts() -> None:
    orphan = Meter(uuid4(), MeterKind.PV, uuid4())
    assert top_meters([orphan], MeterKind.PV) == [orphan]


def test_a_source_feeds_from_its_first_instant_until_before_its_last() -> None:
    source = MeterSource(uuid4(), 1, AT, AT + HOUR)
    assert [source.feeds(AT + n * HOUR / 2) for n in (-1, 0, 1, 2)] == [False, True, True, False]
    assert MeterSource(uuid4(), 1).feeds(AT)
    assert not MeterSource(uuid4(), 1, None, AT).feeds(AT)
    assert MeterSource(uuid4(), 1, AT, None).feeds(AT + 9999 * HOUR)


def test_a_replaced_inverter_hands_over_without_gap_or_overlap() -> None:
    pv = Meter(uuid4(), MeterKind.PV)
    sources = [MeterSource(pv.id, 1, None, AT), MeterSource(pv.id, 2, AT)]
    fed = [devices_of(sources, [pv], MeterKind.PV, AT + n * HOUR) for n in (-2, -1, 0, 1)]
    assert fed == [{1}, {1}, {2}, {2}]


@st.composite
def trees(draw: st.DrawFn) -> list[Meter]:
    """Draw meters of any kind whose parents are among those before them."""
    meters: list[Meter] = []
    for n in range(draw(st.integers(0, 8))):
        parent = draw(st.one_of(st.none(), st.sampled_from(meters))) if meters else None
        kind = draw(st.sampled_from(MeterKind))
        meters.append(Meter(UUID(int=n), kind, None if parent is None else parent.id))
    return meters


@settings(deadline=None, max_examples=50)
@given(trees())
def test_no_two_counted_meters_of_a_kind_are_parent_and_child(meters: list[Meter]) -> None:
    by_id = {m.id: m for m in meters}
    for kind in MeterKind:
        counted = {m.id for m in top_meters(meters, kind)}
        for meter in (by_id[i] for i in counted):
            assert meter.kind is kind
            assert meter.parent not in counted
        assert bool(counted) == any(m.kind is kind for m in meters)
