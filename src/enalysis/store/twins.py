"""Twins: connections that read from the simulators in place of one that waits, and all that came through them."""

from uuid import UUID

from psycopg.rows import class_row

from enalysis.core.access import Scope
from enalysis.core.errors import NotFound
from enalysis.store import connections
from enalysis.store.connections import Connection
from enalysis.store.pool import Conn


async def find_twin(scope: Scope, conn: Conn, connection: UUID) -> Connection | None:
    """Return the twin of a connection, or the connection itself where it is one."""
    async with conn.cursor(row_factory=class_row(Connection)) as cur:
        await cur.execute(
            f"select {connections.COLUMNS} from connections where organization_id = %s and twin_of is not null"
            " and (twin_of = %s or id = %s)",
            (scope.organization, connection, connection),
        )
        return await cur.fetchone()


async def hold_twin(scope: Scope, conn: Conn, twin: UUID) -> None:
    """Keep a twin from being removed until this transaction ends. Raises NotFound where it is gone already.

    Readings carry no foreign key, so nothing else would keep a poll under way from storing after the removal.
    """
    row = await (
        await conn.execute(
            "select from connections where organization_id = %s and id = %s for key share", (scope.organization, twin)
        )
    ).fetchone()
    if row is None:
        msg = "no such connection"
        raise NotFound(msg)


async def remove_twin(scope: Scope, conn: Conn, twin: UUID) -> int:
    """Delete a twin, its devices, readings and sites, and return how many sites; no real connection fed those."""
    await conn.execute(
        "select from connections where organization_id = %s and id = %s for update", (scope.organization, twin)
    )
    rows = await (
        await conn.execute(
            "select site_id from vendor_sites where organization_id = %(org)s and connection_id = %(twin)s"
            " union select site_id from devices where organization_id = %(org)s and connection_id = %(twin)s"
            " union select site_id from streams where organization_id = %(org)s and connection_id = %(twin)s",
            {"org": scope.organization, "twin": twin},
        )
    ).fetchall()
    await connections.remove_connection(scope, conn, twin)
    done = await conn.execute(
        "delete from sites where organization_id = %s and sandbox and id = any(%s)",
        (scope.organization, [site for (site,) in rows]),
    )
    return done.rowcount
