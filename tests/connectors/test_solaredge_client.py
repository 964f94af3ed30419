"""SolarEdge's client over real HTTP: what it asks for, what that costs, and what it brings."""

from datetime import UTC, datetime, timedelta

import pytest

from enalysis.connectors.base import Batch, Check
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.registry import CONNECTORS
from enalysis.connectors.solaredge import SPEC, SolarEdge
from enalysis.core.errors import BadPayload
from enalysis.core.intervals import Window
from enalysis.core.metrics import Metric
from enalysis.core.quotas import QuotaWindow
from enalysis.core.sites import DeviceKind, MeterKind
from tests.connectors.conftest import LoopbackVendor, Purse, Reply
from tests.connectors.test_solaredge import GRID, HOUR, MORNING, NOW, PAYLOADS, SITE

KEY = "Kq7-made-up-fleet-key-0042"
BASE = f"/v2/sites/{SITE}"
FULL_PAGE = 1000


def payload(name: str) -> Reply:
    """Return a composed body as an answer."""
    return Reply((PAYLOADS / name).read_bytes())


def page(first: int, size: int = FULL_PAGE) -> Reply:
    """Return a page of sites with ids from `first` on."""
    return Reply({"sites": {"count": size, "site": [{"siteId": first + n} for n in range(size)]}})


@pytest.fixture
def client(vendor: LoopbackVendor, line: VendorHTTP) -> SolarEdge:
    """Return a client of the loopback vendor, built as the registry builds it."""
    vendor.replies = {
        "/v2/sites": payload("sites.json"),
        BASE: payload("site.json"),
        f"{BASE}/devices": payload("devices.json"),
        f"{BASE}/overview": payload("overview.json"),
        f"{BASE}/power": payload("power.json"),
        f"{BASE}/energy": payload("energy.json"),
        f"{BASE}/meters/telemetry": payload("meters.json"),
        f"{BASE}/storage/telemetry": payload("storage.json"),
    }
    built = CONNECTORS["solaredge"].build(line, {"api_key": f" {KEY}\n"})
    assert isinstance(built, SolarEdge)
    return built


async def test_the_key_goes_in_a_header_only(client: SolarEdge, vendor: LoopbackVendor) -> None:
    await client.fetch("energy", SITE, MORNING, NOW)
    (call,) = vendor.calls
    assert call.headers["x-api-key"] == KEY
    assert "authorization" not in call.headers
    assert KEY not in call.path + str(call.query)


async def test_check_spends_three_calls(client: SolarEdge, vendor: LoopbackVendor, purse: Purse) -> None:
    check = await client.check(NOW)
    assert check == Check(
        sites=3,
        capacity_wp=14600.0,
        current_power_w=3800.0,
        energy_today_wh=18420.0,
        status="ACTIVE",
        last_update=datetime(2026, 6, 2, 9, tzinfo=UTC),
    )
    assert (purse.taken, purse.verdicts) == (["sites", "overview", "power"], ["ok"] * 3)
    assert [call.path for call in vendor.calls] == ["/v2/sites", f"{BASE}/overview", f"{BASE}/power"]
    # Without a range the overview is of today.
    assert vendor.calls[1].query == ()


