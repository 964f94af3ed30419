"""Enphase's client over real HTTP: what it asks for, what that costs, and what it brings."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from enalysis.connectors.base import AppKind, Auth, Batch, Check, Stream, Subject
from enalysis.connectors.calls import HTTPLimits
from enalysis.connectors.enphase import SPEC, Enphase
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.errors import BadPayload, LoginNeeded
from enalysis.core.intervals import Window
from enalysis.core.metrics import Metric
from enalysis.core.quotas import Alignment, QuotaScope, QuotaWindow
from enalysis.egress import Egress
from tests.connectors.conftest import LoopbackVendor, Purse, Reply
from tests.connectors.test_enphase import NOW, PAYLOADS, SITE, epoch, plain
from tests.connectors.test_enphase_values import END, HOUR, START, STEP

KEY = "made-up-api-key-0042"
BASE = f"/v2/systems/{SITE}"
PATHS = {
    "production": "telemetry/production_meter",
    "micros": "telemetry/production_micro",
    "import": "energy_import_telemetry",
    "export": "energy_export_telemetry",
    "consumption": "telemetry/consumption_meter",
    "battery": "telemetry/battery",
}
FILES = {
    "production": "production_meter.json",
    "micros": "production_micro.json",
    "import": "import.json",
    "export": "export.json",
    "consumption": "consumption_meter.json",
    "battery": "battery.json",
}


@dataclass
class Tokens:
    """A source of tokens: a fresh one each time it is renewed."""

    count: int = 1
    spent: list[str] = field(default_factory=list)

    async def current(self) -> str:
        return f"made-up-token-{self.count}"

    async def renew(self, spent: str) -> str:
        self.spent.append(spent)
        self.count += 1
        return await self.current()


def payload(name: str, status: int = 200) -> Reply:
    """Return a composed body as an answer."""
    return Reply((PAYLOADS / name).read_bytes(), status)


def page(first: int, count: int, total: object, number: int = 1, size: object = 100) -> Reply:
    """Return a page of systems with ids from `first` on."""
    systems = [{"system_id": first + n} for n in range(count)]
    return Reply({"total": total, "current_page": number, "size": size, "count": count, "systems": systems})


@pytest.fixture
def tokens() -> Tokens:
    """Return the source of the client's tokens."""
    return Tokens()


@pytest.fixture
async def client(vendor: LoopbackVendor, purse: Purse, tokens: Tokens) -> AsyncIterator[Enphase]:
    """Yield a client of the loopback vendor, built as the registry builds it."""
    vendor.replies = {
        "/v2/systems": payload("systems.json"),
        BASE: payload("system.json"),
        f"{BASE}/summary": payload("summary.json"),
        f"{BASE}/devices": payload("devices.json"),
        **{f"{BASE}/{path}": payload(FILES[stream]) for stream, path in PATHS.items()},
    }
    async with VendorHTTP(
        vendor="enphase",
        label="Enphase",
        origin=vendor.origin,
        ledger=purse,
        egress=Egress(sandbox_origin=vendor.origin),
        clock=lambda: NOW,
        limits=HTTPLimits(attempts=1),
        tokens=tokens,
    ) as http:
        built = CONNECTORS["enphase"].build(http, {"api_key": f" {KEY}\n"})
        assert isinstance(built, Enphase)
        yield built


async def test_key_and_token_go_in_headers(client: Enphase, vendor: LoopbackVendor) -> None:
    await client.check(NOW)
    await client.fetch("inventory", SITE, None, NOW)
    await client.fetch("production", SITE, HOUR, NOW)
    assert len(vendor.calls) == 6
    for call in vendor.calls:
        assert (call.headers["key"], call.headers["authorization"]) == (KEY, "Bearer made-up-token-1")
        assert KEY not in call.path + str(call.query)
        assert "made-up-token" not in call.path + str(call.query)


