"""The month itself: two workers follow the planner over a real ledger, are restarted, and one is lost now and then."""

import asyncio
import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from enalysis.actions.engine import LEASE_S, PER_BATCH
from enalysis.actions.schedule import CROWD
from enalysis.core.intervals import Window
from enalysis.core.planner import demand_per_day, keep_for_people, plan
from enalysis.core.quotas import Budget, QuotaWindow
from enalysis.queries.needs import need_of
from enalysis.store import quotas
from enalysis.store.pool import Conn, Database
from enalysis.store.quotas import Caller
from tests.plan_month.ages import Ages, Watch, best_by_day_min, even_pace_s, light_of
from tests.plan_month.scenarios import START, Scenario, members
from tests.plan_month.vendor import Vendor

ACCOUNT = "the account"
# A day to settle: what a fleet costs that nobody has ever asked is no question of the pace.
_SETTLE = timedelta(days=1)
_RESTARTS_A_DAY, _LOST_A_WEEK, _CLICKS_A_DAY = 3.0, 1.5, 0.5


class Addresses(NamedTuple):
    """How the app's and the engine's login reach the database of a simulation."""

    app: str
    engine: str


@dataclass
class Row:
    """What the database would hold of a stream."""

    id: int
    last_ok_at: datetime | None = None
    wait_until: datetime | None = None
    demand: float = 0.0
    planned: bool = False


@dataclass
class Outcome:
    """What came of a month, ages in min."""

    calls: int
    quota: int
    mean_min: float
    p95_min: float
    best_min: float
    kept_min: float
    always_mean_min: float
    violations: int
    refused: int = 0
    restarts: int = 0
    lost: int = 0
    most: dict[str, int] = field(default_factory=dict)

    @property
    def missed_pct(self) -> float:
        """How much older the data were than the best any schedule could have done with the whole quota, %."""
        return 100 * (self.mean_min / self.best_min - 1)

    @property
    def missed_kept_pct(self) -> float:
        """The same with what is left of the quota after the people's share, %."""
        return 100 * (self.mean_min / self.kept_min - 1)


