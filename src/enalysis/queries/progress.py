"""How far collection has come: what a person watches while a connection fills."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from enalysis.core.access import Scope
from enalysis.store.pool import Database


@dataclass(frozen=True, slots=True)
class Progress:
    """One connection: its streams, how many were asked at least once, and how many still fetch history now."""

    connection: UUID
    streams: int
    polled: int
    fetching_history: int
    first_reading_at: datetime | None


async def progress(scope: Scope, db: Database, now: datetime) -> tuple[Progress, ...]:
    """Return the progress of every connection; history that waits for a vendor's window is not fetching."""
    async with db.org(scope) as conn:
        rows = await (
            await conn.execute(
                "select c.id, count(s.id), count(s.polled_at),"
                # What the plan does not include has no history to fetch.
                " count(*) filter (where s.backfill_until is not null and s.fault is distinct from 'not_in_plan'"
                "   and (s.backfill_at is null or s.backfill_next_at <= %(now)s)),"
                " min(s.last_ok_at) filter (where s.cursor is not null)"
                " from connections c left join streams s on s.organization_id = c.organization_id"
                "  and s.connection_id = c.id and s.enabled"
                " where c.organization_id = %(org)s group by c.id, c.created_at order by c.created_at, c.id",
                {"org": scope.organization, "now": now},
            )
        ).fetchall()
    return tuple(Progress(*row) for row in rows)
