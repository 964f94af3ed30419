"""The pages over real readings: what stands on them, in which words, and what hostile names do to them."""

import csv
import io
import re
from html import unescape
from uuid import UUID

import pytest

from enalysis.core.access import Scope
from enalysis.queries import sites as site_queries
from enalysis.queries.shapes import SiteDay
from tests.web.conftest import Browser, House

PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}",
    "{% for x in (1,) %}x{% endfor %}",
    "</title><script>alert(1)</script>",
    "</svg><script>alert(1)</script>",
    "<!--",
    "a' autofocus onfocus='alert(1)",
    "\u202egnp.exe",
    '=HYPERLINK("https://evil.example")',
)
CELL = re.compile(r'<td data-metric="(\w+)" data-value="([^"]*)"')


def words(page: str) -> str:
    """Return a page's text as read, blanks single."""
    body = re.sub(r"<(script|style|title)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


def site_address(page: str, name: str) -> str:
    """Return the address of the site of that name on the fleet page."""
    found = re.search(rf'href="(/sites/[0-9a-f-]+)">{re.escape(name)}<', page)
    assert found, name
    return found[1]


@pytest.mark.usefixtures("owner")
async def test_an_empty_fleet_says_what_to_do(house: House, browser: Browser) -> None:
    page = await browser.get("/")
    assert "No sites yet" in page.text
    assert 'href="/connections/new"' in page.text
    assert "Nothing is connected yet" in (await browser.get("/connections")).text
    assert house.runtime.sandbox


async def test_the_fleet(house: House, browser: Browser, owner: Scope) -> None:
    await house.connect(owner, "portfolio")
    page = await browser.get("/")
    told = words(page.text)
    assert "Sandbox. Simulated data" in told
    assert page.headers["enalysis-sandbox"] == "simulated"
    assert "Sites 8 109 kWp installed" in told
    assert re.search(r"PV power now [\d.]+ kW from \d of 8 sites", told)
    assert re.search(r"PV energy today [\d.]+ kWh yesterday", told)
    assert page.text.count('<tr role="row" data-site=') == 8
    bakery = told[told.index("Bakery Pankow") :]
    assert re.match(
        r"Bakery Pankow Berlin, Germany SolarEdge 28\.0 kWp Good Reporting [\d.]+ kW 7 min ago"
        r" [\d.]+ kWh yesterday – 2 Jun 2026, 14:00",
        bakery,
    ), bakery[:150]
    assert 'aria-label="PV power by hour today, highest' in page.text
    units = set(
        re.findall(
            r'data-label="Power now"><span class="num" title="[^"]*">[^<]+<span class="unit"> (\w+)<',
            page.text,
        )
    )
    assert units == {"kW"}

    by_name = re.findall(r'id="site-[^>]+>([^<]+)<', (await browser.get("/?sort=name")).text)
    assert by_name == sorted(by_name, key=str.casefold)
    assert len(by_name) == 8
    one = await browser.get("/?q=pankow+berlin")
    assert re.findall(r'id="site-[^>]+>([^<]+)<', one.text) == ["Bakery Pankow"]
    assert 'value="pankow berlin"' in one.text
    none = await browser.get("/?q=%3Cb%3E&health=good")
    assert "No site matches" in none.text
    assert "<b>" not in none.text
    assert (await browser.get("/?page=7&sort=name")).headers["location"] == "/?sort=name"
    assert (await browser.get("/?page=²")).status_code == 200


async def test_a_site(house: House, browser: Browser, owner: Scope) -> None:
    await house.connect(owner, "lapsed")
    address = site_address((await browser.get("/")).text, "Rua do Almada")
    page = await browser.get(address)
    told = words(page.text)
    assert "Rua do Almada Good Reporting Porto, Portugal 4.00 kWp Europe/Lisbon" in told
    flows = {
        key: (word, float(value))
        for key, word, value in re.findall(r'data-flow="(\w+)" data-word="([\w ]+)" data-value="([\d.]+)"', page.text)
    }
    assert set(flows) == {"pv", "grid", "load"}
    sign = {"importing": 1, "exporting": -1, "balanced": 0}[flows["grid"][0]]
    assert flows["load"][1] == pytest.approx(flows["pv"][1] + sign * flows["grid"][1], abs=1e-6)
    assert "using, computed" in page.text

    shown = await site_day(house, owner, address)
    cells = CELL.findall(page.text)
    for name in ("pv_wh", "grid_import_wh", "grid_export_wh", "load_wh"):
        values = [None if text == "" else float(text) for metric, text in cells if metric == name]
        assert len(values) >= 96
        assert values[-96:] == [getattr(q, name) for q in shown.quarters], "the table is the query, to the bit"
    starts = re.findall(r'<tr data-start="([^"]+)"', page.text)
    assert (starts[0], starts[-1], len(starts)) == ("2026-06-01T23:00:00Z", "2026-06-02T22:45:00Z", 96)
    assert page.text.count('class="c-pv" x=') == sum(bool(q.pv_wh) for q in shown.quarters)
    assert shown.totals is not None
    assert f'data-metric="pv_wh" data-value="{shown.totals.pv_wh}"' in page.text
    assert "No data: not fetched yet" in page.text
    assert page.text.count("still ahead") >= 40

    empty = await browser.get(f"{address}?day=2020-01-01")
    assert "No data for this day" in empty.text
    assert (await browser.get(f"{address}?day=2026-02-30")).status_code == 404
    for strange in ("9999-12-31", "0001-01-01", "2026-1-1", "20260602x"):
        assert (await browser.get(f"{address}?day={strange}")).status_code == 404
        assert (await browser.get(f"/api/v1{address}/day?date={strange}")).status_code == 422


async def site_day(house: House, scope: Scope, address: str) -> SiteDay:
    """Return the site's today as the query tells it."""
    return await site_queries.day(scope, house.runtime.db, UUID(address[-36:]), None, house.clock())


async def test_a_sites_day_as_a_file(house: House, browser: Browser, owner: Scope) -> None:
    await house.connect(owner, "lapsed")
    address = site_address((await browser.get("/")).text, "Rua do Almada")
    answer = await browser.get(f"{address}/day.csv?day=2026-06-02")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="simulated-2026-06-02.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    shown = await site_day(house, owner, address)
    assert [float(r["pv_wh"]) if r["pv_wh"] else None for r in rows] == [q.pv_wh for q in shown.quarters]
    assert {r["gap"] for r in rows} >= {"", "still ahead"}
    assert all("simulated" in r["quality"] for r in rows if r["pv_wh"]) or rows[0]["quality"]


async def test_devices_and_meters(house: House, browser: Browser, owner: Scope) -> None:
    await house.connect(owner, "lapsed")
    address = site_address((await browser.get("/")).text, "Rua do Almada")
    devices = await browser.get(f"{address}/devices")
    depths = re.findall(r'data-device="\d+" data-depth="(\d)"', devices.text)
    assert depths[0] == "0"
    assert set(depths[1:]) == {"1"}
    assert "Inverter 1" in devices.text
    meters = words((await browser.get(f"{address}/meters")).text)
    assert "Grid connection" in meters
    assert "Nothing measures the load here" in meters


async def test_connections(house: House, browser: Browser, owner: Scope) -> None:
    connection = await house.connect(owner, "lapsed")
    page = await browser.get("/connections")
    told = words(page.text)
    assert "An account whose key is going to be revoked Good" in told
    assert re.search(r"this minute \(assumed\) \d+ of 300 .* this month \(assumed\) \d+ of 200,000 ", told)
    assert re.search(r"fetched \d+ of \d+ days", told)
    assert "Next fetch in " in told
    assert re.search(r"Credential set just now , mark [0-9a-f]{8,}", told)
    for value in house.account("lapsed").credentials.values():
        assert value not in page.text
    fetch = await browser.post(f"/connections/{connection}/fetch")
    assert fetch.headers["location"].startswith(f"/connections/{connection}?fetched=")
    assert "will start as soon as the quota allows" in (await browser.get(fetch.headers["location"])).text

    ask = await browser.get(f"/connections/{connection}/remove")
    assert "This deletes at once, and for good" in ask.text
    gone = await browser.post(f"/connections/{connection}/remove")
    assert gone.headers["location"] == "/connections?removed=1"
    assert "Nothing is connected yet" in (await browser.get("/connections")).text
    assert (await browser.post(f"/connections/{connection}/remove")).status_code == 404
    assert "Rua do Almada" in (await browser.get("/")).text


@pytest.mark.usefixtures("owner")
async def test_connecting_step_by_step(house: House, browser: Browser) -> None:
    account = house.account("lapsed")
    key = account.credentials["api_key"]
    spec = house.runtime.vendors.specs[account.vendor]
    assert f'href="/connections/new?vendor={spec.key}"' in (await browser.get("/connections/new")).text
    ways = words((await browser.get(f"/connections/new?vendor={spec.key}")).text)
    assert "How do you want to prove that the data is yours?" in ways
    for way in spec.ways:
        assert way.label in ways
        assert way.note in ways
    form = await browser.get(f"/connections/new?vendor={spec.key}&way={account.way}")
    told = words(form.text)
    for text in (
        spec.ways[0].where_to_find,
        spec.ways[0].fields[0].help,
        spec.ways[0].plans[1].note,
        "documented",
        "assumed by us",
    ):
        assert text in told
    entered = {"vendor": spec.key, "plan": "business", "name": "Porto"}

    nothing = await browser.post("/connections/new", do="test", **entered)
    assert (nothing.status_code, "Enter the " in words(nothing.text)) == (422, True)
    assert 'value="Porto"' in nothing.text
    assert re.search(r'value="business" checked', nothing.text)
    wrong = await browser.post("/connections/new", do="save", **entered | {"field-api_key": "SANDBOX-NOT-A-KEY"})
    assert wrong.status_code == 422
    assert "refused the key" in wrong.text
    tested = await browser.post("/connections/new", do="test", **entered | {"field-api_key": f" {key[:9]} {key[9:]}\n"})
    assert tested.status_code == 200
    assert re.search(
        r"It works: 1 site, 4\.00 kWp, [\d.]+ k?W now, [\d.]+ k?Wh today, last data 7 min ago\.",
        words(tested.text),
    )
    assert key not in tested.text
    said = {"HX-Request": "true", "Origin": "http://localhost:3000", "X-CSRF-Token": browser.token}
    bit = await browser.ask("POST", "/connections/new", said, data=entered | {"do": "test", "field-api_key": key})
    assert bit.text.lstrip().startswith('<div id="result"')
    assert "It works" in bit.text

    saved = await browser.post("/connections/new", do="save", **entered | {"field-api_key": key})
    assert re.fullmatch(r"/connections/[0-9a-f-]{36}\?connected=1", saved.headers["location"])
    told = words((await browser.get(saved.headers["location"])).text)
    assert "Connected. The first look found 1 site with 4.0 kWp. Readings follow within a minute." in told
    assert "Waiting for the first site" in (await browser.get("/")).text
    again = await browser.post("/connections/new", do="save", **entered | {"field-api_key": key})
    assert (again.status_code, "connected already" in again.text) == (422, True)


HOSTILE = (
    *(("sites", column) for column in ("name", "address")),
    *(("devices", column) for column in ("name", "manufacturer", "model", "serial", "firmware")),
    *(("connections", column) for column in ("name", "fault")),
    ("meters", "name"),
)


async def test_hostile_names_stay_text(house: House, browser: Browser, owner: Scope) -> None:
    connection = await house.connect(owner, "lapsed")
    await house.run(owner, "update connections set state = 'degraded'")
    address = site_address((await browser.get("/")).text, "Rua do Almada")
    places = ["/", *(address + part for part in ("", "/devices", "/meters"))]
    places += ["/connections", f"/connections/{connection}", f"/connections/{connection}/remove"]
    for payload in PAYLOADS:
        for table, column in HOSTILE:
            await house.run(owner, f"update {table} set {column} = %s", payload)  # noqa: S608 - names from above
        for place in places:
            page = await browser.get(place)
            assert page.status_code == 200
            assert payload in unescape(page.text)
            assert page.text.count("<script") == page.text.count('<script src="/static/')
            assert not re.search(r"<[a-z][^>]*\son\w+\s*=", page.text.replace("&#39;", "").replace("&#34;", ""))
            assert "<img" not in page.text
            assert not set("<>\"'") & set(payload) or payload not in page.text
        api = await browser.get(f"/api/v1{address}")
        assert api.json()["name"] == payload
        assert api.headers["content-type"] == "application/json"


async def test_a_stranger_sees_nothing_of_it(house: House, browser: Browser, owner: Scope) -> None:
    await house.connect(owner, "lapsed")
    address = site_address((await browser.get("/")).text, "Rua do Almada")
    random = "/sites/00000000-0000-4000-8000-000000000000"
    for part in ("", "/devices", "/meters", "/day.csv"):
        found = await browser.get(random + part)
        assert found.status_code == 404
    assert (await Browser(house.app).get(address)).status_code == 303


async def test_the_page_of_a_script_that_lost_its_session_is_sent_to_sign_in(house: House) -> None:
    await house.people()
    answer = await Browser(house.app).get("/", **{"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/sign-in")
