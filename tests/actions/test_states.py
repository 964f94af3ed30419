"""States with their end: a locked account is left alone until then, one dead endpoint is not the whole API."""

from datetime import datetime, timedelta
from uuid import UUID

import pytest

from enalysis.actions import engine, schedule
from enalysis.connectors.http import VendorHTTP
from enalysis.core.errors import Locked
from enalysis.simulators.faults import Fault, FaultKind
from enalysis.store import connections, streams
from enalysis.store.pool import Conn
from enalysis.store.streams import Claimed
from tests.actions.conftest import Bench


async def claimed(bench: Bench) -> list[int]:
    """Return the streams the engine would hand on now, and give them back."""
    taken: list[int] = []

    async def keep(_conn: Conn, batch: Claimed, _backfill: bool) -> None:
        taken.extend(batch.streams)

    await engine.tick(bench.db, keep, bench.clock())
    async with bench.db.org(bench.scope) as conn:
        await streams.release(bench.scope, conn, taken)
    return taken


async def until_of(bench: Bench, connection: UUID) -> datetime | None:
    """Return when the connection's state ends."""
    async with bench.db.org(bench.scope) as conn:
        return (await connections.find_connection(bench.scope, conn, connection)).state_until


async def test_a_locked_account_is_left_alone_until_its_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty looks at what is due find nothing before then; afterwards it mends itself."""
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    end = bench.clock() + timedelta(hours=9)

    async def locked(*_: object, **__: object) -> object:
        error = Locked("the account is locked", vendor="solaredge", operation="energy")
        error.until = end
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(VendorHTTP, "get", locked)
        bench.clock.move(hours=1)
        await bench.run_due(connection)
    row = await bench.row(connection)
    assert row.state == "account_locked"
    assert await until_of(bench, connection) == end
    for _ in range(50):
        bench.clock.move(minutes=9)
        assert await claimed(bench) == []
    bench.clock.at = end + timedelta(seconds=1)
    assert await claimed(bench), "its list of sites is asked for"
    for _ in range(3):
        await bench.run_due(connection)
        bench.clock.move(hours=25)
    assert (await bench.row(connection)).state == "healthy"


async def test_one_retired_endpoint_is_not_the_whole_api(bench: Bench) -> None:
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    bench.sandbox.faults.set(Fault(FaultKind.RETIRED, vendor="solaredge", account="lapsed", endpoint="energy"))
    bench.clock.move(hours=1)
    await bench.run_due(connection)
    row = await bench.row(connection)
    assert row.state == "degraded", row.sentence
    async with bench.db.org(bench.scope) as conn:
        rows = await streams.list_streams(bench.scope, conn, connection)
    dead = [r for r in rows if r.fault is not None]
    assert {r.name for r in dead} == {"energy"}
    assert all(timedelta(days=1) <= r.next_at - bench.clock() < timedelta(days=1.3) for r in dead)


async def test_what_a_stream_wants_is_known_before_its_first_poll(bench: Bench) -> None:
    """Others on the same quota must count with it from its discovery on."""
    connection = await bench.add("lapsed")
    async with bench.db.org(bench.scope) as conn:
        rows = await streams.list_streams(bench.scope, conn, connection)
    await bench.run_due(connection)
    async with bench.db.org(bench.scope) as conn:
        after = await streams.list_streams(bench.scope, conn, connection)
        account = (await connections.find_connection(bench.scope, conn, connection)).account
    assert len(after) > len(rows)
    assert all(r.demand > 0 for r in after)
    assert all(r.every_s for r in after)
    async with bench.db.engine() as conn:
        told = await streams.demand_of_accounts(conn, [account, "another"])
        without = await streams.demand_of_accounts(conn, [account], connection)
    assert told == {account: pytest.approx(sum(r.demand for r in after))}
    assert without == {}


async def test_a_crowd_is_planned_by_its_sum_as_by_its_members(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = await bench.add("lapsed")
    await bench.run_due(connection)

    async def cadences() -> dict[int, int | None]:
        bench.clock.move(hours=1)
        await bench.run_due(connection)
        async with bench.db.org(bench.scope) as conn:
            return {r.id: r.every_s for r in await streams.list_streams(bench.scope, conn, connection)}

    one_by_one = await cadences()
    monkeypatch.setattr(schedule, "CROWD", 0)
    assert await cadences() == one_by_one
