"""Sifting readings: forty poisons are set aside, each alone, and the rest of the row stays."""

import json
import math
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enalysis.core.metrics import INFO, INTERVAL_METRICS, SAMPLE_METRICS, Metric, Quality
from enalysis.core.readings import (
    FUTURE_TOLERANCE,
    INTERVAL_DURATIONS_S,
    Interval,
    Sample,
    sift,
)

NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)
AT = datetime(2026, 6, 2, 9, tzinfo=UTC)

# What a vendor's decoder may let through where a number was promised. Each is one poison for pv_wh.
NUMBERS: list[object] = [
    math.nan,
    -math.nan,
    math.inf,
    -math.inf,
    float("1e400"),
    1e16,
    1.7e308,
    -0.001,
    -1,
    -5e-324,
    10**400,
    -(10**400),
    10**5000,
    2**1024,
    2**63,
    True,
    False,
    None,
    "",
    "412",
    "NaN",
    "0",
    b"412",
    1 + 0j,
    Decimal(412),
    Decimal("NaN"),
    Fraction(1, 3),
    [412.0],
    (412.0,),
    {"value": 412.0},
    type,
    datetime(2026, 6, 2, tzinfo=UTC),
]


class Nowhere(tzinfo):
    """A zone that does not know its offset: its times are naive in disguise."""

    def utcoffset(self, _: datetime | None, /) -> None:
        return None

    def dst(self, _: datetime | None, /) -> None:
        return None

    def tzname(self, _: datetime | None, /) -> None:
        return None


TIMES = [
    datetime(2026, 6, 2, 9),  # noqa: DTZ001 - a poison
    datetime(2026, 6, 2, 9, tzinfo=Nowhere()),
    NOW + FUTURE_TOLERANCE + timedelta(seconds=1),
    NOW + timedelta(days=1),
    datetime.max.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-14))),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(1999, 12, 31, 23, 59, tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
]
DURATIONS = [0, -900, 1, 60, 600, 1800, 899, 901, 86400 * 7, 2**40]


def test_there_are_forty_poisons() -> None:
    assert len(NUMBERS) + len(TIMES) + len(DURATIONS) >= 40


def named(poison: object) -> str:
    """Name a poison in a test's id; an int may have too many digits to be written out."""
    return f"int{poison.bit_length()}" if isinstance(poison, int) else f"{type(poison).__name__}-{poison}"[:30]


@pytest.mark.parametrize("poison", NUMBERS, ids=named)
def test_a_poisoned_number_is_set_aside_and_its_neighbours_stay(poison: object) -> None:
    values: dict[Metric, float] = {
        Metric.GRID_IMPORT_WH: 5,
        Metric.PV_WH: poison,  # type: ignore[dict-item]  # the poison
        Metric.SOC_PCT: 50.0,
    }
    found = sift([], [Interval("a", AT, 300, values, Quality.DERIVED, {"x": 1})], NOW)
    assert found.intervals == [
        Interval("a", AT, 300, {Metric.GRID_IMPORT_WH: 5.0, Metric.SOC_PCT: 50.0}, Quality.DERIVED, {"x": 1})
    ]
    (rejected,) = found.rejected
    assert (rejected.device, rejected.at, rejected.metric) == ("a", AT, "pv_wh")
    assert rejected.reason
    assert len(rejected.shown) <= 40


@pytest.mark.parametrize("at", TIMES, ids=str)
def test_a_poisoned_time_costs_its_row_and_no_other(at: datetime) -> None:
    good = Sample("a", NOW, {Metric.PV_W: 1.0})
    found = sift([Sample("a", at, {Metric.PV_W: 2.0, Metric.GRID_W: 3.0}), good], [], NOW)
    assert found.samples == [good]
    assert sorted(r.metric for r in found.rejected) == ["grid_w", "pv_w"]
    intervals = sift([], [Interval("a", at, 900, {Metric.PV_WH: 2.0})], NOW)
    assert (intervals.intervals, len(intervals.rejected)) == ([], 1)


@pytest.mark.parametrize("duration_s", DURATIONS)
def test_a_duration_we_do_not_store_costs_its_row(duration_s: int) -> None:
    found = sift([], [Interval("a", AT, duration_s, {Metric.PV_WH: 2.0})], NOW)
    assert found.intervals == []
    assert "duration" in found.rejected[0].reason