async def test_check_of_an_account_without_sites(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies["/v2/sites"] = page(1, size=0)
    assert await client.check(NOW) == Check(sites=0)
    assert len(vendor.calls) == 1


async def test_check_says_what_it_can_of_a_site_it_may_not_read(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies[f"{BASE}/overview"] = Reply({}, 403)
    assert await client.check(NOW) == Check(sites=3, capacity_wp=14600.0, status="ACTIVE")


async def test_sites_are_paged_until_a_short_page(client: SolarEdge, vendor: LoopbackVendor, purse: Purse) -> None:
    vendor.replies["/v2/sites"] = [page(1), page(1001), page(2001, size=3)]
    sites = await client.discover(NOW)
    assert [site.ref for site in sites] == [str(n) for n in range(1, 2004)]
    asked = [dict(call.query) for call in vendor.calls]
    assert asked == [{"page": str(n), "sites-in-page": "1000"} for n in (1, 2, 3)]
    assert purse.taken == ["sites"] * 3


async def test_a_page_that_overlaps_the_last_one_counts_its_sites_once(
    client: SolarEdge, vendor: LoopbackVendor
) -> None:
    vendor.replies["/v2/sites"] = [page(1), page(501), page(1501, size=0)]
    batch = await client.fetch("sites", "", None, NOW)
    assert batch.sites is not None
    assert [site.ref for site in batch.sites] == [str(n) for n in range(1, 1501)]


async def test_pages_that_repeat_end_with_an_error(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies["/v2/sites"] = page(1)
    with pytest.raises(BadPayload, match="again, as page 2"):
        await client.discover(NOW)
    assert len(vendor.calls) == 2


async def test_pages_that_never_end_end_with_an_error(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies["/v2/sites"] = [page(1 + n * FULL_PAGE) for n in range(101)]
    with pytest.raises(BadPayload, match="more than 100 full pages"):
        await client.discover(NOW)
    assert len(vendor.calls) == 100


async def test_inventory_spends_three_calls(client: SolarEdge, vendor: LoopbackVendor, purse: Purse) -> None:
    batch = await client.fetch("inventory", SITE, None, NOW)
    assert batch.sites is not None
    assert batch.devices is not None
    assert [site.zone for site in batch.sites] == ["Europe/Vienna"]
    assert {d.ref: d.feeds for d in batch.devices}[GRID] == {MeterKind.GRID}
    assert [d.kind for d in batch.devices].count(DeviceKind.METER) == 3
    assert purse.taken == ["site", "devices", "meters"]
    assert SPEC.stream("inventory").cost == 3
    assert vendor.calls[1].query == (("types", "INVERTER"), ("types", "METER"), ("types", "BATTERY"))


async def test_inventory_without_meters_spends_two_calls(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies[f"{BASE}/devices"] = Reply([{"type": "INVERTER", "serialNumber": "7E0A11C2-9B"}])
    batch = await client.fetch("inventory", SITE, None, NOW)
    assert batch.devices is not None
    assert [d.ref for d in batch.devices] == [f"site:{SITE}", f"inverter:{SITE}:7E0A11C2-9B"]
    assert len(vendor.calls) == 2


async def test_inventory_stands_where_the_meters_may_not_be_read(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies[f"{BASE}/meters/telemetry"] = Reply({}, 403)
    batch = await client.fetch("inventory", SITE, None, NOW)
    assert batch.devices is not None
    assert {d.ref: d.feeds for d in batch.devices}[GRID] == frozenset()


async def test_an_answer_about_another_site_is_refused(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies[BASE] = Reply({"siteId": 4101002})
    with pytest.raises(BadPayload, match="another site"):
        await client.fetch("inventory", SITE, None, NOW)


@pytest.mark.parametrize(
    ("stream", "path", "metrics"),
    [
        ("energy", "energy", {Metric.PV_WH}),
        (
            "meters",
            "meters/telemetry",
            {Metric.GRID_IMPORT_WH, Metric.GRID_EXPORT_WH, Metric.PV_WH, Metric.LOAD_WH},
        ),
        (
            "storage",
            "storage/telemetry",
            {Metric.BATTERY_CHARGE_WH, Metric.BATTERY_DISCHARGE_WH, Metric.SOC_PCT},
        ),
    ],
)
async def test_ranges_are_asked_for_in_utc(
    client: SolarEdge, vendor: LoopbackVendor, stream: str, path: str, metrics: set[Metric]
) -> None:
    # The end lies in the future and off the quarter-hours: only what is closed is asked for.
    batch = await client.fetch(stream, SITE, Window(HOUR.start - timedelta(minutes=7), NOW), NOW)
    (call,) = vendor.calls
    assert call.path == f"{BASE}/{path}"
    assert call.query == (
        ("from", "2026-06-02T08:00:00Z"),
        ("to", "2026-06-02T09:00:00Z"),
        ("resolution", "QUARTER_HOUR"),
    )
    assert {metric for interval in batch.intervals for metric in interval.values} == metrics
    assert metrics == set(SPEC.stream(stream).metrics)
    assert batch.answered is not None
    assert {batch.answered.start, batch.intervals[0].start} == {HOUR.start}


async def test_a_long_window_is_asked_for_in_pieces(client: SolarEdge, vendor: LoopbackVendor, purse: Purse) -> None:
    window = Window(MORNING.end - timedelta(hours=30), MORNING.end)
    batch = await client.fetch("energy", SITE, window, NOW)
    asked = [(dict(call.query)["from"], dict(call.query)["to"]) for call in vendor.calls]
    assert asked == [
        ("2026-06-01T03:00:00Z", "2026-06-01T15:00:00Z"),
        ("2026-06-01T15:00:00Z", "2026-06-02T03:00:00Z"),
        ("2026-06-02T03:00:00Z", "2026-06-02T09:00:00Z"),
    ]
    # Each bucket comes from one answer; before its own midnight the vendor said nothing, and nothing is said.
    assert len({i.start for i in batch.intervals}) == len(batch.intervals) == 22
    assert batch.answered == MORNING
    assert purse.taken == ["energy"] * 3


async def test_no_window_means_the_last_twelve_hours(client: SolarEdge, vendor: LoopbackVendor) -> None:
    await client.fetch("energy", SITE, None, NOW)
    assert dict(vendor.calls[0].query)["from"] == "2026-06-01T21:15:00Z"


async def test_a_window_without_a_closed_bucket_costs_nothing(client: SolarEdge, vendor: LoopbackVendor) -> None:
    for window in (Window(MORNING.end, NOW + timedelta(hours=9)), Window(NOW, NOW)):
        assert await client.fetch("energy", SITE, window, NOW) == Batch()
    assert vendor.calls == []


@pytest.mark.parametrize(
    "subject", ["", "0", "-1", "../4101001", "4101001/energy", "4101001?x=", "٤", "1" * 19, "7\n", "7 "]
)
async def test_a_reference_that_is_no_number_is_never_sent(
    client: SolarEdge, vendor: LoopbackVendor, subject: str
) -> None:
    for stream in ("inventory", "energy", "meters", "storage"):
        with pytest.raises(BadPayload, match="is a number"):
            await client.fetch(stream, subject, None, NOW)
    assert vendor.calls == []


async def test_an_unknown_stream_is_refused(client: SolarEdge, vendor: LoopbackVendor) -> None:
    with pytest.raises(BadPayload, match="no such stream"):
        await client.fetch("weather", SITE, None, NOW)
    assert vendor.calls == []


def test_the_card_says_which_figures_are_chosen() -> None:
    free, business = SPEC.plans
    assert [(q.limit, q.window, q.chosen) for q in free.quotas] == [
        (2000, QuotaWindow.MONTH, False),
        (10, QuotaWindow.MINUTE, False),
    ]
    assert all(quota.chosen for quota in business.quotas)
    assert "our choice" in business.note
    assert [field.name for way in SPEC.ways for field in way.fields if field.secret] == ["api_key"]
    assert SPEC.origin == f"https://{SPEC.hosts[0]}/v2"
