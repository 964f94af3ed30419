"""The worker lives through the death of its database: loops start again, jobs are taken up, nothing is lost."""

import asyncio
import base64
import contextlib
import os
import secrets
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest
from procrastinate.jobs import Job

from enalysis.actions import accounts, connections
from enalysis.config import load_settings
from enalysis.core.access import Scope
from enalysis.jobs import Here, run_worker
from enalysis.queries.connections import connections as list_connections
from enalysis.queries.shapes import ConnectionRow
from enalysis.runtime import Runtime, open_runtime
from enalysis.simulators.server import create
from enalysis.store.bootstrap import FAILED
from tests.simulators.ports import serving


async def set_up(runtime: Runtime) -> Scope:
    """Make an organization and return its owner's scope."""
    secret = await accounts.begin_setup(runtime.db)
    token = await accounts.set_up(
        runtime.db,
        runtime.keyring,
        secret=secret or "",
        organization="Test",
        name="Ada",
        email="ada@example.org",
        password=secrets.token_urlsafe(16),
        now=runtime.clock(),
    )
    person = await accounts.who(runtime.db, token, runtime.clock())
    assert person is not None
    return person.scope


async def only(runtime: Runtime, scope: Scope) -> ConnectionRow | None:
    """Return the one connection as a person sees it, or None while the database is away."""
    with contextlib.suppress(*FAILED):
        return (await list_connections(scope, runtime.db, runtime.vendors.specs, runtime.clock()))[0]
    return None


@pytest.mark.timeout(150)
async def test_the_database_is_killed_under_the_worker(tmp_path: Path) -> None:
    """Kill -9 of PostgreSQL in the middle of a week of history: it is revived, and the history comes in whole."""
    sandbox = create(1, lambda: datetime.now(UTC), plans={"solaredge/lapsed": "business"})
    async with serving(sandbox.app) as url:
        environ = {
            "ENCRYPTION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "ENALYSIS_HOME": str(tmp_path / "home"),
            "SANDBOX_URL": url,
        }
        async with open_runtime(load_settings(environ, tmp_path)) as runtime:
            scope = await set_up(runtime)
            account = next(a for a in sandbox.accounts if a.key == "lapsed")
            await connections.add(
                scope,
                runtime.db,
                runtime.vendors,
                vendor=account.vendor,
                name="Porto",
                plan="business",
                fields=account.credentials,
                now=runtime.clock(),
            )
            working = asyncio.create_task(run_worker(runtime))
            try:
                row = await history_despite_kills(runtime, scope, tmp_path / "home" / "postgres" / "cluster")
                assert not working.done(), "the worker's loops go on"
            finally:
                working.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait_for(working, 30)
            assert row.backfill.days_done == row.backfill.days_asked > 13
            assert row.state == "healthy"


async def history_despite_kills(runtime: Runtime, scope: Scope, cluster: Path) -> ConnectionRow:
    """Kill the server twice once readings come in, and return the connection when its history is complete."""
    killed = 0
    async with asyncio.timeout(120):
        while True:
            row = await only(runtime, scope)
            if row is not None and row.intervals and killed < 2:
                os.kill(int((cluster / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
                killed += 1
                await asyncio.sleep(3)
            elif row is not None and killed and row.backfill.days_asked and row.backfill.next_at is None:
                return row
            await asyncio.sleep(0.2)


def doing(job: int, worker: int) -> Job:
    """Return a job the queue holds to be at work under a worker."""
    return Job(
        id=job, status="doing", queue="live.acme", lock=None, queueing_lock=None, task_name="poll", worker_id=worker
    )


def test_a_job_that_ended_without_the_queue_s_knowing_is_found_at_the_second_look() -> None:
    here = Here(running={5}, workers={1})
    queue = [doing(5, 1), doing(6, 1), doing(7, 2)]
    assert here.lost(queue) == [], "6 may be ending this very moment"
    assert [job.id for job in here.lost(queue)] == [6], "5 is at work, and 7 is another process's"
    assert here.lost([doing(5, 1)]) == []
    assert here.lost(queue) == [], "found anew, it is looked at twice again"
