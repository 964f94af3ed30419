"""An owner at a simulated vendor: follows the address they were sent to, signs in, allows or denies."""

import re
from urllib.parse import parse_qsl, urlsplit

import httpx2

from enalysis.core.access import Scope
from enalysis.simulators.accounts import Account
from tests.web.conftest import Browser, House


async def answer(address: str, account: Account, *, deny: bool = False) -> str:
    """Return where the vendor's consent page sends the owner in the end."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        page = await client.get(address)
        assert page.status_code == 200, page.text
        if deny:
            return await _send(client, address, page.text, {"answer": "deny"})
        signed_in = await client.post(
            address, data={"ticket": _ticket(page.text), "answer": "sign-in", **account.login}
        )
        site = re.search(r'name="site" value="([^"]+)"', signed_in.text)
        chosen = {"site": site[1]} if site else {}
        return await _send(client, address, signed_in.text, {"answer": "allow", **chosen})


def params(address: str) -> dict[str, str]:
    """Return the parameters of an address."""
    return dict(parse_qsl(urlsplit(address).query))


def local(address: str) -> str:
    """Return path and query of an address."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


async def add_app(browser: Browser, account: Account) -> str:
    """Add the account's app by the API and return its id."""
    body = {
        "vendor": account.vendor,
        "kind": "partner" if account.way == "partner" else "developer",
        "name": account.app_label,
        "plan": account.plan.key,
        "fields": account.app,
    }
    made = await browser.call("POST", "/api/v1/apps", body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def set_out(browser: Browser, account: Account, app: str, **more: str) -> str:
    """Begin a consent by the form of the wizard and return the address at the vendor."""
    address = f"/api/oauth/{account.vendor}/authorize"
    said = {"Origin": "null", "Sec-Fetch-Site": "same-origin", "Accept": "text/html"}
    page = await browser.ask("POST", address, said, data={"csrf": browser.token, "app": app, **more})
    assert page.status_code == 200, page.text
    found = re.search(r'id="onward"[^>]* href="([^"]+)"', page.text)
    assert found
    return found[1].replace("&amp;", "&")


async def connect(house: House, browser: Browser, scope: Scope, account: Account) -> tuple[str, str]:
    """Connect an account by consent and poll; return the ids of the connection and of the app."""
    app = await add_app(browser, account)
    back = await answer(await set_out(browser, account, app), account)
    done = await browser.get(local(back))
    assert done.status_code == 303, done.text
    found = re.fullmatch(r"/connections/([0-9a-f-]{36})\?connected=1", done.headers["location"])
    assert found, done.headers["location"]
    house.clock.move(minutes=2)
    await house.poll(scope)
    # Ten calls a minute are not enough for a first fetch and what a test does next.
    house.clock.move(minutes=2)
    return found[1], app


async def _send(client: httpx2.AsyncClient, address: str, page: str, fields: dict[str, str]) -> str:
    sent = await client.post(address, data={"ticket": _ticket(page), **fields})
    assert sent.status_code == 302, sent.text
    return sent.headers["location"]


def _ticket(page: str) -> str:
    found = re.search(r'name="ticket" value="([^"]+)"', page)
    assert found
    return found[1]
