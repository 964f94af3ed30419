"""Quotas in the database: exact for every caller, across connections, restarts and clocks put back."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from enalysis.core.planner import keep_for_live, keep_for_people
from enalysis.core.quotas import Alignment, Quota, QuotaWindow, calendar_window, counting_window
from enalysis.store import quotas
from enalysis.store.pool import Conn, Database
from enalysis.store.quotas import Caller
from tests.conftest import NOW, Base, Cluster
from tests.core.fleet import REAL_S, quota
from tests.databases import fresh_base

MINUTE, HOUR, DAY, MONTH = QuotaWindow.MINUTE, QuotaWindow.HOUR, QuotaWindow.DAY, QuotaWindow.MONTH
ALL = [quota(MINUTE, 4), quota(HOUR, 20), quota(DAY, 60), quota(MONTH, 300)]


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> Iterator[Base]:
    """Share one database: each test begins with nobody's quotas."""
    with fresh_base(cluster) as made:
        yield made


@pytest.fixture(autouse=True)
async def _nothing_declared(db: Database) -> None:
    async with db.world() as conn:
        await conn.execute("delete from quota_limits")


async def take(conn: Conn, at: datetime, caller: Caller = Caller.PERSON, cost: int = 1) -> quotas.Grant:
    """Ask for calls of scope `a`."""
    return await quotas.take(conn, "a", cost, at, caller)


async def taken(conn: Conn, at: datetime) -> dict[QuotaWindow, int]:
    """Return what counts now in each window of scope `a`."""
    return {b.quota.window: b.taken for b in await quotas.budgets(conn, ["a"], at)}


def most_in_any(q: Quota, calls: list[tuple[datetime, int]]) -> int:
    """Return the most calls any window of the vendor held, wherever it begins."""
    calls = sorted(calls)
    most = total = first = 0
    for at, cost in calls:
        total += cost
        while (
            at - calls[first][0] >= timedelta(seconds=REAL_S[q.window])
            if q.alignment is Alignment.UNKNOWN
            else calls[first][0] not in calendar_window(q.window, at)
        ):
            total -= calls[first][1]
            first += 1
        most = max(most, total)
    return most


async def test_a_scope_nobody_declared_is_spent(db: Database) -> None:
    async with db.world() as conn:
        assert not await quotas.declared(conn, "a")
        assert await take(conn, NOW) == quotas.Grant(granted=False, until=None, blocked_by=None)
        await quotas.hold(conn, "a", None, NOW)
        await quotas.observe(conn, "a", MINUTE, 10, 3, NOW)
        assert await quotas.budgets(conn, ["a"], NOW) == []
        await quotas.declare(conn, "b", ALL)
        assert not (await take(conn, NOW)).granted
        assert await quotas.declared(conn, "b")


async def test_a_refused_call_takes_of_no_window_and_scopes_do_not_share(db: Database) -> None:
    async with db.world() as conn:
        for scope in ("a", "b"):
            await quotas.declare(conn, scope, [quota(MINUTE, 5), quota(MONTH, 3)])
        grants = [(await take(conn, NOW)).granted for _ in range(5)]
        assert grants == [True] * 3 + [False] * 2
        assert await taken(conn, NOW) == {MINUTE: 3, MONTH: 3}
        assert not (await take(conn, NOW, cost=2)).granted
        assert (await quotas.take(conn, "b", 3, NOW, Caller.PERSON)).granted


async def test_each_caller_leaves_what_those_before_it_keep(db: Database) -> None:
    cap = 40
    for window in (MINUTE, MONTH):
        got = Counter[Caller]()
        async with db.world() as conn:
            await quotas.declare(conn, window, [quota(window, cap)])
            for caller in (Caller.BACKFILL, Caller.LIVE, Caller.PERSON):
                while (await quotas.take(conn, window, 1, NOW, caller)).granted:
                    got[caller] += 1
        assert got[Caller.BACKFILL] == cap - keep_for_live(cap, window)
        assert got[Caller.BACKFILL] + got[Caller.LIVE] == cap - keep_for_people(cap, window)
        assert got.total() == cap


@pytest.mark.parametrize("alignment", list(Alignment))
async def test_no_window_of_a_month_holds_more_than_its_limit(db: Database, alignment: Alignment) -> None:
    """Random calls of every caller, costs and pauses; now and then the clock goes back by up to a day."""
    chance = random.Random(1)  # noqa: S311 - pauses, no secret
    limits = [quota(q.window, q.limit, alignment) for q in ALL]
    true, wrong = NOW, timedelta()
    told: list[tuple[datetime, int]] = []
    really: list[tuple[datetime, int]] = []
    async with db.world() as conn:
        await quotas.declare(conn, "a", limits)
        while true < NOW + timedelta(days=40):
            true += timedelta(seconds=10 ** chance.uniform(-1, 4.6))
            if chance.random() < 0.02:
                wrong -= timedelta(seconds=10 ** chance.uniform(0, 5))
            cost, caller = chance.choice([1, 1, 1, 2, 5]), chance.choice(list(Caller))
            for _ in range(chance.choice([1, 1, 4])):
                if (await take(conn, true + wrong, caller, cost)).granted:
                    told.append((true + wrong, cost))
                    really.append((true, cost))
    assert len(really) > 100
    for q in limits:
        assert most_in_any(q, told) <= q.limit
        if alignment is Alignment.UNKNOWN:
            assert most_in_any(q, really) <= q.limit


