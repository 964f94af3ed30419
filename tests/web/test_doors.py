"""Setting up, signing in, signing out, and what the cookies are like."""

import asyncio

import pytest

from enalysis.actions import accounts
from tests.web.conftest import EMAIL, PASSWORD, Browser, House

FORM = {"organization": "Org", "name": "Ada", "email": EMAIL, "password": PASSWORD}


async def setup_secret(house: House) -> str:
    """Return the secret that the console prints."""
    secret = await accounts.begin_setup(house.runtime.db)
    assert secret is not None
    return secret


async def test_the_first_visitor_sets_up_once(house: House, browser: Browser) -> None:
    secret = await setup_secret(house)
    assert (await browser.get("/")).headers["location"] == "/setup"
    assert (await browser.get("/sign-in")).headers["location"] == "/setup"
    assert (await browser.get("/setup")).status_code == 200
    wrong = await browser.post("/setup", secret="guess", **FORM)
    assert wrong.status_code == 422
    assert "not the setup secret" in wrong.text
    assert 'value="Org"' in wrong.text
    assert PASSWORD not in wrong.text
    weak = await browser.post("/setup", **(FORM | {"secret": secret, "password": "short"}))
    assert weak.status_code == 422
    done = await browser.post("/setup", secret=f"  {secret}\n", **FORM)
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert (await browser.get("/")).status_code == 200
    assert (await browser.get("/setup")).status_code == 404
    late = Browser(house.app, cookies=dict(browser.cookies))
    await late.get("/connections")
    assert (await late.post("/setup", secret=secret, **FORM)).status_code == 404


async def test_of_many_setups_at_once_one_wins(house: House) -> None:
    secret = await setup_secret(house)
    visitors = [Browser(house.app) for _ in range(10)]
    for visitor in visitors:
        await visitor.get("/setup")
    answers = await asyncio.gather(
        *(v.post("/setup", **(FORM | {"secret": secret, "email": f"{n}@example.org"})) for n, v in enumerate(visitors))
    )
    assert sorted(a.status_code for a in answers).count(303) == 1
    assert {a.status_code for a in answers} <= {303, 404, 422}


async def test_a_stranger_is_sent_to_sign_in_and_back(house: House, browser: Browser) -> None:
    await house.people()
    away = await browser.get("/connections?fetched=3")
    assert away.status_code == 303
    assert away.headers["location"] == "/sign-in?next=%2Fconnections%3Ffetched%3D3"
    await browser.get(away.headers["location"])
    back = await browser.post("/sign-in", email=EMAIL.upper(), password=PASSWORD, next="/connections?fetched=3")
    assert (back.status_code, back.headers["location"]) == (303, "/connections?fetched=3")


async def test_a_wrong_address_and_a_wrong_password_are_told_alike(house: House, browser: Browser) -> None:
    await house.people()
    await browser.get("/sign-in")
    unknown = await browser.post("/sign-in", email="nobody@example.org", password=PASSWORD)
    wrong = await browser.post("/sign-in", email=EMAIL, password="wrong wrong wrong")
    assert (unknown.status_code, unknown.text) == (wrong.status_code, wrong.text)
    assert "E-mail address or password is wrong." in wrong.text
    assert "session" not in str(browser.cookies)


async def test_guessing_is_stopped_in_words(house: House, browser: Browser) -> None:
    await house.people()
    await browser.get("/sign-in")
    tries = [await browser.post("/sign-in", email=EMAIL, password="wrong wrong") for _ in range(21)]
    assert [t.status_code for t in tries] == [403] * 20 + [429]
    assert "Too many tries" in tries[-1].text


async def test_a_sign_in_never_leads_elsewhere(house: House, browser: Browser) -> None:
    await house.people()
    await browser.get("/sign-in?next=//evil.example")
    done = await browser.post("/sign-in", email=EMAIL, password=PASSWORD, next="https://evil.example/")
    assert done.headers["location"] == "/"


@pytest.mark.parametrize(
    ("public_url", "name", "marks"),
    [
        ("http://localhost:3000", "__Host-enalysis", {"secure", "httponly", "samesite=lax", "path=/"}),
        ("https://energy.example.org", "__Host-enalysis", {"secure", "httponly", "samesite=lax", "path=/"}),
        ("http://192.168.1.5:3000", "enalysis_session", {"httponly", "samesite=lax", "path=/"}),
    ],
)
async def test_the_session_cookie(house: House, public_url: str, name: str, marks: set[str]) -> None:
    await house.people()
    browser = Browser(house.app, public_url)
    await browser.get("/sign-in")
    answer = await browser.post("/sign-in", email=EMAIL, password=PASSWORD)
    line = next(c for c in answer.headers.get_list("set-cookie") if c.startswith(f"{name}="))
    told = {part.strip().lower() for part in line.split(";")[1:]}
    assert marks <= told
    assert ("secure" in told) == ("secure" in marks)
    assert not any(part.startswith("domain") for part in told)
    page = await browser.get("/")
    assert ("Not encrypted" in page.text) == (name == "enalysis_session")
    assert ('name="referrer" content="same-origin"' in page.text) == (name == "enalysis_session")


@pytest.mark.usefixtures("owner")
async def test_signing_out_ends_the_session_on_the_server(house: House, browser: Browser) -> None:
    stolen = dict(browser.cookies)
    assert (await browser.post("/sign-out")).headers["location"] == "/sign-in"
    assert not any("enalysis" in name and "form" not in name for name in browser.cookies)
    assert (await Browser(house.app, cookies=stolen).get("/")).status_code == 303


async def test_signing_in_makes_a_new_session_and_ends_the_one_before(house: House, browser: Browser) -> None:
    await house.people()
    await browser.sign_in()
    before = dict(browser.cookies)
    browser.cookies["__Host-enalysis"] = before["__Host-enalysis"]
    await browser.post("/sign-in", email=EMAIL, password=PASSWORD)
    assert browser.cookies["__Host-enalysis"] != before["__Host-enalysis"]
    assert (await Browser(house.app, cookies=before).get("/")).status_code == 303


@pytest.mark.usefixtures("owner")
async def test_a_session_ends_by_itself(house: House, browser: Browser) -> None:
    house.clock.move(days=6)
    assert (await browser.get("/")).status_code == 200
    house.clock.move(days=8)
    assert (await browser.get("/")).status_code == 303
