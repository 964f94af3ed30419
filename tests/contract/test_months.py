"""A simulated month and more under the planner: no vendor's quota is broken, whatever people click."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from enalysis.connectors.base import FoundDevice, Plan, Stream, Subject
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.daylight import Place, daylight
from enalysis.core.errors import QuotaSpent
from enalysis.core.intervals import Window, floor_time
from enalysis.core.planner import StreamNeed, plan
from enalysis.core.quotas import Quota, QuotaWindow
from enalysis.simulators.registry import SIMULATORS
from enalysis.simulators.server import create
from tests.contract.benches import Bench, InProcess, build
from tests.simulators.ports import Clock

START = datetime(2026, 5, 20, 5, 3, 11, tzinfo=UTC)
DAYS = 36
# A plan with so many calls a month allows every cadence wanted: a day of it shows that, and takes long enough.
ROOMY, ROOMY_DAYS = 10_000, 1
SCOPE = "any"


@dataclass
class Worker:
    """Polls one account as the planner says, and now and then is interrupted by a person."""

    bench: Bench
    clicks_every: int | None
    polled: dict[str, datetime] = field(default_factory=dict)
    devices: dict[str, tuple[FoundDevice, ...]] = field(default_factory=dict)
    polls: int = 0
    newest: dict[str, datetime] = field(default_factory=dict)
    widest_gap: timedelta = timedelta()
    suns: dict[tuple[str, datetime], tuple[Window, ...]] = field(default_factory=dict)

    def lit(self, site: str) -> tuple[Window, ...]:
        """Return when the sun may be up over a site, from half a day ago to two days ahead."""
        today = floor_time(self.bench.clock(), 86400)
        if (site, today) not in self.suns:
            truth = self.bench.sandbox.worlds[site].site
            place = Place(truth.latitude, truth.longitude)
            self.suns[site, today] = tuple(
                daylight(Window(today - timedelta(days=1), today + timedelta(days=3)), place)
            )
        now = self.bench.clock()
        ahead = Window(now - timedelta(hours=12), now + timedelta(days=2))
        return tuple(part for w in self.suns[site, today] if (part := w.meet(ahead)) is not None)

    def subjects(self) -> list[tuple[str, Stream, str]]:
        """Return (key, stream, site) of everything to poll; a stream without its devices is left out."""
        return [
            (f"{stream.name}:{site}", stream, site)
            for stream in self.bench.spec.streams
            for site in (("",) if stream.subject is Subject.CONNECTION else self.bench.account.sites)
            if stream.fits(self.devices.get(site, ()))
        ]

    def need(self, key: str, stream: Stream, site: str) -> StreamNeed:
        """Return the stream as the planner wants it."""
        lit = self.lit(site) if stream.daylight_only else None
        return StreamNeed(key, (SCOPE,), stream.every_s, stream.cost, stream.delay_s, lit, self.polled.get(key))

    async def step(self, until: datetime) -> bool:
        """Do what is due next; False once that lies behind `until`."""
        clock, subjects = self.bench.clock, self.subjects()
        due = plan([self.need(*s) for s in subjects], self.bench.ledger.budgets(SCOPE), clock())
        key, stream, site = min(subjects, key=lambda s: due[s[0]].at)
        if due[key].at >= until:
            return False
        clock.at = max(clock(), due[key].at)
        try:
            await self.poll(key, stream, site)
        except QuotaSpent as error:
            self.stopped(error)
            clock.forward(minutes=5)
        if self.clicks_every and self.polls % self.clicks_every == 0:
            await self.click()
        return True

    async def poll(self, key: str, stream: Stream, site: str) -> None:
        """Fetch one stream, from where it was last asked or as far back as one call goes."""
        bench, now, window = self.bench, self.bench.clock(), None
        if stream.window_s is not None:
            window = Window(now - timedelta(seconds=stream.window_s), now)
        self.polls += 1
        batch = await bench.connector.fetch(stream.name, bench.ref(site) if site else "", window, now)
        self.polled[key] = now
        if batch.devices is not None:
            self.devices[site] = batch.devices
        if batch.intervals:
            newest = max(i.end for i in batch.intervals)
            if key in self.newest and not stream.daylight_only:
                self.widest_gap = max(self.widest_gap, newest - self.newest[key])
            self.newest[key] = newest

    def stopped(self, error: QuotaSpent) -> None:
        """Assert that our own ledger said no; a vendor never has to."""
        assert error.ours
        assert error.until is not None

    async def click(self) -> None:
        """Test the connection again and again, as a person does to whom it says no."""
        for _ in range(6):
            try:
                await self.bench.connector.check(self.bench.clock())
            except QuotaSpent as error:
                self.stopped(error)
                return
            self.bench.clock.forward(seconds=2)


def _monthly(quotas: tuple[Quota, ...]) -> int:
    return min(q.limit for q in quotas if q.window is QuotaWindow.MONTH)


@contextlib.asynccontextmanager
async def tight(vendor: str, account: str, pick: Callable[..., Plan] = min) -> AsyncIterator[Bench]:
    """Yield a bench of an account on a plan of its way, its ledger enforcing the card's quotas.

    Args: pick: `min` for the smallest plan, `max` for the roomiest.
    """
    clock = Clock(START)
    way = CONNECTORS[vendor].spec.way(create(5, clock).vendors[vendor].accounts[account].way)
    plans = SIMULATORS[vendor].plans
    # By what the card allows itself, which may be less than what the vendor would serve.
    chosen = plans[pick(way.plans, key=lambda p: _monthly(p.quotas)).key]
    sandbox = create(5, clock, plans={f"{vendor}/{account}": chosen.key})
    quotas = way.plan(chosen.key).quotas
    bench = build(sandbox, vendor, account, clock, "http://sandbox.test", InProcess(sandbox.app), quotas=quotas)
    assert bench.account.plan == chosen
    async with bench.http:
        yield bench


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("account", "clicks_every"), [("household", None), ("portfolio", 25)])
async def test_a_month_breaks_no_quota(vendor: str, account: str, clicks_every: int | None) -> None:
    async with tight(vendor, account) as bench:
        tally, plan_ = bench.vendor.tallies[account], bench.account.plan
        monthly = _monthly(bench.ledger.quotas)
        roomy = monthly >= ROOMY
        until = START + timedelta(days=ROOMY_DAYS if roomy else DAYS)
        worker = Worker(bench, clicks_every)
        while await worker.step(until):
            pass
    assert not tally.refused
    assert 0 < tally.most_in_minute <= plan_.per_minute
    assert 0 < tally.most_in_month <= monthly <= plan_.per_month
    assert set(bench.ledger.verdicts) == {"ok"}
    # Nobody starves: every stream was asked within the last two days.
    assert all(until - worker.polled[key] < timedelta(days=2) for key, s, _ in worker.subjects() if s.step_s)
    if roomy:
        # A day of it is enough here; `make plan-month` has the whole month.
        return
    # Spent, not hoarded: these accounts want more than their plan allows.
    assert sum(tally.served.values()) > 0.75 * monthly * DAYS / 32
    if clicks_every is None:
        assert bench.ledger.refused == 0
        # Every poll reaches back over the last one: no quarter is missed between two of them.
        assert worker.widest_gap <= timedelta(hours=12)
    else:
        assert bench.ledger.refused > 0


@pytest.mark.timeout(120)
async def test_the_roomiest_plan_gets_every_cadence_wanted(vendor: str) -> None:
    until = START + timedelta(days=ROOMY_DAYS)
    async with tight(vendor, "portfolio", max) as bench:
        worker = Worker(bench, None)
        while await worker.step(until):
            pass
    assert not bench.vendor.tallies["portfolio"].refused
    lately = [until - worker.polled[key] for key, s, _ in worker.subjects() if s.step_s and not s.daylight_only]
    assert lately
    assert max(lately) <= timedelta(minutes=31)
