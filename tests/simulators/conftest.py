"""Fixtures of the simulators' tests: a sandbox whose clock stands still, and a client in process."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx2
import pytest

from enalysis.simulators.server import Sandbox, create
from tests.simulators.ports import Clock

SEED = 11
NOON = datetime(2026, 6, 2, 12, 7, 41, 16061, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that stands at noon of a June day in UTC."""
    return Clock(NOON)


@pytest.fixture
def sandbox(clock: Clock) -> Sandbox:
    """Return a fresh sandbox: nothing spent, no fault on."""
    return create(SEED, clock)


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of SolarEdge's simulated cloud, without a port."""
    transport = httpx2.ASGITransport(app=sandbox.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://vendor/solaredge/v2") as client:
        yield client
