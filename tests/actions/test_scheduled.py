"""Collecting for a scheduler: what is due once, inside the time, with nothing lost and nobody stopping another."""

import asyncio
from uuid import UUID

import pytest

from enalysis.actions import collect, engine, poll
from enalysis.actions.faults import Report
from enalysis.actions.poll import Deps
from enalysis.core.access import Scope
from enalysis.queries.fleet import fleet
from enalysis.simulators.faults import Fault, FaultKind
from enalysis.store import connections, streams
from enalysis.store.pool import Conn
from enalysis.store.streams import Claimed
from tests.actions.conftest import Bench


async def claims(bench: Bench) -> int:
    """Count the claims that are held."""
    async with bench.db.org(bench.scope) as conn:
        row = await (
            await conn.execute("select count(*) from streams where claimed_until >= %s", (bench.clock(),))
        ).fetchone()
    assert row is not None
    return int(row[0])


async def test_one_call_takes_a_new_connection_to_its_history(bench: Bench) -> None:
    """Discovery brings streams to light, which are due at once; history follows from what the quota leaves over."""
    connection = await bench.add("lapsed")
    done = await collect.collect(bench.deps)
    assert [(r.connection, r.status, r.error) for r in done.results] == [(connection, "success", None)]
    assert done.remaining == 0
    row = await bench.row(connection)
    assert row.state == "healthy"
    assert row.backfill.days_done > 0
    assert await claims(bench) == 0
    again = await collect.collect(bench.deps)
    assert [(r.status, again.remaining) for r in again.results] in ([("skipped", 0)], [("success", 0)])


async def test_one_that_fails_stops_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor's refusal and a mistake of our own each end one connection's turn only."""
    good, refused, fallen = [await bench.add(key) for key in ("lapsed", "household", "portfolio")]
    bench.sandbox.faults.set(Fault(FaultKind.DOWN, vendor="solaredge", account="household"))
    real = poll.poll

    async def fall(scope: Scope, deps: Deps, connection: UUID, ids: list[int]) -> Report:
        if connection == fallen:
            msg = "Canary-4711 at https://vendor.example"
            raise ZeroDivisionError(msg)
        return await real(scope, deps, connection, ids)

    monkeypatch.setattr(poll, "poll", fall)
    done = await collect.collect(bench.deps)
    told = {r.connection: r for r in done.results}
    assert told[good].status == "success"
    assert told[refused].status == "error"
    assert told[fallen].status == "error"
    assert told[fallen].error == "Something went wrong here: the log tells more beside the connection's id."
    assert all(r.error is None or "http" not in r.error for r in done.results)
    assert await claims(bench) == 0, "nobody's claim is lost"


async def test_nothing_new_is_begun_when_the_time_is_up(bench: Bench) -> None:
    """Without time nothing is asked, all claims are given back, and the next call has all of it to do."""
    await bench.add("lapsed")
    done = await collect.collect(bench.deps, within_s=0.0)
    assert [(r.status, r.error) for r in done.results] == [
        ("skipped", "Left for the next call: the time of this one was used up.")
    ]
    assert done.remaining == 1
    assert await claims(bench) == 0
    assert (await collect.collect(bench.deps)).results[0].status == "success"


async def test_a_call_that_is_broken_off_loses_no_claim(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("lapsed", "household", "portfolio"):
        await bench.add(key)
    begun = asyncio.Event()

    async def hang(_scope: Scope, _deps: Deps, _connection: UUID, _ids: list[int]) -> Report:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(poll, "poll", hang)
    call = asyncio.create_task(collect.collect(bench.deps))
    await begun.wait()
    assert await claims(bench) == 3
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await claims(bench) == 0


async def test_calls_at_once_ask_nothing_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three calls over three connections: every stream is polled by exactly one of them."""
    for key in ("lapsed", "household", "portfolio"):
        await bench.run_due(await bench.add(key))
    bench.clock.move(hours=1)
    asked: list[int] = []
    real = poll.poll

    async def note(scope: Scope, deps: Deps, connection: UUID, ids: list[int]) -> Report:
        asked.extend(ids)
        return await real(scope, deps, connection, ids)

    monkeypatch.setattr(poll, "poll", note)
    done = await asyncio.gather(*(collect.collect(bench.deps) for _ in range(3)))
    assert len(asked) > 10
    assert sorted(asked) == sorted(set(asked))
    assert all(len(each.results) == 3 for each in done)


async def test_what_a_worker_holds_is_left_to_it(bench: Bench) -> None:
    """Streams that a worker claimed are neither asked nor counted as remaining."""
    await bench.add("lapsed")

    async def keep(_conn: Conn, _batch: Claimed, _backfill: bool) -> None:
        return

    assert await engine.tick(bench.db, keep, bench.clock()) == 1
    done = await collect.collect(bench.deps)
    assert [(r.status, r.error) for r in done.results] == [
        ("skipped", "Another call or a worker is collecting it now.")
    ]
    assert done.remaining == 0
    assert await claims(bench) == 1


async def test_what_is_left_alone_says_why(bench: Bench) -> None:
    paused, gone, stopped = [await bench.add(key) for key in ("lapsed", "household", "portfolio")]
    for connection in (paused, gone, stopped):
        await bench.run_due(connection)
    async with bench.db.org(bench.scope) as conn:
        await connections.set_paused(bench.scope, conn, paused, bench.clock())
        await conn.execute("update connections set state = 'disconnected' where id = %s", (gone,))
        await conn.execute("update connections set state = 'reauth_required' where id = %s", (stopped,))
        await conn.execute("update streams set next_at = %s where subject <> ''", (bench.clock(),))
        await conn.execute("update streams set backfill_next_at = null")
    done = await collect.collect(bench.deps)
    why = {r.connection: (r.status, r.error) for r in done.results}
    assert why[paused] == ("skipped", "Paused: nothing is collected until it is resumed.")
    assert why[gone] == ("skipped", "Disconnected: sign in again to go on.")
    assert why[stopped][0] == "skipped"
    assert "reauth_required" in str(why[stopped][1])
    assert done.remaining == 0


async def test_a_spent_quota_is_no_error(bench: Bench) -> None:
    """The vendor's refusal to answer more is a reason to wait: skipped, with the sentence, and no alarm."""
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    bench.sandbox.faults.set(Fault(FaultKind.QUOTA_SPENT, vendor="solaredge", account="lapsed"))
    bench.clock.move(hours=1)
    (told,) = (await collect.collect(bench.deps)).results
    assert told.status == "skipped"
    assert told.error is not None
    assert "quota" in told.error


async def test_readings_are_there_afterwards(bench: Bench) -> None:
    await bench.add("portfolio")
    await collect.collect(bench.deps)
    page = await fleet(bench.scope, bench.db, bench.clock())
    assert page.totals.sites == 8
    assert page.totals.pv_w is not None
    async with bench.db.engine() as conn:
        (source,) = await streams.list_sources(conn, bench.clock())
    assert (source.due, source.claimed, source.paused) == (0, 0, False)
