"""The ledger every call to a vendor is reserved in before it is made, and written down in after."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from enalysis.core.access import Scope
from enalysis.core.errors import QuotaSpent, Refused
from enalysis.core.quotas import QuotaWindow
from enalysis.store import bootstrap, connections, quotas
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class QuotaLedger:
    """Reserves each call in the database before it is made, and writes down how it ended."""

    db: Database
    scope: Scope
    connection: UUID | None
    vendor: str
    label: str
    account: str
    caller: Caller
    clock: Callable[[], datetime]

    async def take(self, operation: str, cost: int) -> None:
        """Reserve calls in a transaction of its own, committed before the call. Raises QuotaSpent, or Refused."""
        now = self.clock()
        person = self.caller is Caller.PERSON
        if self.connection is not None:
            # Disconnected or paused a moment ago: the client at work still has its secret in hand.
            async with self.db.org(self.scope) as conn:
                if not await connections.may_call(self.scope, conn, self.connection, paused=person):
                    msg = "this connection was disconnected or paused"
                    raise Refused(msg)
        async with self.db.world() as conn:
            grant = await quotas.take(conn, self.account, cost, now, self.caller)
        if grant.granted:
            return
        window = "declared quota" if grant.blocked_by is None else grant.blocked_by.value
        spent = QuotaSpent(
            f"The quota of this {self.label} account for this {window} is used up as far as this kind of call may."
            " Collection goes on by itself when it renews; nothing needs to be done.",
            vendor=self.vendor,
            operation=operation,
        )
        spent.until, spent.ours = grant.until, True
        spent.window = None if grant.blocked_by is None else grant.blocked_by.value
        raise spent

    async def record(self, operation: str, cost: int, verdict: str, ms: float) -> None:
        """Write down a call of a saved connection; one that cannot be is missing in the books only.

        What the call brought is worth more: after a renewal it is the only living token.
        """
        if self.connection is None:
            return
        try:
            async with self.db.org(self.scope) as conn:
                await connections.add_call(
                    self.scope, conn, self.connection, self.clock(), operation, cost, verdict, ms
                )
        except bootstrap.AWAY as error:
            _log.warning("connection %s: a call could not be written down: %s", self.connection, type(error).__name__)

    async def observe(self, window: QuotaWindow, limit: int, remaining: int) -> None:
        """Believe the vendor's own count where it is lower than ours."""
        async with self.db.world() as conn:
            await quotas.observe(conn, self.account, window, limit, remaining, self.clock())

    async def hold(self, window: QuotaWindow | None, until: datetime) -> None:
        """Make no call of the account before `until`."""
        async with self.db.world() as conn:
            await quotas.hold(conn, self.account, window, until)
