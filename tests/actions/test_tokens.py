"""Tokens are renewed early, once, under their row's lock; what a vendor gave is stored whatever becomes of anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest

from enalysis.actions import tokens
from enalysis.actions.tokens import early_by
from enalysis.core.access import Scope
from enalysis.core.errors import GrantDead, Unavailable
from enalysis.store import connections, credentials
from enalysis.store.pool import Conn
from tests.actions.conftest import Clock, Office
from tests.vendor import answer


async def test_a_fresh_token_is_not_renewed(office: Office) -> None:
    connection = await office.find(await office.connect())
    first = await office.vendors.tokens.current(office.scope, connection)
    assert await office.vendors.tokens.current(office.scope, connection) == first
    assert office.vendor.refreshes == 0


async def test_a_stale_token_is_renewed_once_for_all_who_ask(office: Office, clock: Clock) -> None:
    made = await office.connect()
    connection = await office.find(made)
    first = await office.vendors.tokens.current(office.scope, connection)
    clock.move(minutes=50)
    given = await asyncio.gather(*(office.vendors.tokens.current(office.scope, connection) for _ in range(5)))
    assert set(given) != {first}
    assert len(set(given)) == 1
    assert office.vendor.refreshes == 1
    assert await office.lives(made)


async def test_the_renewals_own_call_is_written_down_while_it_holds_the_lock(office: Office, clock: Clock) -> None:
    """The record refers to the locked row: a lock that holds it up would let the renewal wait for itself."""
    made = await office.connect()
    clock.move(minutes=50)
    async with asyncio.timeout(4):
        await office.vendors.tokens.current(office.scope, await office.find(made))
    async with office.db.org(office.scope) as conn:
        rows = await (await conn.execute("select operation, verdict from vendor_calls order by id")).fetchall()
    assert ("refresh", "ok") in rows


async def test_a_token_that_lives_carries_over_a_vendors_bad_hour(office: Office, clock: Clock) -> None:
    connection = await office.find(await office.connect())
    first = await office.vendors.tokens.current(office.scope, connection)
    office.vendor.token_act = lambda _: answer(b"", 503)
    clock.move(minutes=50)
    assert await office.vendors.tokens.current(office.scope, connection) == first
    clock.move(minutes=6)
    with pytest.raises(Unavailable):
        await office.vendors.tokens.current(office.scope, connection)


async def test_a_token_endpoint_that_failed_is_left_alone_for_a_minute(office: Office, clock: Clock) -> None:
    connection = await office.find(await office.connect())
    office.vendor.token_act = lambda _: answer(b"", 503)
    clock.move(minutes=50)
    before = office.vendor.token_calls
    for _ in range(20):
        await office.vendors.tokens.current(office.scope, connection)
    assert office.vendor.token_calls == before + 1
    office.vendor.token_act = None
    clock.move(seconds=61)
    await office.vendors.tokens.current(office.scope, connection)
    assert office.vendor.refreshes == 1


async def test_a_dead_grant_is_told_and_the_connection_says_so(office: Office, clock: Clock) -> None:
    made = await office.connect()
    await office.poll(made)
    for family in office.vendor.families.values():
        family.revoked = True
    clock.move(minutes=50)
    with pytest.raises(GrantDead):
        await office.vendors.tokens.current(office.scope, await office.find(made))
    await office.poll(made)
    assert (await office.find(made)).state == "reauth_required"
    assert [kind for kind, _ in await office.events(made)].count("reauth_required") == 1


async def test_a_token_refused_early_is_renewed_once_and_the_call_repeated(office: Office) -> None:
    made = await office.connect()
    await office.poll(made)
    for family in office.vendor.families.values():
        family.access = dict.fromkeys(family.access, 0.0)
    report = await office.poll(made)
    assert (report.ok, report.failed, office.vendor.refreshes) == (2, [], 1)


async def test_tokens_are_stored_though_the_database_was_lost_in_the_midst(
    office: Office, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await office.connect()
    clock.move(minutes=50)
    monkeypatch.setattr(tokens, "_STORE_PAUSE_S", 0.01)
    put, lost = credentials.put_fresh, 3

    async def flaky(scope: Scope, conn: Conn, *rest: object) -> bool:
        nonlocal lost
        lost -= 1
        if lost >= 0:
            raise psycopg.OperationalError("the server closed the connection")
        return await put(scope, conn, *rest)  # type: ignore[arg-type] # passed on as they came

    monkeypatch.setattr(credentials, "put_fresh", flaky)
    await office.vendors.tokens.current(office.scope, await office.find(made))
    assert lost < 0
    assert await office.lives(made)


async def test_tokens_are_kept_though_their_call_cannot_be_written_down(
    office: Office, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await office.connect()
    clock.move(minutes=50)

    async def away(*_: object) -> None:
        raise psycopg.OperationalError("the server closed the connection")

    monkeypatch.setattr(connections, "add_call", away)
    await office.vendors.tokens.current(office.scope, await office.find(made))
    assert await office.lives(made)


async def test_nothing_is_asked_of_the_vendor_while_the_database_is_away(
    office: Office, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await office.connect()
    found = await office.find(made)
    clock.move(minutes=50)

    @asynccontextmanager
    async def away(*_: object) -> AsyncIterator[None]:
        raise psycopg.OperationalError("no connection")
        yield

    monkeypatch.setattr(credentials, "locked", away)
    before = office.vendor.token_calls
    with pytest.raises(Unavailable, match="database"):
        await office.vendors.tokens.renew(office.scope, found, None)
    assert office.vendor.token_calls == before


async def test_a_renewal_outlives_who_waits_for_it(office: Office, clock: Clock) -> None:
    made = await office.connect()
    clock.move(minutes=50)
    office.vendor.delay_s = 0.1
    kept = await office.kept(made)
    assert kept is not None
    assert kept.refresh_token is not None
    rotated = office.vendor.rotation_of(office.vendor.family_of(kept.refresh_token))
    waiter = asyncio.create_task(office.vendors.tokens.current(office.scope, await office.find(made)))
    await rotated.wait()
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert not await office.lives(made)
    await office.vendors.tokens.drain()
    assert await office.lives(made)


@pytest.mark.parametrize(("lives_s", "least_s", "most_s"), [(86400, 7776, 9504), (3600, 1200, 1200), (300, 300, 300)])
def test_how_early_is_early(lives_s: float, least_s: float, most_s: float) -> None:
    for key in ("a", "b", "c", "d"):
        assert least_s <= early_by(lives_s, key).total_seconds() <= most_s
