"""Enphase's refusals over real HTTP: every one is named by what to do next, and none gives a secret away."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from enalysis.connectors.base import Batch
from enalysis.connectors.calls import Refusal
from enalysis.connectors.enphase import Enphase
from enalysis.connectors.enphase_refusals import OutOfRange, explain, told_limit
from enalysis.connectors.http import VendorHTTP
from enalysis.core.errors import (
    AppFault,
    BadPayload,
    Forbidden,
    LoginNeeded,
    QuotaSpent,
    Unavailable,
    VendorError,
)
from enalysis.core.intervals import Window
from enalysis.core.quotas import QuotaWindow
from tests.connectors.conftest import NOW, LoopbackVendor, Purse, Reply
from tests.connectors.test_enphase import PAYLOADS, SITE, epoch, plain

KEY = "made-up-api-key-0042"
METER = f"/v2/systems/{SITE}/telemetry/production_meter"
WINDOW = Window(NOW - timedelta(hours=5), NOW)
MONTH_END = datetime(2026, 7, 1, tzinfo=UTC)


def refused(body: object, status: int, subject: str | None = SITE, at: datetime = NOW) -> Refusal:
    """Return an answer that is none, with a composed body where its name is given."""
    content = (PAYLOADS / body).read_bytes() if isinstance(body, str) else Reply(body).content
    return Refusal("production", status, {}, content, at, subject)


@pytest.fixture
def client(line: VendorHTTP) -> Enphase:
    """Return a client of the loopback vendor."""
    return Enphase(line, {"api_key": KEY})


@pytest.mark.parametrize(
    ("body", "status", "kind", "code"),
    [
        ("error_401.json", 401, LoginNeeded, "401"),
        ("error_401_mismatch.json", 401, AppFault, "401"),
        ("error_401_no_key.json", 401, AppFault, "401"),
        ({"message": "Bad request", "code": "400", "details": "Invalid system_id"}, 400, BadPayload, "400"),
        ({"message": "Bad request", "code": "400", "details": ["a", "b"]}, 400, BadPayload, "400"),
        ("error_403.json", 403, Forbidden, "403"),
        ("error_404.json", 404, Forbidden, "404"),
        ("error_404_readings.json", 404, Forbidden, "404"),
        ("error_405.json", 405, Forbidden, "405"),
        ("error_422_week.json", 422, BadPayload, "422"),
        ("error_429.json", 429, QuotaSpent, "429"),
        ("error_429_minute.json", 429, QuotaSpent, "429"),
        ("error_500.json", 500, Unavailable, None),
        ("error_500_rgm.json", 500, Unavailable, None),
        ("error_501.json", 501, Unavailable, None),
        (b"<html>", 401, LoginNeeded, None),
        (b"", 403, Forbidden, None),
        (b"<html>Not Found</html>", 404, BadPayload, None),
        ([], 404, BadPayload, None),
        (b"\xff\xfe", 429, QuotaSpent, None),
        (b"[" * 60000, 429, QuotaSpent, None),
        (b"<html>", 503, Unavailable, None),
        (b"<html>", 302, BadPayload, None),
        (b"<html>", 200, BadPayload, None),
        (b"", 200, BadPayload, None),
        ({"message": "Too Many Requests", "code": 429}, 200, BadPayload, None),
        (b'{"system_id": 5203841, "intervals": NaN}', 200, BadPayload, None),
        ({"message": 5, "details": {}, "code": "DROP TABLE"}, 401, LoginNeeded, None),
        ({"message": "x", "code": True}, 403, Forbidden, None),
    ],
)
async def test_refusals_are_named(
    client: Enphase, vendor: LoopbackVendor, body: object, status: int, kind: type[VendorError], code: str | None
) -> None:
    vendor.replies[METER] = Reply((PAYLOADS / body).read_bytes() if isinstance(body, str) else body, status)
    with pytest.raises(VendorError) as caught:
        await client.fetch("production", SITE, WINDOW, NOW)
    error = caught.value
    assert type(error) is kind
    assert (error.operation, error.code) == ("production", code)
    assert error.status == status
    if isinstance(error, Forbidden):
        assert error.subject == SITE
    if kind is AppFault:
        assert "Nobody needs to sign in" in error.message


async def test_a_404_about_no_system_is_no_matter_of_rights(client: Enphase, vendor: LoopbackVendor) -> None:
    vendor.replies["/v2/systems"] = Reply((PAYLOADS / "error_404.json").read_bytes(), 404)
    with pytest.raises(BadPayload):
        await client.discover(NOW)


@pytest.mark.parametrize("name", ["error_422_range.json", "error_422_future.json"])
async def test_a_range_without_readings_is_no_error(client: Enphase, vendor: LoopbackVendor, name: str) -> None:
    vendor.replies[METER] = Reply((PAYLOADS / name).read_bytes(), 422)
    assert await client.fetch("production", SITE, WINDOW, NOW) == Batch()
    # One piece of a longer range says nothing of the other.
    bucket = {"end_at": epoch(NOW.replace(minute=0, second=0)), "devices_reporting": 1, "wh_del": 5}
    told = {"system_id": int(SITE), "total_devices": 1, "intervals": [bucket]}
    vendor.replies[METER] = [Reply((PAYLOADS / name).read_bytes(), 422), Reply(told)]
    batch = await client.fetch("production", SITE, Window(NOW - timedelta(days=8), NOW), NOW)
    assert len(batch.intervals) == 1
    # The detail may be a list, as in other answers of this vendor.
    body = plain(name)
    body["details"] = [body["details"]]
    assert isinstance(explain(refused(body, 422)), OutOfRange)


@pytest.mark.parametrize(
    ("body", "window", "until", "observed"),
    [
        # Told: until the end of the window.
        (
            {"period": "minute", "period_end": epoch(NOW) + 29, "limit": 10},
            QuotaWindow.MINUTE,
            NOW + timedelta(seconds=29),
            [(QuotaWindow.MINUTE, 10, 0)],
        ),
        (
            {"period": "month", "period_end": epoch(MONTH_END), "limit": 1000},
            QuotaWindow.MONTH,
            MONTH_END,
            [(QuotaWindow.MONTH, 1000, 0)],
        ),
        ({"period": "month", "period_end": epoch(MONTH_END)}, QuotaWindow.MONTH, MONTH_END, []),
        # The end is over by our clock, absurd or no time: a minute ends with the clock's, a month is looked at daily.
        ({"period": "minute", "period_end": epoch(NOW) - 5}, QuotaWindow.MINUTE, NOW.replace(minute=8, second=0), []),
        ({"period": "minute", "period_end": 10**12}, QuotaWindow.MINUTE, NOW.replace(minute=8, second=0), []),
        ({"period": "month", "period_end": "July"}, QuotaWindow.MONTH, NOW + timedelta(days=1), []),
        ({"period": "month", "period_end": True, "limit": True}, QuotaWindow.MONTH, NOW + timedelta(days=1), []),
        # Not told: the minute, by the clock.
        ({}, QuotaWindow.MINUTE, NOW.replace(minute=8, second=0), []),
        ({"period": "fortnight", "limit": 5}, QuotaWindow.MINUTE, NOW.replace(minute=8, second=0), []),
        ({"period": ["minute"], "limit": -5}, QuotaWindow.MINUTE, NOW.replace(minute=8, second=0), []),
        ({"period": "minute", "limit": 0}, QuotaWindow.MINUTE, NOW.replace(minute=8, second=0), []),
    ],
)
async def test_spent_quotas(
    client: Enphase,
    vendor: LoopbackVendor,
    purse: Purse,
    body: dict[str, object],
    window: QuotaWindow,
    until: datetime,
    observed: list[tuple[QuotaWindow, int, int]],
) -> None:
    vendor.replies[METER] = Reply(plain("error_429.json") | body, 429)
    with pytest.raises(QuotaSpent) as caught:
        await client.fetch("production", SITE, WINDOW, NOW)
    assert (caught.value.window, caught.value.until, caught.value.ours) == (window, until, False)
    assert purse.holds == [(window, until)]
    assert purse.observed == observed
    assert purse.verdicts == ["quota_spent"]


def test_the_windows_of_the_documentation() -> None:
    minute = explain(refused("error_429_minute.json", 429, at=datetime(2026, 6, 15, 18, 37, 12, tzinfo=UTC)))
    assert isinstance(minute, QuotaSpent)
    assert (minute.window, minute.until) == ("minute", datetime(2026, 6, 15, 18, 38, tzinfo=UTC))
    month = explain(refused("error_429_month.json", 429))
    assert isinstance(month, QuotaSpent)
    assert (month.window, month.until) == ("month", MONTH_END)
    assert told_limit(refused("error_429_minute.json", 429)) == (QuotaWindow.MINUTE, 10)
    assert told_limit(refused("error_429_minute.json", 422)) is None


def test_two_bare_429s_in_different_minutes_are_the_month() -> None:
    bare = refused("error_429.json", 429)
    first, second = explain(bare), explain(bare, again=True)
    assert isinstance(first, QuotaSpent)
    assert isinstance(second, QuotaSpent)
    assert (first.window, second.window, second.until) == ("minute", "month", NOW + timedelta(days=1))
    last_day = explain(refused("error_429.json", 429, at=MONTH_END - timedelta(hours=3)), again=True)
    assert isinstance(last_day, QuotaSpent)
    assert last_day.until == MONTH_END
    # A window that is told is believed, whatever came before.
    told = explain(refused("error_429_minute.json", 429, at=datetime(2026, 6, 15, 18, 37, tzinfo=UTC)), again=True)
    assert isinstance(told, QuotaSpent)
    assert told.window == "minute"


async def test_the_client_remembers_a_bare_429_until_an_answer_comes(
    client: Enphase, vendor: LoopbackVendor, line: VendorHTTP
) -> None:
    at = NOW
    line._clock = lambda: at
    good = {"system_id": int(SITE), "intervals": []}
    bare = Reply(plain("error_429.json"), 429)

    async def window() -> str | None:
        vendor.replies[METER] = bare
        with pytest.raises(QuotaSpent) as caught:
            await client.fetch("production", SITE, WINDOW, NOW)
        return caught.value.window

    assert await window() == "minute"
    # In the same minute of the clock it says no more than before.
    assert await window() == "minute"
    at += timedelta(minutes=1)
    assert await window() == "month"
    vendor.replies[METER] = Reply(good)
    await client.fetch("production", SITE, WINDOW, NOW)
    at += timedelta(minutes=1)
    assert await window() == "minute"


@pytest.mark.parametrize("secret", [KEY, "abcdefghijklmnop", "4040404"])
async def test_neither_key_nor_token_comes_back_in_an_error(
    line: VendorHTTP, vendor: LoopbackVendor, caplog: pytest.LogCaptureFixture, secret: str
) -> None:
    caplog.set_level(logging.DEBUG)
    client = Enphase(line, {"api_key": secret})
    echo = {
        "message": f"Bad key {secret}",
        "details": [secret],
        "code": secret,
        "reason": secret,
        "errorMessages": [secret],
        "period": secret,
    }
    for status in (400, 401, 403, 404, 405, 410, 422, 429, 500, 200):
        vendor.replies[METER] = Reply(echo, status, {"x-request-id": secret})
        with pytest.raises(VendorError) as caught:
            await client.fetch("production", SITE, WINDOW, NOW)
        error = caught.value
        told = repr((str(error), error.code, error.request_id, error.__cause__, error.__context__))
        assert secret not in told
    assert secret not in caplog.text
    assert secret not in repr(client)
