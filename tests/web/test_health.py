"""Probes: one word each, and the truth about the database."""

import asyncio
from datetime import UTC, datetime

import psycopg

from enalysis.store.logins import OWNER
from tests.conftest import Base
from tests.web.conftest import Browser, House

HEALTHY = {"database": "ok", "cache": "not configured", "schema": "ok", "key": "ok"}


async def test_all_is_well(house: House) -> None:
    stranger = Browser(house.app)
    for path in ("/live", "/ready"):
        answer = await stranger.get(path)
        assert (answer.status_code, answer.text) == (200, "ok")
        assert (await stranger.ask("HEAD", path)).status_code == 200
    health = await stranger.get("/api/health")
    assert health.status_code == 200
    told = health.json()
    assert list(told) == ["status", "timestamp", "checks"]
    assert (told["status"], told["checks"]) == ("healthy", HEALTHY)
    assert datetime.fromisoformat(told["timestamp"]) == datetime(2026, 6, 2, 12, 7, 30, tzinfo=UTC)


async def test_without_a_database(house: House, base: Base) -> None:
    await house.people()
    browser = Browser(house.app)
    await browser.sign_in()
    with psycopg.connect(base.cluster.server.admin_conninfo, autocommit=True) as admin:
        admin.execute(f"alter database {base.name} with allow_connections false")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (base.name,))
    assert (await browser.get("/live")).text == "ok"
    ready = await browser.get("/ready")
    assert (ready.status_code, ready.text) == (503, "no")
    health = await browser.get("/api/health")
    assert (health.status_code, health.json()["status"]) == (500, "unhealthy")
    assert health.json()["error"] == "database unavailable"
    assert health.json()["checks"]["database"] == "unavailable"
    page, api = await asyncio.gather(browser.get("/"), browser.get("/api/v1/fleet"))
    assert (page.status_code, api.status_code) == (503, 503)
    assert "Nothing is lost" in page.text
    assert api.json()["type"] == "urn:enalysis:problem:database"
    for answer in (ready, health, page):
        for telling in ("psycopg", "connection", base.name, "allow_connections", "127.0.0.1"):
            assert telling not in answer.text.replace("/connections", "").replace("connection-lost", "")
    with psycopg.connect(base.cluster.server.admin_conninfo, autocommit=True) as admin:
        admin.execute(f"alter database {base.name} with allow_connections true")
    # The pool tries again after growing pauses.
    while (await browser.get("/ready")).status_code != 200:  # noqa: ASYNC110 - it is the answer that counts
        await asyncio.sleep(1)
    assert (await browser.get("/")).status_code == 200


async def test_an_old_schema_or_another_key_is_not_ready(house: House, base: Base) -> None:
    with psycopg.connect(base.cluster.conninfo(OWNER, base.name), autocommit=True) as owner:
        owner.execute("update alembic_version set version_num = 'older'")
        assert (await Browser(house.app).get("/ready")).text == "no"
        assert (await Browser(house.app).get("/api/health")).json()["error"] == "schema unavailable"
