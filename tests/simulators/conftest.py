"""Fixtures of the simulators' tests: a sandbox whose clock stands still, and a client in process."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import httpx2
import pytest

from enalysis.simulators import enphase as enphases
from enalysis.simulators import fleet
from enalysis.simulators.accounts import Account
from enalysis.simulators.faults import Faults
from enalysis.simulators.server import Sandbox, build_app, create
from enalysis.simulators.world import World
from tests.simulators.enphase_bench import TOKEN, Place
from tests.simulators.ports import Clock, Switchboard, always_serving

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


@pytest.fixture(scope="session")
def worlds() -> dict[str, World]:
    """Return the make-believe sites; they never change, so that every test may share what they worked out."""
    return {key: World(site, SEED) for key, site in fleet.SITES.items()}


@pytest.fixture(scope="session")
def switchboard() -> Switchboard:
    """Return what stands between the port of the session and the application of a test."""
    return Switchboard()


@pytest.fixture(scope="session")
def origin(switchboard: Switchboard) -> Iterator[str]:
    """Yield the origin of a port of the loopback on which the switchboard answers."""
    with always_serving(switchboard) as found:
        yield found


@pytest.fixture
async def enphase(
    clock: Clock, worlds: dict[str, World], switchboard: Switchboard, origin: str
) -> AsyncIterator[Place]:
    """Yield Enphase's simulated cloud on a port, with the demo's accounts and nothing spent."""
    faults = Faults()
    cloud = enphases.EnphaseCloud(enphases.demo_accounts(SEED, {}), worlds, clock, faults)
    switchboard.app = build_app({"enphase": cloud}, clock, faults, TOKEN)
    async with httpx2.AsyncClient(timeout=20) as client:
        yield Place(origin, cloud, clock, faults, client)


@pytest.fixture
async def crowded(
    clock: Clock, worlds: dict[str, World], switchboard: Switchboard, origin: str
) -> AsyncIterator[Place]:
    """Yield a cloud with a crowd of sites, and two owners of one app."""
    crowd = fleet.crowd(112)
    accounts: tuple[Account, ...] = (
        enphases.crowd_account(SEED, crowd),
        enphases.make_account(SEED, "first", "First owner", "developer", "watt", ("graz",)),
        enphases.make_account(SEED, "second", "Second owner", "developer", "watt", ("porto",), app="first"),
    )
    everywhere = worlds | {site.key: World(site, SEED) for site in crowd}
    faults = Faults()
    cloud = enphases.EnphaseCloud(accounts, everywhere, clock, faults)
    switchboard.app = build_app({"enphase": cloud}, clock, faults)
    async with httpx2.AsyncClient(timeout=20) as client:
        yield Place(origin, cloud, clock, faults, client)
