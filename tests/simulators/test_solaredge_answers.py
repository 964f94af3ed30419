"""SolarEdge's simulated cloud: how it writes its answers, counts its calls, and refuses."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx2
import pytest
from aiosolaredge_one import RESOLUTIONS

from enalysis.core.intervals import Window, day_window
from enalysis.core.sites import DeviceKind
from enalysis.simulators.faults import Fault, FaultKind
from enalysis.simulators.server import Sandbox, create
from enalysis.simulators.solaredge import SolarEdgeCloud, Switches
from enalysis.simulators.solaredge.view import total
from tests.simulators.clouds import cloud, key, points, view
from tests.simulators.conftest import NOON, SEED
from tests.simulators.ports import Clock

# -- the dialect


async def test_sites_come_in_pages(sandbox: Sandbox, http: httpx2.AsyncClient) -> None:
    headers = key(sandbox, "portfolio")
    seen: list[int] = []
    for page, size in ((1, 3), (2, 3), (3, 2), (4, 0)):
        body = (await http.get(f"/sites?page={page}&sites-in-page=3", headers=headers)).json()["sites"]
        assert (body["count"], len(body["site"])) == (8, size)
        seen += [s["siteId"] for s in body["site"]]
    assert len(set(seen)) == 8
    assert (await http.get("/sites?page=0", headers=headers)).status_code == 400


async def test_the_period_ends_now_in_nanoseconds(sandbox: Sandbox, http: httpx2.AsyncClient) -> None:
    site = view(sandbox, "graz").site_id
    body = (await http.get(f"/sites/{site}/energy", headers=key(sandbox, "household"))).json()
    assert body["period"]["from"] == "2026-06-02T00:00:00+02:00"
    assert body["period"]["to"].startswith("2026-06-02T14:07:41.016061")
    assert len(body["period"]["to"].partition(".")[2]) == len("016061427+02:00")
    assert (body["unit"], body["resolution"]) == ("WH", "QUARTER_HOUR")


async def test_the_repeated_hour_has_two_offsets(sandbox: Sandbox, http: httpx2.AsyncClient, clock: Clock) -> None:
    clock.at = datetime(2026, 10, 26, 8, tzinfo=UTC)
    site = view(sandbox, "graz").site_id
    path = f"/sites/{site}/energy?from=2026-10-25T00:00:00&to=2026-10-26T00:00:00"
    body = (await http.get(path, headers=key(sandbox, "household"))).json()
    stamps = [v["timestamp"] for v in body["values"]]
    assert len(stamps) == len(set(stamps)) == 100
    assert "2026-10-25T02:30:00+02:00" in stamps
    assert "2026-10-25T02:30:00+01:00" in stamps
    assert points(body) == view(sandbox, "graz").site_energy(
        day_window(date(2026, 10, 25), ZoneInfo("Europe/Vienna")), clock.at
    )


async def test_an_offset_of_zero_is_written_z(sandbox: Sandbox, http: httpx2.AsyncClient, clock: Clock) -> None:
    clock.at = datetime(2026, 1, 12, 11, 20, tzinfo=UTC)
    site = view(sandbox, "porto")
    body = (await http.get(f"/sites/{site.site_id}/energy", headers=key(sandbox, "lapsed"))).json()
    assert body["period"]["from"] == "2026-01-12T00:00:00Z"
    assert body["values"][-1]["timestamp"] == "2026-01-12T11:15:00Z"
    assert points(body) == site.site_energy(Window(datetime(2026, 1, 12, tzinfo=UTC), clock()), clock())


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-06-01T06:00:00", "2026-06-01T12:00:00"),
        ("2026-06-01T04:00:00Z", "2026-06-01T10:00:00.00Z"),
        ("2026-06-01T04:00:00.000Z", "2026-06-01T12:00:00+02:00"),
        ("2026-06-01T06:00:00%2B02:00", "2026-06-01T12:00:00"),
    ],
)
async def test_times_are_read_in_every_form(sandbox: Sandbox, http: httpx2.AsyncClient, start: str, end: str) -> None:
    site = view(sandbox, "graz")
    path = f"/sites/{site.site_id}/power?from={start}&to={end}"
    body = (await http.get(path, headers=key(sandbox, "household"))).json()
    window = Window(datetime(2026, 6, 1, 4, tzinfo=UTC), datetime(2026, 6, 1, 10, tzinfo=UTC))
    assert points(body) == site.site_power(window, NOON)
    assert body["unit"] == "W"


@pytest.mark.parametrize("resolution", RESOLUTIONS)
async def test_every_resolution_tells_the_same_energy(
    sandbox: Sandbox, http: httpx2.AsyncClient, resolution: str
) -> None:
    site = view(sandbox, "kathmandu")
    span = "from=2026-05-25&to=2026-05-26" if resolution in {"QUARTER_HOUR", "HOUR"} else ""
    window = day_window(date(2026, 5, 25), site.zone)
    if not span:
        span, window = (
            "from=2026-05-04&to=2026-06-01",
            Window(day_window(date(2026, 5, 4), site.zone).start, day_window(date(2026, 6, 1), site.zone).start),
        )
    path = f"/sites/{site.site_id}/energy?resolution={resolution}&{span}"
    body = (await http.get(path, headers=key(sandbox, "household"))).json()
    assert body["resolution"] == resolution
    if resolution in {"MONTH", "YEAR"}:
        # Their first bucket begins before the range asked for.
        begins = date(2026, 5, 1) if resolution == "MONTH" else date(2026, 1, 1)
        window = Window(day_window(begins, site.zone).start, window.end)
    assert sum(v["value"] or 0 for v in body["values"]) == total(site.site_energy(window, NOON))
    assert all(v["timestamp"].endswith("+05:45") for v in body["values"])
    if resolution == "HOUR":
        assert {v["timestamp"][13:19] for v in body["values"]} == {":00:00"}


async def test_a_unit_may_be_asked_for(sandbox: Sandbox, http: httpx2.AsyncClient) -> None:
    site, headers = view(sandbox, "graz").site_id, key(sandbox, "household")
    wh = (await http.get(f"/sites/{site}/energy", headers=headers)).json()
    kwh = (await http.get(f"/sites/{site}/energy?unit=KWH", headers=headers)).json()
    assert kwh["unit"] == "KWH"
    for (_, a), (_, b) in zip(points(wh), points(kwh), strict=True):
        assert (a is None) == (b is None)
        assert a is None or b == pytest.approx(a / 1000)
    assert (await http.get(f"/sites/{site}/energy?unit=W", headers=headers)).status_code == 400


async def test_sites_without_meters_have_null_parts_with_their_unit(sandbox: Sandbox, http: httpx2.AsyncClient) -> None:
    site, headers = view(sandbox, "kathmandu").site_id, key(sandbox, "household")
    body = (await http.get(f"/sites/{site}/overview", headers=headers)).json()
    assert body["production"]["total"] > 0
    parts = ("toSelfConsumption", "toStorage", "toGrid")
    assert [body["production"][name] for name in parts] == [None, None, None]
    nothing = {"total": None, "unit": "WH", "fromPv": None, "fromStorage": None, "fromGrid": None}
    assert body["consumption"] == nothing
    for family in ("meters", "storage"):
        answer = (await http.get(f"/sites/{site}/{family}/telemetry", headers=headers)).json()
        assert answer[family] == {}


async def test_devices_are_inverters_unless_asked_otherwise(sandbox: Sandbox, http: httpx2.AsyncClient) -> None:
    site, headers = view(sandbox, "graz").site_id, key(sandbox, "household")

    async def types(query: str) -> list[str]:
        return [d["type"] for d in (await http.get(f"/sites/{site}/devices{query}", headers=headers)).json()]

    assert await types("") == ["INVERTER"]
    assert await types("?types=METER&types=BATTERY") == ["METER", "BATTERY"]
    assert await types("?types=INVERTER,METER") == ["INVERTER", "METER"]
    assert await types("?types=OPTIMIZER") == []
    assert (await http.get(f"/sites/{site}/devices?types=SPOON", headers=headers)).status_code == 400


async def test_telemetry_has_a_unit_per_series_and_equals_the_view(sandbox: Sandbox, http: httpx2.AsyncClient) -> None:
    graz, headers = view(sandbox, "graz"), key(sandbox, "household")
    window = Window(datetime(2026, 6, 1, 4, tzinfo=UTC), datetime(2026, 6, 1, 12, tzinfo=UTC))
    units = {}
    for family, kind in (
        ("inverters", DeviceKind.INVERTER),
        ("meters", DeviceKind.METER),
        ("storage", DeviceKind.BATTERY),
    ):
        path = f"/sites/{graz.site_id}/{family}/telemetry?from=2026-06-01T06:00:00&to=2026-06-01T14:00:00"
        body = (await http.get(path, headers=headers)).json()
        (unit,) = graz.family(kind)
        assert list(body[family]) == [unit.serial]
        for channel in unit.channels:
            found = body[family][unit.serial][channel.name]
            units[channel.name] = found["unit"]
            shift = timedelta(minutes=15 if channel.name in {"voltage", "frequency"} else 0)
            wanted = [(at + shift, value) for at, value in graz.series(unit, channel, window, NOON)]
            assert points(found) == wanted
    assert units["power"] == "KW"
    assert units["importPower"] == "W"
    assert units["stateOfEnergy"] == "PERCENTAGE"
    assert units["remainingEnergy"] == "KWH"


async def test_one_series_of_one_device(sandbox: Sandbox, http: httpx2.AsyncClient) -> None:
    graz, headers = view(sandbox, "graz"), key(sandbox, "household")
    (meter,), (battery,) = graz.family(DeviceKind.METER), graz.family(DeviceKind.BATTERY)
    today = Window(day_window(date(2026, 6, 2), graz.zone).start, NOON)
    for family, unit, path, name in (
        ("meters", meter, "import-energy", "importEnergy"),
        ("storage", battery, "state-of-energy", "stateOfEnergy"),
    ):
        channel = next(c for c in unit.channels if c.name == name)
        body = (await http.get(f"/sites/{graz.site_id}/{family}/{unit.serial}/{path}", headers=headers)).json()
        assert points(body) == graz.series(unit, channel, today, NOON)
        assert body["unit"] == channel.unit
    wrong = f"/sites/{graz.site_id}/meters/{meter.serial}/voltage"
    assert (await http.get(wrong, headers=headers)).status_code == 404


# -- refusals


async def test_a_minute_is_a_calendar_minute(sandbox: Sandbox, http: httpx2.AsyncClient, clock: Clock) -> None:
    headers = key(sandbox, "household")
    left = []
    for n in range(10):
        answer = await http.get("/nix" if n % 2 else "/sites", headers=headers)
        left.append(int(answer.headers["x-ratelimit-remaining-minute"]))
    assert left == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    refused = await http.get("/sites", headers=headers)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "19"
    assert refused.headers["x-ratelimit-remaining-minute"] == "0"
    clock.forward(seconds=19)
    assert (await http.get("/sites", headers=headers)).status_code == 200


async def test_credits_last_until_the_billing_day(sandbox: Sandbox, http: httpx2.AsyncClient, clock: Clock) -> None:
    headers = key(sandbox, "household")
    for _ in range(200):
        for _ in range(10):
            assert (await http.get("/alerts", headers=headers)).status_code == 200
        clock.forward(minutes=1)
    refused = await http.get("/alerts", headers=headers)
    assert refused.status_code == 429
    assert int(refused.headers["x-ratelimit-remaining-minute"]) > 0
    assert "retry-after" not in refused.headers
    # The first of the month brings nothing back; the day of the bill does.
    clock.at = datetime(2026, 6, 17, 9, 29, tzinfo=UTC)
    assert (await http.get("/alerts", headers=headers)).status_code == 429
    clock.at = datetime(2026, 6, 17, 9, 30, tzinfo=UTC)
    assert (await http.get("/alerts", headers=headers)).status_code == 200
    # The neighbours' credits are their own.
    assert cloud(sandbox).tallies["portfolio"].month(clock.at) == 0


@pytest.mark.parametrize(
    ("path", "status", "counted"),
    [
        ("/sites/{graz}/nix", 404, True),
        ("/sites/{berlin}/energy", 403, True),
        ("/sites/1/energy", 403, True),
        ("/sites/{graz}/power-flow", 403, True),
        ("/sites/{graz}/energy?resolution=FORTNIGHT", 400, True),
        ("/sites/{graz}/energy?from=yesterday", 400, True),
        ("/sites/{graz}/energy?from=2026-06-02&to=2026-06-01", 400, True),
        ("/sites/{graz}/energy?from=2026-01-01&to=2026-03-01", 400, True),
        ("/sites/{graz}/energy?resolution=HOUR&from=2026-05-01&to=2026-05-03", 400, True),
        ("/sites/{graz}/energy?resolution=DAY&from=2026-01-01&to=2026-05-03", 400, True),
        ("/sites/{graz}/power?resolution=DAY", 400, True),
        ("/sites/{graz}/meters/telemetry?from=2026-06-01T00:00:00&to=2026-06-01T12:15:00", 400, True),
        ("/sites/{graz}/meters/telemetry?from=2026-06-01T00:00:00&to=2026-06-01T12:00:00", 200, True),
        ("/sites/{graz}/energy?from=2026-06-01T00:00:00&to=2026-06-01T12:15:00", 200, True),
        ("/../site/{graz}/overview?api_key=x", 410, False),
        ("/../sites/list", 410, False),
    ],
)
async def test_refusals_are_problems_and_cost_what_they_cost(
    sandbox: Sandbox, http: httpx2.AsyncClient, path: str, status: int, *, counted: bool
) -> None:
    ids = {name: v.site_id for name, v in cloud(sandbox).views.items()}
    answer = await http.get(path.format(**ids), headers=key(sandbox, "household"))
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert len(answer.json()["traceId"]) == 32
    assert cloud(sandbox).tallies["household"].month(NOON) == int(counted)
    assert answer.headers["cache-control"].startswith("no-cache, no-store")
    assert answer.headers["via"].startswith("kong/")


async def test_the_twelve_hour_cap_is_a_switch(sandbox: Sandbox, clock: Clock) -> None:
    worlds, accounts = sandbox.worlds, [cloud(sandbox).accounts["household"]]
    strict = SolarEdgeCloud(accounts, worlds, clock, sandbox.faults, Switches(cap_series=True))
    loose = SolarEdgeCloud(accounts, worlds, clock, sandbox.faults, Switches(cap_telemetry=False))
    site, span = view(sandbox, "graz").site_id, "from=2026-06-01T00:00:00&to=2026-06-01T12:15:00"
    for app, energy, meters in ((strict, 400, 400), (loose, 200, 200)):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://vendor/v2") as client:
            headers = key(sandbox, "household")
            found = await client.get(f"/sites/{site}/energy?{span}", headers=headers)
            assert found.status_code == energy
            found = await client.get(f"/sites/{site}/meters/telemetry?{span}", headers=headers)
            assert found.status_code == meters


async def test_keys(sandbox: Sandbox, http: httpx2.AsyncClient) -> None:
    missing = await http.get("/sites")
    assert (missing.status_code, missing.json()["error"]) == (401, "invalid_request")
    wrong = await http.get("/sites", headers={"X-API-Key": "SANDBOX-NOBODY"})
    assert wrong.status_code == 401
    assert wrong.json()["detail"] == "Invalid API key"
    assert len(wrong.json()["properties"]["traceId"]) == 32
    assert "x-ratelimit-limit-minute" not in wrong.headers
    number = sandbox.faults.set(Fault(FaultKind.WRONG_KEY, account="lapsed"))
    assert (await http.get("/sites", headers=key(sandbox, "lapsed"))).status_code == 401
    assert (await http.get("/sites", headers=key(sandbox, "household"))).status_code == 200
    sandbox.faults.clear(number)
    assert (await http.get("/sites", headers=key(sandbox, "lapsed"))).status_code == 200


def secrets(sandbox: Sandbox) -> set[str]:
    found = [
        {**a.credentials, **a.app, "password": a.login.get("password", "")} for a in cloud(sandbox).accounts.values()
    ]
    return {value for each in found for value in each.values() if value}


def test_keys_are_plainly_made_up_and_differ_by_seed(sandbox: Sandbox, clock: Clock) -> None:
    keys = secrets(sandbox)
    other = secrets(create(SEED + 1, clock))
    assert len(keys) > len(cloud(sandbox).accounts)
    assert all(k.startswith("SANDBOX-") for k in keys)
    assert keys.isdisjoint(other)
    assert keys == secrets(create(SEED, clock))
