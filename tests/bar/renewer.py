"""Processes that renew tokens: one of many that compete for a connection, and one that is ended in the midst of it."""

import asyncio
import json
import random
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

from enalysis.actions.tokens import Tokens
from enalysis.actions.vendors import Vendors
from enalysis.cli.serving import catch_signals
from enalysis.config import Settings
from enalysis.connectors.oauth import Grant
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.access import Scope, platform
from enalysis.core.errors import GrantDead, VendorError
from enalysis.egress import Egress
from enalysis.runtime import now, open_runtime
from enalysis.store import connections
from enalysis.store.connections import Connection
from enalysis.store.pool import Database
from enalysis.store.secrets import Keyring
from tests.acme import ACME, entries


async def compete(order: Mapping[str, str]) -> dict[str, int]:
    """Ask for a token again and again until the time is up; return how exchanges at the vendor ended."""
    told: Counter[str] = Counter(asked=0, refreshes=0, invalid_grant=0, failed=0)
    async with Database(order["app"], order["engine"]) as db:
        keyring = Keyring(b64decode(order["key"]))
        vendors = Vendors(entries(), db, keyring, Egress(order["origin"]), now, order["origin"])

        async def exchange(scope: Scope, connection: Connection, refresh_token: str) -> Grant:
            try:
                grant = await vendors.exchange(scope, connection, refresh_token)
            except GrantDead:
                told["invalid_grant"] += 1
                raise
            told["refreshes"] += 1
            return grant

        vendors.tokens = Tokens(db, vendors, exchange, now)
        scope = platform(UUID(order["organization"]))
        async with db.org(scope) as conn:
            connection = await connections.find_connection(scope, conn, UUID(order["connection"]))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)
        end = datetime.now(UTC) + timedelta(seconds=float(order["secs"]))
        while datetime.now(UTC) < end:
            told["asked"] += 1
            try:
                await vendors.tokens.current(scope, connection)
            except VendorError:
                told["failed"] += 1
            await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311 - a pause, no secret
        await vendors.tokens.drain()
    return dict(told)


def renew_until_told(order: Mapping[str, str]) -> None:
    """Renew one connection's tokens until SIGTERM, over the runtime that every command opens and closes."""
    CONNECTORS["acme"] = entries(ACME)["acme"]
    asyncio.run(_renew_until_told(order))


async def _renew_until_told(order: Mapping[str, str]) -> None:
    settings = Settings(
        encryption_key=b64decode(order["key"]),
        database_url=order["app"],
        database_engine_url=order["engine"],
        database_jobs_url=order["jobs"],
        sandbox_url=order["origin"],
    )
    stop = asyncio.Event()
    with catch_signals(stop):
        async with open_runtime(settings) as runtime:
            scope = platform(UUID(order["organization"]))
            async with runtime.db.org(scope) as conn:
                connection = await connections.find_connection(scope, conn, UUID(order["connection"]))
            waiter = asyncio.create_task(runtime.vendors.tokens.renew(scope, connection, None))
            await stop.wait()
            # As every job is when its worker ends: nobody waits for the renewal any more.
            waiter.cancel()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(compete(json.loads(sys.stdin.readline())))))
