"""Tokens are renewed early, once, under their row's lock, and no renewal is ever lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from enalysis.store.pool import Database
from tests.oauth_bench import Bench, Clock, opened


@pytest.fixture
async def house(db: Database, clock: Clock) -> AsyncIterator[Bench]:
    """Open an organization with an app, at a clock that stands."""
    async with opened(db, clock=clock, vendor_clock=clock.vendor) as bench:
        yield bench


@pytest.fixture
def clock() -> Clock:
    """Return a clock at noon UTC of a June day."""
    return Clock()


async def test_a_fresh_token_is_not_renewed(house: Bench) -> None:
    connection = await house.find(await house.connect())
    first = await house.vendors.tokens.current(house.scope, connection)
    assert await house.vendors.tokens.current(house.scope, connection) == first
    assert house.vendor.refreshes == 0


async def test_a_stale_token_is_renewed_once_for_all_who_ask(house: Bench, clock: Clock) -> None:
    made = await house.connect()
    connection = await house.find(made)
    first = await house.vendors.tokens.current(house.scope, connection)
    clock.move(minutes=50)
    given = await asyncio.gather(*(house.vendors.tokens.current(house.scope, connection) for _ in range(5)))
    assert set(given) != {first}
    assert len(set(given)) == 1
    assert house.vendor.refreshes == 1
    assert await house.lives(made)
