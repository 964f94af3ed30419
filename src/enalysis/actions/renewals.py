"""Keeps sign-ins alive that nobody polls through, warns before one ends, and has vendors forget what is gone."""

import asyncio
import logging
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from enalysis.actions import grants
from enalysis.actions.vendors import Vendors
from enalysis.core.access import Scope, platform
from enalysis.core.errors import EnalysisError, GrantDead, NotFound, VendorError
from enalysis.store import connections, consents, credentials
from enalysis.store.connections import Connection
from enalysis.store.pool import Database

_log = logging.getLogger(__name__)

WARN_BEFORE: Final = timedelta(days=7)
"""How long before a sign-in ends for good people are told."""

_PER_SWEEP: Final = 200
_AT_ONCE: Final = 8


async def sweep(db: Database, vendors: Vendors, now: datetime) -> int:
    """Renew and revoke what is due over all organizations; return how much that was.

    One that fails or hangs leaves the others alone, and comes again an hour later.
    """
    async with db.engine() as conn:
        renewals = await credentials.list_due_renewals(conn, now, _PER_SWEEP)
        revocations = await consents.list_due_revocations(conn, now, _PER_SWEEP)
    gate = asyncio.Semaphore(_AT_ONCE)
    work = [_guarded(gate, keep_alive(platform(org), db, vendors, one, now)) for org, one in renewals]
    work += [_guarded(gate, grants.revoke(platform(org), db, vendors, one, now)) for org, one in revocations]
    await asyncio.gather(*work)
    return len(work)


async def keep_alive(scope: Scope, db: Database, vendors: Vendors, connection: UUID, now: datetime) -> bool:
    """Renew one sign-in; False where that failed and is tried again, or a person must sign in."""
    async with db.org(scope) as conn:
        found = await connections.find_connection(scope, conn, connection)
    try:
        await vendors.tokens.renew(scope, found, None)
    except GrantDead as dead:
        await _say_dead(scope, db, found, dead, now)
        return False
    except VendorError as error:
        await _warn(scope, db, found, error, now)
        return False
    return True


async def _warn(scope: Scope, db: Database, connection: Connection, error: VendorError, now: datetime) -> None:
    """Tell people once that a sign-in is about to end, while they can still mend it."""
    ends = connection.refresh_expires_at
    if ends is None or ends - now > WARN_BEFORE:
        return
    async with db.org(scope) as conn:
        if not await credentials.set_warned(scope, conn, connection.id, now):
            return
        text = (
            f"{connection.name}: the sign-in ends on {ends:%Y-%m-%d} and could not be renewed so far."
            f" {error.message} Signing in again now keeps everything."
        )
        await connections.add_event(scope, conn, connection.id, None, "sign_in_ends", text, now)
    _log.warning("connection %s (%s): the sign-in ends on %s", connection.id, connection.vendor, f"{ends:%Y-%m-%d}")


async def _say_dead(scope: Scope, db: Database, connection: Connection, dead: GrantDead, now: datetime) -> None:
    async with db.org(scope) as conn:
        await credentials.set_next_renewal(scope, conn, connection.id, None)
        if await connections.set_state(scope, conn, connection.id, dead.state, dead.message, now, ok=False):
            await connections.add_event(scope, conn, connection.id, None, dead.state, dead.message, now)
            _log.warning("connection %s (%s) is %s", connection.id, connection.vendor, dead.state)


async def _guarded(gate: asyncio.Semaphore, step: Awaitable[bool]) -> None:
    async with gate:
        try:
            await step
        except NotFound:
            # Removed or disconnected since it was listed.
            pass
        except EnalysisError as error:
            _log.warning("a sign-in could not be looked after: %s", error)