async def test_a_token_is_renewed_once_and_the_refusal_stands(
    client: Enphase, vendor: LoopbackVendor, tokens: Tokens
) -> None:
    consumption, summary = f"{BASE}/telemetry/consumption_meter", f"{BASE}/summary"
    vendor.replies[consumption] = payload("error_401.json", 401)
    with pytest.raises(LoginNeeded) as caught:
        await client.fetch("consumption", SITE, HOUR, NOW)
    assert (caught.value.status, tokens.spent, len(vendor.calls)) == (401, ["made-up-token-1"], 2)
    # A token that got an answer is good: what is refused then is the call, and nothing is renewed.
    await client.check(NOW)
    assert vendor.calls[-1].path == summary
    with pytest.raises(LoginNeeded):
        await client.fetch("consumption", SITE, HOUR, NOW)
    assert (tokens.spent, len(vendor.calls)) == (["made-up-token-1"], 5)


async def test_check_spends_two_calls(client: Enphase, vendor: LoopbackVendor, purse: Purse) -> None:
    assert await client.check(NOW) == Check(
        sites=3,
        capacity_wp=None,
        current_power_w=6012.0,
        # Today's: the lifetime of the summary leaves out today and is no figure of ours.
        energy_today_wh=19830.0,
        status="normal",
        last_update=END,
    )
    assert purse.taken == ["systems", "summary"]
    assert [call.path for call in vendor.calls] == ["/v2/systems", f"{BASE}/summary"]
    # Today's: without a date.
    assert vendor.calls[1].query == ()


async def test_check_looks_at_the_first_healthy_system(client: Enphase, vendor: LoopbackVendor) -> None:
    body = plain("systems.json")
    body["systems"].reverse()
    vendor.replies["/v2/systems"] = Reply(body)
    await client.check(NOW)
    assert vendor.calls[1].path == f"{BASE}/summary"
    body["systems"] = [one | {"status": "comm"} for one in body["systems"]]
    vendor.replies["/v2/systems/5203843/summary"] = Reply({"system_id": 5203843, "status": "comm"})
    vendor.replies["/v2/systems"] = Reply(body)
    assert await client.check(NOW) == Check(sites=3, status="comm")


async def test_check_of_one_system_tells_its_size(client: Enphase, vendor: LoopbackVendor) -> None:
    vendor.replies["/v2/systems"] = page(int(SITE), 1, 1)
    assert (await client.check(NOW)).capacity_wp == 7300.0
    vendor.replies["/v2/systems"] = page(1, 0, 0)
    assert await client.check(NOW) == Check(sites=0)


async def test_check_counts_what_lies_on_further_pages(client: Enphase, vendor: LoopbackVendor) -> None:
    vendor.replies["/v2/systems"] = page(int(SITE), 100, 257)
    assert (await client.check(NOW)).sites == 257


async def test_check_says_what_it_can_of_a_system_it_may_not_read(client: Enphase, vendor: LoopbackVendor) -> None:
    vendor.replies[f"{BASE}/summary"] = payload("error_403.json", 403)
    assert await client.check(NOW) == Check(sites=3, status="normal")


@pytest.mark.parametrize(
    ("pages", "found"),
    [
        ([(1, 100, 203, 100), (101, 100, 203, 100), (201, 3, 203, 100)], 203),
        # As many as fit, and no page after that.
        ([(1, 100, 200, 100), (101, 100, 200, 100)], 200),
        # The vendor gives ten a page whatever is asked for.
        ([(1, 10, 24, 10), (11, 10, 24, 10), (21, 4, 24, 10)], 24),
        # Without a total a short page is the last.
        ([(1, 100, None, 100), (101, 7, "many", 100)], 107),
        ([(1, 100, None, None), (101, 0, None, None)], 100),
        # Fewer than promised: an empty page ends it as well.
        ([(1, 100, 300, 100), (101, 0, 300, 100)], 100),
        ([(1, 0, 0, 100)], 0),
    ],
)
async def test_systems_are_paged_by_their_total(
    client: Enphase, vendor: LoopbackVendor, pages: list[tuple[int, int, object, object]], found: int
) -> None:
    vendor.replies["/v2/systems"] = [page(f, c, t, n, s) for n, (f, c, t, s) in enumerate(pages, start=1)]
    batch = await client.fetch("systems", "", None, NOW)
    assert batch.sites is not None
    assert [site.ref for site in batch.sites] == [str(n) for n in range(1, found + 1)]
    asked = [dict(call.query) for call in vendor.calls]
    assert asked == [{"page": str(n + 1), "size": "100", "sort_by": "id"} for n in range(len(pages))]


