"""A newcomer's first quarter of an hour: start, set up, connect an account, read the day to the watt hour."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Page, expect

from enalysis.core.intervals import day_window
from enalysis.core.metrics import Metric
from enalysis.core.sites import DeviceKind
from tests.journeys.conftest import Place, click, sign_up

SITE = "berlin"
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "fleet.png"


def connect(page: Page, key: str) -> None:
    """Add the simulated account: choose the vendor, paste the key, test, save."""
    page.get_by_role("link", name="Connections").first.click()
    page.get_by_role("link", name="Connect a vendor").first.click()
    page.get_by_role("link", name="SolarEdge", exact=True).click()
    page.get_by_role("link", name="Fleet Access key").click()
    page.locator("#field-api_key").fill(f"  {key} ")
    page.locator("#plan-business").check()
    click(page, "Test")
    expect(page.locator("#result")).to_contain_text("8 sites", timeout=15000)
    page.locator("#field-api_key").fill(key)
    click(page, "Save")


def test_a_newcomer_reads_the_day_to_the_watt_hour(page: Page, place: Place) -> None:
    """Setup, connect with test before save, and the day's data table equals the vendor's view of the World."""
    sign_up(page, place)
    account = next(a for a in place.sandbox.accounts if (a.vendor, a.key) == ("solaredge", "portfolio"))
    connect(page, account.credentials["api_key"])
    world = place.sandbox.worlds[SITE]
    yesterday = (datetime.now(UTC).astimezone(world.zone) - timedelta(days=1)).date()
    open_site(page, place, world.site.name, f"?day={yesterday}")
    told = {
        (t.start, t.metric): t.value
        for t in place.sandbox.vendors["solaredge"].told(SITE, day_window(yesterday, world.zone), datetime.now(UTC))
        if (t.kind, t.metric) in FEEDS
    }
    assert len(told) > 150, "the oracle must speak of the whole day"
    shown = read_table(page)
    assert len(shown) == day_window(yesterday, world.zone).seconds / 900
    for metric in (Metric.PV_WH, Metric.GRID_IMPORT_WH, Metric.GRID_EXPORT_WH, Metric.LOAD_WH):
        wanted = {at: value for (at, m), value in told.items() if m is metric}
        found = {at: row[metric] for at, row in shown.items() if metric in row}
        assert found == wanted, metric


FEEDS = {
    (DeviceKind.SITE_TOTAL, Metric.PV_WH),
    (DeviceKind.METER, Metric.GRID_IMPORT_WH),
    (DeviceKind.METER, Metric.GRID_EXPORT_WH),
    (DeviceKind.METER, Metric.LOAD_WH),
}


def open_site(page: Page, place: Place, name: str, query: str) -> None:
    """Wait until the site's history of the day is in, and open that day."""
    page.goto(place.url)
    link = page.get_by_role("link", name=name).first
    for _ in range(60):
        if link.count():
            break
        page.wait_for_timeout(500)
        page.reload()
    target = urljoin(place.url, link.get_attribute("href") or "") + query
    for _ in range(90):
        page.goto(target)
        if page.locator('#day-data td[data-metric="load_wh"][data-value=""]').count() == 0:
            return
        page.wait_for_timeout(1000)
    pytest.fail("the day's history never came")


def read_table(page: Page) -> dict[datetime, dict[str, float]]:
    """Return the day chart's data table: per quarter what it knows, Wh."""
    out = {}
    for row in page.locator("#day-data tbody tr").all():
        start = datetime.fromisoformat(row.get_attribute("data-start") or "")
        cells = row.locator("td[data-value]").all()
        values = {c.get_attribute("data-metric") or "": c.get_attribute("data-value") or "" for c in cells}
        out[start] = {metric: float(text) for metric, text in values.items() if text}
    return out


def test_the_fleet_page_is_fit_to_be_shown(page: Page, place: Place) -> None:
    """Eight sites, tiles with numbers, nothing wider than the window; the picture for the README is taken here."""
    page.goto(place.url)
    expect(page.get_by_text("Bakery Pankow")).to_be_visible()
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, "no sideways scrolling"
    page.set_viewport_size({"width": 1280, "height": 900})
    picture = page.screenshot()
    assert len(picture) > 20_000, "not an empty page"
    if os.environ.get("ENALYSIS_TAKE_PICTURES"):
        PICTURE.write_bytes(picture)


def test_setup_is_closed_behind_the_first(page: Page, place: Place) -> None:
    """The door to setup is gone for everybody once it was used."""
    answer = page.request.get(urljoin(place.url, "/setup"))
    assert answer.status == 404
