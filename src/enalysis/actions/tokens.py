"""Access tokens: kept sealed, renewed early and once, under a lock of their row, whatever becomes of the caller."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from enalysis.connectors.oauth import Grant
from enalysis.core.access import Scope
from enalysis.core.errors import (
    BadPayload,
    EnalysisError,
    GrantDead,
    NotFound,
    QuotaSpent,
    Unavailable,
    VendorError,
)
from enalysis.core.planner import offset_s
from enalysis.store import bootstrap, credentials
from enalysis.store.connections import Connection
from enalysis.store.credentials import Fresh, Held
from enalysis.store.pool import Database

_log = logging.getLogger(__name__)

# A token with so little to live is never used: it could die on the way.
NEVER_USED: Final = timedelta(minutes=5)
# Two slots: a poll that takes long still ends with the token it began with.
_EARLY: Final = timedelta(minutes=30)
# A grant nobody uses is renewed after this part of its life.
_IDLE_PART: Final = 3
# New tokens are the only living ones: storing them is tried for longer than any restart of the database takes.
_STORE_TRIES, _STORE_PAUSE_S = 30, 2.0
_DRAIN_S: Final = 15.0
# A token endpoint that failed is left alone so long, or as long as it asks for.
_PAUSE, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(minutes=15)

Exchange = Callable[[Scope, Connection, str], Awaitable[Grant]]
"""Spends a refresh token at the vendor. Raises VendorError."""


class Sealer(Protocol):
    """Seals texts under an organization's key, bound to a row."""

    async def seal_text(self, scope: Scope, row: UUID, name: str, text: str) -> bytes:
        """Return the text sealed for that field of that row."""

    async def unseal_text(self, scope: Scope, row: UUID, name: str, sealed: bytes) -> str:
        """Return what was sealed. Raises SealBroken."""

    def mark(self, vendor: str, text: str) -> str:
        """Return a mark by which equal texts are known and nothing else."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A grant as it is kept: tokens, and what the vendor's answer says of where they lead."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    fields: dict[str, str]

    def text(self) -> str:
        """Return it as the text that is sealed."""
        return json.dumps({"access": self.access_token, "refresh": self.refresh_token, "fields": self.fields})

    @classmethod
    def read(cls, text: str) -> "Kept":
        """Return what `text` made."""
        found = json.loads(text)
        return cls(found["access"], found["refresh"], dict(found["fields"]))


ANYWAY: Final = ""
"""No token: renew whatever is held."""

FIELD: Final = "grant"
"""The name under which a grant is sealed in its connection."""


def early_by(lives_s: float, key: str) -> timedelta:
    """Return how long before its end a token that lives so long is renewed: two slots, or a tenth of its life.

    A token that lives shorter than that is renewed in its last third, and none with five minutes or less to
    live. A tenth more or less, by `key`, keeps renewals of many connections from coming all at once.
    """
    early_s = max(_EARLY.total_seconds(), lives_s / 10)
    early_s *= 0.9 + offset_s(key, 1000) / 5000
    return max(NEVER_USED, timedelta(seconds=min(early_s, lives_s / 3)))


async def fresh_of(
    sealer: Sealer, scope: Scope, connection: UUID, vendor: str, grant: Grant, before: Kept | None, now: datetime
) -> Fresh:
    """Return a grant sealed for a connection; what its answer left out goes on from the one before."""
    refresh_token = grant.refresh_token or (before.refresh_token if before else None)
    kept = Kept(grant.access_token, refresh_token, {**(before.fields if before else {}), **grant.kept})
    sealed = await sealer.seal_text(scope, connection, FIELD, kept.text())
    dies = grant.refresh_expires_at
    next_at = None if dies is None else now + (dies - now) / _IDLE_PART
    mark = None if refresh_token is None else sealer.mark(vendor, refresh_token)
    return Fresh(sealed, grant.expires_at, dies, mark, next_at)


class Tokens:
    """Gives out access tokens of connections, and renews each of them once however many ask.

    A renewal belongs to nobody who waits for it: it goes on when they are cancelled, and `drain` waits for it.
    """

    def __init__(self, db: Database, sealer: Sealer, exchange: Exchange, clock: Callable[[], datetime]) -> None:
        self._db = db
        self._sealer = sealer
        self._exchange = exchange
        self._clock = clock
        self._running: dict[UUID, asyncio.Task[str]] = {}
        # Until when a token endpoint that failed is left alone, and what it said.
        self._pauses: dict[UUID, tuple[datetime, VendorError]] = {}

    def source(self, scope: Scope, connection: Connection) -> "Source":
        """Return the source of one connection's tokens."""
        return Source(self, scope, connection)

    async def current(self, scope: Scope, connection: Connection) -> str:
        """Return an access token with more than five minutes to live, renewed early where it is time.

        Raises: GrantDead: a person must sign in again. Another VendorError: renewing failed for now, and what
            is left of the token's life is too short to use it.
        """
        async with self._db.org(scope) as conn:
            held = await credentials.find_held(scope, conn, connection.id)
        if not _is_stale(held, connection.id, self._clock()):
            return (await self._kept(scope, connection.id, held)).access_token
        error = self._paused(connection.id)
        if error is None:
            try:
                return await self._renewed(scope, connection, None)
            except GrantDead:
                raise
            except VendorError as failed:
                error = failed
                self._pause(connection.id, error)
        # Early is early: a token that still lives carries us over a vendor's bad half-hour.
        if _is_spent(held, self._clock()):
            raise error.with_traceback(None)
        return (await self._kept(scope, connection.id, held)).access_token

    async def renew(self, scope: Scope, connection: Connection, spent: str | None) -> str:
        """Return another token than `spent`; None: renew in any case. Raises as `current`."""
        return await self._renewed(scope, connection, ANYWAY if spent is None else spent)

    async def drain(self) -> None:
        """Wait until the renewals under way have stored what they brought."""
        running = list(self._running.values())
        if running:
            await asyncio.wait(running, timeout=_DRAIN_S)

    async def _renewed(self, scope: Scope, connection: Connection, spent: str | None) -> str:
        """Join the renewal under way, or begin one; `spent` None renews only what is stale."""
        task = self._running.get(connection.id)
        if task is None:
            task = asyncio.create_task(self._renew(scope, connection, spent))
            self._running[connection.id] = task
            task.add_done_callback(lambda done: self._ended(connection.id, done))
        return await asyncio.shield(task)

    def _ended(self, connection: UUID, task: asyncio.Task[str]) -> None:
        self._running.pop(connection, None)
        # Whoever waited may be gone: an error nobody fetches would be told by the loop instead.
        if not task.cancelled() and task.exception() is None:
            self._pauses.pop(connection, None)

    def _paused(self, connection: UUID) -> VendorError | None:
        """Return what the token endpoint said while it is left alone: every call of a poll asks for a token."""
        until, error = self._pauses.get(connection, (None, None))
        now = self._clock()
        # A pause that is too long to be one was made before the clock was set back.
        return error if until is not None and now < until <= now + _LONGEST_PAUSE else None

    def _pause(self, connection: UUID, error: VendorError) -> None:
        if not isinstance(error, Unavailable | BadPayload | QuotaSpent):
            return
        wait = _PAUSE
        if isinstance(error, Unavailable) and error.retry_after_s:
            wait = min(max(wait, timedelta(seconds=error.retry_after_s)), _LONGEST_PAUSE)
        self._pauses[connection] = (self._clock() + wait, error)

    async def _renew(self, scope: Scope, connection: Connection, spent: str | None) -> str:
        outcome: VendorError
        try:
            return await self._exchange_locked(scope, connection, spent)
        except _Unstored as late:
            return await self._store_late(scope, connection, late)
        except _Dead as dead:
            # Another holder, whose connection was lost, may have stored newer tokens while we asked.
            async with self._db.org(scope) as conn:
                held = await credentials.find_held(scope, conn, connection.id)
            if held.refresh_mark != dead.spent_mark:
                return (await self._kept(scope, connection.id, held)).access_token
            outcome = dead.error
        except bootstrap.AWAY:
            outcome = Unavailable(
                "The database did not answer while a sign-in was renewed. Nothing is lost; it is tried again.",
                vendor=connection.vendor,
                operation="refresh",
            )
        raise outcome

    async def _exchange_locked(self, scope: Scope, connection: Connection, spent: str | None) -> str:
        """Renew under the row's lock, unless somebody did while we waited for it."""
        unstored: _Unstored | None = None
        try:
            async with credentials.locked(self._db, scope, connection.id) as (conn, held):
                kept = await self._kept(scope, connection.id, held)
                others = spent not in {ANYWAY, kept.access_token}
                if others and not _is_stale(held, connection.id, self._clock()):
                    return kept.access_token
                if kept.refresh_token is None:
                    raise _Dead(held.refresh_mark, _nothing_to_renew(connection))
                try:
                    grant = await self._exchange(scope, connection, kept.refresh_token)
                except GrantDead as error:
                    raise _Dead(held.refresh_mark, error) from None
                now = self._clock()
                fresh = await fresh_of(self._sealer, scope, connection.id, connection.vendor, grant, kept, now)
                unstored = _Unstored(fresh, held.refresh_mark, grant.access_token)
                await credentials.put_fresh(scope, conn, connection.id, fresh, held.refresh_mark, now)
        except bootstrap.AWAY:
            if unstored is None:
                raise
            raise unstored from None
        return grant.access_token

    async def _store_late(self, scope: Scope, connection: Connection, late: "_Unstored") -> str:
        """Store tokens whose transaction was lost: they are the only living ones, however old the lock is."""
        for _ in range(_STORE_TRIES):
            try:
                async with self._db.renewals(scope) as conn:
                    held = await credentials.find_held(scope, conn, connection.id, lock=True)
                    if held.refresh_mark != late.fresh.refresh_mark:
                        await credentials.put_fresh(
                            scope, conn, connection.id, late.fresh, late.spent_mark, self._clock()
                        )
            except bootstrap.AWAY:
                await asyncio.sleep(_STORE_PAUSE_S)
                continue
            except NotFound:
                # Disconnected meanwhile: nobody is left to keep them for.
                pass
            return late.access_token
        _log.error("connection %s: new tokens could not be stored; a person must sign in again", connection.id)
        return late.access_token

    async def _kept(self, scope: Scope, connection: UUID, held: Held) -> Kept:
        return Kept.read(await self._sealer.unseal_text(scope, connection, FIELD, held.sealed))


