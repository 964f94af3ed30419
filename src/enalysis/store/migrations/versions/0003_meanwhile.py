"""Twins of connections that wait for a vendor, and sites of their own for what is simulated."""

from enalysis.store.revisions import refuse_the_way_back, run

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the triggers that keep simulated and real apart."""
    run(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_the_way_back()
