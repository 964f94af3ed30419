"""SolarEdge's simulated cloud: what it makes of the world, and a public client of the vendor against it."""

import json
import os
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import httpx2
import pytest
from aiosolaredge_one import (
    SolarEdgeAuthError,
    SolarEdgeNotFoundError,
    SolarEdgeOneClient,
    SolarEdgeRateLimitError,
)

from enalysis.core.intervals import Window, day_window, floor_time
from enalysis.core.sites import DeviceKind
from enalysis.simulators.faults import Fault, FaultKind
from enalysis.simulators.server import Sandbox
from enalysis.simulators.solaredge.view import total
from enalysis.simulators.world import Energies
from tests.simulators.clouds import cloud, key, points, view
from tests.simulators.conftest import NOON
from tests.simulators.ports import Clock, serving

# -- the view of the world


@pytest.mark.parametrize(
    ("site", "day"),
    [
        ("graz", date(2026, 6, 1)),
        ("graz", date(2026, 3, 29)),
        ("graz", date(2025, 10, 26)),
        ("denver", date(2026, 3, 8)),
        ("denver", date(2025, 11, 2)),
        ("kathmandu", date(2026, 1, 5)),
        ("berlin", date(2026, 5, 4)),
    ],
)
def test_the_view_is_the_world_within_the_band(sandbox: Sandbox, site: str, day: date) -> None:
    cloud_, world = cloud(sandbox), sandbox.worlds[site]
    whole = day_window(day, world.zone)
    told = cloud_.told(site, whole, whole.end + timedelta(days=1))
    assert len(told) > 30
    for one in told:
        truth = world.energy(one.start, one.start + timedelta(seconds=one.duration_s))
        assert abs(one.value - getattr(truth, one.metric.value)) <= cloud_.band(one)


def test_night_is_null_dawn_is_zero_and_the_open_quarter_is_null(sandbox: Sandbox) -> None:
    graz = view(sandbox, "graz")
    midnight = day_window(date(2026, 6, 2), graz.zone).start
    values = [value for _, value in graz.site_energy(Window(midnight, NOON), NOON)]
    first = next(n for n, value in enumerate(values) if value is not None)
    assert 8 < first < 30
    assert values[first] == 0.0
    assert values[-1] is None
    assert None not in values[first:-1]


def test_a_quarter_is_published_after_the_delay_and_kept_ones_later(sandbox: Sandbox) -> None:
    graz = view(sandbox, "graz")
    offline = next(
        w
        for n in range(9)
        for s in graz.world.site.spells
        if (w := s.window(date(2026, 6, 1) + timedelta(days=n), graz.zone))
    )
    window = Window(offline.start + timedelta(minutes=15), offline.start + timedelta(minutes=30))

    def value(now: datetime) -> float | None:
        return graz.site_energy(window, now)[0][1]

    assert value(window.end + timedelta(minutes=6)) is None
    assert value(offline.end + timedelta(seconds=299)) is None
    assert value(offline.end + timedelta(seconds=300)) is not None
    usual = Window(offline.start - timedelta(minutes=30), offline.start - timedelta(minutes=15))
    assert graz.site_energy(usual, usual.end + timedelta(seconds=299))[0][1] is None
    assert graz.site_energy(usual, usual.end + timedelta(seconds=300))[0][1] is not None


def test_nothing_is_told_before_the_installation(sandbox: Sandbox) -> None:
    graz = view(sandbox, "graz")
    window = Window(graz.installed - timedelta(days=2), graz.installed)
    assert not graz.told(window, NOON)
    assert graz.told(Window(graz.installed, graz.installed + timedelta(days=1)), NOON)


def test_the_overview_is_the_sum_of_the_day_and_its_parts_add_up(sandbox: Sandbox) -> None:
    graz = view(sandbox, "graz")
    today = Window(day_window(date(2026, 6, 2), graz.zone).start, NOON)
    found = graz.overview(today, NOON)
    assert found.pv_wh == total(graz.site_energy(today, NOON))
    assert found.own_wh is not None
    assert found.pv_wh == found.own_wh + (found.stored_wh or 0) + (found.exported_wh or 0)
    assert found.used_wh == found.own_wh + (found.drawn_wh or 0) + (found.imported_wh or 0)
    truth = graz.world.energy(today.start, floor_time(NOON, 900))
    assert found.used_wh == pytest.approx(truth.load_wh, abs=200)


def test_a_replaced_inverter_ends_one_serial_and_begins_another(sandbox: Sandbox) -> None:
    tokyo = view(sandbox, "tokyo")
    old, new = tokyo.family(DeviceKind.INVERTER)
    change = day_window(date(2026, 2, 11), ZoneInfo("Asia/Tokyo")).start
    energy = next(c for c in old.channels if c.name == "energy")
    before = Window(change - timedelta(days=1), change)
    after = Window(change, change + timedelta(days=1))
    assert old.serial != new.serial
    assert total(tokyo.series(old, energy, before, NOON))
    assert total(tokyo.series(new, energy, before, NOON)) is None
    assert total(tokyo.series(old, energy, after, NOON)) is None
    assert total(tokyo.series(new, energy, after, NOON)) == total(tokyo.site_energy(after, NOON))


