"""What every revision of the schema does: run the SQL that lies beside it, as the owner, one way."""

from pathlib import Path
from typing import NoReturn

import psycopg
from alembic import op


def run(revision: str) -> psycopg.Connection:
    """Run the .sql file beside a revision's own file and return the connection, still in its transaction.

    A forced policy raises then instead of touching no row, and waiting for a lock ends before it blocks others.
    """
    driver = op.get_bind().connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        msg = "no driver connection"
        raise TypeError(msg)
    driver.execute("set local row_security = off")
    driver.execute("set local lock_timeout = '5s'")
    # Percent signs and all: nothing is filled in.
    driver.execute(Path(revision).with_suffix(".sql").read_bytes())
    return driver


def refuse_the_way_back() -> NoReturn:
    """Refuse a downgrade: the way back is the backup taken before the upgrade."""
    msg = "migrations go forward only; restore the backup taken before the upgrade"
    raise RuntimeError(msg)
