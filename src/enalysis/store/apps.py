"""Apps registered at vendors: whose they are, how far the vendor has come with them, their sealed keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from enalysis.core.access import Scope
from enalysis.core.errors import NotFound
from enalysis.store.pool import Conn


@dataclass(frozen=True, slots=True)
class App:
    """An app without its secrets. `scope` is the opaque key of its quotas."""

    id: UUID
    vendor: str
    name: str
    kind: str
    plan: str
    origin: str
    state: str
    state_since: datetime
    first_ok_at: datetime | None
    scope: str
    sealed_at: datetime | None
    created_at: datetime


_COLUMNS = "id, vendor, name, kind, plan, origin, state, state_since, first_ok_at, scope, sealed_at, created_at"


async def put_app(
    scope: Scope,
    conn: Conn,
    app: UUID,
    *,
    vendor: str,
    name: str,
    kind: str,
    plan: str,
    state: str,
    quota_scope: str,
    sealed: bytes | None,
    now: datetime,
) -> UUID:
    """Add an app, or bring the one with the same quotas up to date; return its id. No secret: the operator's."""
    row = await (
        await conn.execute(
            "insert into vendor_apps as a (organization_id, id, vendor, name, kind, plan, origin, state, state_since,"
            " sealed, sealed_at, scope, created_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (organization_id, vendor, scope) do update set name = excluded.name, plan = excluded.plan,"
            "  kind = excluded.kind"
            " returning id",
            (
                scope.organization,
                app,
                vendor,
                name,
                kind,
                plan,
                "operator" if sealed is None else "organization",
                state,
                now,
                sealed,
                None if sealed is None else now,
                quota_scope,
                now,
            ),
        )
    ).fetchone()
    assert row is not None  # noqa: S101 - inserted or updated
    return UUID(str(row[0]))


async def list_apps(scope: Scope, conn: Conn, vendor: str | None = None) -> Sequence[App]:
    """Return the organization's apps, of one vendor or of all, oldest first."""
    async with conn.cursor(row_factory=class_row(App)) as cur:
        await cur.execute(
            f"select {_COLUMNS} from vendor_apps where organization_id = %s and (%s::text is null or vendor = %s)"
            " order by created_at, name",
            (scope.organization, vendor, vendor),
        )
        return await cur.fetchall()


async def find_app(scope: Scope, conn: Conn, app: UUID) -> App:
    """Return an app. Raises NotFound."""
    async with conn.cursor(row_factory=class_row(App)) as cur:
        await cur.execute(
            f"select {_COLUMNS} from vendor_apps where organization_id = %s and id = %s", (scope.organization, app)
        )
        found = await cur.fetchone()
    if found is None:
        msg = "no such app"
        raise NotFound(msg)
    return found


async def lock_app(scope: Scope, conn: Conn, app: UUID) -> None:
    """Let nobody else connect through an app until the end of the transaction."""
    await conn.execute(
        "select from vendor_apps where organization_id = %s and id = %s for no key update", (scope.organization, app)
    )


async def find_app_sealed(scope: Scope, conn: Conn, app: UUID) -> bytes | None:
    """Return an app's sealed keys; None: they are the operator's, in the settings."""
    row = await (
        await conn.execute(
            "select sealed from vendor_apps where organization_id = %s and id = %s", (scope.organization, app)
        )
    ).fetchone()
    return None if row is None or row[0] is None else bytes(row[0])


async def set_app_sealed(scope: Scope, conn: Conn, app: UUID, sealed: bytes, quota_scope: str, now: datetime) -> None:
    """Put other keys in place of an app's, whose connections go on with it."""
    await conn.execute(
        "update vendor_apps set sealed = %s, sealed_at = %s, scope = %s where organization_id = %s and id = %s",
        (sealed, now, quota_scope, scope.organization, app),
    )
    await conn.execute(
        "update connections set account = %s where organization_id = %s and app_id = %s",
        (quota_scope, scope.organization, app),
    )


async def set_app_state(scope: Scope, conn: Conn, app: UUID, state: str, now: datetime) -> bool:
    """Set how far the vendor has come with an app; True where that is news."""
    done = await conn.execute(
        "update vendor_apps set state = %s, state_since = %s where organization_id = %s and id = %s and state <> %s",
        (state, now, scope.organization, app, state),
    )
    return done.rowcount == 1


async def set_app_plan(scope: Scope, conn: Conn, app: UUID, plan: str) -> None:
    """Set the plan of an app and of everything that goes through it."""
    await conn.execute(
        "update vendor_apps set plan = %s where organization_id = %s and id = %s", (plan, scope.organization, app)
    )
    await conn.execute(
        "update connections set plan = %s where organization_id = %s and app_id = %s", (plan, scope.organization, app)
    )


async def note_app_ok(scope: Scope, conn: Conn, app: UUID, now: datetime) -> bool:
    """Write down that the app brought data: the vendor has approved it. True where that is news."""
    done = await conn.execute(
        "update vendor_apps set first_ok_at = coalesce(first_ok_at, %s), state = 'verified',"
        " state_since = case when state = 'verified' then state_since else %s end"
        " where organization_id = %s and id = %s and (first_ok_at is null or state <> 'verified')",
        (now, now, scope.organization, app),
    )
    return done.rowcount == 1


async def remove_app(scope: Scope, conn: Conn, app: UUID) -> bool:
    """Delete an app that nothing goes through; False where a connection or a revocation does, or there is none."""
    done = await conn.execute(
        "delete from vendor_apps a where a.organization_id = %s and a.id = %s and not exists"
        " (select from connections c where c.organization_id = a.organization_id and c.app_id = a.id)"
        # Without its keys the vendor could not be told any more.
        " and not exists (select from revocations r where r.organization_id = a.organization_id and r.app_id = a.id)",
        (scope.organization, app),
    )
    return done.rowcount == 1
