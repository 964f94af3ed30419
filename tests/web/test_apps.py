"""Apps: added, changed and removed by page and API; their keys go in and are never seen again."""

import re

import pytest

from enalysis.actions.vendors import OperatorApp
from enalysis.core.access import Scope
from tests.web.conftest import Browser, House
from tests.web.owners import add_app, answer, connect, local, set_out
from tests.web.test_guards import routes
from tests.web.test_pages import words


@pytest.mark.usefixtures("owner")
async def test_an_app_comes_changes_and_goes_by_page(house: House, browser: Browser) -> None:
    account = house.account("household", "enphase")
    assert "No app yet" in words((await browser.get("/apps")).text)
    assert "At which vendor" in words((await browser.get("/apps/new")).text)
    form = await browser.get(f"/apps/new?vendor={account.vendor}")
    told = words(form.text)
    assert "How to register one" in told
    assert "http://localhost:3000/api/oauth/enphase/callback" in told
    assert "Client secret" in told
    entered = {f"field-{name}": value for name, value in account.app.items()}
    sent = {"vendor": account.vendor, "kind": "developer", "name": "Ours", "plan-developer": "kilowatt"}
    lacking = await browser.post("/apps/new", **sent, **{**entered, "field-api_key": " "})
    assert (lacking.status_code, "Enter the API key" in words(lacking.text)) == (422, True)
    assert not [v for v in account.app.values() if v in lacking.text]
    assert (await browser.post("/apps/new", **sent, **entered)).headers["location"] == "/apps?added=1"
    twice = await browser.post("/apps/new", **sent, **entered)
    assert (twice.status_code, "This app is here already" in words(twice.text)) == (422, True)
    page = await browser.get("/apps")
    assert re.search(r"Ours Verified Enphase Owner's consent plan Kilowatt 0 connections", words(page.text))
    found = re.search(r'href="(/apps/[0-9a-f-]{36})"', page.text)
    assert found
    change = await browser.get(found[1])
    assert 'value="kilowatt" checked' in change.text
    assert not [v for v in account.app.values() if v in change.text]
    assert re.findall(r'id="field-[^>]*value=', change.text) == []
    done = await browser.post(found[1], plan="watt", state="suspended")
    assert done.headers["location"] == "/apps?changed=1"
    told = words((await browser.get("/apps")).text)
    assert "Ours Suspended" in told
    assert "plan Watt" in told
    other = await browser.post(found[1], plan="watt", state="verified", **{**entered, "field-client_id": "Other"})
    assert (other.status_code, "client ID of another app" in words(other.text)) == (422, True)
    assert "Remove “Ours”?" in words((await browser.get(f"{found[1]}/remove")).text)
    assert (await browser.post(f"{found[1]}/remove")).headers["location"] == "/apps?removed=1"
    assert (await browser.get(found[1])).status_code == 404


async def test_an_app_by_api(house: House, browser: Browser, owner: Scope) -> None:
    account = house.account("household", "enphase")
    assert (await browser.get("/api/v1/apps")).json() == []
    app = await add_app(browser, account)
    [one] = (await browser.get("/api/v1/apps")).json()
    assert (one["id"], one["state"], one["plan"], one["origin"]) == (app, "verified", "watt", "organization")
    assert one["secret_set_at"] == "2026-06-02T12:07:30Z"
    changed = await browser.call("PATCH", f"/api/v1/apps/{app}", {"plan": "kilowatt", "state": "pending"})
    assert (changed.json()["plan"], changed.json()["state"]) == ("kilowatt", "pending")
    for body, words_of in (
        ({"plan": "gold"}, "no such plan"),
        ({"state": "fine"}, "`state` must be one of"),
        ({"fields": {"client_id": "SANDBOX-CANARY"}}, "`fields` lacks"),
    ):
        refused = await browser.call("PATCH", f"/api/v1/apps/{app}", body)
        assert (refused.status_code, words_of in refused.text) == (422, True), refused.text
        assert "CANARY" not in refused.text
    back = await answer(await set_out(browser, account, app), account)
    await browser.get(local(back))
    kept = await browser.call("DELETE", f"/api/v1/apps/{app}")
    assert (kept.status_code, "connections go through this app" in kept.text) == (403, True)
    await house.run(owner, "update memberships set role = 'viewer'")
    assert (await browser.call("DELETE", f"/api/v1/apps/{app}")).status_code == 403
    for path in ("/apps/new", f"/apps/{app}", f"/apps/{app}/remove", "/connections/new"):
        assert (await browser.get(path)).status_code == 403, path
    assert "Change…" not in (await browser.get("/apps")).text


