"""Fixtures of the contract: the sandbox on a real port, and benches of its accounts."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import pytest

from enalysis.connectors.registry import CONNECTORS
from enalysis.egress import Egress
from enalysis.simulators.registry import SIMULATORS
from enalysis.simulators.server import Sandbox, create
from tests.contract.benches import Bench, build
from tests.simulators.ports import Clock, serving

NOW = datetime(2026, 11, 5, 13, 7, 30, tzinfo=UTC)

MakeBench = Callable[[str], Bench]


@pytest.fixture(params=sorted(CONNECTORS.keys() | SIMULATORS.keys()))
def vendor(request: pytest.FixtureRequest) -> str:
    """Return each vendor in turn; one that stands in a single registry fails where it is looked up."""
    return str(request.param)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands after both changes of clocks of the year."""
    return Clock(NOW)


@pytest.fixture
def sandbox(clock: Clock) -> Sandbox:
    """Return a fresh sandbox in which the household has the roomiest plan, so that one test fits a minute."""
    roomiest = {
        f"{key}/household": max(simulator.plans.values(), key=lambda p: p.per_minute).key
        for key, simulator in SIMULATORS.items()
    }
    return create(5, clock, plans=roomiest)


@asynccontextmanager
async def benches(sandbox: Sandbox, vendor: str, clock: Clock) -> AsyncIterator[MakeBench]:
    """Yield a function from an account's key to its bench at a vendor, over real HTTP."""
    async with AsyncExitStack() as stack, serving(sandbox.app) as origin:
        egress = Egress(origin)

        def make(account: str) -> Bench:
            made = build(sandbox, vendor, account, clock, origin, egress)
            stack.push_async_callback(made.http.aclose)
            return made

        yield make


@pytest.fixture
async def bench(sandbox: Sandbox, vendor: str, clock: Clock) -> AsyncIterator[MakeBench]:
    """Yield a function from an account's key to its bench, for each vendor in turn."""
    async with benches(sandbox, vendor, clock) as make:
        yield make


@pytest.fixture
async def enphase(sandbox: Sandbox, clock: Clock) -> AsyncIterator[MakeBench]:
    """Yield a function from an account's key to its bench at the vendor whose apps have access controls."""
    async with benches(sandbox, "enphase", clock) as make:
        yield make
