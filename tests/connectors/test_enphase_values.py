"""Enphase's buckets become energies: names, nights, late devices, and values that cannot be."""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest

from enalysis.connectors.base import Batch
from enalysis.connectors.enphase_series import (
    Told,
    gather,
    parse_battery,
    parse_consumption,
    parse_export,
    parse_import,
    parse_lifetime,
    parse_micros,
    parse_production,
    parse_rgm,
)
from enalysis.connectors.enphase_wire import LifetimeBody, MeteredBody, TelemetryBody
from enalysis.core.errors import BadPayload
from enalysis.core.intervals import Window
from enalysis.core.metrics import Metric, Quality
from tests.connectors.test_enphase import NOW, SITE, decode, epoch, load, plain

Parse = Callable[[TelemetryBody, str, Window], Told]

MIDNIGHT = datetime(2026, 6, 15, 6, tzinfo=UTC)
START, END = datetime(2026, 6, 15, 17, tzinfo=UTC), datetime(2026, 6, 15, 18, 15, tzinfo=UTC)
HOUR = Window(START, END)
TODAY = Window(MIDNIGHT, datetime(2026, 6, 15, 18, 30, tzinfo=UTC))
STEP, FIVE = timedelta(seconds=900), timedelta(seconds=300)
LATER = NOW + timedelta(days=2)


def batch(told: Told, asked: Window = HOUR, step_s: int = 900, now: datetime = NOW) -> Batch:
    """Return what a fetch makes of one answer."""
    return gather([told], SITE, asked, step_s, now)


def body(
    *buckets: object,
    total: object = 1,
    meta: object = None,
    system: int = int(SITE),
) -> TelemetryBody:
    """Return an answer with these buckets."""
    return decode(
        {"system_id": system, "total_devices": total, "intervals": buckets, "meta": meta},
        TelemetryBody,
    )


def quarter(end: datetime, wh: object = 5, reporting: object = 1) -> dict[str, object]:
    """Return a bucket of the production meter."""
    return {"end_at": epoch(end), "devices_reporting": reporting, "wh_del": wh}


@pytest.mark.parametrize(
    ("name", "parse", "step", "values"),
    [
        ("production_micro.json", parse_micros, FIVE, {Metric.PV_WH: [480.0 + 2 * k for k in range(14)] + [480.0]}),
        ("production_meter.json", parse_production, STEP, {Metric.PV_WH: [1500.0, 1507.0, 1514.0, 1521.0, 1528.0]}),
        ("consumption_meter.json", parse_consumption, STEP, {Metric.LOAD_WH: [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]}),
        ("import.json", parse_import, STEP, {Metric.GRID_IMPORT_WH: [0.0, 1.0, 2.0, 3.0, 4.0]}),
        ("export.json", parse_export, STEP, {Metric.GRID_EXPORT_WH: [500.0, 501.0, 502.0, 503.0, 504.0]}),
        (
            "battery.json",
            parse_battery,
            STEP,
            {
                Metric.BATTERY_CHARGE_WH: [600.0, 590.0, 580.0, 570.0, 560.0],
                Metric.BATTERY_DISCHARGE_WH: [0.0] * 5,
                Metric.SOC_PCT: [70.0, 71.5, 72.0, None, 74.0],
            },
        ),
    ],
)
def test_each_endpoint_has_its_own_names(
    name: str, parse: Parse, step: timedelta, values: dict[Metric, Sequence[float | None]]
) -> None:
    found = batch(parse(load(name, TelemetryBody), SITE, HOUR), step_s=int(step.total_seconds()))
    assert found.rejected == ()
    # The first bucket ends at 17:05 or 17:15, so it began at 17:00.
    assert [i.start for i in found.intervals] == list(HOUR.slots(int(step.total_seconds())))
    assert {(i.device, i.duration_s) for i in found.intervals} == {(f"system:{SITE}", int(step.total_seconds()))}
    for metric, row in values.items():
        assert [i.values.get(metric) for i in found.intervals] == row
    assert {m for i in found.intervals for m in i.values} == set(values)