@pytest.mark.usefixtures("owner")
async def test_the_operators_app_is_offered_and_its_keys_stay_in_the_settings(house: House, browser: Browser) -> None:
    account = house.account("household", "enphase")
    house.runtime.vendors.operator_apps["enphase"] = OperatorApp("developer", "watt", account.app)
    page = await browser.get("/connections/new?vendor=enphase&way=developer")
    assert "The operator's app at Enphase" in words(page.text)
    back = await answer(await set_out(browser, account, "operator"), account)
    assert "connected=1" in (await browser.get(local(back))).headers["location"]
    told = words((await browser.get("/apps")).text)
    assert "Keys in this server’s settings" in told
    assert "1 connection" in told


async def test_an_installer_signs_in_and_a_pending_app_says_whom_to_ask(
    house: House, browser: Browser, owner: Scope
) -> None:
    for key, waits in (("portfolio", False), ("pending", True)):
        account = house.account(key, "enphase")
        app = await add_app(browser, account)
        asked = {"vendor": "enphase", "way": "partner", "app": app}
        form = await browser.get(f"/connections/new?vendor=enphase&way=partner&app={app}")
        told = words(form.text)
        assert "It is not kept." in told
        entered = {f"field-{name}": value for name, value in account.login.items()}
        tested = await browser.post("/connections/new", do="test", **asked, **entered)
        assert account.login["password"] not in tested.text
        if not waits:
            assert "It works: " in words(tested.text)
        else:
            assert "it seems to wait for Enphase's approval" in words(tested.text)
        house.clock.move(minutes=2)
        saved = await browser.post("/connections/new", do="save", name=key, **asked, **entered)
        here = saved.headers["location"].split("?")[0]
        told = words((await browser.get(here)).text)
        if waits:
            assert "has refused data to the app “Enalysis sandbox (pending)” since 2 Jun 2026" in told
            assert "Ask Enphase to verify the app" in told
            assert f'href="{here}/move">Use another verified app' in (await browser.get(here)).text
            moves = words((await browser.get(f"{here}/move")).text)
            assert "Enalysis sandbox (portfolio)" in moves
            assert "Enalysis sandbox (pending)" not in moves
        house.clock.move(minutes=2)
    house.clock.move(hours=7)
    await house.poll(owner)
    rows = {r["name"]: r["state"] for r in (await browser.get("/api/v1/connections")).json()}
    assert rows["pending"] == "waiting_for_vendor"


async def test_an_app_without_the_endpoint_says_what_is_left_out(house: House, browser: Browser, owner: Scope) -> None:
    connection, _ = await connect(house, browser, owner, house.account("slim", "enphase"))
    page = await browser.get(f"/connections/{connection}")
    told = words(page.text)
    assert re.search(r"Enphase does not give this app: .* The rest is collected\.", told), told
    assert "an app with that access" in told
    assert 'data-fault="not_in_plan"' in page.text


async def test_no_secret_on_any_page(house: House, browser: Browser, owner: Scope) -> None:
    """Walk every GET as the owner, with planted secrets of every kind (BAR B5)."""
    household = house.account("household", "enphase")
    connection, app = await connect(house, browser, owner, household)
    keyed = await house.connect(owner, "lapsed")
    auth = house.sandbox.vendors["enphase"].auth
    assert auth is not None
    tokens = [t.text for t in auth._tokens.values()]
    assert len(tokens) >= 2
    secrets = {*tokens, household.app["client_secret"], household.app["api_key"], household.app["client_id"]}
    secrets |= {*household.login.values(), *house.account("lapsed").credentials.values()}
    asked = hits = 0
    for method, path in routes(house.app):
        if method != "GET":
            continue
        for which in (connection, str(keyed), app):
            real = re.sub(r"[0-9a-f-]{36}", which, path)
            answered = await browser.get(real)
            asked += 1
            hits += sum(secret in answered.text + str(answered.headers) for secret in secrets)
    assert (hits, asked > 60) == (0, True)
