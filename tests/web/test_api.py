"""The API: W and Wh, null for unknown, UTC with a Z, and the answers that were promised word by word."""

import asyncio
import re
from uuid import uuid4

import pytest

from enalysis.core.access import Scope
from enalysis.web.errors import RECONNECT
from tests.conftest import make_organization
from tests.web.conftest import Browser, House

STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def stamps(value: object) -> list[str]:
    """Return every text in an answer that begins like a time."""
    if isinstance(value, dict):
        return [s for v in value.values() for s in stamps(v)]
    if isinstance(value, list):
        return [s for v in value for s in stamps(v)]
    return [value] if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\dT", value) else []


async def test_readings(house: House, browser: Browser, owner: Scope) -> None:
    await house.connect(owner, "lapsed")
    fleet = (await browser.get("/api/v1/fleet")).json()
    assert fleet["totals"]["sites"] == fleet["matching"] == 1
    row = fleet["rows"][0]
    assert (row["name"], row["zone"], row["capacity_wp"], row["health"]) == (
        "Rua do Almada",
        "Europe/Lisbon",
        4000,
        "good",
    )
    assert row["at"] == "2026-06-02T12:00:00Z"
    assert 0 < row["pv_w"] < 4000
    assert row["pv_yesterday_wh"] is None
    sites = (await browser.get("/api/v1/sites?per_page=1")).json()
    assert [s["id"] for s in sites] == [row["id"]]
    site = (await browser.get(f"/api/v1/sites/{row['id']}")).json()
    now = site["now"]
    assert now["load_w"] == pytest.approx(now["pv_w"] + now["grid_w"], abs=1e-6)
    assert now["battery_w"] is None
    assert now["derived"] is True
    day = (await browser.get(f"/api/v1/sites/{row['id']}/day?date=2026-06-02")).json()
    assert len(day["quarters"]) == 96
    assert day["quarters"][0]["start"] == "2026-06-01T23:00:00Z"
    assert day["quarters"][-1]["pv_wh"] is None
    assert day["totals"]["pv_wh"] == pytest.approx(row["pv_today_wh"])
    devices = (await browser.get(f"/api/v1/sites/{row['id']}/devices")).json()
    assert {d["kind"] for d in devices} >= {"inverter", "site_total"}
    everything = [fleet, sites, site, day, devices, (await browser.get("/api/v1/connections")).json()]
    found = stamps(everything)
    assert len(found) > 190
    assert [s for s in found if not STAMP.match(s)] == []


@pytest.mark.usefixtures("owner")
async def test_the_six_fields_of_a_test(house: House, browser: Browser) -> None:
    account = house.account("lapsed")
    answer = await browser.call(
        "POST", "/api/v1/connections/test", {"vendor": account.vendor, "fields": account.credentials}
    )
    assert answer.status_code == 200
    told = answer.json()
    assert list(told) == ["success", "vendor", "current_power_w", "energy_today_wh", "status", "last_update"]
    assert (told["success"], told["vendor"], told["status"]) == (True, account.vendor, "ACTIVE")
    assert told["last_update"] == "2026-06-02T12:00:00Z"
    assert told["current_power_w"] > 0
    assert told["energy_today_wh"] > 0
    assert (await browser.get("/api/v1/connections")).json() == []


@pytest.mark.usefixtures("owner")
async def test_a_refused_key_is_told_word_by_word(house: House, browser: Browser) -> None:
    vendor = house.account("lapsed").vendor
    body = {"vendor": vendor, "fields": {"api_key": "SANDBOX-CANARY-KEY-31"}}
    for path in ("/api/v1/connections/test", "/api/v1/connections"):
        answer = await browser.call("POST", path, body)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told["error"] == RECONNECT == "Access token expired. Please refresh your connection."
        assert told["type"] == "urn:enalysis:problem:vendor-sign-in"
        assert told["link"] == f"/connections/new?vendor={vendor}"
        assert "CANARY" not in answer.text
    stranger = await Browser(house.app).get("/api/v1/connections")
    assert stranger.status_code == 401
    assert stranger.json()["type"] == "urn:enalysis:problem:sign-in"
    assert "error" not in stranger.json()


