"""The pages in a real browser: scripts under the strict policy, phones, both themes, and no script at all."""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, Page, async_playwright

from enalysis.core.access import Scope
from tests.web.conftest import EMAIL, PASSWORD, House
from tests.web.test_pages import HOSTILE, PAYLOADS

FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
# What Chromium writes of answers that are errors on purpose; whatever else it complains of is our fault.
EXPECTED = re.compile(r"the server responded with a status of (401|403|404|422)")


@pytest.fixture(scope="module")
def chromium_path() -> str:
    """Return where Chromium is; `make test` installs it."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert found, "the browser tests need Chromium"
    return found


@pytest.fixture
def port() -> int:
    """Return a port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found: int = free.getsockname()[1]
    return found


@pytest.fixture
def public_url(port: int) -> str:
    """Return the address the browser opens."""
    return f"http://localhost:{port}"


@pytest.fixture
async def served(house: House, port: int) -> AsyncIterator[House]:
    """Serve the application on the port."""
    config = uvicorn.Config(house.app, port=port, access_log=False, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn offers nothing to wait for
        await asyncio.sleep(0.01)
    yield house
    server.should_exit = True
    await serving


@pytest.fixture
async def chromium(chromium_path: str) -> AsyncIterator[Chromium]:
    """Start a browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path, args=FLAGS)
        yield browser
        await browser.close()


@asynccontextmanager
async def visiting(chromium: Chromium, house: House, **looks: object) -> AsyncIterator[tuple[Page, list[str]]]:
    """Open a signed-in page; what the browser complains of meanwhile is collected."""
    context: BrowserContext = await chromium.new_context(base_url=house.runtime.settings.public_url, **looks)  # type: ignore[arg-type] # Playwright's own words
    page = await context.new_page()
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
    await page.goto("/sign-in")
    await page.fill("#email", EMAIL)
    await page.fill("#password", PASSWORD)
    await page.click("button.primary")
    await page.wait_for_url("**/")
    yield page, complaints
    await context.close()


def faults(complaints: list[str]) -> list[str]:
    """Return the complaints that nobody asked for."""
    return [c for c in complaints if not EXPECTED.search(c)]


async def sideways(page: Page) -> int:
    """Return by how many pixels the page is wider than the screen."""
    width = await page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return int(width)


async def test_connecting_and_reading_with_scripts(served: House, chromium: Chromium) -> None:
    scope, _ = await served.people()
    account = served.account("lapsed")
    key = account.credentials["api_key"]
    async with visiting(chromium, served, viewport={"width": 1280, "height": 900}) as (page, complaints):
        await page.click("text=Connect a vendor")
        await page.fill("#q", "solar")
        await page.wait_for_function("() => document.querySelectorAll('li.vendor').length === 1")
        await page.click("li.vendor a")
        await page.click("text=Fleet Access key")
        await page.fill("#field-api_key", f" {key}\t")
        await page.click("button[value=test]")
        await page.wait_for_selector("[data-result=found]")
        assert "It works: 1 site, 4.00 kWp" in await page.inner_text("#result")
        assert (await page.input_value("#field-api_key")).strip() == key, "the form keeps what was entered"
        await page.click("button[data-reveal]")
        assert await page.get_attribute("#field-api_key", "type") == "text"
        await page.click("button[value=save]")
        await page.wait_for_url("**/connections/*?connected=1")
        assert "The first look found 1 site" in await page.inner_text("[data-told]")
        assert key not in await page.content()

        # Ten calls a minute are not enough for two tests and a first fetch.
        served.clock.move(minutes=2)
        await served.poll(scope)
        await page.goto("/")
        await page.click("text=Rua do Almada")
        await page.wait_for_selector(".live-chart canvas")
        assert await page.is_hidden(".drawn")
        box = await page.locator(".live-chart").bounding_box()
        assert box
        await page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 150)
        tip = await page.inner_text(".tip")
        assert re.search(r"PV\s+[\d.]+ kW, [\d,.]+ Wh", tip), tip
        assert "Quality" in tip
        assert faults(complaints) == []


async def test_live_parts_refresh_and_say_when_they_cannot(served: House, chromium: Chromium) -> None:
    scope, _ = await served.people()
    await served.connect(scope, "lapsed")
    async with visiting(chromium, served) as (page, complaints):
        await page.fill("#q", "half a wor")
        await served.run(scope, "update sites set name = 'Renamed meanwhile'")
        # The same request as every 60 s, without the wait.
        sooner = """() => {
            const tiles = document.getElementById("tiles");
            tiles.setAttribute("hx-trigger", "sooner");
            htmx.process(tiles);
            htmx.trigger(tiles, "sooner");
        }"""
        await page.evaluate(sooner)
        await page.wait_for_selector("text=Renamed meanwhile")
        assert await page.input_value("#q") == "half a wor", "typing is not lost"
        assert faults(complaints) == []
        await page.context.set_offline(offline=True)
        await page.evaluate("() => htmx.ajax('GET', '/', {target: '#list', select: '#list'}).catch(() => null)")
        await page.wait_for_selector("#connection-lost:not([hidden])")
        assert "cannot be reached" in await page.inner_text("#connection-lost")
        await page.context.set_offline(offline=False)
        await page.context.clear_cookies()
        await page.evaluate("() => htmx.ajax('GET', '/', {target: '#list', select: '#list'}).catch(() => null)")
        await page.wait_for_url("**/sign-in")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_phones_never_scroll_sideways(served: House, chromium: Chromium, scheme: str) -> None:
    scope, _ = await served.people()
    await served.connect(scope, "portfolio")
    vendor = served.account("portfolio").vendor
    phone = {"viewport": {"width": 390, "height": 844}, "color_scheme": scheme}
    async with visiting(chromium, served, **phone) as (page, complaints):
        site = await page.get_attribute("table.sites a", "href")
        assert site
        row = served.runtime.vendors.specs[vendor]
        for path in (
            "/",
            "/?q=nothing",
            site,
            f"{site}/devices",
            f"{site}/meters",
            "/connections",
            "/connections/new",
            f"/connections/new?vendor={row.key}",
            f"/connections/new?vendor={row.key}&way=fleet_key",
            f"/apps/new?vendor={row.key}",
            "/apps",
            "/nowhere",
        ):
            await page.goto(path)
            assert await sideways(page) <= 0, path
        await page.goto("/")
        nav = await page.locator("nav.places").bounding_box()
        assert nav
        assert nav["y"] > 700, "the navigation is below the thumb"
        assert faults(complaints) == []


async def test_reading_works_without_scripts(served: House, chromium: Chromium) -> None:
    scope, _ = await served.people()
    await served.connect(scope, "lapsed")
    async with visiting(chromium, served, java_script_enabled=False) as (page, _):
        assert await page.locator("svg.spark rect.c-pv").count() > 3
        await page.click("text=Rua do Almada")
        assert await page.is_visible("svg.plot rect.c-pv >> nth=0")
        await page.click("summary >> text=The figures of every quarter")
        assert await page.is_visible("#day-data tbody tr >> nth=0")
        dead_end = page.locator(".steps [aria-disabled] >> nth=0")
        assert await dead_end.get_attribute("title") == "no earlier day is known"
        await page.goto("/?sort=name")
        await page.select_option("#health", "act")
        await page.click("button.apply")
        assert "No site matches" in await page.content()


async def test_hostile_names_run_nowhere(served: House, chromium: Chromium) -> None:
    scope: Scope
    scope, _ = await served.people()
    await served.connect(scope, "lapsed")
    async with visiting(chromium, served) as (page, complaints):
        site = await page.get_attribute("table.sites a", "href")
        assert site
        for payload in PAYLOADS:
            for table, column in HOSTILE:
                await served.run(scope, f"update {table} set {column} = %s", payload)  # noqa: S608 - names from above
            for path in ("/", site, f"{site}/devices", f"{site}/meters", "/connections"):
                await page.goto(path)
        assert faults(complaints) == []
        assert page.url.endswith("/connections")
