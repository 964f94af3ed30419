"""Schema versions: upgrade under a lock, and tell whether the database is at the version this code needs."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from enalysis.core.errors import ConfigError

_HERE = Path(__file__).parent / "migrations"


def upgrade(conninfo: str) -> str:
    """Bring the schema to the newest version and return it; several processes at once are safe.

    Blocking: call it in a thread. `conninfo` is the owner's, over a direct connection.
    """

    def connect() -> psycopg.Connection:
        return psycopg.connect(conninfo)

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("select pg_advisory_lock(hashtext('enalysis.migrate'))")
        connection.commit()
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    engine.dispose()
    return newest()


def newest() -> str:
    """Return the version this code needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        msg = "the installation lacks its migrations; install it again"
        raise ConfigError(msg)
    return head


def current(conninfo: str) -> str | None:
    """Return the database's version, or None where it was never migrated. Blocking."""
    with psycopg.connect(conninfo) as conn:
        if conn.execute("select to_regclass('public.alembic_version')").fetchone() in (None, (None,)):
            return None
        row = conn.execute("select version_num from alembic_version").fetchone()
        return None if row is None else str(row[0])


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    return config
