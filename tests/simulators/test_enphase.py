"""Enphase's simulated cloud: what it makes of the world, over real HTTP, and the identities its numbers keep."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from enalysis.core.intervals import Window, day_window, local_day
from enalysis.core.metrics import Metric
from enalysis.core.sites import DeviceKind
from enalysis.simulators import enphase as enphases
from enalysis.simulators.world import Awkward, World
from tests.simulators.conftest import SEED
from tests.simulators.enphase_bench import ENERGIES, Place, account, series, stamp

DENVER = ZoneInfo("America/Denver")


@pytest.mark.parametrize(
    ("site", "day"),
    [
        ("graz", date(2026, 5, 30)),
        ("graz", date(2026, 3, 29)),
        ("denver", date(2026, 3, 8)),
        ("adelaide", date(2026, 4, 5)),
        ("kathmandu", date(2026, 5, 30)),
        ("saopaulo", date(2026, 5, 30)),
        ("honolulu", date(2026, 5, 30)),
        ("tokyo", date(2026, 5, 30)),
        ("sacramento", date(2026, 5, 30)),
    ],
)
def test_what_is_told_is_the_world_within_the_band(enphase: Place, site: str, day: date) -> None:
    world = enphase.view(site).world
    window = day_window(day, world.zone)
    told = enphase.cloud.told(site, window, window.end + timedelta(days=2))
    assert len(told) > 60
    for one in told:
        truth = world.energy(one.start, one.start + timedelta(seconds=one.duration_s))
        assert abs(one.value - getattr(truth, one.metric.value)) <= enphase.cloud.band(one)
        assert (one.kind, one.serial) == (DeviceKind.SITE_TOTAL, None)
        assert one.value == int(one.value)


@pytest.mark.parametrize(
    ("site", "metrics"),
    [
        ("kathmandu", {Metric.PV_WH}),
        ("saopaulo", {Metric.PV_WH, Metric.LOAD_WH}),
        ("tokyo", {Metric.PV_WH, Metric.GRID_IMPORT_WH, Metric.GRID_EXPORT_WH}),
        (
            "denver",
            {
                *(Metric.PV_WH, Metric.GRID_IMPORT_WH, Metric.GRID_EXPORT_WH, Metric.SOC_PCT),
                *(Metric.BATTERY_CHARGE_WH, Metric.BATTERY_DISCHARGE_WH),
            },
        ),
    ],
)
def test_a_site_tells_what_its_meters_see(enphase: Place, site: str, metrics: set[Metric]) -> None:
    window = day_window(date(2026, 5, 29), enphase.view(site).zone)
    told = enphase.cloud.told(site, window, enphase.clock())
    assert {one.metric for one in told} == metrics
    assert {one.duration_s for one in told} == {300 if site == "kathmandu" else 900}


async def test_consumption_is_production_and_grid_without_the_battery(enphase: Place) -> None:
    start = stamp(day_window(date(2026, 5, 30), DENVER).start)
    found = {what: await series(enphase, "denver", what, start_at=start) for what in ENERGIES}
    battery = await enphase.read("portfolio", "systems/{denver}/telemetry/battery", start_at=start)
    assert len(found["consumption"]) == 96
    for end, used in found["consumption"].items():
        net = found["production_meter"][end] + found["import"][end] - found["export"][end]
        assert used == max(0, net)
        assert net >= -1
    world = enphase.view("denver").world
    truth = world.energy(*_window(start))
    load = sum(found["consumption"].values()) + sum(
        i["discharge"]["enwh"] - i["charge"]["enwh"] for i in battery["intervals"]
    )
    assert load == pytest.approx(truth.load_wh, abs=200)
    assert abs(sum(found["consumption"].values()) - truth.load_wh) > 500


def _window(start: int) -> tuple[datetime, datetime]:
    at = datetime.fromtimestamp(start, UTC)
    return at, at + timedelta(days=1)


async def test_power_of_microinverters_is_twelve_times_their_energy(enphase: Place) -> None:
    body = await enphase.read("portfolio", "systems/{denver}/telemetry/production_micro", granularity="week")
    assert body["total_devices"] == 24
    assert any(i["enwh"] for i in body["intervals"])
    for one in body["intervals"]:
        assert one.keys() == {"end_at", "devices_reporting", "powr", "enwh"}
        assert one["powr"] == 12 * one["enwh"]
        assert one["end_at"] % 300 == 0


@pytest.mark.parametrize("site", ["denver", "graz", "tokyo"])
async def test_microinverters_count_half_to_one_per_cent_more_than_the_meter(enphase: Place, site: str) -> None:
    body = await enphase.read(
        account(site), f"systems/{{{site}}}/energy_lifetime", production="all", start_date="2026-05-01"
    )
    assert body["production"] == body["meter_production"]
    for micro, meter in zip(body["micro_production"], body["meter_production"], strict=True):
        assert 1.003 < micro / meter < 1.012


def test_the_difference_may_be_set_to_twenty_per_cent(enphase: Place, worlds: Mapping[str, World]) -> None:
    switches = enphases.Switches(drift=0.2)
    odd = enphases.EnphaseCloud(enphases.demo_accounts(SEED, {}), worlds, enphase.clock, enphase.faults, switches)
    whole = odd.views["denver"].day(date(2026, 5, 30), enphase.clock())
    assert whole.micro / whole.pv == pytest.approx(1.2, abs=0.005)


@pytest.mark.parametrize("day", [date(2026, 5, 30), date(2026, 3, 8)])
async def test_quarters_add_up_to_the_day(enphase: Place, day: date) -> None:
    window = day_window(day, DENVER)
    for what, path, field in (
        ("production_meter", "energy_lifetime", "production"),
        ("consumption", "consumption_lifetime", "consumption"),
        ("import", "energy_import_lifetime", "import"),
        ("export", "energy_export_lifetime", "export"),
    ):
        quarters = await series(enphase, "denver", what, start_at=stamp(window.start), granularity="week")
        inside = [v for end, v in quarters.items() if end <= stamp(window.end)]
        assert len(inside) == window.seconds // 900
        body = await enphase.read("portfolio", f"systems/{{denver}}/{path}", start_date=day, end_date=day)
        assert body[field] == [sum(inside)]


async def test_registers_differ_by_their_quarters(enphase: Place) -> None:
    start, end = datetime(2026, 6, 1, 15, tzinfo=UTC), datetime(2026, 6, 2, 8, 30, tzinfo=UTC)
    for what, path in (
        ("production_meter", "production_meter_readings"),
        ("consumption", "consumption_meter_readings"),
    ):
        reads = []
        for at in (start, end):
            body = await enphase.read("household", f"systems/{{graz}}/{path}", end_at=stamp(at) + 61)
            (reading,) = body["meter_readings"]
            assert reading["read_at"] == stamp(at)
            reads.append(reading["value"])
        quarters = await series(enphase, "graz", what, start_at=stamp(start), granularity="day")
        assert reads[1] - reads[0] == sum(v for at, v in quarters.items() if at <= stamp(end)) > 1000


async def test_registers_of_storage_have_two_values_and_another_name(enphase: Place) -> None:
    body = await enphase.read("household", "systems/{graz}/storage_meter_readings")
    (reading,) = body["meter_readings"]
    assert reading.keys() == {"serial_num", "value_charged", "value_discharged", "read_at"}
    assert reading["value_charged"] > reading["value_discharged"] > 0
    (bought,) = (await enphase.read("household", "systems/{graz}/consumption_meter_readings"))["meter_readings"]
    assert bought.keys() == {"serial_num", "value", "read_at"}
    none = await enphase.read("household", "systems/{kathmandu}/storage_meter_readings")
    assert none["meter_readings"] == []


async def test_a_retired_meter_stays_listed_and_stands_still(enphase: Place) -> None:
    path = "systems/{tokyo}/production_meter_readings"
    old, new = (await enphase.read("portfolio", path))["meter_readings"]
    change = day_window(date(2026, 2, 11), ZoneInfo("Asia/Tokyo")).start
    assert old["read_at"] == stamp(change)
    assert new["value"] < old["value"]
    enphase.clock.forward(hours=20)
    later = (await enphase.read("portfolio", path))["meter_readings"]
    assert later[0] == old
    assert later[1]["value"] > new["value"]
    (before,) = (await enphase.read("portfolio", path, end_at=stamp(change) - 900))["meter_readings"]
    assert before["value"] <= old["value"]
    devices = (await enphase.read("portfolio", "systems/{tokyo}/devices"))["devices"]
    assert old["serial_number"] not in {m["serial_number"] for m in devices["meters"]}
    assert new["serial_number"] in {m["serial_number"] for m in devices["meters"]}


async def test_metered_production_has_channels_that_add_up(enphase: Place) -> None:
    body = await enphase.read("household", "systems/{graz}/rgm_stats", start_at=stamp(enphase.clock()) - 86_400)
    (meter,) = body["meter_intervals"]
    sums: dict[int, float] = {}
    for one in meter["intervals"]:
        if one["channel"] == 3:
            assert one["wh_del"] is None
            assert one["curr_w"] is None
        else:
            assert isinstance(one["wh_del"], float)
            assert isinstance(one["curr_w"], int)
            sums[one["end_at"]] = sums.get(one["end_at"], 0) + one["wh_del"]
    assert len(body["intervals"]) > 80
    for one in body["intervals"]:
        assert isinstance(one["wh_del"], int)
        assert abs(one["wh_del"] - sums[one["end_at"]]) <= 1
    strong = [o for o in meter["intervals"] if (o["wh_del"] or 0) > 100]
    assert any(abs(o["curr_w"] - 4 * o["wh_del"]) > 5 for o in strong)
    assert meter["meter_serial_number"].startswith(meter["envoy_serial_number"])


async def test_around_an_outage_a_quarter_has_no_channels(enphase: Place) -> None:
    view = enphase.view("denver")
    (outage, *_) = view.world.spells(
        Awkward.GRID_OUTAGE, Window(datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 30, tzinfo=UTC))
    )
    start = stamp(outage.start)
    path = "systems/{denver}/rgm_stats"
    body = await enphase.read("portfolio", path, start_at=start, end_at=start + 1800)
    assert [i["end_at"] for i in body["intervals"]] == [start + 900, start + 1800]
    assert all(i["wh_del"] is not None for i in body["intervals"])
    assert {o["wh_del"] for o in body["meter_intervals"][0]["intervals"]} == {None}


async def test_the_lifetime_is_that_of_the_days_before(enphase: Place) -> None:
    day = (await enphase.read("household", "systems/{graz}/summary"))["energy_lifetime"]
    days = await enphase.read("household", "systems/{graz}/energy_lifetime")
    assert day == sum(days["production"])
    assert days["start_date"] == "2025-03-14"
    last = date(2025, 3, 14) + timedelta(days=len(days["production"]) - 1)
    assert last == local_day(enphase.clock(), ZoneInfo("Europe/Vienna")) - timedelta(days=1)
    today = await enphase.read("household", "systems/{graz}/energy_lifetime", start_date="2026-06-02")
    assert len(today["production"]) == 1
    now = await enphase.read("household", "systems/{graz}/summary")
    assert today["production"] == [now["energy_today"]]
    assert now["current_power"] > 0


async def test_a_summary_of_the_past_has_no_size(enphase: Place) -> None:
    now = await enphase.read("household", "systems/{graz}/summary")
    assert (now["modules"], now["size_w"], now["source"]) == (20, 8000, "meter")
    past = await enphase.read("household", "systems/{graz}/summary", summary_date="2026-06-01")
    assert (past["modules"], past["size_w"], past["current_power"]) == (0, 0, 0)
    assert past["energy_lifetime"] + past["energy_today"] == now["energy_lifetime"]
    small = await enphase.read("household", "systems/{kathmandu}/summary")
    assert small["source"] == "microinverters"
    assert "battery_capacity_wh" not in small
    assert now["battery_capacity_wh"] == 9700
