"""Users, sessions, organizations, memberships and the one-row instance table."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.errors import UniqueViolation

from enalysis.core.access import Role, Scope
from enalysis.core.errors import Refused
from enalysis.store.pool import Conn


@dataclass(frozen=True, slots=True)
class User:
    """A person who may sign in."""

    id: UUID
    email: str
    name: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser, found by the hash of its token."""

    user: UUID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Instance:
    """What this installation remembers of its first run."""

    setup_hash: bytes | None
    setup_at: datetime | None
    canary: bytes


async def find_instance(conn: Conn) -> Instance | None:
    """Return the instance row, or None before the first start."""
    row = await (await conn.execute("select setup_hash, setup_at, canary from instance")).fetchone()
    return None if row is None else Instance(*row)


async def add_instance(conn: Conn, canary: bytes) -> None:
    """Write the instance row of a first start; a second writer changes nothing."""
    await conn.execute("insert into instance (id, canary) values (1, %s) on conflict (id) do nothing", (canary,))


async def set_setup_hash(conn: Conn, setup_hash: bytes) -> bool:
    """Set the hash of the one-time setup secret; False once setup is done."""
    done = await conn.execute("update instance set setup_hash = %s where id = 1 and setup_at is null", (setup_hash,))
    return done.rowcount == 1


async def spend_setup(conn: Conn, setup_hash: bytes, now: datetime) -> bool:
    """Close setup for ever if the hash is the right one; of many at once exactly one wins."""
    done = await conn.execute(
        "update instance set setup_at = %s, setup_hash = null where id = 1 and setup_at is null and setup_hash = %s",
        (now, setup_hash),
    )
    return done.rowcount == 1


async def add_user(conn: Conn, email: str, name: str, password_hash: str, now: datetime) -> UUID:
    """Add a person. Raises Refused where the e-mail address is taken."""
    try:
        async with conn.transaction():
            row = await (
                await conn.execute(
                    "insert into users (email, name, password_hash, created_at) values (%s, %s, %s, %s) returning id",
                    (email, name, password_hash, now),
                )
            ).fetchone()
    except UniqueViolation:
        msg = "somebody with this e-mail address is already here; sign in instead"
        raise Refused(msg) from None
    assert row is not None  # noqa: S101 - an insert that returns
    return UUID(str(row[0]))


async def find_user(conn: Conn, email: str) -> User | None:
    """Return the person with this e-mail address unless disabled."""
    row = await (
        await conn.execute(
            "select id, email, name, password_hash from users where lower(email) = lower(%s) and disabled_at is null",
            (email,),
        )
    ).fetchone()
    return None if row is None else User(*row)


async def find_user_by_id(conn: Conn, user: UUID) -> User | None:
    """Return the person unless disabled."""
    row = await (
        await conn.execute(
            "select id, email, name, password_hash from users where id = %s and disabled_at is null", (user,)
        )
    ).fetchone()
    return None if row is None else User(*row)


async def list_users(conn: Conn) -> Sequence[UUID]:
    """Return every person, the first to come first."""
    rows = await (await conn.execute("select id from users order by created_at, id")).fetchall()
    return [UUID(str(row[0])) for row in rows]


async def add_session(conn: Conn, token_hash: bytes, user: UUID, now: datetime, expires_at: datetime) -> None:
    """Keep a session by the hash of its token and drop those that ended."""
    await conn.execute("delete from sessions where expires_at < %s", (now,))
    await conn.execute(
        "insert into sessions (token_hash, user_id, created_at, last_seen_at, expires_at) values (%s, %s, %s, %s, %s)",
        (token_hash, user, now, now, expires_at),
    )


async def find_session(conn: Conn, token_hash: bytes) -> Session | None:
    """Return the session of a token's hash."""
    row = await (
        await conn.execute(
            "select user_id, created_at, last_seen_at, expires_at from sessions where token_hash = %s",
            (token_hash,),
        )
    ).fetchone()
    return None if row is None else Session(*row)


async def touch_session(conn: Conn, token_hash: bytes, now: datetime) -> None:
    """Note that the session was used."""
    await conn.execute("update sessions set last_seen_at = %s where token_hash = %s", (now, token_hash))


async def remove_session(conn: Conn, token_hash: bytes) -> None:
    """End a session."""
    await conn.execute("delete from sessions where token_hash = %s", (token_hash,))


async def add_organization(scope: Scope, conn: Conn, name: str, wrapped_key: bytes, now: datetime) -> None:
    """Add the scope's organization with its wrapped data key; the transaction must be the scope's own."""
    await conn.execute(
        "insert into organizations (id, name, created_at) values (%s, %s, %s)",
        (scope.organization, name, now),
    )
    await conn.execute(
        "insert into organization_keys (organization_id, version, wrapped, created_at) values (%s, 1, %s, %s)",
        (scope.organization, wrapped_key, now),
    )


async def add_membership(scope: Scope, conn: Conn, user: UUID, role: Role, now: datetime) -> None:
    """Make a person a member of the scope's organization."""
    await conn.execute(
        "insert into memberships (organization_id, user_id, role, created_at) values (%s, %s, %s, %s)",
        (scope.organization, user, role.value, now),
    )


async def list_memberships(conn: Conn, user: UUID) -> Sequence[tuple[UUID, Role]]:
    """Return the organizations of a person, oldest first; the transaction must be `Database.user`'s."""
    rows = await (
        await conn.execute(
            "select organization_id, role from memberships where user_id = %s order by created_at", (user,)
        )
    ).fetchall()
    return [(UUID(str(org)), Role(role)) for org, role in rows]


async def organization_name(scope: Scope, conn: Conn) -> str:
    """Return the name of the scope's organization."""
    row = await (await conn.execute("select name from organizations where id = %s", (scope.organization,))).fetchone()
    return "" if row is None else str(row[0])


async def find_wrapped_key(scope: Scope, conn: Conn) -> bytes | None:
    """Return the newest wrapped data key of the scope's organization."""
    row = await (
        await conn.execute(
            "select wrapped from organization_keys where organization_id = %s order by version desc limit 1",
            (scope.organization,),
        )
    ).fetchone()
    return None if row is None else bytes(row[0])
