"""Simulated sites while a connection waits, as pages, downloads and the API show them: never without the mark."""

from dataclasses import replace
from uuid import UUID

import pytest

from enalysis.actions import apps, connections
from enalysis.core.access import Scope
from tests.web.conftest import Browser, House

MARK = '<span class="tag simulated">Simulated</span>'
VENDOR = "enphase"


@pytest.fixture
async def waits(house: House, owner: Scope) -> UUID:
    """Connect through an app that its vendor has not approved."""
    hosting = house.sandbox.vendors[VENDOR].accounts
    assert isinstance(hosting, dict)
    hosting["portfolio"] = replace(hosting["portfolio"], sites=hosting["portfolio"].sites[:1])
    account = next(a for a in house.sandbox.accounts if (a.vendor, a.key) == (VENDOR, "pending"))
    runtime, now = house.runtime, house.clock()
    app = await apps.add(
        owner, runtime.db, runtime.vendors, vendor=VENDOR, kind="partner", name="App", plan="partner",
        fields=account.app, now=now,
    )  # fmt: skip
    made, _ = await connections.add(
        owner, runtime.db, runtime.vendors, vendor=VENDOR, name="Installers", plan="partner",
        fields=account.credentials, way="partner", app=app, now=now,
    )  # fmt: skip
    await house.poll(owner)
    return made


async def test_every_page_answer_and_export_is_marked(
    house: House, browser: Browser, owner: Scope, waits: UUID
) -> None:
    """From the offer to the last file: the mark stands beside the name, and in what machines read."""
    shown = (await browser.get("/connections")).text
    assert "Look around with simulated data meanwhile" in shown
    assert MARK not in shown
    assert (await browser.post(f"/connections/{waits}/meanwhile")).status_code == 303
    await house.poll(owner)
    shown = (await browser.get("/connections")).text
    assert "Look around with simulated data meanwhile" not in shown
    assert shown.count("Delete the simulated sites") == 2
    assert MARK in shown

    fleet = (await browser.get("/api/v1/fleet")).json()
    assert (fleet["totals"]["sites"], fleet["totals"]["simulated"], fleet["totals"]["capacity_wp"]) == (0, 1, None)
    [row] = fleet["rows"]
    assert row["sandbox"] is True
    assert all(site["sandbox"] for site in (await browser.get("/api/v1/sites")).json())
    told = {c["id"]: c for c in (await browser.get("/api/v1/connections")).json()}
    twin = told[str(waits)]["twin"]
    assert (told[twin]["sandbox"], told[twin]["twin_of"]) == (True, str(waits))
    for path in ("", "/day"):
        answer = await browser.get(f"/api/v1/sites/{row['id']}{path}")
        assert (answer.json()["sandbox"], answer.headers["enalysis-sandbox"]) == (True, "simulated")
    assert all(d["sandbox"] for d in (await browser.get(f"/api/v1/sites/{row['id']}/devices")).json())

    page = (await browser.get("/")).text
    assert MARK in page
    assert "1 simulated site below, counted in none of these" in " ".join(page.split())
    for path in ("", "/devices", "/meters"):
        page = (await browser.get(f"/sites/{row['id']}{path}")).text
        assert MARK in page
        assert "Simulated site." in page
    file = await browser.get(f"/sites/{row['id']}/day.csv")
    assert 'filename="simulated-' in file.headers["content-disposition"]
    lines = [line.split(",") for line in file.text.splitlines()[1:]]
    assert any(line[2] for line in lines)
    assert all("simulated" in line[-2] or "simulated" in ",".join(line) for line in lines if line[2])

    assert (await browser.post(f"/connections/{waits}/meanwhile/end")).status_code == 303
    assert (await browser.get(f"/sites/{row['id']}")).status_code == 404
    assert MARK not in (await browser.get("/connections")).text


async def test_the_api_begins_and_ends_it(house: House, browser: Browser, owner: Scope, waits: UUID) -> None:
    """One twin at most; deleting it twice is no error; a connection that does not wait gets none."""
    path = f"/api/v1/connections/{waits}/meanwhile"
    made = await browser.call("POST", path)
    assert made.status_code == 201
    assert (await browser.call("POST", path)).json() == made.json()
    for _ in range(2):
        assert (await browser.call("DELETE", path)).status_code == 204
    live = await house.connect(owner, "lapsed")
    refused = await browser.call("POST", f"/api/v1/connections/{live}/meanwhile")
    assert refused.status_code == 403
    assert "does not wait" in refused.json()["detail"]


async def test_where_it_is_not_allowed_nobody_is_offered_it(house: House, browser: Browser, waits: UUID) -> None:
    """On a public server without the operator's word the offer is not shown, and asking for it says why."""
    house.runtime.vendors._host = None
    assert "simulated data meanwhile" not in (await browser.get("/connections")).text
    refused = await browser.call("POST", f"/api/v1/connections/{waits}/meanwhile")
    assert "SANDBOX_ALLOWED=true" in refused.json()["detail"]