async def test_a_clock_that_jumps_both_ways_never_takes_more_than_the_limit_of_its_own_time(
    db: Database,
) -> None:
    chance = random.Random(3)  # noqa: S311 - pauses, no secret
    told: list[tuple[datetime, int]] = []
    async with db.world() as conn:
        await quotas.declare(conn, "a", ALL)
        for _ in range(1500):
            at = NOW + timedelta(seconds=chance.choice([1, -1]) * 10 ** chance.uniform(-1, 6.5))
            if (await take(conn, at)).granted:
                told.append((at, 1))
    assert len(told) > 20
    for q in ALL:
        assert most_in_any(q, told) <= q.limit


@pytest.mark.parametrize("alignment", list(Alignment))
async def test_the_told_time_is_when_calls_are_free_and_the_budget_is_what_is_left(
    db: Database, alignment: Alignment
) -> None:
    """`until` is never too early, nor later than it must be; budgets and take agree to the call."""
    chance = random.Random(4)  # noqa: S311 - pauses, no secret
    calls: list[datetime] = []
    at, refusals = NOW, 0
    limits = [quota(q.window, q.limit, alignment) for q in ALL]
    async with db.world() as conn:
        await quotas.declare(conn, "a", limits)
        while refusals < 15:
            at += timedelta(seconds=10 ** chance.uniform(-1, 4))
            before = await quotas.budgets(conn, ["a"], at)
            for b in before:
                counted = counting_window(b.quota, at)
                assert b.taken == sum(1 for c in calls if counted.start <= c <= at), b
            grant = await take(conn, at)
            assert grant.granted == all(b.left for b in before)
            if grant.granted:
                calls.append(at)
                continue
            refusals += 1
            assert grant.until is not None
            assert grant.until > at
            assert grant.blocked_by in {b.quota.window for b in before if not b.left}
            assert not (await take(conn, grant.until - timedelta(seconds=0.5))).granted
            at = grant.until
            assert (await take(conn, at)).granted
            calls.append(at)


async def test_what_was_taken_outlives_a_restart_and_a_new_declaration(base: Base) -> None:
    for _ in range(3):
        async with Database(base.app, base.engine) as opened, opened.world() as conn:
            await quotas.declare(conn, "a", [quota(MINUTE, 100), quota(MONTH, 5)])
            for _ in range(2):
                await take(conn, NOW)
    async with Database(base.app, base.engine) as opened, opened.world() as conn:
        assert (await taken(conn, NOW))[MONTH] == 5
        await quotas.declare(conn, "a", [quota(MONTH, 7)])
        assert await taken(conn, NOW) == {MONTH: 5}
        assert [(await take(conn, NOW)).granted for _ in range(3)] == [True, True, False]


async def test_a_transaction_that_is_undone_gives_its_calls_back(db: Database) -> None:
    async with db.world() as conn:
        await quotas.declare(conn, "a", [quota(MINUTE, 5)])
    with contextlib.suppress(ZeroDivisionError):
        async with db.world() as conn:
            assert (await take(conn, NOW)).granted
            raise ZeroDivisionError
    async with db.world() as conn:
        assert await taken(conn, NOW) == {MINUTE: 0}


async def test_many_askers_at_once_get_exactly_the_limit(db: Database) -> None:
    """Eight tasks over as many connections, three windows, a second that turns while they ask."""
    caps = [quota(MINUTE, 60), quota(DAY, 50), quota(MONTH, 90)]
    async with db.world() as conn:
        await quotas.declare(conn, "a", caps)

    async def ask(task: int) -> int:
        got = 0
        for n in range(20):
            async with db.world() as conn:
                at = NOW + timedelta(milliseconds=50 * n + task)
                got += (await take(conn, at)).granted
        return got

    assert sum(await asyncio.gather(*(ask(n) for n in range(8)))) == 50
    async with db.world() as conn:
        assert await taken(conn, NOW + timedelta(seconds=2)) == {MINUTE: 50, DAY: 50, MONTH: 50}


