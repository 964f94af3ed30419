"""To a vendor's consent page and back: what is sent along, what is told of it, and every way it can fail."""

import asyncio
import logging
import re
from urllib.parse import urlsplit

import pytest

from enalysis.actions.consent import Failure
from enalysis.core.access import Scope
from enalysis.simulators.accounts import Account
from enalysis.simulators.oauth import Ageing
from enalysis.web.pages.consent import FAILED, WORDS
from tests.web.conftest import Browser, House
from tests.web.owners import add_app, answer, connect, local, params, set_out
from tests.web.test_pages import words

# The vendor's server and the owner's browser in these tests log as they like.
OURS = ("enalysis", "aiohttp", "fastapi", "starlette", "psycopg")
OWNERS = [("garden", "solaredge"), ("household", "enphase")]


@pytest.fixture(params=OWNERS, ids=[vendor for _, vendor in OWNERS])
def account(request: pytest.FixtureRequest, house: House) -> Account:
    """Return an account whose owner is asked, of each vendor that asks."""
    key, vendor = request.param
    return house.account(key, vendor)


async def failed(browser: Browser, back: str, why: Failure, account: Account) -> str:
    """Open a callback that must fail for a reason, and return its page's words."""
    answered = await browser.get(back)
    assert answered.status_code == 303
    assert answered.headers["location"].startswith(f"/connections/consent/{why.value}?vendor={account.vendor}")
    assert answered.headers["referrer-policy"] == "no-referrer"
    assert answered.headers["cache-control"] == "no-store"
    page = await browser.get(answered.headers["location"])
    assert page.status_code == 200
    return words(page.text)