async def test_pages_that_repeat_or_never_end_are_an_error(client: Enphase, vendor: LoopbackVendor) -> None:
    vendor.replies["/v2/systems"] = page(1, 100, 900)
    with pytest.raises(BadPayload, match="again, as page 2"):
        await client.discover(NOW)
    vendor.replies["/v2/systems"] = [page(1 + 100 * n, 100, 10**6, n) for n in range(101)]
    with pytest.raises(BadPayload, match="more than 100 full pages"):
        await client.discover(NOW)
    assert len(vendor.calls) == 102


async def test_inventory_spends_three_calls(client: Enphase, vendor: LoopbackVendor, purse: Purse) -> None:
    batch = await client.fetch("inventory", SITE, None, NOW)
    assert batch.sites is not None
    assert batch.devices is not None
    assert [(s.zone, s.capacity_wp, s.name) for s in batch.sites] == [("US/Mountain", 7300.0, "Orchard Row")]
    assert len(batch.devices) == 9
    assert purse.taken == ["system", "summary", "devices"]
    assert SPEC.stream("inventory").cost == 3
    vendor.replies[BASE] = Reply({"system_id": 5203842})
    with pytest.raises(BadPayload, match="another system"):
        await client.fetch("inventory", SITE, None, NOW)


@pytest.mark.parametrize("stream", PATHS)
async def test_ranges_are_asked_for_by_start_and_length(client: Enphase, vendor: LoopbackVendor, stream: str) -> None:
    card = SPEC.stream(stream)
    # Seconds and minutes off the buckets: asked for is what is closed, from the start of one.
    batch = await client.fetch(stream, SITE, Window(START - timedelta(seconds=113), NOW), NOW)
    (call,) = vendor.calls
    assert call.path == f"{BASE}/{PATHS[stream]}"
    assert call.query == (("start_at", str(epoch(START))), ("granularity", "day"))
    assert {metric for interval in batch.intervals for metric in interval.values} == set(card.metrics)
    assert batch.answered is not None
    assert batch.answered.start == batch.intervals[0].start == START
    # The same minute later, the same address.
    await client.fetch(stream, SITE, Window(START - timedelta(seconds=47), NOW), NOW + timedelta(seconds=59))
    assert vendor.calls[1].query == call.query


@pytest.mark.parametrize(
    ("stream", "hours", "asked"),
    [
        ("production", 24, ["day"]),
        ("production", 25, ["week"]),
        ("production", 15 * 24, ["week", "week", "day"]),
        ("battery", 7 * 24, ["week"]),
        ("consumption", 7 * 24, ["week"]),
        ("micros", 25, ["day", "day"]),
        ("import", 49, ["day", "day", "day"]),
        ("export", 24, ["day"]),
    ],
)
async def test_a_long_window_is_asked_for_in_pieces(
    client: Enphase, vendor: LoopbackVendor, purse: Purse, stream: str, hours: int, asked: list[str]
) -> None:
    window = Window(END - timedelta(hours=hours), END)
    batch = await client.fetch(stream, SITE, window, NOW)
    lengths = [dict(call.query)["granularity"] for call in vendor.calls]
    starts = [int(dict(call.query)["start_at"]) for call in vendor.calls]
    assert lengths == asked
    step_s = SPEC.stream(stream).window_s
    assert starts == [epoch(window.start) + n * (step_s or 0) for n in range(len(asked))]
    assert len({i.start for i in batch.intervals}) == len(batch.intervals)
    assert purse.taken == [stream] * len(asked)
    assert SPEC.stream(stream).cost == 1


async def test_no_window_means_the_last_day(client: Enphase, vendor: LoopbackVendor) -> None:
    await client.fetch("production", SITE, None, NOW)
    (call,) = vendor.calls
    assert dict(call.query)["start_at"] == str(epoch(datetime(2026, 6, 14, 18, 45, tzinfo=UTC)))


