"""Consents under way, and tokens that a vendor has yet to be told to forget."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row

from enalysis.core.access import Scope
from enalysis.store.pool import Conn

_KEPT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Consent:
    """A consent somebody set out for; the state itself is not stored, only its hash."""

    vendor: str
    way: str
    app_id: UUID
    redirect_uri: str
    name: str
    connection_id: UUID | None
    session_hash: bytes
    verifier: bytes | None
    expires_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Revocation:
    """A token the vendor should forget, sealed under its own id."""

    id: UUID
    vendor: str
    way: str
    app_id: UUID
    sealed: bytes
    attempts: int
    give_up_at: datetime


_COLUMNS = "vendor, way, app_id, redirect_uri, name, connection_id, session_hash, verifier, expires_at, used_at"


async def add_consent(scope: Scope, conn: Conn, state_hash: bytes, consent: Consent, now: datetime) -> None:
    """Write down a consent that begins; those of yesterday go."""
    await conn.execute(
        "delete from oauth_states where organization_id = %s and created_at < %s", (scope.organization, now - _KEPT)
    )
    await conn.execute(
        f"insert into oauth_states (organization_id, state_hash, {_COLUMNS}, created_at)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            scope.organization,
            state_hash,
            consent.vendor,
            consent.way,
            consent.app_id,
            consent.redirect_uri,
            consent.name,
            consent.connection_id,
            consent.session_hash,
            consent.verifier,
            consent.expires_at,
            consent.used_at,
            now,
        ),
    )


async def use_consent(
    scope: Scope, conn: Conn, state_hash: bytes, session_hash: bytes, vendor: str, redirect_uri: str, now: datetime
) -> Consent | None:
    """Use a consent up and return it, once: of many at the same moment one gets it, the others None.

    Its verifier is deleted with that. None too where anything it is bound to differs, or it is too old.
    """
    async with conn.cursor(row_factory=class_row(Consent)) as cur:
        await cur.execute(
            "with was as ("
            f" select organization_id, state_hash, {_COLUMNS} from oauth_states"
            " where organization_id = %(org)s and state_hash = %(state)s and session_hash = %(session)s"
            " and vendor = %(vendor)s and redirect_uri = %(redirect)s and expires_at > %(now)s and used_at is null"
            " for update)"
            " update oauth_states o set used_at = %(now)s, verifier = null from was"
            " where o.organization_id = was.organization_id and o.state_hash = was.state_hash and o.used_at is null"
            " returning was.vendor, was.way, was.app_id, was.redirect_uri, was.name, was.connection_id,"
            " was.session_hash, was.verifier, was.expires_at, was.used_at",
            {
                "org": scope.organization,
                "state": state_hash,
                "session": session_hash,
                "vendor": vendor,
                "redirect": redirect_uri,
                "now": now,
            },
        )
        return await cur.fetchone()


async def find_consent(scope: Scope, conn: Conn, state_hash: bytes) -> Consent | None:
    """Return a consent without using it up, to say what is wrong with its state."""
    async with conn.cursor(row_factory=class_row(Consent)) as cur:
        await cur.execute(
            f"select {_COLUMNS} from oauth_states where organization_id = %s and state_hash = %s",
            (scope.organization, state_hash),
        )
        return await cur.fetchone()


async def add_revocation(
    scope: Scope, conn: Conn, revocation: UUID, vendor: str, way: str, app: UUID, sealed: bytes, now: datetime
) -> None:
    """Keep a token, sealed, until the vendor was told to forget it, for a day at most."""
    await conn.execute(
        "insert into revocations (organization_id, id, vendor, way, app_id, sealed, next_at, give_up_at)"
        " values (%s, %s, %s, %s, %s, %s, %s, %s)",
        (scope.organization, revocation, vendor, way, app, sealed, now, now + _KEPT),
    )


async def find_revocation(scope: Scope, conn: Conn, revocation: UUID) -> Revocation | None:
    """Return a revocation that is still to be made."""
    async with conn.cursor(row_factory=class_row(Revocation)) as cur:
        await cur.execute(
            "select id, vendor, way, app_id, sealed, attempts, give_up_at from revocations"
            " where organization_id = %s and id = %s",
            (scope.organization, revocation),
        )
        return await cur.fetchone()


async def put_off_revocation(scope: Scope, conn: Conn, revocation: UUID, at: datetime) -> None:
    """Try again then."""
    await conn.execute(
        "update revocations set attempts = attempts + 1, next_at = %s where organization_id = %s and id = %s",
        (at, scope.organization, revocation),
    )


async def remove_revocation(scope: Scope, conn: Conn, revocation: UUID) -> None:
    """Delete the token: the vendor forgot it, or will let it die by itself."""
    await conn.execute(
        "delete from revocations where organization_id = %s and id = %s", (scope.organization, revocation)
    )


async def list_due_revocations(conn: Conn, now: datetime, limit: int) -> list[tuple[UUID, UUID]]:
    """Return (organization, revocation) of tokens to revoke now; the engine's transaction."""
    rows = await (
        await conn.execute(
            "select organization_id, id from revocations where next_at <= %s order by next_at limit %s", (now, limit)
        )
    ).fetchall()
    return [(UUID(str(org)), UUID(str(revocation))) for org, revocation in rows]