async def test_a_consent_from_the_first_step_to_the_sites(
    house: House, browser: Browser, owner: Scope, account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    way = f"/connections/new?vendor={account.vendor}&way={account.way}"
    no_app = await browser.get(way)
    assert no_app.headers["location"].startswith("/apps/new?"), "without an app, first the app"
    form = await browser.get(no_app.headers["location"])
    callback = f"http://localhost:3000/api/oauth/{account.vendor}/callback"
    assert callback in words(form.text)
    entered = {f"field-{name}": f" {value}\n" for name, value in account.app.items()}
    entered |= {"vendor": account.vendor, "kind": "developer", "then": "connect"}
    saved = await browser.post("/apps/new", **entered)
    assert saved.headers["location"].startswith(way + "&app=")
    page = await browser.get(saved.headers["location"])
    told = words(page.text)
    assert f"Continue to {house.runtime.vendors.specs[account.vendor].label}" in told
    assert callback in told
    app = re.search(r'name="app" value="([^"]+)"', page.text)
    assert app
    address = await set_out(browser, account, app[1], name="Home")
    sent = params(address)
    assert sent["redirect_uri"] == callback
    assert sent["response_type"] == "code"
    assert len(sent["state"]) >= 43
    back = await answer(address, account)
    assert urlsplit(back).netloc == "localhost:3000"
    done = await browser.get(local(back))
    assert done.status_code == 303
    assert re.fullmatch(r"/connections/[0-9a-f-]{36}\?connected=1", done.headers["location"])
    assert (done.headers["referrer-policy"], done.headers["cache-control"]) == ("no-referrer", "no-store")
    told = words((await browser.get(done.headers["location"])).text)
    assert re.search(r"Connected\. The first look found [12] sites?", told), told
    assert "Home" in told
    house.clock.move(minutes=2)
    await house.poll(owner)
    here = done.headers["location"].split("?")[0]
    told = words((await browser.get(here)).text)
    assert "Good" in told
    assert "Ends unless renewed" in told
    assert "sign-in good for" in told
    assert re.search(r"until \d+ Jun 2026, \d\d:\d\d UTC, in \d+ h", told)
    assert re.search(r'href="/sites/[0-9a-f-]{36}"', (await browser.get(here)).text)
    for secret in (params(back)["code"], sent["state"], *account.app.values(), *account.login.values()):
        assert not [r.name for r in caplog.records if secret in r.getMessage() and r.name.startswith(OURS)]


@pytest.mark.usefixtures("owner")
async def test_the_page_that_leads_away_says_nothing_of_where_it_stood(browser: Browser, account: Account) -> None:
    app = await add_app(browser, account)
    said = {"Origin": "null", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
    address = f"/api/oauth/{account.vendor}/authorize"
    page = await browser.ask("POST", address, said, data={"csrf": browser.token, "app": app})
    assert page.status_code == 200
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cache-control"] == "no-store"
    assert '<meta name="referrer" content="no-referrer">' in page.text
    assert re.search(r'<meta http-equiv="refresh" content="0; url=http://127[^"]+state=', page.text)
    assert 'rel="noreferrer"' in page.text
    assert page.text.count("<script") == page.text.count('<script src="/static/')
    lead = await browser.get(f"{address}?app={app}&state=Canary-1")
    assert lead.headers["location"] == f"/connections/new?vendor={account.vendor}&app={app}", "a GET begins nothing"


@pytest.mark.usefixtures("owner")
async def test_a_refused_consent_is_explained(browser: Browser, account: Account) -> None:
    address = await set_out(browser, account, await add_app(browser, account))
    back = await answer(address, account, deny=True)
    told = await failed(browser, local(back), Failure.REFUSED, account)
    assert "You did not allow it" in told
    assert "start again and choose Allow" in told
    assert (await browser.get("/api/v1/connections")).json() == []


async def test_a_callback_works_once(house: House, browser: Browser, owner: Scope, account: Account) -> None:
    back = await answer(await set_out(browser, account, await add_app(browser, account)), account)
    assert "connected=1" in (await browser.get(local(back))).headers["location"]
    told = await failed(browser, local(back), Failure.REPLAYED, account)
    assert "used already" in told
    assert "Look at the list of connections first" in told
    house.clock.move(minutes=2)
    await house.poll(owner)
    assert len((await browser.get("/api/v1/connections")).json()) == 1


async def test_another_browsers_callback_is_refused_and_not_used_up(
    house: House, browser: Browser, account: Account
) -> None:
    await house.people()
    victim = Browser(house.app)
    await victim.sign_in()
    await browser.sign_in()
    back = local(await answer(await set_out(browser, account, await add_app(browser, account)), account))
    assert "not started here" in await failed(victim, back, Failure.FOREIGN, account)
    forged = re.sub(r"(state|external_id)=[^&]+", r"\1=forged", back)
    assert "finish in the same browser" in await failed(browser, forged, Failure.FOREIGN, account)
    assert "connected=1" in (await browser.get(back)).headers["location"], "the rightful one still may"


@pytest.mark.usefixtures("owner")
async def test_the_other_ways_to_fail(house: House, browser: Browser, account: Account) -> None:
    app = await add_app(browser, account)
    here = f"/api/oauth/{account.vendor}/callback"
    assert "paste all of it" in await failed(browser, f"{here}?code=abc", Failure.NO_STATE, account)
    back = local(await answer(await set_out(browser, account, app), account))
    spoilt = re.sub(r"code=[^&]+", "code=nonsense", back)
    assert "codes live for minutes only" in await failed(browser, spoilt, Failure.CODE, account)
    back = local(await answer(await set_out(browser, account, app), account))
    house.clock.move(minutes=11)
    assert "ten minutes" in await failed(browser, back, Failure.TOO_LATE, account)
    state = params(await set_out(browser, account, app))["state"]
    odd = f"{here}?error=server_error&state={state}"
    assert "compare the redirect address" in await failed(browser, odd, Failure.VENDOR, account)


@pytest.mark.usefixtures("owner")
async def test_a_wrong_secret_is_the_apps_fault_and_nobodys_else(browser: Browser, account: Account) -> None:
    wrong = {**account.app, "client_secret": "SANDBOX-WRONG-SECRET"}
    body = {"vendor": account.vendor, "kind": "developer", "fields": wrong}
    app = (await browser.call("POST", "/api/v1/apps", body)).json()["id"]
    back = local(await answer(await set_out(browser, account, app), account))
    told = await failed(browser, back, Failure.APP, account)
    assert "Nobody needs to sign in again" in told
    assert "To the apps" in told


async def test_signed_out_meanwhile(house: House, browser: Browser, account: Account) -> None:
    await house.people()
    await browser.sign_in()
    back = local(await answer(await set_out(browser, account, await add_app(browser, account)), account))
    stranger = Browser(house.app)
    answered = await stranger.get(back)
    assert answered.headers["location"] == f"/sign-in?again={account.vendor}"
    page = await stranger.get(answered.headers["location"])
    assert "nobody is signed in here" in words(page.text)
    assert f'name="next" value="/connections/new?vendor={account.vendor}"' in page.text
    assert params(back)["code"] not in page.text
    program = await stranger.ask("GET", back)
    assert (program.status_code, program.json()["type"]) == (401, "urn:enalysis:problem:sign-in")


@pytest.mark.usefixtures("owner")
async def test_a_pasted_address_does_the_same(house: House, browser: Browser) -> None:
    account = house.account("household", "enphase")
    app = await add_app(browser, account)
    address = await set_out(browser, account, app, pasted="1")
    shown = await answer(address, account)
    assert shown.startswith(params(address)["redirect_uri"])
    assert "localhost:3000" not in params(address)["redirect_uri"]
    said = {"Origin": "null", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}

    async def paste(text: str) -> tuple[int, str, str]:
        fields = {"csrf": browser.token, "pasted_address": text}
        got = await browser.ask("POST", f"/api/oauth/{account.vendor}/paste", said, data=fields)
        return got.status_code, got.headers.get("location", ""), words(got.text)

    status, _, told = await paste(params(shown)["code"])
    assert (status, "That is not the whole address" in told) == (422, True)
    assert params(shown)["code"] not in told
    status, leads, _ = await paste(f"  {shown} \n")
    assert (status, leads[-12:]) == (303, "?connected=1")
    assert (await paste(shown))[1].startswith("/connections/consent/replayed")


async def test_programs_set_out_paste_renew_and_disconnect(house: House, browser: Browser, owner: Scope) -> None:
    account = house.account("household", "enphase")
    app = await add_app(browser, account)
    here = f"/api/oauth/{account.vendor}"
    begun = (await browser.call("POST", f"{here}/authorize", {"app": app, "pasted": True})).json()
    assert (set(begun), begun["expires_in"]) == ({"address", "pasted", "expires_in"}, 600)
    shown = await answer(begun["address"], account)
    bare = await browser.call("POST", f"{here}/paste", {"pasted_address": params(shown)["code"]})
    assert (bare.status_code, bare.json()["type"]) == (422, "urn:enalysis:problem:unfit")
    done = await browser.call("POST", f"{here}/paste", {"pasted_address": shown})
    connection = done.json()["connection"]
    assert done.json() == {"connection": connection, "renewed": False, "trouble": None}
    again = await browser.call("POST", f"{here}/paste", {"pasted_address": shown})
    assert (again.status_code, again.json()["why"]) == (409, "replayed")
    house.clock.move(hours=1)
    before = (await browser.get(f"/api/v1/connections/{connection}")).json()
    renewed = (await browser.call("POST", f"{here}/refresh", {"connection": connection})).json()
    assert "expires_at" in renewed, renewed
    assert renewed["expires_at"] > before["expires_at"]
    assert renewed["refresh_expires_at"] > before["refresh_expires_at"]
    other = "/api/oauth/solaredge"
    assert (await browser.call("POST", f"{other}/refresh", {"connection": connection})).status_code == 404
    assert (await browser.call("POST", f"{here}/refresh", {})).status_code == 422
    assert (await browser.call("POST", f"{here}/refresh", [1])).status_code == 422
    gone = await browser.call("POST", f"{here}/disconnect", {"connection": connection})
    assert gone.json() == {"connection": connection, "revoked": True}
    row = (await browser.get(f"/api/v1/connections/{connection}")).json()
    assert (row["state"], row["secret_set_at"], row["expires_at"]) == ("disconnected", None, None)
    told = words((await browser.get(f"/connections/{connection}")).text)
    assert "Sign in again to go on where it stopped" in told
    del owner


async def test_signing_in_again_keeps_the_connection(
    house: House, browser: Browser, owner: Scope, account: Account
) -> None:
    connection, app = await connect(house, browser, owner, account)
    lead = await browser.get(f"/connections/{connection}/reconnect")
    assert f"connection={connection}" in lead.headers["location"]
    page = await browser.get(lead.headers["location"])
    assert "keeps its sites and its history" in words(page.text)
    back = await answer(await set_out(browser, account, app, connection=connection), account)
    done = await browser.get(local(back))
    assert done.headers["location"] == f"/connections/{connection}?again=1"
    told = words((await browser.get(done.headers["location"])).text)
    assert "Signed in again; sites and history are kept. The first look found" in told
    assert "Readings follow within a minute." in told
    assert len((await browser.get("/api/v1/connections")).json()) == 1


async def test_a_dead_grant_asks_to_sign_in_again(
    house: House, browser: Browser, owner: Scope, account: Account
) -> None:
    connection, _ = await connect(house, browser, owner, account)
    auth = house.sandbox.vendors[account.vendor].auth
    assert auth is not None
    auth.age(account.key, Ageing.REVOKE, house.clock())
    told = await browser.call("POST", f"/api/oauth/{account.vendor}/refresh", {"connection": connection})
    assert told.status_code == 401, told.text
    assert told.json()["error"] == "Access token expired. Please refresh your connection."
    assert told.json()["link"] == f"/connections/{connection}/reconnect"
    tested = await browser.call("POST", "/api/v1/connections/test", {"connection": connection})
    assert (tested.status_code, tested.json()["link"]) == (401, f"/connections/{connection}/reconnect")
    page = words((await browser.get(f"/connections/{connection}")).text)
    assert "Sign in again: sites and history stay" in page
    assert "Act now" in page


@pytest.mark.usefixtures("owner")
async def test_every_failure_has_its_page(browser: Browser) -> None:
    assert set(WORDS) == {*Failure, FAILED}
    for why in WORDS:
        page = await browser.get(f"/connections/consent/{why}?vendor=enphase")
        told = words(page.text)
        assert page.status_code == 200
        assert "{vendor}" not in told
        assert "What to do." in told
        assert page.text.count("button primary") == 1, "one button"


SPOOFS = (
    {"X-Forwarded-Host": "evil.example"},
    {"X-Forwarded-Proto": "https", "X-Forwarded-Port": "444"},
    {"Forwarded": "host=evil.example;proto=https"},
    {"X-Original-URL": "/evil", "X-Rewrite-URL": "/evil"},
    {"X-Host": "evil.example", "X-Forwarded-Server": "evil.example"},
    {"Host": "localhost:3000", "Referer": "https://evil.example/"},
)


@pytest.mark.usefixtures("owner")
async def test_nothing_that_is_sent_changes_the_redirect(browser: Browser, account: Account) -> None:
    app = await add_app(browser, account)
    ours = {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": browser.token}
    here = f"/api/oauth/{account.vendor}/authorize"
    for spoof in SPOOFS:
        for more in ({}, {"redirect_uri": "https://evil.example"}, {"public_url": "https://evil.example"}):
            begun = await browser.ask("POST", here, ours | spoof, json={"app": app, "next": "//evil.example", **more})
            assert begun.status_code == 200
            sent = params(begun.json()["address"])
            assert sent["redirect_uri"] == f"http://localhost:3000/api/oauth/{account.vendor}/callback"
            assert "evil" not in begun.text


@pytest.mark.usefixtures("owner")
async def test_of_twenty_callbacks_at_once_one_is_taken(browser: Browser, account: Account) -> None:
    back = local(await answer(await set_out(browser, account, await add_app(browser, account)), account))
    answers = await asyncio.gather(*(browser.get(back) for _ in range(20)))
    leads = [a.headers["location"] for a in answers]
    assert sum("connected=1" in lead for lead in leads) == 1
    assert sum(lead.startswith("/connections/consent/replayed") for lead in leads) == 19
    assert len((await browser.get("/api/v1/connections")).json()) == 1


async def test_a_viewer_sees_how_it_does_and_has_no_buttons(house: House, browser: Browser, owner: Scope) -> None:
    connection, app = await connect(house, browser, owner, house.account("garden"))
    await house.run(owner, "update memberships set role = 'viewer'")
    page = await browser.get(f"/connections/{connection}")
    assert page.status_code == 200
    for word in ("Fetch now", "Refresh sign-in", "Move to another app", "Disconnect…", "Remove…"):
        assert word not in page.text
    for path in ("reconnect", "move", "disconnect"):
        assert (await browser.get(f"/connections/{connection}/{path}")).status_code == 403
    for verb in ("fetch", "test", "refresh", "pause", "resume"):
        assert (await browser.post(f"/connections/{connection}/{verb}")).status_code == 403
    here = "/api/oauth/solaredge"
    assert (await browser.call("POST", f"{here}/authorize", {"app": app})).status_code == 403
    for verb in ("refresh", "disconnect"):
        assert (await browser.call("POST", f"{here}/{verb}", {"connection": connection})).status_code == 403
    assert (
        (await browser.get(f"{here}/callback?code=x&state=y"))
        .headers["location"]
        .startswith("/connections/consent/failed")
    )