def test_an_interval_that_is_not_over_is_set_aside() -> None:
    """Its start is past, its end more than the tolerance ahead: the number in it will still grow."""
    open_still = Interval("a", NOW - timedelta(minutes=1), 900, {Metric.PV_WH: 2.0})
    assert sift([], [open_still], NOW).intervals == []
    closed = Interval("a", NOW - timedelta(minutes=15), 900, {Metric.PV_WH: 2.0})
    assert sift([], [closed], NOW).intervals == [closed]


def test_the_tolerance_is_ten_minutes_to_the_second() -> None:
    edge = NOW + timedelta(minutes=10)
    assert len(sift([Sample("a", edge, {Metric.PV_W: 1.0})], [], NOW).samples) == 1
    assert sift([Sample("a", edge + timedelta(seconds=1), {Metric.PV_W: 1.0})], [], NOW).samples == []


@pytest.mark.parametrize("metric", list(Metric))
def test_the_range_of_every_metric_is_inclusive_and_ends(metric: Metric) -> None:
    info = INFO[metric]

    def stored(value: float) -> bool:
        if metric in SAMPLE_METRICS:
            return bool(sift([Sample("a", AT, {metric: value})], [], NOW).samples)
        return bool(sift([], [Interval("a", AT, 300, {metric: value})], NOW).intervals)

    assert stored(info.low)
    assert stored(info.high)
    assert not stored(math.nextafter(info.low, -math.inf))
    assert not stored(math.nextafter(info.high, math.inf))


@pytest.mark.parametrize("metric", list(Metric))
def test_a_metric_of_the_other_kind_of_reading_is_set_aside(metric: Metric) -> None:
    sample = sift([Sample("a", AT, {metric: 1.0})], [], NOW)
    interval = sift([], [Interval("a", AT, 300, {metric: 1.0})], NOW)
    assert bool(sample.samples) == (metric in SAMPLE_METRICS)
    assert bool(interval.intervals) == (metric in INTERVAL_METRICS)


def test_zero_is_a_measurement_and_nothing_is_none() -> None:
    """A row that told nothing is not stored; a row that told 0 is."""
    found = sift([Sample("a", AT, {}), Sample("b", AT, {Metric.PV_W: 0})], [], NOW)
    assert [(s.device, dict(s.values)) for s in found.samples] == [("b", {Metric.PV_W: 0.0})]
    assert type(found.samples[0].values[Metric.PV_W]) is float
    assert found.rejected == []


def test_what_stands_beside_the_numbers_is_made_fit_for_the_database() -> None:
    """A NUL, half a surrogate or a NaN in a note would cost the whole batch; the note stays, they go."""
    note = {
        "nul\0": "a\0b",
        "half": "\ud800!",
        "nan": math.nan,
        "big": 10**5000,
        "deep": {"list": [1, -math.inf, ("x\0", None, True)]},
        "at": AT,
    }
    sample, interval = (
        Sample("a", AT, {Metric.PV_W: 1.0}, extra=note),
        Interval("a", AT, 300, {Metric.PV_WH: 1.0}, extra=note),
    )
    found = sift([sample], [interval], NOW)
    for extra in (found.samples[0].extra, found.intervals[0].extra):
        assert extra is not None
        text = json.dumps(extra, allow_nan=False)
        assert "\\u0000" not in text
        assert "\\ud8" not in text
        assert extra["nul"] == "ab"
        assert extra["deep"] == {"list": [1, None, ["x", None, True]]}
    assert found.rejected == []


def test_the_end_of_an_interval() -> None:
    assert Interval("a", AT, 900, {}).end == AT + timedelta(minutes=15)
    assert INTERVAL_DURATIONS_S == (300, 900, 3600, 86400)


@settings(deadline=None, max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(Metric),
        st.one_of(st.floats(), st.integers(), st.booleans(), st.none(), st.text()),
        max_size=6,
    )
)
def test_every_value_is_stored_or_set_aside_never_both_nor_neither(values: dict[Metric, float]) -> None:
    found = sift([Sample("a", AT, values)], [Interval("a", AT, 300, values)], NOW)
    kept = [(m, v, SAMPLE_METRICS) for s in found.samples for m, v in s.values.items()]
    kept += [(m, v, INTERVAL_METRICS) for i in found.intervals for m, v in i.values.items()]
    for metric, value, allowed in kept:
        assert metric in allowed
        assert math.isfinite(value)
        assert value == values[metric]
    assert len(kept) + len(found.rejected) == 2 * len(values)
