"""Measures how one trouble stays one trouble: I4 a vendor that hangs, I7 an endpoint that fails."""

import math
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
# Discovery looks at the meters too, to see what they measure: it may wait for them, numbers may not.
LEANS_ON = {"meters": {"inventory"}}
KINDS = (FaultKind.DOWN, FaultKind.RETIRED, FaultKind.HTML_200, FaultKind.FORBIDDEN)
_PACE = timedelta(minutes=16)


async def i7(base: Base, kinds: tuple[FaultKind, ...] = KINDS, polls: int = 2) -> Row:
    """I7: one of five endpoints fails in every way there is; the other four stay fresh, and the half shows as half.

    All are asked for a few times while it lasts, and once after; then nothing may be left of it.
    """
    found = {"stale": 0, "unnamed": 0, "whole": 0, "left": 0}
    async with Database(base.app, base.engine) as db, open_bench(db, Clock()) as bench:
        connection = await bench.add(ACCOUNT)
        await bench.run_due(connection)
        tried = 0
        for kind in kinds:
            for name, endpoint in ENDPOINTS.items():
                number = bench.sandbox.faults.set(Fault(kind, vendor=VENDOR, account=ACCOUNT, endpoint=endpoint))
                for _ in range(polls):
                    await _ask_all(bench, connection)
                    rows = await _rows(bench, connection)
                    others = [r for r in rows if r.name not in {name, *LEANS_ON.get(name, ())}]
                    tried += len(others)
                    found["stale"] += sum(r.last_ok_at != bench.clock() for r in others)
                    found["unnamed"] += sum(r.fault is None for r in rows if r.name == name)
                told = await bench.row(connection)
                found["whole"] += told.state != "degraded"
                bench.sandbox.faults.clear(number)
                await _ask_all(bench, connection)
                told = await bench.row(connection)
                found["left"] += told.state != "healthy" or "fail" in told.sentence
    return Row("I7", tried, sum(found.values()), 20, {"endpoints": len(ENDPOINTS), "faults": len(kinds), **found})


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


async def i4(base: Base, rounds: int = 3, phase_s: float = 8.0, band: float = 0.1, *, bulkheads: bool = True) -> Row:
    """I4: a vendor hangs and fills all its slots; the other's jobs wait for theirs no longer than before.

    A worker process of the product over real HTTP; `rounds` times with both well and with one of them hanging,
    in turn, so that what else the machine does weighs on both.
    """
    calm, hung, lost = await latencies(base, rounds, phase_s, bulkheads=bulkheads)
    change = _p95(hung) / _p95(calm) - 1
    facts: dict[str, str | float | int] = {
        "p95_calm_ms": 1000 * _p95(calm),
        "p95_hung_ms": 1000 * _p95(hung),
        "change_pct": 100 * change,
        "lost": lost,
    }
    return Row("I4", len(calm) + len(hung), int(change > band) + lost, 50, facts)


def _p95(values: list[float]) -> float:
    """Return what 95 % of the waits stay below; nothing came at all: for ever."""
    if not values:
        return math.inf
    return sorted(values)[int(0.95 * (len(values) - 1))]
