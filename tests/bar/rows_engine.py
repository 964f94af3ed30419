"""Measures how one trouble stays one trouble: I4 a vendor that hangs, I7 an endpoint that fails."""

import asyncio
from datetime import timedelta
from uuid import UUID

from enalysis.actions import poll
from enalysis.simulators.faults import Fault, FaultKind
from enalysis.store import streams
from enalysis.store.pool import Database
from enalysis.store.streams import StreamRow
from tests.actions.conftest import Bench, Clock, open_bench
from tests.bar.hanging import latencies
from tests.bar.row import Row
from tests.databases import Base

# An account with five streams, each of an endpoint of its own.
ACCOUNT, VENDOR = "household", "solaredge"
ENDPOINTS = {
    "sites": "sites",
    "inventory": "devices",
    "energy": "energy",
    "meters": "meters",
    "storage": "storage",
}
KINDS = (FaultKind.DOWN, FaultKind.RETIRED, FaultKind.HTML_200, FaultKind.FORBIDDEN, FaultKind.WRONG_KEY)
_PACE = timedelta(minutes=16)


async def i7(base: Base, kinds: tuple[FaultKind, ...] = KINDS) -> Row:
    """I7: one of five endpoints fails in every way there is; the other four stay fresh, and the half shows as half.

    Each is asked for twice while it lasts, and once after; then nothing may be left of it.
    """
    found = {"stale": 0, "unnamed": 0, "whole": 0, "left": 0}
    async with Database(base.app, base.engine) as db, open_bench(db, Clock()) as bench:
        connection = await bench.add(ACCOUNT)
        await bench.run_due(connection)
        rounds = 0
        for kind in kinds:
            for name, endpoint in ENDPOINTS.items():
                number = bench.sandbox.faults.set(Fault(kind, vendor=VENDOR, account=ACCOUNT, endpoint=endpoint))
                for _ in range(2):
                    rounds += 1
                    await _ask_all(bench, connection)
                    rows = await _rows(bench, connection)
                    found["stale"] += sum(r.last_ok_at != bench.clock() for r in rows if r.name != name)
                    found["unnamed"] += sum(r.fault is None for r in rows if r.name == name)
                told = await bench.row(connection)
                # A stream that the plan leaves out is known and no fault; it stands in the sentence.
                half = told.state == "degraded" or (kind is FaultKind.WRONG_KEY and "Not in this plan" in told.sentence)
                found["whole"] += not half
                bench.sandbox.faults.clear(number)
                await _ask_all(bench, connection)
                told = await bench.row(connection)
                found["left"] += told.state != "healthy" or "fail" in told.sentence
    n = 4 * rounds
    return Row("I7", n, sum(found.values()), n, {"endpoints": len(ENDPOINTS), "faults": len(kinds), **found})


async def _ask_all(bench: Bench, connection: UUID) -> None:
    bench.clock.move(seconds=_PACE.total_seconds())
    async with bench.db.org(bench.scope) as conn:
        await streams.set_due(bench.scope, conn, connection, bench.clock())
    ids = [r.id for r in await _rows(bench, connection)]
    for _ in range(3):
        await poll.poll(bench.scope, bench.deps, connection, ids)
        # What a refusal held up goes on at once, and belongs to the same round.
        ids = [r.id for r in await _rows(bench, connection) if r.next_at <= bench.clock()]
        if not ids:
            return


async def _rows(bench: Bench, connection: UUID) -> list[StreamRow]:
    async with bench.db.org(bench.scope) as conn:
        return list(await streams.list_streams(bench.scope, conn, connection))


async def i4(base: Base, rounds: int = 2, phase_s: float = 10.0, band: float = 0.1) -> Row:
    """I4: a vendor hangs and fills all its slots; how long the other's jobs wait for theirs does not change.

    A worker process of the product over real HTTP, `rounds` times with both well and with one of them hanging in
    turn, so that what else the machine does weighs on both.
    """
    calm, hung, lost = await latencies(base, rounds, phase_s, bulkheads=True)
    change = _p95(hung) / _p95(calm) - 1
    n = len(calm) + len(hung)
    facts: dict[str, str | float | int] = {
        "p95_calm_ms": 1000 * _p95(calm),
        "p95_hung_ms": 1000 * _p95(hung),
        "change_pct": 100 * change,
        "lost": lost,
    }
    return Row("I4", n, int(abs(change) > band) + lost, 50, facts)


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]