@pytest.mark.usefixtures("owner")
async def test_a_connection_comes_and_goes(house: House, browser: Browser) -> None:
    account = house.account("lapsed")
    body = {"vendor": account.vendor, "name": "Porto", "plan": "business", "fields": account.credentials}
    made = await browser.call("POST", "/api/v1/connections", body)
    assert made.status_code == 201
    address = made.headers["location"]
    assert address == f"/api/v1/connections/{made.json()['id']}"
    row = (await browser.get(address)).json()
    assert (row["name"], row["plan"], row["state"]) == ("Porto", "business", "connecting")
    assert row["secret_set_at"] == "2026-06-02T12:07:30Z"
    assert account.credentials["api_key"] not in (await browser.get("/api/v1/connections")).text
    assert (await browser.call("POST", "/api/v1/connections", body)).status_code == 403
    assert (await browser.call("DELETE", address)).status_code == 204
    assert (await browser.call("DELETE", address)).status_code == 404
    assert (await browser.get(address)).status_code == 404


VERBS = ("fetch", "test", "refresh", "pause", "resume")
UNFIT: tuple[tuple[dict[str, object], str], ...] = (
    ({"vendor": "nobody", "fields": {}}, "`vendor` must be one of"),
    ({"vendor": None, "fields": {}}, '"field":"body.vendor"'),
    ({"fields": {}}, "Send `connection`, or `vendor` and `fields`."),
    ({"vendor": "VENDOR", "way": "magic", "fields": {}}, "`way` must be one of: fleet_key"),
    ({"vendor": "VENDOR", "fields": {}}, "`fields` lacks: api_key"),
    ({"vendor": "VENDOR", "plan": "gold", "fields": {"api_key": "x"}}, "no such plan"),
    ({"vendor": "VENDOR", "fields": {"api_key": "a\u0000b"}}, "cannot be typed"),
    ({"vendor": "VENDOR", "fields": {"api_key": 7}}, '"problem":"is no text"'),
)


@pytest.mark.usefixtures("owner")
async def test_what_does_not_fit_says_where(house: House, browser: Browser) -> None:
    for body, words in UNFIT:
        named = {"vendor": house.account("lapsed").vendor} if body.get("vendor") == "VENDOR" else {}
        answer = await browser.call("POST", "/api/v1/connections/test", body | named)
        assert answer.status_code == 422
        assert words in answer.text


@pytest.mark.usefixtures("owner")
async def test_the_limits_of_a_page(browser: Browser) -> None:
    assert (await browser.get("/api/v1/fleet?per_page=1000")).status_code == 200
    for bad in (
        "per_page=1001",
        "per_page=0",
        "page=0",
        "page=x",
        "health=fine",
        "sort=else",
        f"q={'x' * 81}",
    ):
        answer = await browser.get(f"/api/v1/fleet?{bad}")
        assert answer.status_code == 422, bad
        assert answer.json()["errors"][0]["field"] == f"query.{bad.split('=')[0]}"


@pytest.mark.usefixtures("owner")
async def test_nobody_reads_another_organizations_things(house: House, browser: Browser) -> None:
    foreign = await make_organization(house.runtime.db, "Other")
    site, connection = uuid4(), uuid4()
    async with house.runtime.db.org(foreign) as conn:
        await conn.execute(
            "insert into sites (organization_id, id, name, zone, created_at) values (%s, %s, 'Secret', 'UTC', now())",
            (foreign.organization, site),
        )
        await conn.execute(
            "insert into connections"
            " (organization_id, id, vendor, name, plan, account, state, state_since, created_at)"
            " values (%s, %s, 'acme', 'Secret', 'free', 'acme:account:x', 'healthy', now(), now())",
            (foreign.organization, connection),
        )
    asked = 0
    for real in (site, connection):
        for method, path in (
            ("GET", f"/api/v1/sites/{real}"),
            ("GET", f"/api/v1/sites/{real}/day"),
            ("GET", f"/api/v1/sites/{real}/devices"),
            ("GET", f"/api/v1/connections/{real}"),
            ("DELETE", f"/api/v1/connections/{real}"),
            ("GET", f"/sites/{real}"),
            ("GET", f"/sites/{real}/devices"),
            ("GET", f"/sites/{real}/meters"),
            ("GET", f"/sites/{real}/day.csv"),
            ("GET", f"/connections/{real}/remove"),
            ("POST", f"/connections/{real}/remove"),
            *(("GET", f"/connections/{real}{part}") for part in ("", "/reconnect", "/move", "/disconnect")),
            *(("POST", f"/connections/{real}/{verb}") for verb in VERBS),
            *(("POST", f"/api/v1/connections/{real}/{verb}") for verb in ("fetch", "test", "pause", "resume")),
            ("GET", f"/api/v1/connections/{real}/detail"),
            *((method, f"/api/v1/apps/{real}") for method in ("GET", "DELETE")),
            *(("GET", f"/apps/{real}{part}") for part in ("", "/remove")),
            ("POST", f"/apps/{real}/remove"),
        ):
            theirs = await browser.call(method, path)
            nobodys = await browser.call(method, path.replace(str(real), str(uuid4())))
            assert (theirs.status_code, theirs.text) == (404, nobodys.text), path
            asked += 1
    assert asked == 60
    assert "Secret" not in (await browser.get("/")).text + (await browser.get("/connections")).text


