"""Collecting once, for whoever calls on a schedule: all that is due, inside every quota and a time limit."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from uuid import UUID

from enalysis.actions import engine, poll, renewals
from enalysis.actions.faults import Report
from enalysis.actions.poll import Deps
from enalysis.core.access import Scope, platform
from enalysis.core.errors import EnalysisError, QuotaSpent, as_sentence
from enalysis.store import bootstrap, streams
from enalysis.store.pool import Conn
from enalysis.store.streams import STOPPED, Claimed, Source

_log = logging.getLogger(__name__)

TIME_S: Final = 50.0
"""After so many seconds nothing new is begun: schedulers in the cloud give up on a call after a minute."""

# So many streams are asked before the time is looked at again.
_STEP: Final = 10
# Streams claimed at once: what we hold and cannot begin, workers beside us must wait for.
_PER_TICK: Final = 500
# Batches of one vendor at the same time: one that hangs fills nobody else's slots.
_PER_VENDOR: Final = 4
# Another engine's tick takes milliseconds; ours steps aside for it and tries again.
_TRIES: Final = 5
_PAUSE_S: Final = 0.1


Status = Literal["success", "error", "skipped"]


@dataclass(slots=True)
class Tally:
    """How a connection fared over several polls; `why` tells in a sentence why nothing was asked."""

    ok: int = 0
    samples: int = 0
    intervals: int = 0
    failures: list[str] = field(default_factory=list)
    held: QuotaSpent | None = None
    why: str = ""

    def note(self, report: Report) -> None:
        """Add how one poll went. A spent quota is no failure: what it held back comes later."""
        self.ok += report.ok
        self.samples += report.samples
        self.intervals += report.intervals
        stopped = [] if report.failed or report.stopped is None else [report.stopped]
        for error in [*(error for _, error in report.failed), *stopped]:
            if isinstance(error, QuotaSpent):
                self.held = error
            else:
                self.failures.append(as_sentence(error.message))

    @property
    def status(self) -> Status:
        """Return success, error or skipped."""
        if self.failures:
            return "error"
        return "success" if self.ok or self.samples or self.intervals else "skipped"

    @property
    def error(self) -> str | None:
        """Return what went wrong, or why nothing was asked; None where all is well."""
        if self.failures:
            more = len(self.failures) - 1
            return self.failures[0] + (f" (and {more:,} more failure{'s' if more > 1 else ''})" if more else "")
        if self.status == "success":
            return None
        return self.why if self.held is None else as_sentence(self.held.message)


@dataclass(frozen=True, slots=True)
class Result:
    """How one connection fared; error is a sentence of ours."""

    connection: UUID
    vendor: str
    status: Status
    error: str | None


@dataclass(frozen=True, slots=True)
class Collected:
    """What a call came to; `remaining` live streams are due and nobody is asking for them."""

    results: tuple[Result, ...]
    remaining: int


async def collect(deps: Deps, within_s: float = TIME_S) -> Collected:
    """Fetch what is due over all organizations, live data first; after `within_s` nothing new is begun.

    It claims like the engine, so that calls at once and workers beside them never ask twice, and gives back
    whatever it did not come to. One connection that fails never stops the others.

    Raises: what the database raises, if it is away at the start; later it only ends the call early.
    """
    run = _Run(deps, asyncio.get_running_loop().time() + within_s)
    before = await run.sources()
    await run.rounds()
    # Where no worker runs, sign-ins that nobody uses are kept alive here, and ended ones are revoked.
    with contextlib.suppress(*bootstrap.FAILED):
        await renewals.sweep(deps.db, deps.vendors, deps.clock())
    return await run.told(before)


class _Run:
    """One call: claims round by round, works off what it claimed, and keeps a tally per connection."""

    def __init__(self, deps: Deps, until: float) -> None:
        self._deps = deps
        self._until = until
        self._tallies: dict[UUID, Tally] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        # Connections that stopped, fell or brought nothing: asking them again in this call would not end.
        self._spent: set[tuple[UUID, bool]] = set()

    async def sources(self) -> Sequence[Source]:
        """Return every connection and how much of it is due."""
        async with self._deps.db.engine() as conn:
            return await streams.list_sources(conn, self._deps.clock())

    async def rounds(self) -> None:
        """Claim and fetch until nothing fresh is due or the time is up; what a fetch brings to light is due too."""
        batches = await self._claim()
        while batches:
            await self._work(batches)
            try:
                batches = await self._claim() if self._has_time() else []
            except bootstrap.FAILED as error:
                _log.warning("collecting ends early, the database does not answer: %s", type(error).__name__)
                return

    async def told(self, before: Sequence[Source]) -> Collected:
        """Return a result for every connection; while the database is away it is told from what was known before."""
        try:
            sources = await self.sources()
        except bootstrap.FAILED:
            sources = before
        results = []
        for source in sources:
            tally = self._tallies.get(source.connection) or Tally()
            tally.why = _why(source)
            results.append(Result(source.connection, source.vendor, tally.status, tally.error))
        return Collected(tuple(results), sum(source.due for source in sources))

    def _has_time(self) -> bool:
        return asyncio.get_running_loop().time() < self._until

    async def _claim(self) -> list[tuple[Claimed, bool]]:
        claimed: list[tuple[Claimed, bool]] = []

        async def keep(_conn: Conn, batch: Claimed, backfill: bool) -> None:
            claimed.append((batch, backfill))

        for _ in range(_TRIES):
            if await engine.tick(self._deps.db, keep, self._deps.clock(), _PER_TICK):
                break
            if not any(source.due for source in await self.sources()):
                return []
            await asyncio.sleep(_PAUSE_S)
        fresh = []
        for batch, backfill in claimed:
            if (batch.connection, backfill) in self._spent:
                await self._release(batch, batch.streams)
            else:
                fresh.append((batch, backfill))
        return fresh

    async def _work(self, batches: Sequence[tuple[Claimed, bool]]) -> None:
        turns = [self._turn(batch, backfill) for batch, backfill in batches]
        ended = await asyncio.gather(*turns, return_exceptions=True)
        for (batch, backfill), outcome in zip(batches, ended, strict=True):
            if isinstance(outcome, Exception):
                self._spent.add((batch.connection, backfill))
                self._tally(batch).failures.append(_sentence_of(outcome))
                named = (batch.connection, batch.vendor)
                _log.error("connection %s (%s) could not be collected", *named, exc_info=outcome)

    async def _turn(self, batch: Claimed, backfill: bool) -> None:
        """Fetch one batch in steps; whatever happens, what was not asked is given back."""
        # In the order in which they were made, discovery comes before what hangs on it.
        left = sorted(batch.streams)
        ask = poll.backfill if backfill else poll.poll
        scope = platform(batch.organization)
        try:
            async with self._slots.setdefault(batch.vendor, asyncio.Semaphore(_PER_VENDOR)):
                while left and self._has_time():
                    report = await ask(scope, self._deps, batch.connection, left[:_STEP])
                    del left[:_STEP]
                    self._tally(batch).note(report)
                    if report.stopped is not None or not (report.ok or report.samples or report.intervals):
                        self._spent.add((batch.connection, backfill))
                    if report.stopped is not None:
                        break
        finally:
            if left:
                await self._release(batch, left)

    async def _release(self, batch: Claimed, ids: Sequence[int]) -> None:
        scope: Scope = platform(batch.organization)
        # Where the database is away the claim lapses by itself.
        with contextlib.suppress(*bootstrap.FAILED):
            async with self._deps.db.org(scope) as conn:
                await streams.release(scope, conn, ids)

    def _tally(self, batch: Claimed) -> Tally:
        return self._tallies.setdefault(batch.connection, Tally())


def _why(source: Source) -> str:
    """Say why a connection of which nothing was asked was left."""
    if source.paused:
        return "Paused: nothing is collected until it is resumed."
    if source.state == "disconnected":
        return "Disconnected: sign in again to go on."
    if source.claimed:
        return "Another call or a worker is collecting it now."
    if source.due:
        return "Left for the next call: the time of this one was used up."
    if source.state in STOPPED:
        return f"It needs a person first, its state is {source.state}: the connection's page says what to do."
    return "Nothing is due yet."


def _sentence_of(error: Exception) -> str:
    if isinstance(error, EnalysisError):
        return as_sentence(str(error))
    if isinstance(error, bootstrap.FAILED):
        return "The database did not answer: nothing is lost, what the vendor keeps is fetched once it is back."
    return "Something went wrong here: the log tells more beside the connection's id."
