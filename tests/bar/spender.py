"""A process that spends a quota as fast as it may: told what on standard input, it prints how many calls it made."""

import asyncio
import json
import sys
from datetime import datetime, timedelta

from enalysis.store import quotas
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller


async def spend(order: dict[str, str | int]) -> int:
    """Ask `attempts` times within a second and return how often that was granted and committed."""
    made = 0
    begun, attempts = datetime.fromisoformat(str(order["at"])), int(order["attempts"])
    async with Database(str(order["app"]), str(order["engine"])) as db:
        for n in range(attempts):
            at = begun + timedelta(seconds=n / attempts)
            async with db.world() as conn:
                grant = await quotas.take(conn, str(order["scope"]), 1, at, Caller.PERSON)
            made += grant.granted
    return made


if __name__ == "__main__":
    sys.stdout.write(str(asyncio.run(spend(json.load(sys.stdin)))))