@dataclass
class Month:
    """The state of one simulated month; everything a restart would lose is in the workers."""

    scenario: Scenario
    days: float
    seed: int
    start: datetime
    addresses: Addresses
    rows: dict[int, Row] = field(default_factory=dict)
    refused: int = 0
    restarts: int = 0
    lost: int = 0

    def __post_init__(self) -> None:
        """Lay out the streams and the hours in which they count."""
        self.chance = random.Random(f"{self.scenario.key} {self.seed} events")  # noqa: S311 - mishaps, no secret
        self.end = self.start + timedelta(days=self.days)
        self.streams = {m.id: m for m in members(self.scenario, self.seed)}
        self.rows = {i: Row(i) for i in self.streams}
        self.by_connection: dict[int, list[int]] = {}
        for member in self.streams.values():
            self.by_connection.setdefault(member.connection, []).append(member.id)
        self.vendor = Vendor(self.scenario.offer.quotas)
        span = Window(self.start + _SETTLE, self.end)
        known: dict[object, list[Window]] = {}
        self.watches = {m.id: Watch(m, span, light_of(m, span, known)) for m in self.streams.values() if m.tells}
        self.by_day, self.always = Ages(), Ages()
        self.order = [(self.start, i) for i in self.streams]
        self.demand = 0.0
        self.restart_at = self.start + self._after(_RESTARTS_A_DAY)
        self.lose_at = self.start + self._after(_LOST_A_WEEK / 7)

    async def run(self, tell: Callable[[str], None]) -> Outcome:
        """Let the month pass."""
        heapq.heapify(self.order)
        workers = await self._workers()
        async with workers[0].world() as conn:
            await quotas.declare(conn, ACCOUNT, self.scenario.offer.quotas)
        now, day = self.start, -1
        tick = timedelta(seconds=self.scenario.tick_s)
        while now < self.end:
            if (now - self.start).days != day:
                day = (now - self.start).days
                await self._new_day(workers[0], now)
                if day % 5 == 0:
                    tell(f"{self.scenario.key}: day {day} of {self.days:g}, {self.vendor.calls:,} calls")
            if now >= self.restart_at:
                self.restart_at = now + self._after(_RESTARTS_A_DAY)
                workers = await self._restart(workers)
            await self._tick(workers, now)
            now = self._next(now, tick)
        for worker in workers:
            await worker.close()
        return self._outcome()

    async def _workers(self) -> list[Database]:
        made = [Database(self.addresses.app, self.addresses.engine, size=1) for _ in range(2)]
        for worker in made:
            await worker.open()
        return made

    async def _restart(self, workers: Sequence[Database]) -> list[Database]:
        """End both processes and start them again: what they knew is what the database holds."""
        self.restarts += 1
        for worker in workers:
            await worker.close()
        return await self._workers()

    async def _new_day(self, worker: Database, now: datetime) -> None:
        """Renew tokens, let people click, and let the housekeeping run."""
        async with worker.world() as conn:
            await quotas.sweep(conn, now)
        asked = self.scenario.connections if self.scenario.renews else 0
        asked += sum(self.chance.random() < _CLICKS_A_DAY for _ in range(self.scenario.connections))
        for number in range(asked):
            # Over an hour: a token is renewed when its connection polls next.
            at = now + timedelta(seconds=3600 * number / asked)
            async with worker.world() as conn:
                grant = await quotas.take(conn, ACCOUNT, 1, at, Caller.PERSON)
            if grant.granted:
                self.vendor.take(at, 1)

    def _next(self, now: datetime, tick: timedelta) -> datetime:
        """Return the next tick at which something is due: looking in vain costs nothing and is left out."""
        ahead = max(now + tick, self.order[0][0]) if self.order else self.end
        steps = -((self.start - ahead) // tick)
        return min(self.start + steps * tick, self.start + timedelta(days=(now - self.start).days + 1))

    async def _tick(self, workers: Sequence[Database], now: datetime) -> None:
        """Claim what is due in batches of one connection each, and let both workers poll at once."""
        due: dict[int, list[int]] = {}
        later: list[tuple[datetime, int]] = []
        while self.order and self.order[0][0] <= now:
            at, stream = heapq.heappop(self.order)
            batch = due.setdefault(self.streams[stream].connection, [])
            if len(batch) < PER_BATCH:
                batch.append(stream)
            else:
                later.append((at, stream))
        for entry in later:
            heapq.heappush(self.order, entry)
        batches = list(due.items())
        shares = [batches[n :: len(workers)] for n in range(len(workers))]
        # The moments of a tick are shared out, so that the order of things does not hang on which worker is faster.
        ended = await asyncio.gather(
            *(self._work(worker, share, now) for worker, share in zip(workers, shares, strict=True)),
            return_exceptions=True,
        )
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _work(self, worker: Database, share: Sequence[tuple[int, list[int]]], now: datetime) -> None:
        for connection, batch in share:
            lost = now >= self.lose_at
            if lost:
                self.lose_at = now + self._after(_LOST_A_WEEK / 7)
            await self._poll(worker, connection, batch, now, lost=lost)

    def _after(self, times_a_day: float) -> timedelta:
        return timedelta(days=self.chance.expovariate(times_a_day))

    async def _poll(self, worker: Database, connection: int, batch: list[int], now: datetime, *, lost: bool) -> None:
        """Reserve, call and plan a batch; a lost worker reserves and is killed before it calls."""
        waiting = list(batch)
        async with worker.world() as conn:
            while waiting:
                granted, until = await self._take(conn, waiting, now)
                if not granted:
                    self.refused += 1
                    for stream in waiting:
                        self.rows[stream].wait_until = until
                    break
                if not lost:
                    for stream in granted:
                        self._call(stream, now)
                waiting = waiting[len(granted) :]
            budgets = await quotas.budgets(conn, [ACCOUNT], now)
        if lost:
            self.lost += 1
            for stream in batch:
                heapq.heappush(self.order, (now + timedelta(seconds=LEASE_S), stream))
            return
        self._plan(connection, batch, budgets, now)

    async def _take(self, conn: Conn, waiting: list[int], now: datetime) -> tuple[list[int], datetime | None]:
        """Reserve calls for all that wait, or for as many of them as there are calls left for."""
        many = waiting
        while True:
            cost = sum(self.streams[i].card.cost for i in many)
            grant = await quotas.take(conn, ACCOUNT, cost, now, Caller.LIVE)
            if grant.granted or len(many) == 1:
                return (many if grant.granted else []), grant.until
            many = many[: len(many) // 2]

    def _call(self, stream: int, now: datetime) -> None:
        at = now + timedelta(seconds=self.chance.uniform(0, 1.5))
        row, member = self.rows[stream], self.streams[stream]
        row.wait_until = None
        if not self.vendor.take(at, member.card.cost):
            row.wait_until = now + timedelta(minutes=1)
            return
        row.last_ok_at = at
        watch = self.watches.get(stream)
        if watch is not None:
            watch.poll(at, self.by_day, self.always)

    def _plan(self, connection: int, batch: list[int], budgets: list[Budget], now: datetime) -> None:
        """Plan a batch exactly as `actions.schedule.plan_next` does: a crowd is looked at by its sum."""
        mine = self.by_connection[connection]
        rest = set(mine) - set(batch) if len(mine) > len(batch) else set()
        crowd = len(rest) > CROWD and all(self.rows[i].planned for i in rest)
        looked_at = batch if crowd else mine
        needs = [need_of(self.streams[i].card, ACCOUNT, self.streams[i].place, self.rows[i], now) for i in looked_at]
        others = self.demand - sum(self.rows[i].demand for i in looked_at)
        for need, stream in zip(needs, looked_at, strict=True):
            wanted = demand_per_day(need)
            self.demand += wanted - self.rows[stream].demand
            self.rows[stream].demand = wanted
        dues = plan(needs, budgets, now, {ACCOUNT: others}, {str(i) for i in batch})
        for stream in batch:
            self.rows[stream].planned = True
            heapq.heappush(self.order, (dues[str(stream)].at, stream))

    def _outcome(self) -> Outcome:
        for watch in self.watches.values():
            watch.pass_until(self.end, self.by_day, self.always)
        limit = next(q.limit for q in self.scenario.offer.quotas if q.window.value == "month")
        watches = list(self.watches.values())
        renewals = 31 * self.scenario.connections if self.scenario.renews else 0
        kept = max(renewals, keep_for_people(limit, QuotaWindow.MONTH))
        best = [best_by_day_min(watches, even_pace_s(watches, self._usable(limit - less))) for less in (renewals, kept)]
        return Outcome(
            self.vendor.calls,
            limit,
            self.by_day.mean_min(),
            self.by_day.share_min(0.95),
            best[0],
            best[1],
            self.always.mean_min(),
            self.vendor.violations,
            self.refused,
            self.restarts,
            self.lost,
            self.vendor.most,
        )

    def _usable(self, calls: float) -> float:
        """Return how many of a month's calls are left for news beside looking up sites and devices."""
        per_day = calls / 31
        for member in self.streams.values():
            if not member.tells:
                per_day -= member.card.cost * 86400 / member.card.every_s
        return per_day * ((self.end - self.start - _SETTLE) / timedelta(days=1))


async def simulate(
    scenario: Scenario,
    addresses: Addresses,
    tell: Callable[[str], None],
    *,
    days: float = 31,
    seed: int = 1,
    start: datetime = START,
) -> Outcome:
    """Simulate a month, or the first days of one."""
    return await Month(scenario, days, seed, start, addresses).run(tell)