def test_lists_in_lists_and_flat_ones() -> None:
    nested = plain("import.json")
    flat = {**nested, "intervals": nested["intervals"][0]}
    split = {**nested, "intervals": [[one] for one in nested["intervals"][0]]}
    tolds = [parse_import(decode(one, TelemetryBody), SITE, HOUR) for one in (nested, flat, split)]
    assert tolds[0] == tolds[1] == tolds[2]
    nothings: list[list[object]] = [[], [[]], [[], []]]
    for empty in nothings:
        told = parse_import(decode({**nested, "intervals": empty}, TelemetryBody), SITE, HOUR)
        assert batch(told) == Batch()
    # One schema of the vendor's has the name of the other flow: a guess would swap the two.
    wrong = decode({**nested, "intervals": [[{"end_at": epoch(END), "wh_exported": 5}]]}, TelemetryBody)
    assert parse_import(wrong, SITE, HOUR).values == {}


def test_an_empty_list_answers_nothing() -> None:
    for now in (NOW, LATER):
        for name in ("consumption_without_meter.json", "consumption_meter.json"):
            told = plain(name) | {"intervals": []}
            assert batch(parse_consumption(decode(told, TelemetryBody), SITE, HOUR), now=now) == Batch()
    only_outside = parse_production(body(quarter(MIDNIGHT)), SITE, HOUR)
    assert batch(only_outside, now=LATER) == Batch()


def test_a_sum_over_no_devices_is_no_reading() -> None:
    night = Window(MIDNIGHT, MIDNIGHT + 2 * FIVE)
    found = batch(parse_micros(load("production_micro.json", TelemetryBody), SITE, night), night, 300)
    # 16 of 20 told zero at night, which is measured; then nobody told anything.
    assert [(i.start, i.values) for i in found.intervals] == [(MIDNIGHT, {Metric.PV_WH: 0.0})]
    assert found.answered == night


def test_power_fills_in_where_energy_is_missing() -> None:
    found = batch(parse_micros(load("production_micro.json", TelemetryBody), SITE, HOUR), step_s=300)
    derived = [i for i in found.intervals if i.quality is Quality.DERIVED]
    # 5832 W over five minutes.
    assert [(i.start, i.values) for i in derived] == [(START + 3 * FIVE, {Metric.PV_WH: 486.0})]
    assert {i.quality for i in found.intervals if i not in derived} == {Quality.MEASURED}


def test_what_may_still_grow_is_kept_and_asked_for_again() -> None:
    told = parse_micros(load("production_micro.json", TelemetryBody), SITE, HOUR)
    found = batch(told, step_s=300)
    # 19 of 20 have told the last five minutes: kept, and not settled; three hours later it is.
    assert found.intervals[-1].start == END - FIVE
    assert found.answered == Window(START, END - FIVE)
    assert batch(told, step_s=300, now=END - FIVE + timedelta(hours=3)).answered == Window(START, END - FIVE)
    assert batch(told, step_s=300, now=END + timedelta(hours=3)).answered == HOUR
    # One dead for good holds back three hours, never more.
    ends = [START + n * STEP for n in range(1, 6)]
    dead = parse_production(body(*(quarter(end, reporting=1) for end in ends), total=2), SITE, HOUR)
    assert batch(dead).answered is None
    assert batch(dead, now=START + timedelta(hours=3, minutes=37)).answered == Window(START, START + 2 * STEP)
    assert len(batch(dead).intervals) == 5


def test_a_hole_is_asked_for_again_until_it_is_three_hours_old() -> None:
    told = parse_production(body(*(quarter(START + n * STEP) for n in (1, 2, 4, 5))), SITE, HOUR)
    assert batch(told).answered == Window(START, START + 2 * STEP)
    assert len(batch(told).intervals) == 4
    assert batch(told, now=END + timedelta(hours=3)).answered == HOUR


