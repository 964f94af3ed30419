"""Fine intervals become quarters exactly, or not at all."""

from datetime import UTC, datetime, timedelta

from enalysis.core.coverage import coarsen
from enalysis.core.metrics import Metric
from enalysis.core.resample import coarser, filled

PV, SOC = Metric.PV_WH, Metric.SOC_PCT
NOON = datetime(2026, 6, 2, 12, tzinfo=UTC)
FIVE = timedelta(minutes=5)


def test_three_known_parts_are_a_quarter_and_two_are_none() -> None:
    fine = {NOON + n * FIVE: {1: {PV: 10.0 + n}, 2: {PV: 1.0}} for n in range(3)}
    del fine[NOON + FIVE][2]
    fine[NOON + 3 * FIVE] = {1: {PV: 99.0}}
    assert coarser(fine, 300, 900) == {NOON: {1: {PV: 33.0}}}


def test_a_state_of_charge_is_that_of_the_end() -> None:
    fine = {NOON + n * FIVE: {1: {SOC: 50.0 + n, PV: 1.0}} for n in range(3)}
    assert coarser(fine, 300, 900) == {NOON: {1: {SOC: 52.0, PV: 3.0}}}


def test_of_a_device_and_metric_only_one_duration_counts() -> None:
    coarse = {NOON: {1: {PV: 100.0}}}
    finer = {NOON: {1: {PV: 99.0, SOC: 5.0}}, NOON + 3 * FIVE: {1: {PV: 98.0}, 2: {PV: 7.0}}}
    assert filled(coarse, finer) == {NOON: {1: {PV: 100.0, SOC: 5.0}}, NOON + 3 * FIVE: {2: {PV: 7.0}}}


def test_the_least_settled_part_speaks_for_a_slot() -> None:
    assert coarsen("sssssnnnns.nsqssrx", 6) == "snn.qr"
    assert coarsen("sn.", 3) == "sn."
    assert coarsen("", 96) == ""
