"""One connection's page: tested, fetched, paused, moved and disconnected; and the same by API."""

import re
from datetime import timedelta

import pytest

from enalysis.core import errors
from enalysis.core.access import Scope
from enalysis.simulators.faults import Fault, FaultKind
from enalysis.web.errors import fault_of, wait_of
from tests.web.conftest import NOON, Browser, House
from tests.web.owners import add_app, answer, connect, local, set_out
from tests.web.test_pages import words


async def test_a_keyed_connections_page_and_its_buttons(house: House, browser: Browser, owner: Scope) -> None:
    connection = await house.connect(owner, "lapsed")
    here = f"/connections/{connection}"
    page = await browser.get(here)
    told = words(page.text)
    assert re.search(r"revoked Good SolarEdge Fleet Access key plan Business", told)
    assert 'href="/sites/' in page.text
    assert page.text.count('data-stream="') >= 3
    assert "Every Last success Next, and why" in told
    assert "Enter the key again" in told
    assert "Refresh sign-in" not in told
    assert "Move to another app" not in told
    house.clock.move(minutes=2)
    tested = await browser.post(f"{here}/test")
    assert re.search(r"It works: 1 site, 4\.00 kWp,", words(tested.text))
    for verb, said in (("pause", "Paused. The vendor is asked nothing"), ("resume", "Resumed.")):
        done = await browser.post(f"{here}/{verb}")
        assert done.headers["location"] == f"{here}?{verb}d=1"
        assert said in words((await browser.get(done.headers["location"])).text)
    nothing = await browser.post(f"{here}/refresh")
    assert (nothing.status_code, "nothing to renew" in words(nothing.text)) == (403, True)
    house.sandbox.faults.set(Fault(FaultKind.WRONG_KEY))
    house.clock.move(minutes=2)
    refused = await browser.post(f"{here}/test")
    assert refused.status_code == 422
    assert f'<a href="{here}/reconnect">Sign in again</a>' in refused.text
    lead = await browser.get(f"{here}/reconnect")
    form = await browser.get(lead.headers["location"])
    assert "Sites and history stay" in words(form.text)
    house.sandbox.faults.clear()
    house.clock.move(minutes=2)
    key = house.account("lapsed").credentials["api_key"]
    asked = {"vendor": "solaredge", "way": "fleet_key", "connection": str(connection), "field-api_key": key}
    again = await browser.post("/connections/new", do="save", **asked)
    assert again.headers["location"] == f"{here}?again=1"


async def test_the_same_by_api(house: House, browser: Browser, owner: Scope) -> None:
    connection = await house.connect(owner, "lapsed")
    here = f"/api/v1/connections/{connection}"
    house.clock.move(minutes=2)
    tested = (await browser.call("POST", f"{here}/test")).json()
    assert list(tested) == ["success", "vendor", "current_power_w", "energy_today_wh", "status", "last_update"]
    same = (await browser.call("POST", "/api/v1/connections/test", {"connection": str(connection)})).json()
    assert same == tested
    fetched = (await browser.call("POST", f"{here}/fetch")).json()
    assert fetched["queued"] >= 3
    assert fetched["cost"] >= fetched["queued"]
    assert (await browser.call("POST", f"{here}/pause")).json()["state"] == "paused"
    assert (await browser.call("POST", f"{here}/resume")).json()["state"] == "healthy"
    detail = (await browser.get(f"{here}/detail")).json()
    assert set(detail) == {"sites", "streams", "events", "calls"}
    assert [e["kind"] for e in detail["events"]][:2] == ["resumed", "paused"]
    key = house.account("lapsed").credentials
    assert (await browser.call("POST", f"{here}/reconnect", key)).json()["state"] == "connecting"
    wrong = await browser.call("POST", f"{here}/reconnect", {"api_key": "SANDBOX-CANARY-9"})
    assert (wrong.status_code, wrong.json()["link"]) == (401, f"/connections/{connection}/reconnect")
    assert "CANARY" not in wrong.text
    here = "/api/oauth/solaredge/disconnect"
    gone = await browser.call("POST", here, {"connection": str(connection)})
    assert gone.json() == {"connection": str(connection), "revoked": True}


