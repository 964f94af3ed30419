"""SolarEdge's values are judged one by one: units, rubbish, stamps, power where energy is missing."""

import json
from datetime import timedelta

import pytest

from enalysis.connectors.solaredge_series import gather, parse_energy, parse_meters, parse_storage
from enalysis.connectors.solaredge_wire import MetersBody, OverviewBody, SeriesBody, SitesBody, StorageBody
from enalysis.core.metrics import Metric, Quality
from enalysis.core.readings import sift
from tests.connectors.test_solaredge import (
    GRID,
    HOUR,
    HOUSE,
    NOW,
    PRODUCTION,
    SITE,
    STEP,
    batch,
    by_time,
    decode,
    energy,
    load,
    point,
)

BATTERY = f"battery:{SITE}:BATT-77"
TOTAL = f"site:{SITE}"


def one_meter(series: dict[str, object]) -> MetersBody:
    """Return an answer about the grid meter alone, without a period."""
    return decode({"resolution": "QUARTER_HOUR", "meters": {"600112233": series}}, MetersBody)


def buckets(*values: object, unit: object = "WH") -> dict[str, object]:
    """Return a series with these values from 10:00 local on."""
    stamps = [f"2026-06-02T10:{15 * n:02}:00+02:00" for n in range(len(values))]
    points = [{"timestamp": at, "value": value} for at, value in zip(stamps, values, strict=True)]
    return {"unit": unit, "values": points}


def test_meters() -> None:
    told = parse_meters(load("meters.json", MetersBody), SITE, HOUR)
    assert by_time(told, GRID, Metric.GRID_IMPORT_WH) == [0.0, 0.0, 0.0, 12.0]
    assert by_time(told, GRID, Metric.GRID_EXPORT_WH) == [457.6, 430.0, 411.0, 0.0]
    assert by_time(told, PRODUCTION, Metric.PV_WH) == [850.0, 880.0, 900.0, None]
    assert by_time(told, HOUSE, Metric.LOAD_WH) == [392.5, 450.0, 489.0, 900.0]
    assert {key: set(row) for key, row in told.values.items() if key[0] == HOUSE} == {
        (HOUSE, at): {Metric.LOAD_WH} for at in HOUR.slots(900)
    }
    assert told.rejected == []


def test_storage() -> None:
    told = parse_storage(load("storage.json", StorageBody), SITE, HOUR)
    assert by_time(told, BATTERY, Metric.BATTERY_CHARGE_WH) == [150.0, 105.0, 0.0, 0.0]
    assert by_time(told, BATTERY, Metric.BATTERY_DISCHARGE_WH) == [0.0, 0.0, 210.0, 255.0]
    assert by_time(told, BATTERY, Metric.SOC_PCT) == [67.8, 68.9, 66.7, 64.1]
    assert (told.rejected, told.derived) == ([], set())


def test_power_fills_in_where_energy_is_missing() -> None:
    told = parse_meters(load("meters.json", MetersBody), SITE, HOUR)
    found = gather([told], HOUR, NOW)
    derived = [(i.device, i.start) for i in found.intervals if i.quality is Quality.DERIVED]
    assert derived == [(HOUSE, HOUR.start + STEP), (HOUSE, HOUR.end - STEP)]
    assert {i.quality for i in found.intervals} == {Quality.DERIVED, Quality.MEASURED}


def test_power_alone_becomes_energy() -> None:
    body = one_meter({"importPower": buckets(1000.0, None, 48.0, unit="W"), "exportEnergy": buckets(5.0, 6.0)})
    found = gather([parse_meters(body, SITE, HOUR)], HOUR, NOW)
    assert [(dict(i.values), i.quality) for i in found.intervals] == [
        ({Metric.GRID_IMPORT_WH: 250.0, Metric.GRID_EXPORT_WH: 5.0}, Quality.DERIVED),
        ({Metric.GRID_EXPORT_WH: 6.0}, Quality.MEASURED),
        ({Metric.GRID_IMPORT_WH: 12.0}, Quality.DERIVED),
    ]


def test_power_does_not_stand_in_for_a_refused_energy() -> None:
    body = one_meter({"importEnergy": buckets(-5.0), "importPower": buckets(400.0, unit="W")})
    told = parse_meters(body, SITE, HOUR)
    assert (told.values, [r.reason for r in told.rejected]) == ({}, ["outside 0 to 1e+15 Wh"])


