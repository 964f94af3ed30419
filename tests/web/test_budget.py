"""The budget as a page and in the API: the same figures, and a sentence on each line."""

from enalysis.core.access import Scope
from tests.web.conftest import Browser, House


async def test_page_and_api_tell_what_is_used_planned_and_kept(house: House, browser: Browser, owner: Scope) -> None:
    empty = await browser.get("/budget")
    assert "Nothing is spent yet" in empty.text
    await house.connect(owner, "lapsed")
    told = (await browser.call("GET", "/api/v1/budget")).json()
    assert len(told) == 1
    account = told[0]
    month = next(w for w in account["windows"] if w["window"] == "month")
    assert month["used"] > 0
    assert month["people"] == month["limit"] // 20
    assert month["used"] + month["planned"] + month["people"] + month["left_over"] == month["limit"]
    assert month["fate"] == "lasts"
    site = account["connections"][0]["sites"][0]
    assert site["every_s"] >= 900
    assert site["age_s"] > site["every_s"] / 2
    assert {p["key"]: p["current"] for p in account["plans"]}[account["plan"]]
    page = (await browser.get("/budget")).text
    for line in (account["sentence"], month["sentence"], site["sentence"], *(p["sentence"] for p in account["plans"])):
        assert line.endswith(".")
        assert line in page
    assert f'data-taken="{month["used"]}"' in page


async def test_a_spent_quota_and_a_pause_are_said_with_their_end(house: House, browser: Browser, owner: Scope) -> None:
    await house.connect(owner, "lapsed")
    async with house.runtime.db.world() as conn:
        await conn.execute("update quota_windows set taken = 199999 where quota_window = 'month'")
    assert "some comes back" in (await browser.get("/budget")).text
    async with house.runtime.db.world() as conn:
        await conn.execute("update quota_limits set hold_until = '2026-06-02 13:00Z'")
    assert "The vendor asked to wait until 2 Jun 2026, 13:00 UTC" in (await browser.get("/budget")).text
