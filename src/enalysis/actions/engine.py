"""The engine's tick: claim what is due over all organizations and hand it on as jobs, in one transaction."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from enalysis.store import streams
from enalysis.store.pool import Conn, Database
from enalysis.store.streams import Claimed

# Longest a batch may take before its streams count as lost and are planned again.
LEASE_S = 300.0
PER_BATCH = 100
_PER_TICK = 5000

Defer = Callable[[Conn, Claimed, bool], Awaitable[None]]


async def tick(db: Database, defer: Defer, now: datetime, per_tick: int = _PER_TICK) -> int:
    """Claim due streams and defer a job for each batch; claim and job commit together or not at all.

    Live polls go first; a connection whose live batch runs gets its history later. One engine ticks at a time.
    Args: per_tick: the most streams claimed at once of either kind.
    Returns: how many batches were handed on.
    """
    async with db.engine() as conn:
        row = await (await conn.execute("select pg_try_advisory_xact_lock(hashtext('enalysis.engine'))")).fetchone()
        if row is None or not row[0]:
            return 0
        handed = 0
        for backfill in (False, True):
            claimed = await streams.claim_due(conn, now, LEASE_S, per_tick, PER_BATCH, backfill=backfill)
            for batch in claimed:
                await defer(conn, batch, backfill)
            handed += len(claimed)
    return handed
