"""What stands before every route: headers, hosts, origins and tokens, sizes."""

import re
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from enalysis.core.access import Scope
from enalysis.web.auth import SCHEDULER_PATHS
from enalysis.web.guards import CSP
from enalysis.web.views import HTMX
from tests.web.conftest import EMAIL, ORIGIN, PASSWORD, Browser, House

HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
UNSAFE = {"POST", "PUT", "PATCH", "DELETE"}
# What a stranger may ask, and why.
OPEN = {"/live", "/ready", "/api/health", "/setup", "/sign-in", "/sign-out", "/"}
# What asks for a secret of its own instead of a session; tests/web/test_scheduler.py tries its door.
SECRET = set(SCHEDULER_PATHS)


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Return every method and path the application answers, identifiers filled in."""
    found = [
        (method, re.sub(r"\{\w+\}", str(uuid4()), route.path or ""))
        for route in iter_route_contexts(app.routes)
        for method in sorted(route.methods or ())
    ]
    assert len(found) > 25
    return found


@pytest.mark.usefixtures("owner")
async def test_every_answer_carries_the_headers(house: House, browser: Browser) -> None:
    asked = [
        *routes(house.app),
        ("GET", "/nowhere"),
        ("GET", "/api/nowhere"),
        ("PUT", "/"),
        ("GET", "/static/css/app.css"),
        ("GET", "/static/nowhere.css"),
        ("GET", "/sites/not-an-id"),
        ("GET", "/api/v1/fleet?page=0"),
        ("OPTIONS", "/"),
    ]
    missing: list[str] = []
    fell: list[str] = []
    statuses = set()
    for method, path in asked:
        for visitor in (Browser(house.app), browser):
            if visitor is browser and path == "/sign-out":
                continue
            answer = await visitor.ask(method, path)
            statuses.add(answer.status_code)
            missing += [
                f"{method} {path}: {name}" for name, value in HEADERS.items() if answer.headers.get(name) != value
            ]
            kept = answer.headers["cache-control"]
            if kept != ("no-cache" if path == "/static/css/app.css" else "no-store"):
                missing.append(f"{method} {path}: cache-control {kept}")
            if "access-control-allow-origin" in answer.headers:
                missing.append(f"{method} {path}: CORS")
    assert missing == []
    assert {200, 303, 401, 403, 404, 405, 422} <= statuses
    assert fell == []


async def test_a_crash_tells_a_number_and_nothing_else(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def fall(canary: str) -> None:
        raise ZeroDivisionError(canary)

    for path in ("/fall", "/api/fall"):
        house.app.add_api_route(path, fall)
    for path in ("/fall", "/api/fall"):
        answer = await Browser(house.app).ask("GET", f"{path}?canary=Canary-19aa")
        assert answer.status_code == 500
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert "Canary" not in answer.text
        assert "ZeroDivision" not in answer.text
        incident = re.search(r"\b[0-9a-f]{8}\b", answer.text)
        assert incident
        assert f"incident {incident[0]}: ZeroDivisionError in GET {path}" in caplog.text


@pytest.mark.parametrize("public_url", ["https://energy.example.org"])
async def test_https_is_remembered(house: House) -> None:
    answer = await Browser(house.app, "https://energy.example.org").get("/live")
    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    refused = await Browser(house.app, "https://evil.example").get("/live")
    assert refused.status_code == 400
    assert "strict-transport-security" in refused.headers


async def test_http_is_not_told_to_be_https(house: House) -> None:
    assert "strict-transport-security" not in (await Browser(house.app).get("/live")).headers


async def test_a_foreign_host_is_not_answered(house: House) -> None:
    for host in ("evil.example", "evil.example:3000", "localhost.evil.example", "", "localhost@evil.example"):
        answer = await Browser(house.app).get("/sign-in", Host=host)
        assert answer.status_code == 400, host
        assert "evil" not in answer.text
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS


async def test_forwarded_names_change_nothing(house: House, browser: Browser) -> None:
    await house.people()
    spoof = {
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=evil.example",
    }
    answer = await browser.get("/connections", **spoof)
    assert "evil" not in answer.text + str(answer.headers)


SENDERS = {
    "another site": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "another site, quiet": {"Sec-Fetch-Site": "cross-site"},
    "a subdomain": {"Origin": "http://x.localhost:3000", "Sec-Fetch-Site": "same-site"},
    "another port": {"Origin": "http://localhost:8000"},
    "a file": {"Origin": "null"},
    "nobody": {},
    "the address bar": {"Sec-Fetch-Site": "none"},
    "a liar about itself": {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
    "us without the token": {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": ""},
    "us with another token": {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": "0" * 64},
}


async def test_no_unsafe_route_takes_a_foreign_request(house: House, browser: Browser, owner: Scope) -> None:
    connection = await house.connect(owner, "lapsed")
    unsafe = [(m, p) for m, p in routes(house.app) if m in UNSAFE and p not in (OPEN | SECRET) - {"/sign-out"}]
    accepted = []
    tried = 0
    for method, path in unsafe:
        real = re.sub(r"[0-9a-f-]{36}", str(connection), path)
        for sender, headers in SENDERS.items():
            tried += 1
            token = {} if "X-CSRF-Token" in headers else {"X-CSRF-Token": browser.token}
            answer = await browser.ask(method, real, headers | token, data={"do": "test"})
            if answer.status_code != 403 or "oreign" not in answer.text + "Foreign" * ("<html" in answer.text):
                accepted.append((method, path, sender, answer.status_code))
    assert accepted == []
    assert tried >= 60
    assert (await browser.get("/connections")).text.count(str(connection)) > 2, "all of it left everything standing"
    assert (await browser.call("DELETE", f"/api/v1/connections/{connection}")).status_code == 204


async def test_the_doors_take_no_foreign_request_either(house: House, browser: Browser) -> None:
    await house.people()
    await browser.get("/sign-in")
    fields = {"email": EMAIL, "password": PASSWORD, "csrf": browser.token}
    for sender, headers in SENDERS.items():
        form = fields if "X-CSRF-Token" not in headers else fields | {"csrf": headers["X-CSRF-Token"]}
        sent = {name: value for name, value in headers.items() if name != "X-CSRF-Token"}
        answer = await browser.ask("POST", "/sign-in", sent, data=form)
        assert answer.status_code == 403, sender
    stranger = Browser(house.app, token=browser.token)
    assert (await stranger.post("/sign-in", email=EMAIL, password=PASSWORD)).status_code == 403


async def test_strangers_get_nowhere(house: House) -> None:
    await house.people()
    for method, path in routes(house.app):
        if path in OPEN:
            continue
        stranger = Browser(house.app)
        answer = await stranger.ask(method, path, {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"})
        if path.startswith("/api/"):
            assert answer.status_code == 401, (method, path)
            kind = "scheduler-secret" if path in SECRET else "sign-in"
            assert answer.json()["type"] == f"urn:enalysis:problem:{kind}"
        else:
            assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), (method, path)


@pytest.mark.usefixtures("owner")
async def test_a_body_of_more_than_a_mebibyte_is_not_read(browser: Browser) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(64):
            read += 65536
            yield b"x" * 65536

    ours = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", "X-CSRF-Token": browser.token}
    told = await browser.ask("POST", "/api/v1/connections/test", ours, content=b"x" * (1024 * 1024 + 1))
    assert told.status_code == 413
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path, kind in (
        ("/api/v1/connections/test", {"Content-Type": "application/json"}),
        ("/connections/new", form),
    ):
        read = 0
        answer = await browser.ask("POST", path, ours | kind, content=endless())
        assert answer.status_code == 413, path
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert read <= 64 * 65536


UNFIT = (
    b'{"vendor": "' + b"x" * 500_000 + b'"}',
    b'{"vendor": "x", "fields": {' + b",".join(b'"f%d": ""' % n for n in range(1000)) + b"}}",
    b'{"vendor": "x", "fields": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    b"[" * 500_000,
    b'{"vendor": "x", "fields": {"a": ["Canary-77"]}}',
    b'{"vendor": {"Canary-77": 1}, "fields": {"Canary-77": 1}}',
    b"\xff\xfe Canary-77",
    b"",
)


@pytest.mark.usefixtures("owner")
async def test_unfit_bodies_are_refused_without_an_echo(browser: Browser) -> None:
    ours = {"Origin": ORIGIN, "X-CSRF-Token": browser.token, "Content-Type": "application/json"}
    for body in UNFIT:
        answer = await browser.ask("POST", "/api/v1/connections/test", ours, content=body)
        assert answer.status_code in (400, 422), body[:40]
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Canary" not in answer.text
        assert "xxx" not in answer.text
        assert len(answer.text) < 2000


@pytest.mark.usefixtures("owner")
async def test_pages_and_their_addresses_echo_nothing(house: House, browser: Browser) -> None:
    canary, keyed = "Canary-5bd1", house.account("lapsed").vendor
    for path in (
        f"/sites/{canary}",
        f"/api/v1/sites/{canary}",
        f"/api/v1/sites/{uuid4()}/day?date={canary}",
        f"/api/v1/fleet?health={canary}&sort={canary}&page={canary}",
        f"/connections/new?vendor={canary}",
        f"/connections/{canary}/remove",
        f"/connections?fetched={canary}",
        f"/connections/new?vendor={keyed}&way={canary}",
        f"/connections/new?vendor={keyed}&way=fleet_key&connection={canary}",
        f"/connections/consent/{canary}?vendor={keyed}",
        f"/connections/consent/refused?vendor={canary}",
        f"/connections/consent/refused?vendor={keyed}&way={canary}",
        f"/apps/{canary}",
        f"/apps/new?vendor={canary}",
        f"/sign-in?again={canary}",
        f"/?vendor={canary}&sort={canary}&page={canary}&health={canary}",
        f"/{canary}",
        f"/static/{canary}",
    ):
        answer = await browser.get(path)
        assert canary not in answer.text, path
        assert answer.status_code in (200, 303, 404, 422), path
    for fields in (
        {"vendor": canary},
        {"vendor": keyed, "plan": canary, "field-api_key": canary},
        {"vendor": keyed, "field-api_key": f"{canary}\x00"},
        {"vendor": keyed, "field-api_key": canary * 1000},
    ):
        answer = await browser.post("/connections/new", do="save", **fields)
        assert canary not in answer.text
        assert answer.status_code in (404, 422)


def test_htmx_is_told_what_the_policy_demands() -> None:
    assert '"includeIndicatorStyles":false' in HTMX
    assert '"allowEval":false' in HTMX
    assert '"historyCacheSize":0' in HTMX