async def test_a_connection_moves_to_another_app_and_keeps_its_sites(
    house: House, browser: Browser, owner: Scope
) -> None:
    household = house.account("household", "enphase")
    connection, first = await connect(house, browser, owner, household)
    auth = house.sandbox.vendors["enphase"].auth
    assert auth is not None
    second = await add_app(browser, house.account("expiring", "enphase"))
    page = await browser.get(f"/connections/{connection}/move")
    assert f"app={second}" in page.text
    assert f"app={first}" not in page.text
    before = (await browser.get(f"/api/v1/connections/{connection}/detail")).json()["sites"]
    back = await answer(await set_out(browser, household, second, connection=connection), household)
    done = await browser.get(local(back))
    assert done.headers["location"] == f"/connections/{connection}?again=1"
    row = (await browser.get(f"/api/v1/connections/{connection}")).json()
    assert (row["app"], row["plan"]) == (second, "kilowatt")
    assert (await browser.get(f"/api/v1/connections/{connection}/detail")).json()["sites"] == before


async def test_disconnecting_asks_once_and_keeps_the_sites(house: House, browser: Browser, owner: Scope) -> None:
    connection, _ = await connect(house, browser, owner, house.account("garden"))
    here = f"/connections/{connection}"
    ask = await browser.get(f"{here}/disconnect")
    assert "is told to forget it" in words(ask.text)
    said = {"Origin": "null", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
    sent = {"csrf": browser.token, "connection": connection}
    done = await browser.ask("POST", "/api/oauth/solaredge/disconnect", said, data=sent)
    assert done.headers["location"] == f"{here}?disconnected=1"
    page = await browser.get(done.headers["location"])
    told = words(page.text)
    assert "Disconnected: the credential is wiped here." in told
    assert "Fetch now" not in told
    assert "Sign in again" in told
    assert 'href="/sites/' in page.text


async def test_a_sign_in_that_ends_soon_is_warned_about(house: House, browser: Browser, owner: Scope) -> None:
    connection, _ = await connect(house, browser, owner, house.account("household", "enphase"))
    soon = (NOON + timedelta(days=3)).isoformat()
    await house.run(owner, "update connections set refresh_expires_at = %s::timestamptz", soon)
    for path in (f"/connections/{connection}", "/connections"):
        assert "Sign-in ends in 2 days" in words((await browser.get(path)).text)
    assert "Signing in again now keeps everything" in words((await browser.get(f"/connections/{connection}")).text)
    house.clock.move(days=4)
    await browser.sign_in()
    assert "Sign-in ended" in words((await browser.get("/connections")).text)


STATES = {
    "waiting_for_vendor": "Ask SolarEdge to verify the app; nobody needs to sign in again",
    "reauth_required": "Sign in again: sites and history stay",
    "app_misconfigured": "Nobody needs to sign in again. Copy client ID",
    "account_locked": "every further try would make it longer",
    "quota_spent": "what was missed is fetched afterwards",
    "vendor_api_retired": "Connect in another way it offers now",
    "degraded": "The streams below say which part is affected",
    "vendor_unavailable": "it is tried again by itself",
    "disconnected": "Sign in again to go on where it stopped",
}


@pytest.mark.parametrize(("state", "said"), STATES.items())
async def test_every_state_says_what_to_do(house: House, browser: Browser, owner: Scope, state: str, said: str) -> None:
    connection = await house.connect(owner, "lapsed")
    await house.run(owner, "update connections set state = %s, fault = 'Something happened'", state)
    told = words((await browser.get(f"/connections/{connection}")).text)
    assert "Something happened." in told
    assert said in told


def test_the_new_errors_have_their_answers() -> None:
    def made(kind: type[errors.VendorError]) -> errors.VendorError:
        return kind("x", vendor="acme", operation="sites")

    assert (fault_of(made(errors.AppFault)).status, fault_of(made(errors.Locked)).status) == (409, 423)
    assert fault_of(made(errors.WaitingForVendor)).status == 409
    assert fault_of(made(errors.GrantDead)).slug == "vendor-sign-in"
    locked = errors.Locked("x", vendor="acme", operation="sites")
    locked.until = NOON + timedelta(seconds=90)
    assert wait_of(locked, NOON) == 91