def test_each_series_has_its_own_unit() -> None:
    told = parse_meters(
        one_meter(
            {
                "importEnergy": buckets(0.5, unit="KWH"),
                "exportEnergy": buckets(250.0, unit="WH"),
                "productionPower": buckets(0.002, unit="MW"),
                "consumptionPower": buckets(800.0, unit="W"),
            }
        ),
        SITE,
        HOUR,
    )
    assert told.values == {
        (GRID, HOUR.start): {
            Metric.GRID_IMPORT_WH: 500.0,
            Metric.GRID_EXPORT_WH: 250.0,
            Metric.PV_WH: 500.0,
            Metric.LOAD_WH: 200.0,
        }
    }


@pytest.mark.parametrize("unit", ["PERCENTAGE_100", "FRACTION", "", None, 5, ["PERCENTAGE"]])
def test_an_unknown_unit_sets_its_series_aside(unit: object) -> None:
    battery = {"chargeEnergy": buckets(5.0, 6.0), "stateOfEnergy": buckets(0.67, 0.68, unit=unit)}
    body = decode({"resolution": "QUARTER_HOUR", "storage": {"BATT-77": battery}}, StorageBody)
    told = parse_storage(body, SITE, HOUR)
    assert by_time(told, BATTERY, Metric.BATTERY_CHARGE_WH) == [5.0, 6.0, None, None]
    assert by_time(told, BATTERY, Metric.SOC_PCT) == [None] * 4
    assert [(r.device, r.at, r.metric) for r in told.rejected] == [
        (BATTERY, HOUR.start, "soc_pct"),
        (BATTERY, HOUR.start + STEP, "soc_pct"),
    ]
    assert told.rejected[0].reason.startswith("unknown unit of share")
    assert told.rejected[0].shown == "0.67"


BAD = [
    ('"412"', "not a finite number"),
    ('"NaN"', "not a finite number"),
    ("true", "not a finite number"),
    ("{}", "not a finite number"),
    ("[5]", "not a finite number"),
    ("1e400", "not a finite number"),
    ("9" * 400, "not a finite number"),
    ("-1.5", "outside 0 to 1e+15 Wh"),
    ("1e16", "outside 0 to 1e+15 Wh"),
    ("1e308", "outside 0 to 1e+15 Wh"),
]


@pytest.mark.parametrize(("bad", "why"), BAD)
def test_bad_values_are_set_aside_one_by_one(bad: str, why: str) -> None:
    points = ", ".join([point("10:00", "100"), point("10:15", bad), point("10:30", "-0.0"), point("10:45", "7")])
    found = batch(energy(points, unit='"KWH"'), HOUR)
    assert [i.values[Metric.PV_WH] for i in found.intervals] == [100000.0, 0.0, 7000.0]
    assert str(found.intervals[1].values[Metric.PV_WH]) == "0.0"
    (rejected,) = found.rejected
    assert (rejected.device, rejected.at, rejected.metric) == (TOTAL, HOUR.start + STEP, "pv_wh")
    assert (rejected.reason, rejected.shown) == (why, bad[:12])
    # The slot is answered all the same: what came for it is known, and set aside.
    assert found.answered == HOUR
    # The house's own sieve finds nothing left to refuse.
    assert sift(found.samples, found.intervals, NOW).rejected == []


def test_a_thousand_answers_with_one_bad_value_each_keep_all_the_others() -> None:
    kept = refused = 0
    for n in range(1000):
        bad = BAD[n % len(BAD)][0]
        values = [bad if at == n % 4 else str(at) for at in range(4)]
        clocks = ["10:00", "10:15", "10:30", "10:45"]
        points = ", ".join(point(clock, value) for clock, value in zip(clocks, values, strict=True))
        found = batch(energy(points), HOUR)
        kept, refused = kept + len(found.intervals), refused + len(found.rejected)
    assert (kept, refused) == (3000, 1000)


def stamped(stamp: object, value: float) -> str:
    """Return one bucket with any stamp at all."""
    return json.dumps({"timestamp": stamp, "value": value})


