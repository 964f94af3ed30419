"""The metrics: every one described, bounded and of the kind its name says."""

import pytest

from enalysis.core.metrics import (
    COUNTERS,
    ENERGIES,
    INFO,
    INSTANTS,
    INTERVAL_METRICS,
    SAMPLE_METRICS,
    Kind,
    Metric,
    Quality,
)
from enalysis.core.sites import METER_ENERGIES, MeterKind


def test_every_metric_is_described_once() -> None:
    assert set(INFO) == set(Metric)
    assert len({info.meaning for info in INFO.values()}) == len(Metric)


@pytest.mark.parametrize("metric", list(Metric))
def test_the_name_carries_the_unit(metric: Metric) -> None:
    units = {"w": "W", "wh": "Wh", "pct": "%", "c": "°C"}
    assert INFO[metric].unit == units[metric.value.rsplit("_", 1)[1]]


@pytest.mark.parametrize("metric", list(Metric))
def test_the_kind_follows_from_unit_and_total(metric: Metric) -> None:
    expected = Kind.INSTANT
    if metric.value.endswith("_wh"):
        expected = Kind.COUNTER if metric.value.endswith("_total_wh") else Kind.ENERGY
    assert INFO[metric].kind is expected


@pytest.mark.parametrize("metric", list(Metric))
def test_the_range_agrees_with_the_sign_in_words(metric: Metric) -> None:
    info = INFO[metric]
    assert info.low < info.high
    assert (info.low >= 0) == (info.sign in {"never negative", "0 to 100"})
    if info.sign.startswith("+"):
        assert info.low == -info.high


def test_only_grid_battery_and_temperature_are_signed() -> None:
    signed = {m for m, info in INFO.items() if info.low < 0}
    assert signed == {Metric.GRID_W, Metric.BATTERY_W, Metric.TEMP_C}


def test_a_sample_holds_instants_and_counters_an_interval_energies_and_charge() -> None:
    assert set(SAMPLE_METRICS) == set(INSTANTS) | set(COUNTERS)
    assert set(INTERVAL_METRICS) == set(ENERGIES) | {Metric.SOC_PCT}
    assert set(SAMPLE_METRICS) & set(INTERVAL_METRICS) == {Metric.SOC_PCT}
    assert {f"{m.value.removesuffix('_wh')}_total_wh" for m in ENERGIES} == {m.value for m in COUNTERS}


def test_every_energy_belongs_to_exactly_one_kind_of_meter() -> None:
    owned = [m for kind in MeterKind for m in METER_ENERGIES[kind]]
    assert sorted(owned) == sorted(ENERGIES)


def test_quality_flags_are_single_bits_that_fit_a_smallint() -> None:
    assert all(flag.value.bit_count() == 1 for flag in Quality)
    assert sum(Quality) < 2**15
    assert Quality.MEASURED not in list(Quality)
    assert Quality(0) is Quality.MEASURED
