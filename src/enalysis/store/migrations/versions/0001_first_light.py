"""The first schema: tenants, connections, readings, quotas, and the job queue's own tables."""

from pathlib import Path

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything; the logins exist already (store.logins makes them)."""
    driver = op.get_bind().connection.driver_connection
    if driver is None:
        msg = "no driver connection"
        raise RuntimeError(msg)
    driver.execute("set local row_security = off")
    driver.execute("set local lock_timeout = '5s'")
    driver.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
    driver.execute("create schema jobs")
    driver.execute("set local search_path = jobs")
    driver.execute(SchemaManager.get_schema())
    driver.execute("grant usage on schema jobs to enalysis_jobs, enalysis_engine")
    driver.execute(
        "grant select, insert, update, delete on all tables in schema jobs to enalysis_jobs, enalysis_engine"
    )
    driver.execute("grant usage on all sequences in schema jobs to enalysis_jobs, enalysis_engine")
    driver.execute("set local search_path = public")


def downgrade() -> None:
    """Refuse: the way back is the backup taken before the upgrade."""
    msg = "migrations go forward only; restore the backup taken before the upgrade"
    raise RuntimeError(msg)