def test_meters_agree_with_each_other(sandbox: Sandbox) -> None:
    berlin = view(sandbox, "berlin")
    window = day_window(date(2026, 5, 4), berlin.zone)
    sums: dict[str, float] = {}
    for unit in berlin.family(DeviceKind.METER):
        for channel in unit.channels:
            if channel.metric:
                sums[channel.name] = total(berlin.series(unit, channel, window, NOON)) or 0.0
    net = sums["productionEnergy"] + sums["importEnergy"] - sums["exportEnergy"]
    assert net == pytest.approx(sums["consumptionEnergy"], abs=200)
    assert sums["consumptionEnergy"] > 10000


# -- the vendor's shapes


COMPOSED = Path(__file__).parents[1] / "connectors" / "payloads" / "solaredge"
# What an answer holds by serial number.
MAPS = {"meters", "storage"}


def assert_fits(ours: Any, theirs: Any, where: str) -> None:  # noqa: ANN401 - JSON of any shape
    """Assert the same keys and types all the way down; null fits everything, a list is judged by one."""
    # A recording says REDACTED where something private stood: its type is not known.
    if ours is None or theirs is None or theirs == "REDACTED":
        return
    assert type(ours) is type(theirs), where
    if where in MAPS:
        ours, theirs = next(iter(ours.values())), next(iter(theirs.values()))
        for name in ours.keys() & theirs.keys():
            assert_fits(ours[name], theirs[name], f"{where}.*.{name}")
        assert ours.keys() >= theirs.keys(), where
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for name in theirs:
            assert_fits(ours[name], theirs[name], name if name in MAPS else f"{where}.{name}")
    elif isinstance(theirs, list) and theirs and ours:
        assert_fits(fullest(ours), fullest(theirs), f"{where}[]")


