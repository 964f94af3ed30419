"""The job queue: one process plans, any number work; every loop that ends is started again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException, UniqueViolation
from procrastinate.jobs import Job, Status

from enalysis.actions import engine, poll, renewals
from enalysis.core.access import platform
from enalysis.core.errors import EnalysisError
from enalysis.runtime import Runtime
from enalysis.store import bootstrap, housekeeping
from enalysis.store.pool import Conn
from enalysis.store.streams import Claimed

_log = logging.getLogger(__name__)

_TICK_S = 2.0
_SWEEP_S = 5.0
_HOUSEKEEPING_S = 3600.0
_LOOK_ROUND_S = 300.0
_RENEWALS_S = 20.0
_STALLED_S = 45.0
_DRAIN_S = 15.0
# How soon an idle worker sees a job. Nobody listens for notifications: each listener would hold a connection of
# its own, for every vendor twice, and jobs come from the tick anyway, which is as slow.
_LOOK_S = 1.0
# History may hold a vendor's answers for a quarter of the jobs that live polls may.
_BACKFILL_PART = 4
_PASSING: tuple[type[Exception], ...] = (EnalysisError, ConnectorException, *bootstrap.FAILED, OSError, RuntimeError)
# Database errors come back by themselves; vendor errors never reach the queue, and HTTP is retried in http.py.
_RETRY = procrastinate.RetryStrategy(max_attempts=8, exponential_wait=2, retry_exceptions=bootstrap.AWAY)


@dataclass(slots=True)
class Here:
    """The jobs at work in this process, and the workers they came through.

    The queue learns of a job's end by one statement. Where the database goes away in that very moment, the job
    stays `doing` under a worker that lives, and its lock would hold up its connection for ever.
    """

    running: set[int] = field(default_factory=set)
    workers: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)

    @contextmanager
    def job(self, context: procrastinate.JobContext) -> Iterator[None]:
        """Count a job as at work while it is."""
        job = context.job
        if job.id is None or job.worker_id is None:
            yield
            return
        self.running.add(job.id)
        self.workers.add(job.worker_id)
        try:
            yield
        finally:
            self.running.discard(job.id)

    def lost(self, doing: Iterable[Job]) -> list[Job]:
        """Return the jobs our workers are said to do and do not, for the second time in a row: one may be ending."""
        ours = [job for job in doing if job.worker_id in self.workers and job.id not in self.running]
        seen, self.missing = self.missing, {job.id for job in ours if job.id is not None}
        return [job for job in ours if job.id in seen]


def build_app(runtime: Runtime, here: Here | None = None) -> procrastinate.App:
    """Return the queue with its tasks over the runtime's jobs login. Arguments carry ids only."""
    at_work = here or Here()
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(
            conninfo=runtime.addresses.jobs,
            min_size=1,
            # Workers of all vendors share them: a statement each to fetch a job, to end it, to say they live.
            max_size=4,
            kwargs={"application_name": "enalysis_jobs"},
        )
    )

    @app.task(name="poll", retry=_RETRY, pass_context=True)
    async def poll_streams(
        context: procrastinate.JobContext, organization: str, connection: str, streams: list[int]
    ) -> None:
        with at_work.job(context):
            await poll.poll(platform(UUID(organization)), runtime.deps, UUID(connection), streams)

    @app.task(name="backfill", retry=_RETRY, pass_context=True)
    async def backfill_streams(
        context: procrastinate.JobContext, organization: str, connection: str, streams: list[int]
    ) -> None:
        with at_work.job(context):
            await poll.backfill(platform(UUID(organization)), runtime.deps, UUID(connection), streams)

    return app


def queue_of(vendor: str, *, backfill: bool) -> str:
    """Return a vendor's queue: each has slots of its own, so that one that hangs fills nobody else's."""
    return f"{'backfill' if backfill else 'live'}.{vendor}"


async def defer(app: procrastinate.App, conn: Conn, batch: Claimed, backfill: bool) -> None:
    """Put a claimed batch on the queue inside the claim's own transaction."""
    task = app.tasks["backfill" if backfill else "poll"]
    key = f"{task.name}:{batch.connection}"
    job = task.configure(
        connection=conn,
        queue=queue_of(batch.vendor, backfill=backfill),
        lock=f"connection:{batch.connection}",
        queueing_lock=key,
    )
    try:
        async with conn.transaction():
            await job.defer_async(
                organization=str(batch.organization),
                connection=str(batch.connection),
                streams=list(batch.streams),
            )
    except AlreadyEnqueued:
        # The batch before it still waits for a worker and brings the same streams.
        _log.debug("batch %s is queued already", key)


