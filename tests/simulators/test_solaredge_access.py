"""SolarEdge's Site Access, simulated, over real HTTP: consent for one site, strict renewal, what a token opens."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlencode

import httpx2
import pytest

from enalysis.simulators import solaredge
from enalysis.simulators.accounts import Account
from enalysis.simulators.faults import Fault, FaultKind, Faults
from enalysis.simulators.oauth import Ageing
from enalysis.simulators.server import build_app
from enalysis.simulators.solaredge import SolarEdgeCloud, Switches
from enalysis.simulators.world import World
from tests.simulators.conftest import SEED
from tests.simulators.enphase_bench import CALLBACK, consent, ticket_of, told
from tests.simulators.ports import Clock, Switchboard


class Garden:
    """The cloud, its one owner with two sites, and the app that asks."""

    def __init__(self, origin: str, cloud: SolarEdgeCloud, faults: Faults, client: httpx2.AsyncClient) -> None:
        self.root, self.cloud, self.faults, self.client = f"{origin}/solaredge", cloud, faults, client

    @property
    def owner(self) -> Account:
        return self.cloud.accounts["garden"]

    def link(self, **params: str | None) -> str:
        wanted = {
            "client_id": self.owner.app["client_id"],
            "redirect_uri": CALLBACK,
            "scope": "SITE_DATA DEVICE_DATA",
            "access_duration": "24",
            "external_id": "one-time",
            "state": "one-time",
            **params,
        }
        return f"{self.root}/authorize?{urlencode({k: v for k, v in wanted.items() if v is not None})}"

    async def token(self, **fields: str) -> httpx2.Response:
        app = {name: self.owner.app[name] for name in ("client_id", "client_secret")}
        return await self.client.post(f"{self.root}/v2/oauth2/token", json=app | fields)

    async def allow(self, site: str = "garden", **params: str | None) -> dict[str, str]:
        return told(await consent(self.client, self.link(**params), self.owner.login, site=self.cloud.ref(site)))

    async def pair(self, site: str = "garden", **params: str | None) -> dict[str, str]:
        back = await self.allow(site, **params)
        answer = await self.token(grant_type="authorization_code", code=back["code"], redirect_uri=CALLBACK)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def get(self, path: str, token: str) -> httpx2.Response:
        return await self.client.get(f"{self.root}/v2/{path}", headers={"Authorization": f"Bearer {token}"})


@pytest.fixture
async def garden(
    clock: Clock, worlds: dict[str, World], switchboard: Switchboard, origin: str
) -> AsyncIterator[Garden]:
    faults = Faults()
    accounts = {account.key: account for account in solaredge.demo_accounts(SEED, {})}
    accounts["garden"] = replace(accounts["garden"], sites=("garden", "porto"))
    cloud = SolarEdgeCloud(list(accounts.values()), worlds, clock, faults)
    switchboard.app = build_app({"solaredge": cloud}, clock, faults)
    async with httpx2.AsyncClient(timeout=20) as client:
        yield Garden(origin, cloud, faults, client)


async def test_an_owner_chooses_one_site(garden: Garden) -> None:
    page = await garden.client.get(garden.link())
    data = {"ticket": ticket_of(page), "answer": "sign-in", **garden.owner.login}
    page = await garden.client.post(garden.link(), data=data)
    assert "Tuinstraat" in page.text
    assert "Rua do Almada" in page.text
    assert "DEVICE_DATA" in page.text
    none = await garden.client.post(garden.link(), data={"ticket": ticket_of(page), "answer": "allow"})
    foreign = {"ticket": ticket_of(page), "answer": "allow", "site": garden.cloud.ref("berlin")}
    assert (none.status_code, (await garden.client.post(garden.link(), data=foreign)).status_code) == (422, 422)
    back = await garden.allow("porto")
    assert back.keys() == {"code", "site_id", "external_id", "state"}
    assert back["site_id"] == garden.cloud.ref("porto")
    assert (back["external_id"], back["state"]) == ("one-time", "one-time")


async def test_whether_state_comes_back_is_a_switch(garden: Garden) -> None:
    garden.cloud.switches = Switches(echo_state=False)
    back = await garden.allow()
    assert back.keys() == {"code", "site_id", "external_id"}
    assert (await garden.allow(external_id=None)).keys() == {"code", "site_id"}
    denied = told(await consent(garden.client, garden.link(), garden.owner.login, "deny"))
    assert denied == {"error": "access_denied", "external_id": "one-time"}


async def test_a_token_opens_its_one_site(garden: Garden) -> None:
    tokens = await garden.pair()
    assert {**tokens, "access_token": "", "refresh_token": ""} == {
        "access_token": "",
        "refresh_token": "",
        "token_type": "Bearer",
        "expires_in": 7200,
    }
    token, site = tokens["access_token"], garden.cloud.ref("garden")
    for path in ("", "/overview", "/energy", "/devices", "/meters/telemetry", "/storage/telemetry"):
        answer = await garden.get(f"sites/{site}{path}", token)
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-minute"] == "10"
    assert garden.cloud.tallies["garden"].served.total() == 6
    for path in (f"sites/{garden.cloud.ref('porto')}", "sites", "alerts"):
        refused = await garden.get(path, token)
        assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden")
    unknown = await garden.get(f"sites/{site}", "made-up")
    assert (unknown.status_code, unknown.json()["detail"]) == (401, "Invalid access token")


async def test_a_key_opens_the_lists_as_before(garden: Garden) -> None:
    headers = {"X-API-Key": garden.cloud.accounts["household"].credentials["api_key"]}
    assert (await garden.client.get(f"{garden.root}/v2/sites", headers=headers)).status_code == 200
    assert (await garden.client.get(f"{garden.root}/v2/alerts", headers=headers)).status_code == 200


async def test_renewal_is_strict(garden: Garden, clock: Clock) -> None:
    first, site = await garden.pair(), garden.cloud.ref("garden")
    clock.forward(seconds=7199)
    assert (await garden.get(f"sites/{site}", first["access_token"])).status_code == 200
    clock.forward(seconds=1)
    assert (await garden.get(f"sites/{site}", first["access_token"])).status_code == 401
    second = (await garden.token(grant_type="refresh_token", refresh_token=first["refresh_token"])).json()
    assert (await garden.get(f"sites/{site}", second["access_token"])).status_code == 200
    reused = await garden.token(grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (reused.status_code, reused.json()["error"]) == (400, "invalid_grant")
    assert first["refresh_token"] not in reused.text
    assert (await garden.get(f"sites/{site}", second["access_token"])).status_code == 401
    last = await garden.token(grant_type="refresh_token", refresh_token=second["refresh_token"])
    assert last.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(("days", "status"), [(29.9, 200), (30, 400)])
async def test_a_refresh_token_lives_thirty_days_unused(garden: Garden, clock: Clock, days: float, status: int) -> None:
    tokens = await garden.pair()
    clock.forward(days=days)
    answer = await garden.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert answer.status_code == status


async def test_a_grant_ends_with_its_term(garden: Garden, clock: Clock) -> None:
    tokens = await garden.pair(access_duration="1")
    for _ in range(2):
        clock.forward(days=15)
        tokens = (await garden.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])).json()
    clock.forward(days=1)
    over = await garden.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert over.json()["error"] == "invalid_grant"
    for months in ("0", "25", "long"):
        answer = await garden.client.get(garden.link(access_duration=months))
        assert told(answer)["error"] == "invalid_request"


async def test_revoking_ends_a_grant(garden: Garden) -> None:
    tokens, other, site = await garden.pair(), await garden.pair(), garden.cloud.ref("garden")
    url = f"{garden.root}/v2/oauth2/revoke-token"
    assert (await garden.client.post(url, json={"token": tokens["access_token"]})).status_code == 200
    assert (await garden.get(f"sites/{site}", tokens["access_token"])).status_code == 401
    assert (await garden.get(f"sites/{site}", other["access_token"])).status_code == 200
    assert (await garden.client.post(url, content="nonsense")).status_code == 200


async def test_the_token_endpoint_refuses(garden: Garden) -> None:
    for fields, error in (
        ({}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code", "code": "x"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "client_secret": "wrong"}, "invalid_client"),
    ):
        answer = await garden.token(**fields)
        assert (answer.status_code, answer.json()["error"]) == (400, error)
    code = (await garden.allow())["code"]
    wrong = await garden.token(grant_type="authorization_code", code=code, redirect_uri="http://localhost/other")
    assert wrong.json()["error"] == "invalid_grant"
    code = (await garden.allow())["code"]
    assert (await garden.token(grant_type="authorization_code", code=code)).status_code == 200
    form = await garden.client.post(f"{garden.root}/v2/oauth2/token", data={"grant_type": "refresh_token"})
    assert form.json()["error"] == "invalid_request"


async def test_a_grant_without_the_page_and_faults(garden: Garden, clock: Clock) -> None:
    granted, site = garden.cloud.grant("garden"), garden.cloud.ref("garden")
    assert granted["site_id"] == site
    assert (await garden.get(f"sites/{site}", granted["access_token"])).status_code == 200
    number = garden.faults.set(Fault(FaultKind.WRONG_KEY, "solaredge", "garden"))
    assert (await garden.get(f"sites/{site}", granted["access_token"])).status_code == 401
    refused = await garden.token(grant_type="refresh_token", refresh_token=granted["refresh_token"])
    assert refused.json()["error"] == "invalid_grant"
    garden.faults.clear(number)
    assert garden.cloud.auth.age("garden", Ageing.EXPIRE_ACCESS, clock() + timedelta(seconds=1)) == 1
    clock.forward(seconds=1)
    assert (await garden.get(f"sites/{site}", granted["access_token"])).status_code == 401
    with pytest.raises(KeyError):
        garden.cloud.grant("household")
