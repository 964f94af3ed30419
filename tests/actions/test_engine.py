"""The engine and the queue: claims and jobs commit together, nothing is claimed twice, nothing is lost for long."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import procrastinate
import psycopg
import pytest

from enalysis.actions import engine
from enalysis.actions.engine import LEASE_S
from enalysis.config import load_settings
from enalysis.jobs import Here, build_app, defer, run_worker, sweep
from enalysis.runtime import Addresses, Runtime
from enalysis.store import streams
from enalysis.store.pool import Conn
from enalysis.store.secrets import Keyring
from enalysis.store.streams import Claimed, StreamRow
from tests.actions.conftest import Bench
from tests.conftest import Base


@pytest.fixture
def runtime(bench: Bench, base: Base, tmp_path: Path) -> Runtime:
    """Put a runtime together over the test's database."""
    key = secrets.token_urlsafe(32)
    settings = load_settings({"ENCRYPTION_KEY": key, "WORKER_CONCURRENCY": "4"}, tmp_path)
    addresses = Addresses(base.app, base.engine, base.jobs, base.owner)
    keyring = Keyring(settings.encryption_key)
    return Runtime(settings, addresses, bench.db, keyring, bench.vendors, bench.deps, bench.clock)


@pytest.fixture
async def queue(runtime: Runtime) -> AsyncIterator[procrastinate.App]:
    """Open the queue's app."""
    app = build_app(runtime)
    async with app.open_async():
        yield app


async def wait_for(check: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Wait until an async check holds."""
    async with asyncio.timeout(seconds):
        while not await check():  # noqa: ASYNC110 - what happens, happens in PostgreSQL
            await asyncio.sleep(0.1)


async def count_jobs(base: Base) -> int:
    """Count the jobs on the queue."""
    async with await psycopg.AsyncConnection.connect(base.owner) as conn:
        row = await (await conn.execute("select count(*) from jobs.procrastinate_jobs")).fetchone()
        assert row is not None
        return int(row[0])


async def test_what_is_due_is_polled_by_the_worker(bench: Bench, runtime: Runtime) -> None:
    """Planner and worker together take a new connection to healthy, history under way, and end when told."""
    connection = await bench.add("lapsed")
    working = asyncio.create_task(run_worker(runtime))

    async def collected() -> bool:
        row = await bench.row(connection)
        return row.state == "healthy" and row.intervals > 0 and row.backfill.days_done > 1

    await wait_for(collected)
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(working, 20)


async def test_a_claim_and_its_job_commit_together(bench: Bench, base: Base, queue: procrastinate.App) -> None:
    """Where putting the job on the queue fails, nothing was claimed; where it works, both are there."""
    connection = await bench.add("lapsed")

    async def fail(conn: Conn, batch: Claimed, backfill: bool) -> None:
        await defer(queue, conn, batch, backfill)
        msg = "lost on the way"
        raise ConnectionError(msg)

    with pytest.raises(ConnectionError):
        await engine.tick(bench.db, fail, bench.clock())
    assert await count_jobs(base) == 0

    async def hand_on(conn: Conn, batch: Claimed, backfill: bool) -> None:
        await defer(queue, conn, batch, backfill)

    assert await engine.tick(bench.db, hand_on, bench.clock()) == 1
    assert await count_jobs(base) == 1
    assert await engine.tick(bench.db, hand_on, bench.clock()) == 0, "claimed already"
    async with bench.db.org(bench.scope) as conn:
        claimed = await (await conn.execute("select count(*) from streams where claimed_until is not null")).fetchone()
    assert claimed == (len(await rows_of(bench, connection)),)


async def rows_of(bench: Bench, connection: UUID) -> list[StreamRow]:
    """Return the connection's streams."""
    async with bench.db.org(bench.scope) as conn:
        return list(await streams.list_streams(bench.scope, conn, connection))


async def test_a_claim_nobody_finished_lapses(bench: Bench) -> None:
    """A worker that died keeps a stream for the lease and not a second longer."""
    await bench.add("lapsed")
    taken: list[Claimed] = []

    async def keep(_conn: Conn, batch: Claimed, _backfill: bool) -> None:
        taken.append(batch)

    assert await engine.tick(bench.db, keep, bench.clock()) == 1
    assert await engine.tick(bench.db, keep, bench.clock.move(seconds=LEASE_S - 1)) == 0
    assert await engine.tick(bench.db, keep, bench.clock.move(seconds=2)) == 1
    assert taken[0].streams == taken[1].streams


async def test_engines_side_by_side_claim_nothing_twice(bench: Bench) -> None:
    """Five ticks at once over three connections: each stream goes out once."""
    for key in ("lapsed", "household", "portfolio"):
        await bench.add(key)
    taken: list[int] = []

    async def keep(_conn: Conn, batch: Claimed, _backfill: bool) -> None:
        await asyncio.sleep(0.05)
        taken.extend(batch.streams)

    await asyncio.gather(*(engine.tick(bench.db, keep, bench.clock()) for _ in range(5)))
    assert sorted(taken) == sorted(set(taken))
    assert len(taken) == 3


async def test_a_refused_account_is_left_alone(bench: Bench) -> None:
    """With its key refused only its list of sites is asked for, to see whether it came back."""
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    bench.clock.move(seconds=timedelta(days=8).total_seconds())
    async with bench.db.org(bench.scope) as conn:
        await conn.execute("update connections set state = 'reauth_required'")
    taken: list[int] = []

    async def keep(_conn: Conn, batch: Claimed, _backfill: bool) -> None:
        taken.extend(batch.streams)

    await engine.tick(bench.db, keep, bench.clock())
    by_id = {r.id: r for r in await rows_of(bench, connection)}
    assert [by_id[i].subject for i in taken] == [""]


@pytest.mark.parametrize("successor", [False, True])
async def test_a_job_the_queue_believes_at_work_for_ever_is_freed(
    bench: Bench, base: Base, queue: procrastinate.App, successor: bool
) -> None:
    """Its end was lost with the database: it is run again, or makes way for the next one that waits for its lock."""
    connection = await bench.add("lapsed")
    batch = Claimed(bench.scope.organization, connection, "solaredge", (1,))
    async with bench.db.engine() as conn:
        await defer(queue, conn, batch, backfill=False)
    with psycopg.connect(base.owner, autocommit=True) as owner:
        owner.execute("set search_path = jobs")
        worker = owner.execute("insert into procrastinate_workers default values returning id").fetchone()
        assert worker is not None
        owner.execute("update procrastinate_jobs set status = 'doing', worker_id = %s", worker)
        if successor:
            async with bench.db.engine() as conn:
                await defer(queue, conn, batch, backfill=False)
        here = Here(workers={worker[0]})
        await sweep(queue, here)
        assert owner.execute("select count(*) from procrastinate_jobs where status = 'doing'").fetchone() == (1,)
        await sweep(queue, here)
        assert owner.execute("select status::text from procrastinate_jobs").fetchall() == [("todo",)]