def test_answered_ends_with_the_newest_bucket() -> None:
    told = parse_production(load("production_meter.json", TelemetryBody), SITE, TODAY)
    old = Window(MIDNIGHT, MIDNIGHT + timedelta(hours=1))
    assert batch(told, TODAY, now=LATER).answered == Window(MIDNIGHT, END)
    assert batch(told, HOUR).answered == HOUR
    assert batch(told, HOUR).answered == HOUR
    assert batch(parse_production(body(quarter(MIDNIGHT + STEP)), SITE, old), old).answered == Window(
        MIDNIGHT, MIDNIGHT + STEP
    )


@pytest.mark.parametrize(
    ("meta", "end"),
    [
        # The system reported since, so it has nothing of the rest; the last three hours are left open.
        ({"last_report_at": epoch(NOW), "last_energy_at": epoch(NOW)}, datetime(2026, 6, 15, 15, 30, tzinfo=UTC)),
        # It reported, but told of no energy since; or the other way round.
        ({"last_report_at": epoch(NOW), "last_energy_at": epoch(MIDNIGHT) + 3601}, MIDNIGHT + timedelta(hours=1)),
        ({"last_report_at": epoch(MIDNIGHT) + 3601, "last_energy_at": epoch(NOW)}, MIDNIGHT + timedelta(hours=1)),
        ({"last_report_at": epoch(NOW), "last_energy_at": None}, MIDNIGHT + STEP),
        ({"last_report_at": "now", "last_energy_at": epoch(NOW)}, MIDNIGHT + STEP),
        ({}, MIDNIGHT + STEP),
        ([], MIDNIGHT + STEP),
        (None, MIDNIGHT + STEP),
    ],
)
def test_meta_settles_nights_only_when_they_are_old(meta: object, end: datetime) -> None:
    told = parse_production(body(quarter(MIDNIGHT + STEP), meta=meta), SITE, TODAY)
    assert batch(told, TODAY).answered == Window(MIDNIGHT, end)
    assert len(batch(told, TODAY).intervals) == 1


def test_buckets_outside_the_window_are_passed_over() -> None:
    part = Window(START + STEP, START + 3 * STEP)
    found = batch(parse_production(load("production_meter.json", TelemetryBody), SITE, part), part)
    assert [i.values[Metric.PV_WH] for i in found.intervals] == [1507.0, 1514.0]
    assert (found.rejected, found.answered) == ((), part)


def test_several_answers_are_one_batch() -> None:
    first, second = Window(START, START + 2 * STEP), Window(START + 2 * STEP, END)
    whole = load("production_meter.json", TelemetryBody)
    pieces = [parse_production(whole, SITE, part) for part in (first, second)]
    assert gather(pieces, SITE, HOUR, 900, NOW) == batch(parse_production(whole, SITE, HOUR))
    # A day that is empty between days that are not was looked at.
    gap = gather([Told(), pieces[1]], SITE, HOUR, 900, LATER)
    assert gap.answered == HOUR
    assert gather([pieces[0], Told()], SITE, HOUR, 900, LATER).answered == first


def test_each_side_of_a_battery_stands_alone() -> None:
    bucket = {
        "end_at": epoch(END),
        "charge": {"enwh": None, "devices_reporting": 2},
        "discharge": {"enwh": 40, "devices_reporting": 2},
        "soc": {"percent": 55.5, "devices_reporting": 2},
    }
    last = Window(END - STEP, END)

    def values(change: dict[str, object]) -> dict[Metric, float]:
        told = parse_battery(body(bucket | change, total=2), SITE, last)
        return told.values.get(last.start, {})

    assert values({}) == {Metric.BATTERY_DISCHARGE_WH: 40.0, Metric.SOC_PCT: 55.5}
    assert values({"discharge": {"enwh": 0, "devices_reporting": 0}}) == {Metric.SOC_PCT: 55.5}
    assert values({"soc": {"percent": "55%"}, "charge": {"enwh": 3}}) == {
        Metric.BATTERY_CHARGE_WH: 3.0,
        Metric.BATTERY_DISCHARGE_WH: 40.0,
    }
    nothings: list[object] = [None, [], 5, "x"]
    for rubbish in nothings:
        assert values({"soc": rubbish, "discharge": rubbish}) == {}
    late = parse_battery(body(bucket | {"soc": {"percent": 5, "devices_reporting": 1}}, total=2), SITE, last)
    assert late.partial == {last.start}


