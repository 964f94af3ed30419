"""The schema: migrations, quotas."""

from datetime import timedelta

from enalysis.core.quotas import Quota, QuotaScope, QuotaWindow
from enalysis.store import quotas
from enalysis.store.pool import Database
from enalysis.store.quotas import Caller
from tests.conftest import NOW


async def test_take_is_exact_over_all_windows(db: Database) -> None:
    """Ten a minute and fifteen a month: the eleventh waits a minute, the sixteenth a month."""
    async with db.world() as conn:
        await quotas.declare(
            conn,
            "acme:1",
            [
                Quota(QuotaScope.ACCOUNT, QuotaWindow.MINUTE, 10),
                Quota(QuotaScope.ACCOUNT, QuotaWindow.MONTH, 15),
            ],
        )
        for _ in range(10):
            assert (await quotas.take(conn, "acme:1", 1, NOW, Caller.PERSON)).granted
        refused = await quotas.take(conn, "acme:1", 1, NOW, Caller.PERSON)
        assert not refused.granted
        assert refused.blocked_by is QuotaWindow.MINUTE
        assert refused.until == NOW + timedelta(seconds=62)
        later = refused.until
        for _ in range(5):
            assert (await quotas.take(conn, "acme:1", 1, later, Caller.PERSON)).granted
        refused = await quotas.take(conn, "acme:1", 1, later, Caller.PERSON)
        assert refused.blocked_by is QuotaWindow.MONTH
