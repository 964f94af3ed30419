"""Apps, consents, tokens that are renewed, and what streams ask of a shared quota."""

from enalysis.store.revisions import refuse_the_way_back, run

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables and columns."""
    run(__file__)


def downgrade() -> None:
    """Refuse."""
    refuse_the_way_back()
