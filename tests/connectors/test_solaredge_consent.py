"""SolarEdge by an owner's consent: one site, a token in place of a key, and messages that fit."""

from collections.abc import AsyncIterator

import pytest

from enalysis.connectors.base import AppKind, Auth, Check
from enalysis.connectors.calls import HTTPLimits
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.oauth import AppKeys, authorize_address, parse_callback
from enalysis.connectors.registry import CONNECTORS
from enalysis.connectors.solaredge import SPEC, SolarEdge
from enalysis.core.errors import BadPayload, Forbidden, LoginNeeded
from enalysis.core.quotas import QuotaScope
from enalysis.egress import Egress
from tests.connectors.conftest import LoopbackVendor, Purse, Reply
from tests.connectors.test_solaredge import MORNING, NOW, PAYLOADS, SITE

BASE = f"/v2/sites/{SITE}"


class Tokens:
    """A source of tokens that counts how often it had to renew."""

    renewed = 0

    async def current(self) -> str:
        return "made-up-access-token"

    async def renew(self, spent: str) -> str:
        assert spent.startswith("made-up")
        self.renewed += 1
        return "made-up-second-token"


@pytest.fixture
def tokens() -> Tokens:
    """Return the source of the client's tokens."""
    return Tokens()


@pytest.fixture
async def client(vendor: LoopbackVendor, purse: Purse, tokens: Tokens) -> AsyncIterator[SolarEdge]:
    """Yield a client built from what a consent leaves: the site's id, and tokens."""
    for path, name in {
        BASE: "site.json",
        f"{BASE}/devices": "devices.json",
        f"{BASE}/overview": "overview.json",
        f"{BASE}/power": "power.json",
        f"{BASE}/energy": "energy.json",
        f"{BASE}/meters/telemetry": "meters.json",
    }.items():
        vendor.replies[path] = Reply((PAYLOADS / name).read_bytes())
    async with VendorHTTP(
        vendor="solaredge",
        label="SolarEdge",
        origin=vendor.origin,
        ledger=purse,
        egress=Egress(sandbox_origin=vendor.origin),
        clock=lambda: NOW,
        limits=HTTPLimits(attempts=1),
        tokens=tokens,
    ) as http:
        built = CONNECTORS["solaredge"].build(http, {"site_id": SITE})
        assert isinstance(built, SolarEdge)
        yield built


async def test_a_consent_opens_one_site(client: SolarEdge, vendor: LoopbackVendor, purse: Purse) -> None:
    batch = await client.fetch("sites", "", None, NOW)
    assert batch.sites is not None
    assert [(site.ref, site.zone) for site in batch.sites] == [(SITE, "Europe/Vienna")]
    assert purse.taken == ["site"]
    # A token may not read the list.
    assert [call.path for call in vendor.calls] == [BASE]
    assert vendor.calls[0].headers["authorization"] == "Bearer made-up-access-token"
    assert "x-api-key" not in vendor.calls[0].headers


async def test_check_confirms_the_site(client: SolarEdge, purse: Purse) -> None:
    assert await client.check(NOW) == Check(
        sites=1,
        capacity_wp=6400.0,
        current_power_w=3800.0,
        energy_today_wh=18420.0,
        status="ACTIVE",
        last_update=MORNING.end,
    )
    assert purse.taken == ["site", "overview", "power"]


async def test_streams_are_the_same_by_either_way(client: SolarEdge) -> None:
    energy = await client.fetch("energy", SITE, MORNING, NOW)
    assert energy.intervals
    inventory = await client.fetch("inventory", SITE, None, NOW)
    assert inventory.devices is not None
    assert len(inventory.devices) > 3


@pytest.mark.parametrize("site_id", ["", "0", "../1", "4101001/devices", "x", "1" * 30])
async def test_a_site_id_that_is_none_is_never_sent(line: VendorHTTP, vendor: LoopbackVendor, site_id: str) -> None:
    # It comes from an address bar.
    client = SolarEdge(line, {"site_id": site_id})
    for ask in (client.check(NOW), client.discover(NOW)):
        with pytest.raises(BadPayload, match="is a number"):
            await ask
    assert vendor.calls == []


async def test_a_callback_that_names_another_site_is_found_out(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies[BASE] = Reply({"siteId": 4101002})
    with pytest.raises(BadPayload, match="another site"):
        await client.check(NOW)
    vendor.replies[BASE] = Reply({}, 403)
    with pytest.raises(Forbidden, match=f"this consent read site {SITE}"):
        await client.check(NOW)


async def test_a_refused_token_asks_for_a_consent_and_not_for_a_key(
    client: SolarEdge, vendor: LoopbackVendor, tokens: Tokens
) -> None:
    vendor.replies[BASE] = Reply({"title": "Unauthorized"}, 401)
    with pytest.raises(LoginNeeded, match="consent") as caught:
        await client.check(NOW)
    assert "key" not in caught.value.message
    assert (caught.value.status, tokens.renewed, len(vendor.calls)) == (401, 1, 2)
    vendor.replies[BASE] = Reply({"detail": "No such site"}, 404)
    with pytest.raises(Forbidden, match="that this consent may read"):
        await client.check(NOW)


def test_the_second_way_of_the_card() -> None:
    fleet, owner = SPEC.ways
    assert (owner.key, owner.auth, owner.app, owner.fields) == ("site_access", Auth.OAUTH, AppKind.DEVELOPER, ())
    assert [p.key for p in owner.plans] == [p.key for p in fleet.plans] == ["free", "business"]
    assert {q.scope for p in owner.plans for q in p.quotas} == {QuotaScope.APP}
    assert {q.scope for p in fleet.plans for q in p.quotas} == {QuotaScope.ACCOUNT}
    figures = [[(q.window, q.limit, q.chosen) for p in way.plans for q in p.quotas] for way in SPEC.ways]
    assert figures[0] == figures[1]
    assert SPEC.app is not None
    assert [f.name for f in SPEC.app.fields] == ["client_id", "client_secret"]
    assert sum("{redirect}" in step for step in SPEC.app.steps) == 1


def test_where_an_owner_is_sent_and_what_comes_back() -> None:
    oauth = SPEC.way("site_access").oauth
    assert oauth is not None
    assert oauth.authorize_url == "https://connect.solaredge.com/authorize"
    address = authorize_address(
        oauth, oauth.authorize_url, AppKeys("an id", "a secret"), "https://e.example/cb", "once", None
    )
    assert "scope=SITE_DATA%20DEVICE_DATA" in address
    assert "access_duration=24" in address
    assert "state=once" in address
    assert "external_id=once" in address
    assert "secret" not in address
    back = parse_callback(oauth, {"code": "abc", "site_id": SITE, "external_id": "once"})
    assert (back.state, back.code, back.kept) == ("once", "abc", {"site_id": SITE})