async def run_worker(runtime: Runtime, *, plan: bool = True, work: bool = True) -> None:
    """Plan, work and sweep until cancelled; then drain for at most 15 s."""
    here = Here()
    app = build_app(runtime, here)
    async with app.open_async():
        loops: list[Awaitable[None]] = [
            _forever("stalled-job sweep", _SWEEP_S, lambda: sweep(app, here)),
            _forever("look at the queues", _LOOK_ROUND_S, lambda: _tell_of_strangers(runtime, app)),
            _forever("housekeeping", _HOUSEKEEPING_S, lambda: _keep_house(runtime)),
        ]
        if plan:
            loops.append(_forever("planner", _TICK_S, lambda: _tick(runtime, app)))
            loops.append(_forever("renewals", _RENEWALS_S, lambda: _renew(runtime)))
        if work:
            loops += [
                _forever(f"worker of {queue}", 1.0, partial(_work, app, queue, slots))
                for queue, slots in bulkheads(runtime).items()
            ]
        tasks = [asyncio.ensure_future(loop) for loop in loops]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Cancelled once: procrastinate drains on the first cancellation, and a second would cut the drain off.
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, Exception):
                raise outcome


async def _forever(name: str, pause_s: float, step: Callable[[], Awaitable[Any]]) -> None:
    """Run a step again and again; a failure is logged and the loop goes on (BAR: never a dead collector)."""
    while True:
        try:
            await step()
        except _PASSING as error:
            why = " ".join(str(error.__cause__ or error).split())
            _log.warning("%s failed, going on in %.0f s: %s", name, max(pause_s, 1.0), why)
        await asyncio.sleep(pause_s)


async def _tick(runtime: Runtime, app: procrastinate.App) -> None:
    async def hand_on(conn: Conn, batch: Claimed, backfill: bool) -> None:
        await defer(app, conn, batch, backfill)

    await engine.tick(runtime.db, hand_on, runtime.clock())


async def _renew(runtime: Runtime) -> None:
    await renewals.sweep(runtime.db, runtime.vendors, runtime.clock())


def bulkheads(runtime: Runtime) -> dict[str, int]:
    """Return every queue that is worked on here, and how many of its jobs may run at once."""
    live = runtime.settings.worker_concurrency
    slots = {}
    for vendor in runtime.vendors.specs:
        slots[queue_of(vendor, backfill=False)] = live
        slots[queue_of(vendor, backfill=True)] = max(1, live // _BACKFILL_PART)
    return slots


async def _work(app: procrastinate.App, queue: str, slots: int) -> None:
    # uvicorn's handler must keep SIGTERM: this one's would take it away and leave the server running.
    await app.run_worker_async(
        queues=[queue],
        name=queue,
        concurrency=slots,
        listen_notify=False,
        fetch_job_polling_interval=_LOOK_S,
        install_signal_handlers=False,
        delete_jobs="successful",
        shutdown_graceful_timeout=_DRAIN_S,
        update_heartbeat_interval=10.0,
        stalled_worker_timeout=_STALLED_S,
    )


async def _tell_of_strangers(runtime: Runtime, app: procrastinate.App) -> None:
    """Say which jobs nobody works on: of a vendor this release does not know, or from before a rename."""
    known = bulkheads(runtime)
    for queue in await app.job_manager.list_queues_async():
        if queue["todo"] and queue["name"] not in known:
            _log.warning(
                "%d jobs wait in queue %s, which nobody here works on: this release knows no such vendor",
                queue["todo"],
                queue["name"],
            )


async def sweep(app: procrastinate.App, here: Here) -> None:
    """Give the jobs of workers that died to others, and begin again what ended here without the queue's knowing."""
    for job in here.lost(await app.job_manager.list_jobs_async(status="doing")):
        _log.warning("job %s (%s) ended while the database was away and is run again", job.id, job.task_name)
        await _begin_again(app, job)
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED_S):
        _log.warning("job %s (%s) lost its worker and is run again", job.id, job.task_name)
        await _begin_again(app, job)


async def _begin_again(app: procrastinate.App, job: Job) -> None:
    """Put a job back on the queue, or away where the next one of its connection waits there for its lock."""
    try:
        await app.job_manager.retry_job(job)
    except UniqueViolation:
        # What it did not come to is due again once its claim lapses; its successor need not wait so long.
        assert job.id is not None  # noqa: S101 - it came from the queue
        await app.job_manager.finish_job_by_id_async(job.id, Status.FAILED, delete_job=True)


async def _keep_house(runtime: Runtime) -> None:
    now = runtime.clock()
    await runtime.deps.partitions.ahead(runtime.db, now)
    await housekeeping.sweep(runtime.db, now, keep=timedelta(days=30))
