"""Enphase's simulated cloud: windows, midnights, changes of clocks, reports that come late."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from enalysis.core.intervals import Window, day_window, local_day
from enalysis.simulators.world import Awkward
from tests.simulators.enphase_bench import Place, late, series, stamp

DENVER = ZoneInfo("America/Denver")


@pytest.mark.parametrize(("day", "quarters"), [(date(2026, 3, 8), 92), (date(2025, 11, 2), 100)])
async def test_a_day_of_telemetry_is_86400_seconds_also_where_clocks_change(
    enphase: Place, day: date, quarters: int
) -> None:
    window = day_window(day, DENVER)
    late(enphase, window.end)
    whole = await series(enphase, "denver", "production_meter", start_at=stamp(window.start), granularity="week")
    assert len([end for end in whole if end <= stamp(window.end)]) == quarters
    asked = await series(enphase, "denver", "production_meter", start_at=stamp(window.start))
    assert (len(asked), max(asked)) == (96, stamp(window.start) + 86_400)
    by_date = await enphase.read("portfolio", "systems/{denver}/telemetry/production_meter", start_date=day)
    assert len(by_date["intervals"]) == 96
    assert "start_at" not in by_date
    assert datetime.fromisoformat(by_date["start_date"]) == window.start


@pytest.mark.parametrize(
    ("path", "counts"),
    [
        ("telemetry/production_micro", {"5mins": 1, "15mins": 3, "day": 288, "week": 2016}),
        ("telemetry/production_meter", {"5mins": 0, "15mins": 1, "day": 96, "week": 672}),
        ("telemetry/battery", {"15mins": 1, "day": 96, "week": 672}),
    ],
)
async def test_granularity_is_the_length_of_the_window(enphase: Place, path: str, counts: dict[str, int]) -> None:
    start = datetime(2026, 5, 20, 10, tzinfo=UTC)
    for granularity, count in counts.items():
        body = await enphase.read(
            "portfolio", f"systems/{{denver}}/{path}", start_at=stamp(start), granularity=granularity
        )
        assert len(body["intervals"]) == count
        ends = [i["end_at"] for i in body["intervals"]]
        assert ends == sorted(ends)
        if ends:
            assert stamp(start) < ends[0] <= ends[-1] <= body["end_at"]


async def test_after_midnight_there_is_nothing_until_something_reports(enphase: Place) -> None:
    view = enphase.view("kathmandu")
    midnight = day_window(date(2026, 6, 3), view.zone).start
    path = "systems/{kathmandu}/telemetry/production_micro"
    enphase.clock.at = midnight + timedelta(hours=3, minutes=50)
    empty = await enphase.read("household", path)
    assert (empty["intervals"], empty["total_devices"]) == ([], 8)
    assert empty["start_at"] == stamp(midnight)
    enphase.clock.at = midnight + timedelta(hours=7)
    body = await enphase.read("household", path)
    # The first report fills the night with zeros.
    assert body["intervals"][0] == {
        "end_at": stamp(midnight) + 300,
        "devices_reporting": 8,
        "powr": 0,
        "enwh": 0,
    }
    graz = day_window(date(2026, 6, 3), enphase.view("graz").zone).start
    enphase.clock.at = graz + timedelta(minutes=2)
    for path in ("telemetry/production_meter", "telemetry/battery", "telemetry/production_micro"):
        body = await enphase.read("household", f"systems/{{graz}}/{path}")
        assert body["intervals"] == []
    assert (await enphase.read("household", "systems/{graz}/energy_export_telemetry"))["intervals"] == [[]]


@pytest.mark.parametrize(("site", "longest_s"), [("denver", 900), ("nairobi", 21_600)])
def test_data_come_with_the_reports_of_the_gateway(enphase: Place, site: str, longest_s: int) -> None:
    view = enphase.view(site)
    waits, reports = [], set()
    for minutes in range(0, 24 * 60, 5):
        now = datetime(2026, 5, 20, tzinfo=UTC) + timedelta(minutes=minutes)
        last = view.last_quarter(now)
        assert last is not None
        reports.add(view.last_report(now))
        waits.append((view.last_report(now) - last.end).total_seconds())
        assert 0 <= (now - view.last_report(now)).total_seconds() <= longest_s
    # A report brings all that is complete when it is made.
    assert all(0 <= wait < 900 for wait in waits)
    assert len(reports) in {86_400 // longest_s, 86_400 // longest_s + 1}


async def test_late_devices_make_energy_rise(enphase: Place) -> None:
    view = enphase.view("sacramento")
    (noisy, *_) = view.world.spells(
        Awkward.LATE, Window(datetime(2026, 5, 20, tzinfo=UTC), datetime(2026, 5, 26, tzinfo=UTC))
    )
    path, end = "systems/{sacramento}/telemetry/production_micro", stamp(noisy.start) + 7200
    start = stamp(day_window(local_day(noisy.start, view.zone), view.zone).start)

    async def at(hours: float) -> dict[str, Any]:
        enphase.clock.at = noisy.start + timedelta(hours=hours)
        # Its tokens live a quarter of an hour.
        enphase.tokens.clear()
        body = await enphase.read("expiring", path, start_at=start)
        return next(i for i in body["intervals"] if i["end_at"] == end)

    first, last = await at(2.5), await at(9)
    total = view.hardware.panels
    assert (first["devices_reporting"], last["devices_reporting"]) == (total - round(total * 0.3), total)
    assert 0 < first["enwh"] < last["enwh"]
    assert first["powr"] == 12 * first["enwh"]
    told = enphase.cloud.told("sacramento", Window(noisy.start, noisy.end), noisy.start + timedelta(hours=2.5))
    assert first["enwh"] in {t.value for t in told if stamp(t.start) == end - 300}


async def test_what_is_late_at_a_metered_site_is_absent_until_then(enphase: Place) -> None:
    view = enphase.view("berlin")
    (noisy, *_) = view.world.spells(
        Awkward.LATE, Window(datetime(2026, 5, 20, tzinfo=UTC), datetime(2026, 5, 28, tzinfo=UTC))
    )
    end = stamp(noisy.start) + 3600
    enphase.clock.at = noisy.start + timedelta(hours=2)
    assert end not in await series(enphase, "berlin", "production_meter", start_at=end - 7200)
    body = await enphase.read("portfolio", "systems/{berlin}/telemetry/production_micro", start_at=end - 7200)
    partial = next(i for i in body["intervals"] if i["end_at"] == end)
    assert partial["devices_reporting"] < body["total_devices"]
    enphase.clock.at = noisy.start + timedelta(hours=9)
    assert end in await series(enphase, "berlin", "production_meter", start_at=end - 7200)


async def test_a_gateway_that_is_away_is_a_site_that_does_not_report(enphase: Place) -> None:
    view = enphase.view("graz")
    (away, *_) = view.world.spells(
        Awkward.GATEWAY_OFFLINE, Window(datetime(2026, 5, 20, tzinfo=UTC), datetime(2026, 5, 31, tzinfo=UTC))
    )
    enphase.clock.at = away.end - timedelta(minutes=1)
    body = await enphase.read("household", "systems/{graz}")
    assert body["status"] == "comm"
    assert body["last_report_at"] < stamp(away.start)
    assert max(await series(enphase, "graz", "production_meter")) <= stamp(away.start)
    enphase.clock.at = away.end + timedelta(minutes=15)
    assert (await enphase.read("household", "systems/{graz}"))["status"] == "normal"
    assert max(await series(enphase, "graz", "production_meter")) >= stamp(away.end) - 900


async def test_meta_is_of_now_whatever_was_asked(enphase: Place) -> None:
    start = stamp(datetime(2026, 1, 5, tzinfo=UTC))
    for path in ("telemetry/production_micro", "telemetry/consumption_meter", "energy_import_telemetry"):
        body = await enphase.read("household", f"systems/{{graz}}/{path}", start_at=start)
        assert body["meta"]["last_energy_at"] == stamp(datetime(2026, 6, 2, 12, tzinfo=UTC))
        assert body["meta"].keys() == {"status", "last_report_at", "last_energy_at", "operational_at"}
    for path in ("telemetry/production_meter", "telemetry/battery", "latest_telemetry", "devices", "summary"):
        assert "meta" not in await enphase.read("household", f"systems/{{graz}}/{path}")
