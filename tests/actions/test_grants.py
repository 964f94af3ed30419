"""What a password buys, a pause stops, a disconnection ends; and what a vendor that hesitates is waited for."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from enalysis.actions import connections, renewals
from enalysis.core.errors import LoginNeeded, NotFound, Refused
from enalysis.store.pool import Database
from tests.actions.conftest import Clock, Office
from tests.bar.tenancy import superuser
from tests.databases import Base
from tests.oauth_bench import everything, opened
from tests.vendor import answer

PASSWORD = "an installer's password"


@pytest.fixture
async def installer(db: Database, clock: Clock) -> AsyncIterator[Office]:
    """Open an organization with an installer's app."""
    async with opened(db, clock=clock, vendor_clock=lambda: clock().timestamp(), kind="partner") as made:
        made.vendor.passwords["ada@example.org"] = PASSWORD
        yield made


async def log_in(office: Office, password: str = PASSWORD) -> UUID:
    """Connect with a name and a password."""
    made, _ = await connections.add(
        office.scope,
        office.db,
        office.vendors,
        vendor="acme",
        name="Fleet",
        plan="free",
        fields={"username": "ada@example.org", "password": password},
        now=office.clock(),
        way="partner",
        app=office.app,
    )
    return made


async def test_the_password_is_not_kept(installer: Office, base: Base) -> None:
    made = await log_in(installer)
    assert (await installer.poll(made)).failed == []
    kept = await installer.kept(made)
    assert kept is not None
    assert PASSWORD not in kept.text()
    with superuser(base) as admin:
        assert not [v for column in everything(admin).values() for v in column if PASSWORD.encode() in v]


async def test_a_wrong_password_saves_nothing(installer: Office) -> None:
    with pytest.raises(LoginNeeded):
        await log_in(installer, "wrong")
    async with installer.db.org(installer.scope) as conn:
        found = await (await conn.execute("select count(*) from connections")).fetchone()
    assert found == (0,)


async def test_an_app_the_vendor_has_not_approved_waits_and_asks_nobody_to_sign_in(
    installer: Office, clock: Clock
) -> None:
    installer.vendor.data_act = lambda _: answer({"error": "unauthorized"}, 401)
    made = await log_in(installer)
    assert (await installer.find(made)).state == "waiting_for_vendor"
    await installer.poll(made)
    assert (await installer.find(made)).state == "waiting_for_vendor"
    installer.vendor.data_act = None
    clock.move(hours=7)
    await installer.poll(made)
    assert (await installer.find(made)).state == "healthy"


async def test_a_pause_stops_calls_at_once_and_keeps_the_sign_in_alive(office: Office, clock: Clock) -> None:
    made = await office.connect()
    office.vendor.sites = [{"ref": f"roof-{n}", "name": "Roof"} for n in range(6)]
    await office.poll(made)
    office.vendor.data_delay_s = 0.05
    polling = asyncio.create_task(office.poll(made))
    await asyncio.sleep(0.1)
    await connections.pause(office.scope, office.db, made, clock())
    paused_at = asyncio.get_running_loop().time()
    await polling
    await office.poll(made)
    assert not [a for a in office.vendor.asked if a.at > paused_at + 0.02]
    clock.move(days=11)
    await renewals.sweep(office.db, office.vendors, clock())
    assert office.vendor.refreshes == 1
    await connections.resume(office.scope, office.db, made, clock())
    assert (await office.poll(made)).failed == []


async def test_a_disconnected_connection_is_told_of_at_the_vendor_and_asks_nothing(office: Office) -> None:
    made = await office.connect()
    kept = await office.kept(made)
    assert kept is not None
    assert await connections.disconnect(office.scope, office.db, office.vendors, made, office.clock())
    assert office.vendor.forgotten == [kept.refresh_token]
    before = len(office.vendor.asked)
    await office.poll(made)
    with pytest.raises((NotFound, Refused)):
        await connections.test_saved(office.scope, office.db, office.vendors, made, office.clock())
    assert len(office.vendor.asked) == before
    assert (await office.find(made)).state == "disconnected"
    assert await office.connect("owner-1") == made, "the same account comes back to its connection"


async def test_a_disconnection_waits_for_a_renewal_under_way_and_revokes_what_it_brought(office: Office) -> None:
    made = await office.connect()
    kept = await office.kept(made)
    assert kept is not None
    assert kept.refresh_token is not None
    family = office.vendor.family_of(kept.refresh_token)
    rotated = office.vendor.rotation_of(family)
    office.vendor.delay_s = 0.2
    renewing = asyncio.create_task(office.vendors.tokens.renew(office.scope, await office.find(made), None))
    await rotated.wait()
    await connections.disconnect(office.scope, office.db, office.vendors, made, office.clock())
    await renewing
    assert office.vendor.forgotten == [family.refresh]
    assert await office.kept(made) is None


async def test_a_vendor_that_is_away_is_told_later(office: Office, clock: Clock) -> None:
    made = await office.connect()
    office.vendor.revoke_act = answer(b"", 503)
    assert not await connections.disconnect(office.scope, office.db, office.vendors, made, clock())
    assert await office.kept(made) is None
    office.vendor.revoke_act = None
    clock.move(minutes=11)
    await renewals.sweep(office.db, office.vendors, clock())
    assert len(office.vendor.forgotten) == 1
    async with office.db.org(office.scope) as conn:
        assert await (await conn.execute("select count(*) from revocations")).fetchone() == (0,)
