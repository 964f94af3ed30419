"""The scheduler's call: who may make it, what it answers, and that no other GET writes."""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from fastapi.routing import iter_route_contexts

from enalysis.core.access import Scope
from enalysis.queries.fleet import fleet
from enalysis.simulators.faults import Fault, FaultKind
from enalysis.store.logins import APP, ENGINE
from enalysis.web.auth import SCHEDULER_PATHS
from tests.conftest import Base
from tests.settings import CRON
from tests.web.conftest import Browser, House

BEARER = {"Authorization": f"Bearer {CRON}"}
# BAR F2: these and no others. A new one needs a reason as good as theirs.
GETS_THAT_WRITE = {"/api/cron/collect", "/api/cron/fetch-energy-data", "/api/oauth/{vendor}/callback"}


@pytest.fixture(autouse=True)
def _knows_the_secret(house: House) -> None:
    house.runtime.settings = replace(house.runtime.settings, cron_secret=CRON)


async def test_what_is_due_is_fetched_and_told_per_source(house: House, owner: Scope) -> None:
    good = await house.connect(owner, "lapsed")
    bad = await house.connect(owner, "household")
    house.sandbox.faults.set(Fault(FaultKind.WRONG_KEY, vendor="solaredge", account="household"))
    house.clock.move(hours=2)
    answer = await Browser(house.app).ask("POST", "/api/cron/collect", BEARER)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    told = answer.json()
    assert set(told) == {"results", "remaining"}
    by_id = {each["sourceId"]: each for each in told["results"]}
    assert set(by_id) == {str(good), str(bad)}
    assert by_id[str(good)] == {"sourceId": str(good), "vendor": "solaredge", "status": "success", "error": None}
    assert by_id[str(bad)]["status"] == "error"
    assert re.match(r"[A-Z].+\.", by_id[str(bad)]["error"])
    assert house.account("household").credentials["api_key"] not in answer.text
    assert "http" not in answer.text
    again = await Browser(house.app).ask("GET", "/api/cron/fetch-energy-data", BEARER)
    assert {each["status"] for each in again.json()["results"]} == {"skipped"}
    assert again.json()["remaining"] == 0


@pytest.mark.parametrize("path", SCHEDULER_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_form_of_the_call_answers(house: House, method: str, path: str) -> None:
    answer = await Browser(house.app).ask(method, path, BEARER)
    assert (answer.status_code, answer.json()) == (200, {"results": [], "remaining": 0})


def strangers() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield addresses and headers that must not be let in."""
    path = SCHEDULER_PATHS[0]
    for value in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {CRON}",
        CRON,
        f"Bearer {CRON[:-1]}",
        f"Bearer {CRON}x",
        f"Bearer {CRON} x",
        f"Bearer {CRON}, Bearer {CRON}",
        "Bearer None",
    ):
        yield path, {"Authorization": value}
    yield path, {"X-Cron-Secret": CRON}
    yield path, {"Cookie": f"CRON_SECRET={CRON}"}
    yield f"{path}?secret={quote(CRON)}", {}
    yield f"{path}?secret={quote(CRON)}", BEARER
    yield f"{path}?{''.join(f'%{ord(sign):02x}' for sign in CRON)}", BEARER


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_strangers_are_refused_in_words(house: House, method: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for address, headers in strangers():
        answer = await Browser(house.app).ask(method, address, headers)
        assert answer.status_code == 401, (address, headers)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["type"] == "urn:enalysis:problem:scheduler-secret"
        assert CRON not in answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_a_secret_nobody_is_let_in(house: House, method: str) -> None:
    house.runtime.settings = replace(house.runtime.settings, cron_secret=None)
    for value in ("Bearer ", "Bearer None", "Bearer null", f"Bearer {CRON}"):
        answer = await Browser(house.app).ask(method, SCHEDULER_PATHS[0], {"Authorization": value})
        assert answer.status_code == 401


@pytest.mark.usefixtures("owner")
async def test_a_session_opens_nothing_here(browser: Browser) -> None:
    for path in SCHEDULER_PATHS:
        assert (await browser.call("POST", path)).status_code == 401
        assert (await browser.get(path)).status_code == 401


async def test_only_the_calls_own_paths_need_no_page_of_ours(house: House) -> None:
    for path in ("/api/cron/collect/", "/api/cron", "/api/cron/other", "/api/v1/connections/test", "/connections/new"):
        answer = await Browser(house.app).ask("POST", path, BEARER)
        assert answer.status_code in (303, 307, 401, 404), path
        assert "results" not in answer.text
    for method in ("PUT", "PATCH", "DELETE"):
        answer = await Browser(house.app).ask(method, SCHEDULER_PATHS[0], BEARER)
        assert answer.status_code in (401, 405)


async def test_without_a_database_the_run_cannot_start(house: House, base: Base) -> None:
    with psycopg.connect(base.cluster.server.admin_conninfo, autocommit=True) as admin:
        admin.execute(f"alter database {base.name} with allow_connections false")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (base.name,))
    answer = await Browser(house.app).ask("POST", SCHEDULER_PATHS[0], BEARER)
    assert (answer.status_code, answer.json()) == (500, {"error": "Failed to fetch energy data"})
    with psycopg.connect(base.cluster.server.admin_conninfo, autocommit=True) as admin:
        admin.execute(f"alter database {base.name} with allow_connections true")


async def test_no_get_writes_but_those_named_here(house: House, browser: Browser, owner: Scope, base: Base) -> None:
    """With a database that takes no writes every GET answers as ever, except those that are known to write.

    That a session was seen is written once in a while; here it was just before.
    """
    connection = await house.connect(owner, "lapsed")
    page = await fleet(owner, house.runtime.db, house.clock())
    ids = {"connection": str(connection), "site": str(page.rows[0].id), "vendor": "solaredge"}
    house.clock.move(hours=1)
    await browser.get("/")
    with psycopg.connect(base.cluster.server.admin_conninfo, autocommit=True) as admin:
        for login in (APP, ENGINE):
            admin.execute(f"alter role {login} in database {base.name} set default_transaction_read_only = on")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (base.name,))
    fell: set[str] = set()
    answered: set[str] = set()
    for route in iter_route_contexts(house.app.routes):
        if "GET" not in (route.methods or ()):
            continue
        path = route.path or ""
        real = re.sub(r"\{(\w+)\}", lambda found: ids.get(found[1], str(uuid4())), path)
        answer = await browser.ask("GET", real, BEARER)
        (fell if answer.status_code >= 500 else answered).add(path)
    with psycopg.connect(base.cluster.server.admin_conninfo, autocommit=True) as admin:
        for login in (APP, ENGINE):
            admin.execute(f"alter role {login} in database {base.name} reset all")
    assert set(SCHEDULER_PATHS) <= fell, "the check has gone blind"
    assert fell <= GETS_THAT_WRITE
    assert len(answered) > 15
