"""One poll: ask a vendor for some streams of a connection, store what came, say how it went, plan the next."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from enalysis.actions import faults, meanwhile, schedule
from enalysis.actions.discovery import apply_found
from enalysis.actions.faults import Report
from enalysis.actions.rollup import roll_up
from enalysis.actions.vendors import Client, Vendors
from enalysis.connectors.base import Batch, Spec, Stream, Subject
from enalysis.core import coverage
from enalysis.core.access import Scope
from enalysis.core.coverage import Slot
from enalysis.core.errors import (
    GrantDead,
    Locked,
    LoginNeeded,
    NotFound,
    QuotaSpent,
    Refused,
    Retired,
    Unavailable,
    VendorError,
)
from enalysis.core.intervals import Window, floor_time
from enalysis.core.metrics import Quality
from enalysis.core.readings import Sifted, sift
from enalysis.store import connections, readings, sites, streams, twins
from enalysis.store.connections import Connection
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Conn, Database
from enalysis.store.quotas import Caller
from enalysis.store.readings import Ingest, IntervalRow, SampleRow
from enalysis.store.streams import StreamRow

_log = logging.getLogger(__name__)

# A first live poll looks half a day back; an outage is caught up in pieces of at most two days a poll.
_FIRST_LOOK = timedelta(hours=12)
_CATCH_UP = timedelta(days=2)
# The slowest gateways report every six hours: after twice that, what a vendor leaves out it does not have yet.
_SILENT_FOR = timedelta(hours=12)
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
        rows = await _ours(scope, conn, spec, connection, rows, deps.clock())
    waiting = _in_order(spec, rows)
    try:
        async with deps.vendors.client(scope, found, Caller.LIVE) as client:
            visit = _Visit(scope, deps, found, spec, client, report)
            while waiting and report.stopped is None:
                await _poll_one(visit, waiting.pop(0))
            if report.ok and found.state != "healthy":
                # Before the state says so: where we are stopped in between, the next poll does it again.
                await meanwhile.go_live(scope, deps.db, found, spec.label, deps.clock())
            await faults.settle(scope, deps.db, found, spec, client, report, deps.clock())
    except (NotFound, Refused):
        # Disconnected, paused or removed meanwhile: nothing is asked of the vendor any more.
        return await _let_go(scope, deps, stream_ids, report)
    except Unavailable as away:
        # Only the simulators can be away before anything was asked: they do not start.
        report.stopped, report.resume_at = away, faults.resume_at(away, deps.clock())
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
        rows = await _ours(scope, conn, spec, connection, rows, deps.clock())
    try:
        async with deps.vendors.client(scope, found, Caller.BACKFILL) as client:
            await _backfill_all(_Visit(scope, deps, found, spec, client, report), rows)
            if isinstance(report.stopped, Locked):
                await faults.settle(scope, deps.db, found, spec, client, report, deps.clock())
    except (NotFound, Refused):
        return await _let_go(scope, deps, stream_ids, report)
    except Unavailable as away:
        report.stopped, report.resume_at = away, faults.resume_at(away, deps.clock())
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


async def _ours(
    scope: Scope, conn: Conn, spec: Spec, connection: UUID, rows: Sequence[StreamRow], now: datetime
) -> Sequence[StreamRow]:
    """Leave out streams about a site that this connection's own discovery never found: no such id is asked for."""
    refs = {v.ref for v in await sites.list_vendor_sites(scope, conn, connection)}
    plain = {s.name for s in spec.streams if s.subject is Subject.CONNECTION}
    strange = [r for r in rows if r.subject not in ({""} if r.name in plain else refs)]
    if not strange:
        return rows
    ids = [r.id for r in strange]
    _log.error("connection %s: streams %s are about sites nobody found there, and are not asked for", connection, ids)
    until = now + timedelta(days=1)
    await streams.set_next(scope, conn, [(i, until, "about a site that this connection does not have") for i in ids])
    await streams.postpone_backfill(scope, conn, ids, until)
    return [r for r in rows if r not in strange]


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
    await _store(visit, row, stream, batch, now, live=window)


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
            if await _store(visit, row, stream, batch, now, live=None):
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
    visit: _Visit, row: StreamRow, stream: Stream, batch: Batch, now: datetime, *, live: Window | None
) -> bool:
    """Store a fetch in one transaction; False where some of it belongs to devices nobody has discovered yet."""
    scope, db = visit.scope, visit.deps.db
    found = sift(batch.samples, batch.intervals, now)
    found.rejected.extend(batch.rejected)
    answered = _believed(batch.answered, found, visit.client.http.clock_ahead_s)
    await visit.deps.partitions.ensure(db, [s.at for s in found.samples] + [i.start for i in found.intervals])
    async with db.org(scope) as conn:
        if visit.connection.sandbox:
            await twins.hold_twin(scope, conn, visit.connection.id)
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
        elif stream.step_s is not None and row.site_id is not None:
            zone = ZoneInfo((await sites.find_site(scope, conn, row.site_id)).zone)
            _settle_slots(what, row, stream.step_s, zone, answered, found, _passed(live, answered, now))
            if live is None:
                # History has a cursor of its own.
                what.cursors = []
        done = await readings.ingest(scope, conn, what, now)
        await connections.add_rejected(scope, conn, visit.connection.id, found.rejected, now)
        if live is not None or stream.subject is Subject.CONNECTION or stream.step_s is None:
            await streams.set_polled(scope, conn, row.id, now, ok=True, fault=None, fault_text=None, wait_until=None)
        if live is not None and row.backfill_at is None and row.backfill_until is not None and not strangers:
            await streams.set_backfill(scope, conn, row.id, row.backfill_until, live.start, now)
    visit.report.intervals += done.intervals_new
    visit.report.samples += done.samples_new
    visit.report.quarantined += len(found.rejected)
    return not strangers


def _rows(found: Sifted, numbers: dict[str, int], visit: _Visit) -> Ingest:
    simulated = visit.deps.vendors.sandbox or visit.connection.sandbox
    mark = Quality.SANDBOX if simulated else Quality.MEASURED
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


def _passed(live: Window | None, answered: Window | None, now: datetime) -> Window | None:
    """Return the slots of a piece of catching up that are passed over: long past, and the vendor says nothing.

    Some vendors leave out what they do not have instead of saying so. Newer data must not wait for it.
    """
    if live is None or live.end > now - _SILENT_FOR:
        return None
    start = live.start if answered is None else answered.end
    return Window(start, live.end) if start < live.end else None


def _settle_slots(
    what: Ingest,
    row: StreamRow,
    step_s: int,
    zone: ZoneInfo,
    answered: Window | None,
    found: Sifted,
    passed: Window | None,
) -> None:
    """Note what became of each slot, and move the cursor behind what was answered or passed over."""
    if answered is not None:
        what.coverage += [(row.id, step_s, run) for run in _runs(answered, step_s, zone, found)]
        what.cursors = [(row.id, answered.end)]
    if passed is not None:
        stored = {i.start for i in found.intervals}
        skipped = coverage.runs(passed, step_s, zone, stored, otherwise=Slot.RETRYING)
        what.coverage += [(row.id, step_s, run) for run in skipped]
        what.cursors = [(row.id, passed.end)]


def _runs(answered: Window, step_s: int, zone: ZoneInfo, found: Sifted) -> list[coverage.Run]:
    stored = {i.start for i in found.intervals}
    bad = {r.at for r in found.rejected if r.at is not None}
    return coverage.runs(answered, step_s, zone, stored, bad - stored)
