"""Guests: who waits for the real vendor is let in by a word, as one who need not wait, and never further."""

from datetime import UTC, datetime

import httpx2
import pytest

from enalysis.sandbox import Simulators
from enalysis.simulators.guests import WORD
from enalysis.simulators.server import create
from tests.simulators.ports import Clock

VENDOR = "enphase"
CLOCK = Clock(datetime(2026, 6, 2, 12, 7, 30, tzinfo=UTC))


async def status(seed: int, key: str, token: str) -> tuple[int, int | None]:
    """Ask for the list of sites and return the status and how many there are."""
    sandbox = create(seed, CLOCK)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=sandbox.app), base_url="http://sandbox") as client:
        headers = {"key": key, "authorization": f"Bearer {token}"}
        answer = await client.get(f"/{VENDOR}/api/v4/systems", headers=headers)
    return answer.status_code, answer.json().get("total")


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_word_is_the_same_whatever_the_seed(seed: int) -> None:
    assert Simulators.word == WORD
    hosting = create(seed, CLOCK).vendors[VENDOR].accounts["portfolio"]
    assert await status(seed, WORD, WORD) == (200, len(hosting.sites))


async def test_no_other_word_opens_anything() -> None:
    account = create(1, CLOCK).vendors[VENDOR].accounts["pending"]
    for key, token in [
        (WORD, "nobody"),
        ("nobody", WORD),
        (account.app["api_key"], WORD),
        (WORD.lower(), WORD.lower()),
    ]:
        assert (await status(1, key, token))[0] == 401
