"""Monthly partitions of the readings, made ahead of need."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from enalysis.store.pool import Database


class Partitions:
    """Remembers which months are there, so that only a new one costs a call."""

    def __init__(self) -> None:
        self._ready: set[date] = set()

    async def ensure(self, db: Database, times: Iterable[datetime]) -> None:
        """Make the months of `times` where they are missing, in a transaction of its own."""
        months = {at.astimezone(UTC).date().replace(day=1) for at in times}
        missing = sorted(months - self._ready)
        for month in missing:
            async with db.world() as conn:
                await conn.execute("select ensure_partitions(%s, %s)", (month, month))
            self._ready.add(month)

    async def ahead(self, db: Database, now: datetime, days: int = 62) -> None:
        """Make the months from now to `days` ahead."""
        await self.ensure(db, (now + timedelta(days=n) for n in range(0, days + 1, 14)))