async def test_whoever_touches_several_windows_at_once_never_deadlocks(db: Database) -> None:
    async with db.world() as conn:
        await quotas.declare(conn, "a", ALL)

    async def work(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - a mix of statements, no secret
        for _ in range(25):
            async with db.world() as conn:
                match chance.randrange(5):
                    case 0:
                        await quotas.hold(conn, "a", None, NOW - timedelta(hours=1))
                    case 1:
                        await quotas.declare(conn, "a", chance.sample(ALL, chance.randint(3, 4)))
                    case 2:
                        await quotas.observe(conn, "a", chance.choice([MINUTE, DAY]), 30, 20, NOW)
                    case _:
                        await take(conn, NOW + timedelta(seconds=chance.random()))

    await asyncio.gather(*(work(n) for n in range(6)))


async def test_the_vendor_is_believed_where_it_counted_more(db: Database) -> None:
    async with db.world() as conn:
        await quotas.declare(conn, "a", [quota(MINUTE, 10), quota(MONTH, 2000)])
        await quotas.observe(conn, "a", MINUTE, 10, 4, NOW)
        assert await taken(conn, NOW) == {MINUTE: 6, MONTH: 0}
        await quotas.observe(conn, "a", MINUTE, 10, 9, NOW)
        assert (await taken(conn, NOW))[MINUTE] == 6
        for _ in range(2):
            await quotas.observe(conn, "a", MONTH, 2000, 1500, NOW)
        assert (await taken(conn, NOW))[MONTH] == 500


async def test_two_answers_at_once_do_not_add_the_same_missing_calls_twice(db: Database) -> None:
    async with db.world() as conn:
        await quotas.declare(conn, "a", [quota(MONTH, 2000)])

    async def hear() -> None:
        async with db.world() as conn:
            await quotas.observe(conn, "a", MONTH, 2000, 1600, NOW)
            await asyncio.sleep(0.02)

    await asyncio.gather(*(hear() for _ in range(6)))
    async with db.world() as conn:
        assert await taken(conn, NOW) == {MONTH: 400}


async def test_a_limit_the_vendor_states_takes_the_place_of_ours_with_what_is_kept_of_it(
    db: Database,
) -> None:
    async with db.world() as conn:
        await quotas.declare(conn, "a", [quota(MONTH, 2000)])
        await quotas.observe(conn, "a", MONTH, 100, 100, NOW)
        live = 0
        while (await take(conn, NOW, Caller.LIVE)).granted:
            live += 1
        assert live == 95


@pytest.mark.parametrize(("limit", "remaining"), [(0, 0), (-1, 5), (2**40, 3), (10, 11), (10, 2**40), (10, 10)])
async def test_what_no_vendor_means_changes_nothing(db: Database, limit: int, remaining: int) -> None:
    async with db.world() as conn:
        await quotas.declare(conn, "a", [quota(MINUTE, 10)])
        await take(conn, NOW)
        before = await quotas.budgets(conn, ["a"], NOW)
        await quotas.observe(conn, "a", MINUTE, limit, remaining, NOW)
        assert await quotas.budgets(conn, ["a"], NOW) == before


async def test_fewer_than_nothing_left_is_nothing_left(db: Database) -> None:
    async with db.world() as conn:
        await quotas.declare(conn, "a", [quota(MINUTE, 10)])
        await quotas.observe(conn, "a", MINUTE, 10, -(2**40), NOW)
        assert await taken(conn, NOW) == {MINUTE: 10}


async def test_an_observation_counts_the_calendar_window_it_is_about(db: Database) -> None:
    """Calls of the month before do not stand in for calls the vendor counts in this one."""
    month = quota(MONTH, 2000, Alignment.CALENDAR)
    last_of_may = datetime(2026, 5, 31, 12, tzinfo=UTC)
    async with db.world() as conn:
        await quotas.declare(conn, "a", [month])
        assert (await take(conn, last_of_may, cost=300)).granted
        await quotas.observe(conn, "a", MONTH, 2000, 1800, NOW)
        assert await taken(conn, NOW) == {MONTH: 200}


async def test_a_hold_is_kept_to_and_never_shortened(db: Database) -> None:
    async with db.world() as conn:
        await quotas.declare(conn, "a", [quota(MINUTE, 10), quota(MONTH, 2000)])
        await quotas.hold(conn, "a", MONTH, NOW + timedelta(hours=2))
        await quotas.hold(conn, "a", MONTH, NOW + timedelta(hours=1))
        grant = await take(conn, NOW + timedelta(minutes=119))
        assert (grant.granted, grant.until, grant.blocked_by) == (False, NOW + timedelta(hours=2), MONTH)
        held = {b.quota.window: b.hold_until for b in await quotas.budgets(conn, ["a"], NOW)}
        assert held == {MINUTE: None, MONTH: NOW + timedelta(hours=2)}
        assert (await take(conn, NOW + timedelta(hours=2))).granted
        await quotas.hold(conn, "a", None, NOW + timedelta(hours=3))
        assert not (await take(conn, NOW + timedelta(hours=2, minutes=30))).granted


async def test_sweeping_drops_only_what_no_window_counts(db: Database) -> None:
    async with db.world() as conn:
        await quotas.declare(conn, "a", ALL)
        for days in range(0, 90, 3):
            await take(conn, NOW + timedelta(days=days))
        late = NOW + timedelta(days=90)
        before = await taken(conn, late)
        assert await quotas.sweep(conn, late) > 0
        assert await taken(conn, late) == before
        assert await quotas.sweep(conn, late) == 0
