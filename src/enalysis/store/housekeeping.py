"""Dropping what has served its time: calls, quarantine, quota slices and sessions."""

from datetime import datetime, timedelta

from enalysis.core.access import platform
from enalysis.store import quotas
from enalysis.store.pool import Database


async def sweep(db: Database, now: datetime, keep: timedelta) -> None:
    """Delete vendor calls and quarantine older than `keep` of every organization, and spent quota slices."""
    async with db.world() as conn:
        await quotas.sweep(conn, now)
        await conn.execute("delete from sessions where expires_at < %s", (now,))
    async with db.engine() as conn:
        rows = await (await conn.execute("select distinct organization_id from connections")).fetchall()
    for (organization,) in rows:
        async with db.org(platform(organization)) as conn:
            await conn.execute("delete from vendor_calls where at < %s", (now - keep,))
            await conn.execute("delete from quarantine where seen_at < %s", (now - keep,))
