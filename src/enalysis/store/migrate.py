"""Schema versions: upgrade under a lock, and tell whether the database is at the version this code needs."""

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from enalysis.core.errors import ConfigError

_HERE = Path(__file__).parent / "migrations"


def upgrade(conninfo: str) -> str:
    """Bring the schema to the newest version and return it; several processes at once are safe.

    Blocking: call it in a thread. `conninfo` is the owner's, over a direct connection.
    Raises: ConfigError: the schema is of a newer release, or PostgreSQL refused a statement; nothing changed.
    """

    def connect() -> psycopg.Connection:
        return psycopg.connect(conninfo)

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    try:
        _upgrade(engine)
    except CommandError as error:
        msg = f"the database's schema is newer than this release knows: {error}. Run the newer release"
        raise ConfigError(msg) from None
    except DBAPIError as error:
        msg = (
            f"the schema was left as it was, because migrating failed: {str(error.orig).strip().partition(chr(10))[0]}"
        )
        raise ConfigError(msg) from None
    finally:
        engine.dispose()
    return newest()


def _upgrade(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("select pg_advisory_lock(hashtext('enalysis.migrate'))")
        connection.commit()
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


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