@pytest.mark.parametrize(
    ("day", "count"),
    [
        # Denver, both changes of clocks, and a day of Kathmandu, whose midnight is at 18:15 UTC.
        (Window(datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 3, 9, 6, tzinfo=UTC)), 92),
        (Window(datetime(2026, 11, 1, 6, tzinfo=UTC), datetime(2026, 11, 2, 7, tzinfo=UTC)), 100),
        (Window(datetime(2026, 6, 1, 18, 15, tzinfo=UTC), datetime(2026, 6, 2, 18, 15, tzinfo=UTC)), 96),
    ],
)
def test_days_on_which_clocks_change(day: Window, count: int) -> None:
    ends = [start + STEP for start in day.slots(900)]
    told = parse_production(body(*(quarter(end, n) for n, end in enumerate(ends))), SITE, day)
    found = batch(told, day, now=LATER + timedelta(days=200))
    assert [i.values[Metric.PV_WH] for i in found.intervals] == [float(n) for n in range(count)]
    assert (found.answered, found.rejected) == (day, ())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("-1", "outside 0"),
        ("1e16", "outside 0"),
        ("1e400", "not a finite"),
        ("true", "not a finite"),
        ('"5"', "not a finite"),
        ("[5]", "not a finite"),
    ],
)
def test_bad_values_are_set_aside_one_by_one(value: str, reason: str) -> None:
    bad = f'{{"end_at": {epoch(START + STEP)}, "devices_reporting": 1, "wh_del": {value}}}'
    good = msgspec.json.encode(quarter(START + 2 * STEP)).decode()
    told = f'{{"system_id": {SITE}, "total_devices": 1, "intervals": [{bad}, {good}]}}'
    found = batch(parse_production(decode(told, TelemetryBody), SITE, HOUR))
    assert [i.start for i in found.intervals] == [START + STEP]
    (rejected,) = found.rejected
    assert (rejected.device, rejected.at, rejected.metric) == (f"system:{SITE}", START, "pv_wh")
    assert reason in rejected.reason
    assert rejected.shown == value[:12]
    # What is set aside was told: the slot counts as answered.
    assert found.answered == Window(START, START + 2 * STEP)


@pytest.mark.parametrize(
    "end", ["null", "0", "-900", '"2026"', "1781547301", "1.5", "99999999999", "true", str(2**70), "1781547200"]
)
def test_an_end_that_is_none_is_set_aside(end: str) -> None:
    told = f'{{"system_id": {SITE}, "intervals": [{{"end_at": {end}, "wh_del": 5}}]}}'
    found = parse_production(decode(told, TelemetryBody), SITE, HOUR)
    assert (found.values, found.newest) == ({}, None)
    assert [r.reason for r in found.rejected] == ["not the end of a bucket"]


def test_one_bucket_told_twice_is_told_once() -> None:
    same = parse_production(body(*[quarter(END)] * 2), SITE, HOUR)
    assert (same.values, same.rejected) == ({END - STEP: {Metric.PV_WH: 5.0}}, [])
    other = parse_production(body(quarter(END), quarter(END, 6)), SITE, HOUR)
    assert other.values == same.values
    assert [r.reason for r in other.rejected] == ["told twice with different numbers: the first is kept"]


