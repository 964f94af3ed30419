"""Twins of connections that wait for a vendor, and sites of their own for what is simulated."""

from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the triggers that keep simulated and real apart."""
    driver = op.get_bind().connection.driver_connection
    if driver is None:
        msg = "no driver connection"
        raise RuntimeError(msg)
    driver.execute("set local row_security = off")
    driver.execute("set local lock_timeout = '5s'")
    driver.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))


def downgrade() -> None:
    """Refuse: the way back is the backup taken before the upgrade."""
    msg = "migrations go forward only; restore the backup taken before the upgrade"
    raise RuntimeError(msg)
