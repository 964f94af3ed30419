"""A process that spends quotas as fast as it may: told which on standard input, it prints how many calls it made."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

from enalysis.store import quotas
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller

# How many of its tasks ask at once, each over a connection of its own.
ASKERS = 4


async def spend(order: Mapping[str, str | Sequence[str]]) -> dict[str, int]:
    """Ask for a call of each scope with all tasks at once; return how many were granted and committed."""
    at = datetime.fromisoformat(str(order["at"]))
    made = {}
    async with Database(str(order["app"]), str(order["engine"]), size=ASKERS) as db:

        async def ask(scope: str) -> bool:
            async with db.world() as conn:
                grant = await quotas.take(conn, scope, 1, at, Caller.PERSON)
            return grant.granted

        await asyncio.gather(*(ask("nobody declared this") for _ in range(ASKERS)))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        for scope in order["scopes"]:
            made[scope] = sum(await asyncio.gather(*(ask(scope) for _ in range(ASKERS))))
    return made


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(spend(json.loads(sys.stdin.readline())))))