async def test_a_viewer_watches_only(house: House, browser: Browser, owner: Scope) -> None:
    connection = await house.connect(owner, "lapsed")
    await house.run(owner, "update memberships set role = 'viewer'")
    page = await browser.get("/connections")
    assert "Fetch now" not in page.text
    assert "Connect a vendor" not in page.text
    assert (await browser.call("DELETE", f"/api/v1/connections/{connection}")).status_code == 403
    assert (await browser.post(f"/connections/{connection}/fetch")).status_code == 403
    assert (await browser.post(f"/connections/{connection}/remove")).status_code == 403
    account = house.account("household")
    body = {"vendor": account.vendor, "fields": account.credentials}
    for path in ("/api/v1/connections", "/api/v1/connections/test"):
        answer = await browser.call("POST", path, body)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:enalysis:problem:refused")
    assert len((await browser.get("/api/v1/connections")).json()) == 1


@pytest.mark.usefixtures("owner")
async def test_the_description_is_for_people_who_signed_in(house: House, browser: Browser) -> None:
    for closed in ("/docs", "/redoc", "/openapi.json"):
        assert (await browser.get(closed)).status_code == 404
    assert (await Browser(house.app).get("/api/v1/openapi.json")).status_code == 401
    told = (await browser.get("/api/v1/openapi.json")).json()
    assert set(told["paths"]) == {
        "/api/v1/me",
        "/api/v1/fleet",
        "/api/v1/sites",
        "/api/v1/sites/{site}",
        "/api/v1/sites/{site}/day",
        "/api/v1/sites/{site}/devices",
        "/api/v1/connections",
        "/api/v1/connections/test",
        "/api/v1/connections/{connection}",
        "/api/v1/connections/{connection}/meanwhile",
        *(
            f"/api/v1/connections/{{connection}}/{verb}"
            for verb in ("detail", "fetch", "pause", "resume", "test", "reconnect", "meanwhile")
        ),
        "/api/v1/apps",
        "/api/v1/apps/{app}",
        "/api/v1/budget",
        "/api/cron/collect",
        *(f"/api/oauth/{{vendor}}/{verb}" for verb in ("authorize", "callback", "paste", "refresh", "disconnect")),
    }
    undescribed = [
        f"{method} {path}"
        for path, methods in told["paths"].items()
        for method, one in methods.items()
        if not one.get("description")
    ]
    assert undescribed == []
    me = (await browser.get("/api/v1/me")).json()
    assert (me["name"], me["organization"], me["role"]) == ("Ada Müller", "Müller Solar", "owner")
    assert me["csrf_token"] == browser.token


async def test_many_readers_at_once(house: House, browser: Browser, owner: Scope) -> None:
    await house.connect(owner, "lapsed")
    answers = await asyncio.gather(*(browser.get("/api/v1/fleet") for _ in range(40)))
    assert {a.status_code for a in answers} == {200}
    assert len({a.text for a in answers}) == 1
    assert answers[0].json()["rows"][0]["name"] == "Rua do Almada"
