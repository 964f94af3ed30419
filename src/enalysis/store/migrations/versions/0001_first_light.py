"""The first schema: tenants, connections, readings, quotas, and the job queue's own tables."""

from procrastinate.schema import SchemaManager

from enalysis.store.revisions import refuse_the_way_back, run

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything; the logins exist already (store.logins makes them)."""
    driver = run(__file__)
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
    """Refuse."""
    refuse_the_way_back()
