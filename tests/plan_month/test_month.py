"""The simulated month at a reduced floor: a week of few sites; and it can find a quota that is broken."""

from dataclasses import replace

import pytest

from enalysis.store import quotas
from enalysis.store.quotas import Grant
from tests.databases import Base
from tests.plan_month.fixed import poll_fixed
from tests.plan_month.month import Addresses, simulate
from tests.plan_month.scenarios import SCENARIOS, Scenario

DAYS = 7.0


def scenario(key: str) -> Scenario:
    """Return a scenario, looking around seldom enough for a test."""
    return replace(next(s for s in SCENARIOS if s.key == key), tick_s=120)


@pytest.mark.parametrize("key", ["watt-3", "free-1"])
async def test_a_week_breaks_no_quota_and_is_nearly_as_fresh_as_it_could_be(base: Base, key: str) -> None:
    ours = await simulate(scenario(key), Addresses(base.app, base.engine), lambda _: None, days=DAYS)
    assert ours.violations == 0
    assert ours.restarts > 5
    assert 0.7 * ours.quota * DAYS / 31 < ours.calls < 1.3 * ours.quota * DAYS / 31
    assert ours.missed_pct < 20
    fixed = poll_fixed(scenario(key), days=31)
    assert fixed.spent_day is not None
    assert fixed.spent_day < DAYS
    assert fixed.violations > 0
    assert fixed.after_min > 10 * ours.mean_min


async def test_a_ledger_that_grants_everything_is_found_out(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    async def grant(*_: object) -> Grant:
        return Grant(granted=True, until=None, blocked_by=None)

    monkeypatch.setattr(quotas, "take", grant)
    small = replace(scenario("watt-3"), sites=12, connections=3)
    ours = await simulate(small, Addresses(base.app, base.engine), lambda _: None, days=1.2)
    assert ours.violations > 0
