"""What stands before the pools: the database and its logins, the schema's version, and what failing looks like."""

from collections.abc import Mapping

import psycopg
import psycopg_pool
from psycopg.conninfo import conninfo_to_dict

from enalysis.core.errors import ConfigError
from enalysis.store.logins import create_database, create_logins
from enalysis.store.pool import Conn
from enalysis.store.postgres_binaries import EmbeddedError

DATABASE = "enalysis"
# Away: passes by itself. Failed: also what a wrong statement or a missing right raises.
AWAY: tuple[type[Exception], ...] = (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout)
FAILED: tuple[type[Exception], ...] = (psycopg.Error, psycopg_pool.PoolTimeout)
LAUNCH_FAILED: tuple[type[Exception], ...] = (EmbeddedError, psycopg.Error, OSError)


def prepare(admin_conninfo: str, passwords: Mapping[str, str]) -> None:
    """Make the logins and the database where they are missing; several processes at once are safe. Blocking."""
    with psycopg.connect(admin_conninfo, autocommit=True) as admin:
        create_logins(admin, passwords)
        create_database(admin, DATABASE)


def prepare_own(owner_conninfo: str, conninfos: Mapping[str, str]) -> None:
    """Make the logins that are missing in an operator's own PostgreSQL, with the passwords of their addresses.

    Args: conninfos: by login, the address the operator set for it. Blocking.
    Raises: ConfigError: an address names another login than migrations grant to, or the owner may not make one.
    """
    passwords = {}
    for login, conninfo in conninfos.items():
        parts = conninfo_to_dict(conninfo)
        if parts.get("user") != login:
            msg = f"the address for {login} must use that login: schema and policies grant to it by name"
            raise ConfigError(msg)
        passwords[login] = str(parts.get("password") or "")
    try:
        with psycopg.connect(owner_conninfo) as owner:
            create_logins(owner, passwords, only_missing=True)
    except psycopg.errors.InsufficientPrivilege:
        msg = f"DATABASE_OWNER_URL may not make the logins {', '.join(conninfos)}: make them, or give it CREATEROLE"
        raise ConfigError(msg) from None


async def schema_version(conn: Conn) -> str | None:
    """Return the version of the schema the database is at."""
    row = await (await conn.execute("select version_num from alembic_version")).fetchone()
    return None if row is None else str(row[0])