def test_bad_stamps_are_set_aside_one_by_one() -> None:
    points = [
        stamped("2026-06-02T10:45:00+02:00", 4.0),
        stamped("2026-06-02T10:15:00", 99.0),
        stamped("2026-06-02T10:20:00+02:00", 99.0),
        stamped("soon", 99.0),
        stamped(None, 99.0),
        stamped(1780388100, 99.0),
        stamped("2026-06-02T08:00:00Z", 1.0),
        stamped("2026-06-02T10:00:00+02:00", 1.0),
        stamped("2026-06-02T10:00:00+02:00", 2.0),
    ]
    found = batch(energy(", ".join(points)), HOUR)
    assert [(i.start, i.values[Metric.PV_WH]) for i in found.intervals] == [
        (HOUR.start, 1.0),
        (HOUR.end - STEP, 4.0),
    ]
    assert [(r.at, r.reason) for r in found.rejected] == [
        (None, "time without a zone"),
        (HOUR.start + timedelta(minutes=20), "not the start of a quarter of an hour"),
        (None, "not an ISO 8601 time"),
        (None, "not an ISO 8601 time"),
        (None, "not an ISO 8601 time"),
        (HOUR.start, "told twice with different numbers: the first is kept"),
    ]


def test_a_number_and_a_null_for_one_bucket_is_the_number() -> None:
    points = ", ".join([point("10:00", "null"), point("10:00", "3"), point("10:00", "null")])
    found = batch(energy(points), HOUR)
    assert ([i.values[Metric.PV_WH] for i in found.intervals], found.rejected) == ([3.0], ())


@pytest.mark.parametrize("series", [5, "x", {"values": 5}, {"unit": "WH"}, {"values": [{}]}, {"values": ["x"]}])
def test_a_crooked_series_spoils_only_itself(series: object) -> None:
    told = parse_meters(one_meter({"importEnergy": series, "exportEnergy": buckets(5.0)}), SITE, HOUR)
    assert told.values == {(GRID, HOUR.start): {Metric.GRID_EXPORT_WH: 5.0}}
    assert [(r.device, r.metric) for r in told.rejected] == [(GRID, "grid_import_wh")]


def test_null_and_unknown_series_are_no_error() -> None:
    told = parse_meters(
        one_meter({"importEnergy": None, "name": "Grid", "voltage": buckets(230.0, unit="VOLT")}), SITE, HOUR
    )
    assert (told.values, told.rejected, told.covered) == ({}, [], None)


def test_another_resolution_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Invalid enum value 'HOUR' - at `\$\.resolution`"):
        energy(point("10:00", "5"), resolution="HOUR")
    told = parse_meters(one_meter({"importEnergy": {**buckets(5.0), "resolution": "HOUR"}}), SITE, HOUR)
    assert (told.values, len(told.rejected)) == ({}, 1)


@pytest.mark.parametrize("gone", ["period", "unit", "resolution", "values"])
def test_a_body_without_its_keys_is_refused(gone: str) -> None:
    whole = dict(ENERGY)
    assert parse_energy(decode(whole, SeriesBody), SITE, HOUR).values
    del whole[gone]
    with pytest.raises(ValueError, match=f"missing required field `{gone}`"):
        decode(whole, SeriesBody)


ENERGY = {
    "period": {"from": "2026-06-02T10:00:00+02:00", "to": "2026-06-02T11:00:00+02:00"},
    "resolution": "QUARTER_HOUR",
    **buckets(5.0),
}


@pytest.mark.parametrize(
    ("body", "into"),
    [
        ({"message": "ok"}, SitesBody),
        ({"sites": {"count": 0}}, SitesBody),
        ({"sites": []}, SitesBody),
        ([], OverviewBody),
        ({"siteId": 7}, OverviewBody),
        ({"siteId": True, "production": {"total": 1, "unit": "WH"}}, OverviewBody),
        ({"meters": {}}, MetersBody),
        ({"resolution": "QUARTER_HOUR"}, MetersBody),
        ({"meters": {}, "resolution": "HOUR"}, MetersBody),
        ({"storage": {}, "resolution": "DAY"}, StorageBody),
        ({"meters": [], "resolution": "QUARTER_HOUR"}, MetersBody),
        ({"resolution": "QUARTER_HOUR", "meters": {}}, StorageBody),
    ],
)
def test_only_the_documented_shape_is_success(body: object, into: type[object]) -> None:
    with pytest.raises(ValueError, match=r"at `\$|missing|Expected"):
        decode(body, into)
