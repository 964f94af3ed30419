"""What stands before the pools: the database and its logins, the schema's version, and what failing looks like."""

import psycopg
import psycopg_pool

from enalysis.store.logins import create_database, create_logins
from enalysis.store.pool import Conn
from enalysis.store.postgres_binaries import EmbeddedError

DATABASE = "enalysis"
AWAY: tuple[type[Exception], ...] = (psycopg.Error, psycopg_pool.PoolTimeout)
LAUNCH_FAILED: tuple[type[Exception], ...] = (EmbeddedError, psycopg.Error, OSError)


def prepare(admin_conninfo: str, passwords: dict[str, str]) -> None:
    """Make the logins and the database where they are missing; several processes at once are safe. Blocking."""
    with psycopg.connect(admin_conninfo, autocommit=True) as admin:
        create_logins(admin, passwords)
        create_database(admin, DATABASE)


async def schema_version(conn: Conn) -> str | None:
    """Return the version of the schema the database is at."""
    row = await (await conn.execute("select version_num from alembic_version")).fetchone()
    return None if row is None else str(row[0])