def test_unsorted_buckets_are_sorted() -> None:
    told = parse_production(body(*(quarter(START + n * STEP, n) for n in (3, 1, 2))), SITE, HOUR)
    assert [i.values[Metric.PV_WH] for i in batch(told, now=LATER).intervals] == [1.0, 2.0, 3.0]


def test_answers_about_another_system_are_refused() -> None:
    for parse in (parse_micros, parse_production, parse_consumption, parse_import, parse_export, parse_battery):
        with pytest.raises(BadPayload, match="another system"):
            parse(body(system=7), SITE, HOUR)
    with pytest.raises(BadPayload, match="another system"):
        parse_lifetime(decode({"system_id": 7}, LifetimeBody), SITE)


def test_metered_channels() -> None:
    told, channels = parse_rgm(load("rgm_stats.json", MeteredBody), SITE, HOUR)
    sums = [row[Metric.PV_WH] for _, row in sorted(told.values.items())]
    assert sums == [1500.0, 1507.0, 1514.0, 1521.0, 1528.0]
    # The third channel is not used, and around the outage both others are silent where the system is not.
    assert {key: len(values) for key, values in channels.items()} == {
        ("202300000007EIM1", 1): 4,
        ("202300000007EIM1", 2): 4,
    }
    both = [sum(values[at] for values in channels.values()) for at in list(HOUR.slots(900))[:4]]
    assert both == pytest.approx(sums[:4], abs=1)
    assert channels["202300000007EIM1", 1][START] == pytest.approx(750.0)
    assert (told.rejected, batch(told).answered) == ([], HOUR)
    part = Window(START, START + STEP)
    assert {len(values) for values in parse_rgm(load("rgm_stats.json", MeteredBody), SITE, part)[1].values()} == {1}


def test_bad_channels_are_set_aside() -> None:
    whole = plain("rgm_stats.json")
    whole["meter_intervals"][0]["intervals"][0]["wh_del"] = "5"
    whole["meter_intervals"][0]["intervals"][1]["end_at"] = None
    whole["meter_intervals"][0]["intervals"][2]["channel"] = None
    whole["meter_intervals"].append({"meter_serial_number": 5, "intervals": whole["meter_intervals"][0]["intervals"]})
    told, channels = parse_rgm(decode(whole, MeteredBody), SITE, HOUR)
    assert [r.at for r in told.rejected] == [START]
    assert list(channels["202300000007EIM1", 1]) == [START + 3 * STEP]
    assert len(channels) == 2


def test_lifetimes() -> None:
    found = parse_lifetime(load("lifetime.json", LifetimeBody), SITE)
    # A null is not told, a zero in between is measured, zeros at the end mean that nothing was reported.
    assert found == {
        date(2026, 6, 12): {Metric.PV_WH: 41210.0},
        date(2026, 6, 14): {Metric.PV_WH: 0.0},
        date(2026, 6, 15): {Metric.PV_WH: 42105.0},
    }
    battery = parse_lifetime(load("lifetime_battery.json", LifetimeBody), SITE)
    assert battery[date(2026, 6, 13)] == {Metric.BATTERY_CHARGE_WH: 4100.0, Metric.BATTERY_DISCHARGE_WH: 3650.0}
    assert parse_lifetime(load("lifetime_import.json", LifetimeBody), SITE)[date(2026, 6, 12)] == {
        Metric.GRID_IMPORT_WH: 2200.0
    }
    assert parse_lifetime(load("lifetime_empty.json", LifetimeBody), SITE) == {}


@pytest.mark.parametrize("rubbish", ["-5", "true", '"41210"', "1e400", "null", "[]"])
def test_a_day_that_is_rubbish_is_not_told(rubbish: str) -> None:
    told = f'{{"system_id": {SITE}, "start_date": "2026-06-12", "export": [{rubbish}, 7]}}'
    assert parse_lifetime(decode(told, LifetimeBody), SITE) == {date(2026, 6, 13): {Metric.GRID_EXPORT_WH: 7.0}}
