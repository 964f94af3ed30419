"""One poll: ask a vendor for some streams of a connection, store what came, say how it went, plan the next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from enalysis.actions import faults, schedule
from enalysis.actions.discovery import apply_found
from enalysis.actions.faults import Report
from enalysis.actions.rollup import roll_up
from enalysis.actions.vendors import Client, Vendors
from enalysis.connectors.base import Batch, Spec, Stream, Subject
from enalysis.core import coverage
from enalysis.core.access import Scope
from enalysis.core.errors import (
    GrantDead,
    Locked,
    LoginNeeded,
    NotFound,
    QuotaSpent,
    Refused,
    Retired,
    VendorError,
)
from enalysis.core.intervals import Window, floor_time
from enalysis.core.metrics import Quality
from enalysis.core.readings import Sifted, sift
from enalysis.store import connections, readings, sites, streams
from enalysis.store.connections import Connection
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller
from enalysis.store.readings import Ingest, IntervalRow, SampleRow
from enalysis.store.streams import StreamRow

# A first live poll looks half a day back; an outage is caught up in pieces of at most two days a poll.
_FIRST_LOOK = timedelta(hours=12)
_CATCH_UP = timedelta(days=2)
# How many pieces of history one job fetches before live polls get their turn again.
_PIECES = 12


@dataclass(slots=True)
class Deps:
    """What a poll works with."""

    db: Database
    vendors: Vendors
    partitions: Partitions
    clock: Callable[[], datetime]
    backfill_days: int = 7


@dataclass(slots=True)
class _Visit:
    """One open client and whose it is."""

    scope: Scope
    deps: Deps
    connection: Connection
    spec: Spec
    client: Client
    report: Report


async def poll(scope: Scope, deps: Deps, connection: UUID, stream_ids: Sequence[int]) -> Report:
    """Poll streams of one connection, one after the other; one that fails never stops the others.

    Raises nothing a vendor can cause: every failure becomes a state with a sentence.
    """
    report = Report()
    async with deps.db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
        rows = await streams.list_streams(scope, conn, connection, stream_ids)
    spec = deps.vendors.spec(found.vendor)
    waiting = _in_order(spec, rows)
    try:
        async with deps.vendors.client(scope, found, Caller.LIVE) as client:
            visit = _Visit(scope, deps, found, spec, client, report)
            while waiting and report.stopped is None:
                await _poll_one(visit, waiting.pop(0))
            await faults.settle(scope, deps.db, found, spec, client, report, deps.clock())
    except (NotFound, Refused):
        # Disconnected, paused or removed meanwhile: nothing is asked of the vendor any more.
        return await _let_go(scope, deps, stream_ids, report)
    left = {r.id for r in waiting}
    asked = [r for r in rows if r.id not in left]
    await schedule.plan_next(scope, deps.db, found, spec, asked, deps.clock())
    if report.resume_at is not None:
        await schedule.postpone(scope, deps.db, waiting, report.resume_at)
    await roll_up(scope, deps.db, connection)
    return report


async def backfill(scope: Scope, deps: Deps, connection: UUID, stream_ids: Sequence[int]) -> Report:
    """Fetch pieces of history, most recent first, with quota that live polls leave over."""
    report = Report()
    async with deps.db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
        rows = await streams.list_streams(scope, conn, connection, stream_ids)
    spec = deps.vendors.spec(found.vendor)
    try:
        async with deps.vendors.client(scope, found, Caller.BACKFILL) as client:
            await _backfill_all(_Visit(scope, deps, found, spec, client, report), rows)
            if isinstance(report.stopped, Locked):
                await faults.settle(scope, deps.db, found, spec, client, report, deps.clock())
    except (NotFound, Refused):
        return await _let_go(scope, deps, stream_ids, report)
    if report.stopped is not None:
        until = faults.resume_at(report.stopped, deps.clock())
        async with deps.db.org(scope) as conn:
            await streams.postpone_backfill(scope, conn, stream_ids, until)
    async with deps.db.org(scope) as conn:
        await streams.release(scope, conn, stream_ids)
        if isinstance(report.stopped, faults.STOPS) and not isinstance(report.stopped, QuotaSpent | Locked):
            # Whether the account is dead is for its live streams to find out: they are asked now.
            plain = [s.name for s in spec.streams if s.subject is Subject.CONNECTION]
            await streams.set_due_by_name(scope, conn, connection, "", plain, deps.clock())
    await roll_up(scope, deps.db, connection)
    return report


async def _backfill_all(visit: _Visit, rows: Sequence[StreamRow]) -> None:
    pieces = 0
    for first in rows:
        row = first
        while visit.report.stopped is None and pieces < _PIECES:
            pieces += 1
            row = await _backfill_one(visit, row)
            if row.backfill_next_at is None or row.backfill_next_at > visit.deps.clock():
                break


async def _let_go(scope: Scope, deps: Deps, stream_ids: Sequence[int], report: Report) -> Report:
    async with deps.db.org(scope) as conn:
        await streams.release(scope, conn, stream_ids)
    return report


def _in_order(spec: Spec, rows: Sequence[StreamRow]) -> list[StreamRow]:
    """Put discovery before what hangs on it, and what was asked longest ago first."""
    rank = {s.name: n for n, s in enumerate(spec.streams)}
    never = datetime.min.replace(tzinfo=ZoneInfo("UTC"))
    return sorted(
        (r for r in rows if r.enabled and r.name in rank),
        key=lambda r: (rank[r.name] if r.polled_at is None else len(rank), r.polled_at or never, r.id),
    )


async def _poll_one(visit: _Visit, row: StreamRow) -> None:
    now = visit.deps.clock()
    stream = visit.spec.stream(row.name)
    window = _live_window(stream, row, now)
    try:
        batch = await visit.client.connector.fetch(row.name, row.subject, window, now)
    except VendorError as error:
        await _note_failure(visit, row, error, now)
        return
    visit.report.ok += 1
    await _store(visit, row, stream, batch, now, live_from=None if window is None else window.start)


async def _backfill_one(visit: _Visit, row: StreamRow) -> StreamRow:
    now = visit.deps.clock()
    stream = visit.spec.stream(row.name)
    assert row.backfill_until is not None  # noqa: S101 - a stream without history asked for is never claimed
    assert row.backfill_at is not None  # noqa: S101 - nor one that never polled live
    at, next_at = row.backfill_at, None
    if at > row.backfill_until:
        piece = timedelta(seconds=stream.window_s or 86400)
        window = Window(max(row.backfill_until, at - piece), at)
        try:
            batch = await visit.client.connector.fetch(row.name, row.subject, window, now)
        except VendorError as error:
            next_at = faults.resume_at(error, now)
            if isinstance(error, faults.STOPS):
                visit.report.stopped = error
        else:
            if await _store(visit, row, stream, batch, now, live_from=None):
                at = window.start
            next_at = now if at > row.backfill_until else None
    async with visit.deps.db.org(visit.scope) as conn:
        await streams.set_backfill(visit.scope, conn, row.id, row.backfill_until, at, next_at)
        found = await streams.list_streams(visit.scope, conn, visit.connection.id, [row.id])
    return found[0]


def _live_window(stream: Stream, row: StreamRow, now: datetime) -> Window | None:
    if stream.step_s is None:
        return None
    end = floor_time(now, stream.step_s)
    start = row.cursor or end - _FIRST_LOOK
    return Window(min(start, end), min(end, start + _CATCH_UP))


async def _note_failure(visit: _Visit, row: StreamRow, error: VendorError, now: datetime) -> None:
    visit.report.failed.append((row, error))
    # Our own or the vendor's quota is no fault of the stream, unless it lasts so long that people should know.
    minor = isinstance(error, QuotaSpent) and not faults.is_long(error)
    wait = faults.resume_at(error, now, row.failures)
    async with visit.deps.db.org(visit.scope) as conn:
        await streams.set_polled(
            visit.scope,
            conn,
            row.id,
            now,
            ok=False,
            asked=not isinstance(error, QuotaSpent),
            fault=None if minor else error.state,
            fault_text=error.message,
            wait_until=wait,
        )
    # Where another stream just got an answer, a refusal is about this stream only: its plan or its endpoint. And
    # that the list of sites is gone says nothing of the sites: they are asked next.
    alone = isinstance(error, LoginNeeded | Retired) and not isinstance(error, GrantDead) and visit.report.ok > 0
    alone = alone or (isinstance(error, Retired) and not row.subject)
    # A vendor that is away stops nothing here: its circuit breaker lets no call through, and costs no time.
    if isinstance(error, faults.STOPS) and not alone:
        visit.report.stopped, visit.report.resume_at = error, wait


async def _store(
    visit: _Visit, row: StreamRow, stream: Stream, batch: Batch, now: datetime, *, live_from: datetime | None
) -> bool:
    """Store a fetch in one transaction; False where some of it belongs to devices nobody has discovered yet."""
    scope, db = visit.scope, visit.deps.db
    found = sift(batch.samples, batch.intervals, now)
    found.rejected.extend(batch.rejected)
    answered = _believed(batch.answered, found, visit.client.http.clock_ahead_s)
    await visit.deps.partitions.ensure(db, [s.at for s in found.samples] + [i.start for i in found.intervals])
    async with db.org(scope) as conn:
        if batch.sites is not None or batch.devices is not None:
            await apply_found(
                scope,
                conn,
                visit.spec,
                visit.connection,
                batch,
                backfill_days=visit.deps.backfill_days,
                now=now,
            )
        told = {s.device for s in found.samples} | {i.device for i in found.intervals}
        numbers = await sites.find_devices(scope, conn, visit.connection.id, told)
        what = _rows(found, numbers, visit)
        strangers = told - numbers.keys()
        if strangers:
            # Their slots stay unanswered and the cursor stays: discovery runs now, the next poll brings them.
            finders = [s.name for s in visit.spec.streams if s.subject is Subject.SITE and s.step_s is None]
            await streams.set_due_by_name(scope, conn, visit.connection.id, row.subject, finders, now)
        elif answered is not None and stream.step_s is not None and row.site_id is not None:
            zone = ZoneInfo((await sites.find_site(scope, conn, row.site_id)).zone)
            what.coverage = [(row.id, stream.step_s, run) for run in _runs(answered, stream.step_s, zone, found)]
            if live_from is not None:
                what.cursors = [(row.id, answered.end)]
        done = await readings.ingest(scope, conn, what, now)
        await connections.add_rejected(scope, conn, visit.connection.id, found.rejected, now)
        if live_from is not None or stream.subject is Subject.CONNECTION or stream.step_s is None:
            await streams.set_polled(scope, conn, row.id, now, ok=True, fault=None, fault_text=None, wait_until=None)
        if live_from is not None and row.backfill_at is None and row.backfill_until is not None and not strangers:
            await streams.set_backfill(scope, conn, row.id, row.backfill_until, live_from, now)
    visit.report.intervals += done.intervals_new
    visit.report.samples += done.samples_new
    visit.report.quarantined += len(found.rejected)
    return not strangers


def _rows(found: Sifted, numbers: dict[str, int], visit: _Visit) -> Ingest:
    mark = Quality.SANDBOX if visit.deps.vendors.sandbox else Quality.MEASURED
    return Ingest(
        [
            SampleRow(numbers[s.device], s.at, s.values, s.quality | mark, s.extra)
            for s in found.samples
            if s.device in numbers
        ],
        [
            IntervalRow(numbers[i.device], i.start, i.duration_s, i.values, i.quality | mark, i.extra)
            for i in found.intervals
            if i.device in numbers
        ],
    )


def _believed(answered: Window | None, found: Sifted, clock_ahead_s: float | None) -> Window | None:
    """Return the slots an answer settles: while the clocks disagree, nulls after its last value settle nothing.

    By its own clock the vendor may not have come to them yet; they stay open and are asked for again.
    """
    if answered is None or clock_ahead_s is None or abs(clock_ahead_s) <= faults.CLOCK_OFF_S:
        return answered
    told = max((i.end for i in found.intervals), default=answered.start)
    end = min(answered.end, told)
    return Window(answered.start, end) if end > answered.start else None


def _runs(answered: Window, step_s: int, zone: ZoneInfo, found: Sifted) -> list[coverage.Run]:
    stored = {i.start for i in found.intervals}
    bad = {r.at for r in found.rejected if r.at is not None}
    return coverage.runs(answered, step_s, zone, stored, bad - stored)