@dataclass(frozen=True, slots=True)
class Source:
    """One connection's tokens, as its client asks for them."""

    tokens: Tokens
    scope: Scope
    connection: Connection

    async def current(self) -> str:
        """Return a token fit for use."""
        return await self.tokens.current(self.scope, self.connection)

    async def renew(self, spent: str) -> str:
        """Return another token than the one the vendor refused."""
        return await self.tokens.renew(self.scope, self.connection, spent)


@dataclass(frozen=True, slots=True)
class OneToken:
    """A token that was just given and is not kept yet; refused, it cannot be renewed."""

    access_token: str = field(repr=False)

    async def current(self) -> str:
        """Return it."""
        return self.access_token

    async def renew(self, spent: str) -> str:
        """Return it again: it is as fresh as can be."""
        del spent
        return self.access_token


class _Unstored(EnalysisError):
    """New tokens came and the transaction they should be stored in was lost."""

    def __init__(self, fresh: Fresh, spent_mark: str | None, access_token: str) -> None:
        super().__init__("new tokens are not stored yet")
        self.fresh = fresh
        self.spent_mark = spent_mark
        self.access_token = access_token


class _Dead(EnalysisError):
    """The vendor says that the grant with this mark is gone."""

    def __init__(self, spent_mark: str | None, error: GrantDead) -> None:
        super().__init__("the grant is gone")
        self.spent_mark = spent_mark
        self.error = error


def _nothing_to_renew(connection: Connection) -> GrantDead:
    return GrantDead(
        "This sign-in cannot be renewed, because the vendor gave nothing to renew it with: sign in again.",
        vendor=connection.vendor,
        operation="refresh",
    )


def _is_spent(held: Held, now: datetime) -> bool:
    return held.expires_at is None or held.expires_at - now <= NEVER_USED


def _is_stale(held: Held, connection: UUID, now: datetime) -> bool:
    if held.expires_at is None or held.refreshed_at is None:
        return True
    lives_s = max(1.0, (held.expires_at - held.refreshed_at).total_seconds())
    return held.expires_at - now <= early_by(lives_s, str(connection))
