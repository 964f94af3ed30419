"""The consent page in a real browser, on a telephone's screen: clicks that end at the app, or do not."""

from shutil import which
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Page, async_playwright, expect
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from tests.simulators.enphase_bench import Place, link
from tests.simulators.ports import serving

QUIET = ["--no-sandbox", "--disable-dev-shm-usage"]


async def callback(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for the app that asked."""
    await HTMLResponse("<!doctype html><title>back</title><h1>Back at the app</h1>")(scope, receive, send)


async def sign_in(page: Page, url: str) -> None:
    await page.goto(url)
    await expect(page.get_by_role("heading", name="Sign in to")).to_be_visible()
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Allow")).to_be_visible()


async def test_a_person_clicks_through_the_page(enphase: Place) -> None:
    binary = which("chromium") or which("chromium-browser") or which("google-chrome")
    assert binary is not None, "no chromium: run `make browser`"
    async with serving(callback) as app, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=binary, args=QUIET)
        page = await browser.new_page(viewport={"width": 360, "height": 640})
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        url = link(enphase, redirect_uri=f"{app}/back", state="one-time")
        await sign_in(page, url)
        # Nothing is wider than the screen.
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await page.get_by_role("button", name="Allow").click()
        await expect(page.get_by_role("heading", name="Back at the app")).to_be_visible()
        found = parse_qs(urlsplit(page.url).query)
        assert found["state"] == ["one-time"]
        assert len(found["code"][0]) == 6
        await sign_in(page, url)
        await page.get_by_role("button", name="Deny").click()
        await expect(page.get_by_role("heading", name="Back at the app")).to_be_visible()
        assert parse_qs(urlsplit(page.url).query) == {"error": ["access_denied"], "state": ["one-time"]}
        # A policy that stops the page from doing its work would say so here.
        assert [text for text in said if "favicon" not in text] == []
        await browser.close()