async def test_a_window_without_a_closed_bucket_costs_nothing(client: Enphase, vendor: LoopbackVendor) -> None:
    for window in (Window(END + STEP, NOW + timedelta(hours=9)), Window(NOW, NOW), Window(NOW, NOW + STEP)):
        assert await client.fetch("production", SITE, window, NOW) == Batch()
    assert vendor.calls == []


@pytest.mark.parametrize(
    "subject", ["", "0", "-1", "../5203842", "5203841/summary", "5203841?x=", "٤", "1" * 19, "7\n", "7 "]
)
async def test_a_reference_that_is_no_number_is_never_sent(
    client: Enphase, vendor: LoopbackVendor, subject: str
) -> None:
    for stream in ("inventory", *PATHS):
        with pytest.raises(BadPayload, match="is a number"):
            await client.fetch(stream, subject, None, NOW)
    assert vendor.calls == []


async def test_an_unknown_stream_is_refused(client: Enphase, vendor: LoopbackVendor) -> None:
    with pytest.raises(BadPayload, match="no such stream"):
        await client.fetch("weather", SITE, None, NOW)
    assert vendor.calls == []


def test_the_card() -> None:
    developer, partner = SPEC.ways
    assert (developer.auth, developer.app, partner.auth, partner.app) == (
        Auth.OAUTH,
        AppKind.DEVELOPER,
        Auth.LOGIN,
        AppKind.PARTNER,
    )
    told = {p.key: {q.window: q.limit for q in p.quotas} for p in SPEC.plans}
    assert told == {
        "watt": {QuotaWindow.MONTH: 1000, QuotaWindow.MINUTE: 10},
        "kilowatt": {QuotaWindow.MONTH: 50_000, QuotaWindow.MINUTE: 50},
        "megawatt": {QuotaWindow.MONTH: 300_000, QuotaWindow.MINUTE: 100},
        "partner_free": {QuotaWindow.MONTH: 10_000, QuotaWindow.MINUTE: 300},
        "partner": {QuotaWindow.MONTH: 1_500_000, QuotaWindow.MINUTE: 300},
    }
    quotas = [q for p in SPEC.plans for q in p.quotas]
    assert {(q.scope, q.chosen) for q in quotas} == {(QuotaScope.APP, False)}
    assert {(q.window, q.alignment) for q in quotas} == {
        (QuotaWindow.MONTH, Alignment.CALENDAR),
        (QuotaWindow.MINUTE, Alignment.UNKNOWN),
    }
    assert all("assumed" in p.note for p in SPEC.plans if p.key != "partner_free")
    # Nothing that costs money is chosen by itself.
    assert (developer.plan(None).key, partner.plan(None).key) == ("watt", "partner_free")
    assert [f.name for w in SPEC.ways for f in w.fields if f.secret] == ["password"]
    assert SPEC.app is not None
    assert {f.name: f.secret for f in SPEC.app.fields} == {"client_id": False, "client_secret": True, "api_key": True}
    assert sum("{redirect}" in step for step in SPEC.app.steps) == 1
    assert SPEC.origin == f"https://{SPEC.hosts[0]}/api/v4"
    for way in SPEC.ways:
        assert way.oauth is not None
        assert (way.oauth.basic, way.oauth.pkce, way.oauth.json_body) == (True, False, False)
        assert way.oauth.refresh_s < 2_629_746
    assert partner.oauth is not None
    assert partner.oauth.authorize_url is None


def test_what_the_watt_plan_allows_is_worth_having() -> None:
    def calls_a_day(stream: Stream) -> float:
        return stream.cost * 86400 / stream.every_s

    slow = [s for s in SPEC.streams if s.step_s is None]
    assert {s.subject for s in slow} == {Subject.CONNECTION, Subject.SITE}
    # Lists and inventories leave nine tenths of 32 calls a day to the numbers.
    assert sum(calls_a_day(s) for s in slow) < 3.2
    assert {m for s in SPEC.streams for m in s.metrics} == {
        Metric.PV_WH,
        Metric.LOAD_WH,
        Metric.GRID_IMPORT_WH,
        Metric.GRID_EXPORT_WH,
        Metric.BATTERY_CHARGE_WH,
        Metric.BATTERY_DISCHARGE_WH,
        Metric.SOC_PCT,
    }
