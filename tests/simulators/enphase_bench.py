"""What the tests of Enphase's simulated cloud share: the cloud on a port, a client with both credentials."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

from enalysis.simulators.accounts import Account
from enalysis.simulators.enphase import EnphaseCloud
from enalysis.simulators.enphase.view import View
from enalysis.simulators.faults import Faults
from enalysis.simulators.server import CONTROL_HEADER
from tests.simulators.ports import Clock

TOKEN = "made-up-token"
CALLBACK = "http://localhost:3999/connections/callback"
# Series of quarters: the path and the name of the value. Whose account reads a site, where not the fleet's.
ENERGIES = {
    "production_meter": ("telemetry/production_meter", "wh_del"),
    "consumption": ("telemetry/consumption_meter", "enwh"),
    "import": ("energy_import_telemetry", "wh_imported"),
    "export": ("energy_export_telemetry", "wh_exported"),
}
ACCOUNT = {"graz": "household", "kathmandu": "household", "sacramento": "expiring", "porto": "lapsed"}


@dataclass
class Place:
    """The cloud under test, and who asks it."""

    origin: str
    cloud: EnphaseCloud
    clock: Clock
    faults: Faults
    client: httpx2.AsyncClient
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> str:
        return f"{self.origin}/enphase"

    def account(self, key: str) -> Account:
        return self.cloud.accounts[key]

    def view(self, site: str) -> View:
        return self.cloud.views[site]

    def headers(self, key: str) -> dict[str, str]:
        """Return both credentials of an account, from a grant made on first use."""
        if key not in self.tokens:
            self.tokens[key] = self.cloud.grant(key)["access_token"]
        return {"key": self.account(key).app["api_key"], "Authorization": f"Bearer {self.tokens[key]}"}

    async def ask(self, key: str, path: str, **params: object) -> httpx2.Response:
        """Ask an endpoint below /api/v4 for an account; a site in braces becomes its id."""
        filled = path.format(**{site: view.site_id for site, view in self.cloud.views.items()})
        url = f"{self.root}/api/v4/{filled}"
        return await self.client.get(url, params={k: str(v) for k, v in params.items()}, headers=self.headers(key))

    async def read(self, key: str, path: str, **params: object) -> Any:  # noqa: ANN401 - JSON of any shape
        """Return the JSON of an endpoint that must answer."""
        answer = await self.ask(key, path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def token(self, key: str, **fields: str) -> httpx2.Response:
        """Ask the token endpoint with the credentials of an account's app, parameters in the query."""
        app = self.account(key).app
        return await self.client.post(
            f"{self.root}/oauth/token", params=fields, auth=(app["client_id"], app["client_secret"])
        )


def ticket_of(page: httpx2.Response) -> str:
    found = re.search(r'name="ticket" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


def told(answer: httpx2.Response) -> dict[str, str]:
    """Return what a redirect carries to the app."""
    assert answer.status_code == 302, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


async def consent(
    client: httpx2.AsyncClient, url: str, login: Mapping[str, str], answer: str = "allow", **more: str
) -> httpx2.Response:
    """Open a consent page, sign in, and answer as a person would."""
    page = await client.get(url)
    assert page.status_code == 200, page.text
    ticket = ticket_of(page)
    page = await client.post(url, data={"ticket": ticket, "answer": "sign-in", **login})
    assert page.status_code == 200, page.text
    return await client.post(url, data={"ticket": ticket_of(page), "answer": answer, **more})


def link(place: Place, key: str = "household", **params: str | None) -> str:
    """Return the address at which an owner is asked; None leaves a parameter out."""
    wanted: dict[str, str | None] = {
        "response_type": "code",
        "client_id": place.account(key).app["client_id"],
        "redirect_uri": CALLBACK,
        "state": "made up & odd/state",
        **params,
    }
    return f"{place.root}/oauth/authorize?{urlencode({k: v for k, v in wanted.items() if v is not None})}"


async def code_of(place: Place, key: str = "household", **params: str | None) -> str:
    return told(await consent(place.client, link(place, key, **params), place.account(key).login))["code"]


async def exchange(place: Place, code: str, key: str = "household", **more: str) -> httpx2.Response:
    return await place.token(key, grant_type="authorization_code", code=code, redirect_uri=CALLBACK, **more)


async def pair(place: Place) -> dict[str, Any]:
    answer = await exchange(place, await code_of(place))
    assert answer.status_code == 200
    return dict(answer.json())


async def refresh(place: Place, token: str, key: str = "household") -> httpx2.Response:
    return await place.token(key, grant_type="refresh_token", refresh_token=token)


async def control(place: Place, what: str, **body: str) -> httpx2.Response:
    return await place.client.post(f"{place.origin}/_sandbox/{what}", json=body, headers={CONTROL_HEADER: TOKEN})


def stamp(at: datetime) -> int:
    return int(at.timestamp())


def account(site: str) -> str:
    return ACCOUNT.get(site, "portfolio")


async def series(place: Place, site: str, what: str, **params: object) -> dict[int, int]:
    """Return one series of quarters by the end of each."""
    path, name = ENERGIES[what]
    body = await place.read(account(site), f"systems/{{{site}}}/{path}", **params)
    listed = body["intervals"]
    if what in {"import", "export"}:
        listed = [one for inner in listed for one in inner]
    return {one["end_at"]: one[name] for one in listed}


def late(place: Place, moment: datetime) -> datetime:
    """Put the clock where everything up to a moment is told."""
    place.clock.at = moment + timedelta(days=2)
    return place.clock.at