def fullest(items: list[Any]) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return the item that says most: nights and open quarters are null."""
    return max(items, key=lambda i: sum(v is not None for v in i.values()) if isinstance(i, dict) else 0)


def read(path: Path) -> Any:  # noqa: ANN401 - JSON of any shape
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("sites", "/sites"),
        ("site", "/sites/{graz}"),
        ("overview", "/sites/{graz}/overview"),
        ("overview_without_meters", "/sites/{kathmandu}/overview"),
        ("energy", "/sites/{graz}/energy"),
        ("power", "/sites/{graz}/power"),
        ("devices", "/sites/{graz}/devices"),
        ("meters", "/sites/{graz}/meters/telemetry"),
        ("storage", "/sites/{graz}/storage/telemetry"),
        ("error_404", "/sites/{graz}/nix"),
    ],
)
async def test_answers_have_the_documented_shape(
    sandbox: Sandbox, http: httpx2.AsyncClient, name: str, path: str
) -> None:
    ids = {site: view_.site_id for site, view_ in cloud(sandbox).views.items()}
    answer = await http.get(path.format(**ids), headers=key(sandbox, "household"))
    assert_fits(answer.json(), read(COMPOSED / f"{name}.json"), name)


async def test_a_wrong_key_is_refused_in_the_documented_shape(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/sites", headers={"X-API-Key": "SANDBOX-NOBODY"})
    assert_fits(answer.json(), read(COMPOSED / "error_401.json"), "error_401")


@pytest.mark.parametrize(
    ("name", "path"),
    [("sites", "/sites"), ("overview", "/sites/{site}/overview"), ("energy", "/sites/{site}/energy")],
)
async def test_answers_have_the_shape_of_recorded_ones(
    sandbox: Sandbox, http: httpx2.AsyncClient, name: str, path: str
) -> None:
    folder = os.environ.get("ENALYSIS_PAYLOADS")
    if not folder:
        pytest.skip("ENALYSIS_PAYLOADS is not set: no recorded bodies to compare with")
    ids = {"site": view(sandbox, "kathmandu").site_id}
    answer = await http.get(path.format(**ids), headers=key(sandbox, "household"))
    assert_fits(answer.json(), read(Path(folder, "solaredge", f"{name}.json")), name)


# -- a public client, unmodified, over a real port


async def test_a_public_client_reads_what_the_view_shows(sandbox: Sandbox) -> None:
    graz = view(sandbox, "graz")
    today = Window(day_window(date(2026, 6, 2), graz.zone).start, NOON)
    async with serving(sandbox.app) as origin, aiohttp.ClientSession() as session:
        client = SolarEdgeOneClient(session, key(sandbox, "household")["X-API-Key"], base_url=f"{origin}/solaredge/v2")
        sites = await client.validate()
        assert [s.site_id for s in sites] == [graz.site_id, view(sandbox, "kathmandu").site_id]
        assert [s.peak_power for s in sites] == [8.0, 3.2]
        assert all(s.is_active for s in sites)
        assert client.rate_limit is not None
        assert (client.rate_limit.limit_minute, client.rate_limit.remaining_minute) == (10, 9)
        details = await client.get_site_details(graz.site_id)
        assert (details.site_id, details.name) == (graz.site_id, "Mill Lane")

        overview = await client.get_site_overview(graz.site_id)
        wanted = graz.overview(today, NOON)
        production, consumption = overview.production, overview.consumption
        assert (production.total, production.unit) == (wanted.pv_wh, "WH")
        assert production.to_self_consumption == consumption.from_pv == wanted.own_wh
        assert (production.to_storage, production.to_grid) == (wanted.stored_wh, wanted.exported_wh)
        assert (consumption.from_storage, consumption.from_grid) == (wanted.drawn_wh, wanted.imported_wh)
        assert consumption.total == wanted.used_wh

        energy = await client.get_energy(graz.site_id)
        assert [v.value for v in energy.values] == [v for _, v in graz.site_energy(today, NOON)]
        assert energy.total == overview.production.total
        power = await client.get_power(graz.site_id, date_from=today.start, date_to=NOON)
        assert [v.value for v in power.values] == [v for _, v in graz.site_power(today, NOON)]
        assert power.latest_value == graz.site_power(today, NOON)[-2][1]

        devices = await client.get_devices(graz.site_id)
        assert [(d.type, d.serial_number) for d in devices] == [
            ("INVERTER", graz.family(DeviceKind.INVERTER)[0].serial)
        ]
        assert await client.get_alerts(graz.site_id) == []
        assert await client.get_fleet_alerts() == []


async def test_a_public_client_reads_storage_and_lifetime(sandbox: Sandbox) -> None:
    graz = view(sandbox, "graz")
    today = Window(day_window(date(2026, 6, 2), graz.zone).start, NOON)
    (battery,) = graz.family(DeviceKind.BATTERY)
    async with serving(sandbox.app) as origin, aiohttp.ClientSession() as session:
        client = SolarEdgeOneClient(session, key(sandbox, "household")["X-API-Key"], base_url=f"{origin}/solaredge/v2")
        for serials in (None, [battery.serial]):
            storage = (await client.get_storage_telemetry(graz.site_id, serials))["storage"]
            for channel in battery.channels:
                found = points(storage[battery.serial][channel.name])
                assert found == graz.series(battery, channel, today, NOON)
        days = [date(2026, 5, 20) + timedelta(days=n) for n in range(13)]
        lifetime = await client.get_lifetime_energy(graz.site_id, date_from="2026-05-20", date_to="2026-06-02")
        assert lifetime.total == sum(graz.day_wh(d, NOON) or 0 for d in days)
        assert len(lifetime.values) == 1
        assert (await client.get_environmental_benefits(graz.site_id)).co2_emissions is not None


async def test_a_public_client_meets_the_refusals(sandbox: Sandbox, clock: Clock) -> None:
    graz, berlin = view(sandbox, "graz").site_id, view(sandbox, "berlin").site_id
    async with serving(sandbox.app) as origin, aiohttp.ClientSession() as session:
        base = f"{origin}/solaredge/v2"
        client = SolarEdgeOneClient(session, key(sandbox, "household")["X-API-Key"], base_url=base)
        with pytest.raises(SolarEdgeAuthError):
            await SolarEdgeOneClient(session, "SANDBOX-NOBODY", base_url=base).get_sites()
        with pytest.raises(SolarEdgeAuthError):
            await client.get_site_overview(berlin)
        with pytest.raises(SolarEdgeNotFoundError):
            await client.get_storage_telemetry(graz, "BAT-00000000")
        for _ in range(8):
            await client.get_fleet_alerts()
        with pytest.raises(SolarEdgeRateLimitError) as refused:
            await client.get_fleet_alerts()
        assert refused.value.retry_after == 19.0
        clock.forward(minutes=1)
        sandbox.faults.set(Fault(FaultKind.QUOTA_SPENT, account="household"))
        with pytest.raises(SolarEdgeRateLimitError) as spent:
            await client.get_fleet_alerts()
        assert spent.value.retry_after is None
        assert client.rate_limit is not None
        assert (client.rate_limit.remaining_minute or 0) > 0


def test_energies_and_metrics_share_their_names() -> None:
    # The contract compares by name; a renamed field would silently compare nothing.
    names = set(Energies.__slots__)
    assert {"pv_wh", "grid_import_wh", "grid_export_wh", "soc_pct"} <= names
