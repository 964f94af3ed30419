"""SolarEdge's refusals over real HTTP: every one is named by what to do next, and none gives the key away."""

import json
import logging
from collections.abc import Mapping
from datetime import timedelta

import pytest

from enalysis.connectors.calls import Refusal
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.solaredge import SolarEdge, explain
from enalysis.core.errors import (
    BadPayload,
    Forbidden,
    LoginNeeded,
    QuotaSpent,
    Retired,
    Unavailable,
    VendorError,
)
from enalysis.core.quotas import QuotaWindow
from tests.connectors.conftest import LoopbackVendor, Purse, Reply
from tests.connectors.test_solaredge import MORNING, NOW, PAYLOADS, SITE

KEY = "Kq7-made-up-fleet-key-0042"
ENERGY = f"/v2/sites/{SITE}/energy"
PROBLEM = {"content-type": "application/problem+json"}


def payload(name: str, status: int, headers: Mapping[str, str]) -> Reply:
    """Return a composed body as an answer."""
    return Reply((PAYLOADS / name).read_bytes(), status, headers)


@pytest.fixture
def client(line: VendorHTTP) -> SolarEdge:
    """Return a client of the loopback vendor."""
    return SolarEdge(line, {"api_key": KEY})


async def test_remaining_calls_are_believed(client: SolarEdge, vendor: LoopbackVendor, purse: Purse) -> None:
    limits = {"x-ratelimit-limit-minute": "10", "x-ratelimit-remaining-minute": "8"}
    vendor.replies[ENERGY] = payload("energy.json", 200, limits)
    await client.fetch("energy", SITE, MORNING, NOW)
    fewer = {**PROBLEM, **limits, "x-ratelimit-remaining-minute": "7"}
    vendor.replies[ENERGY] = payload("error_404.json", 404, fewer)
    with pytest.raises(BadPayload):
        await client.fetch("energy", SITE, MORNING, NOW)
    assert purse.observed == [(QuotaWindow.MINUTE, 10, 8), (QuotaWindow.MINUTE, 10, 7)]


@pytest.mark.parametrize(("limit", "left"), [("10", "11"), ("x", "3"), ("10", "-1"), ("0", "0"), ("9" * 9, "3")])
async def test_rubbish_about_remaining_calls_is_not_believed(
    client: SolarEdge, vendor: LoopbackVendor, purse: Purse, limit: str, left: str
) -> None:
    limits = {"x-ratelimit-limit-minute": limit, "x-ratelimit-remaining-minute": left}
    vendor.replies[ENERGY] = payload("energy.json", 200, limits)
    await client.fetch("energy", SITE, MORNING, NOW)
    assert purse.observed == []


@pytest.mark.parametrize(
    ("headers", "window", "wait"),
    [
        (
            {"x-ratelimit-remaining-minute": "0", "retry-after": "17"},
            QuotaWindow.MINUTE,
            timedelta(seconds=17),
        ),
        ({"x-ratelimit-remaining-minute": "0"}, QuotaWindow.MINUTE, timedelta(minutes=1)),
        ({"x-ratelimit-remaining-minute": "9"}, QuotaWindow.MONTH, timedelta(hours=6)),
        ({"x-ratelimit-remaining-minute": "9", "retry-after": "40"}, None, timedelta(seconds=40)),
        ({"retry-after": "Tue, 02 Jun 2026 10:07:30 GMT"}, None, timedelta(hours=1)),
    ],
)
async def test_spent_quotas(
    client: SolarEdge,
    vendor: LoopbackVendor,
    purse: Purse,
    headers: Mapping[str, str],
    window: QuotaWindow | None,
    wait: timedelta,
) -> None:
    dated = {"date": "Tue, 02 Jun 2026 09:07:30 GMT", **headers}
    vendor.replies[ENERGY] = Reply({"message": "API rate limit exceeded"}, 429, dated)
    with pytest.raises(QuotaSpent) as caught:
        await client.fetch("energy", SITE, MORNING, NOW)
    assert (caught.value.window, caught.value.until, caught.value.ours) == (window, NOW + wait, False)
    assert purse.holds == [(window, NOW + wait)]
    assert purse.verdicts == ["quota_spent"]


async def test_a_bare_429_waits_a_while(client: SolarEdge, vendor: LoopbackVendor, purse: Purse) -> None:
    vendor.replies[ENERGY] = Reply(b"slow down", 429)
    with pytest.raises(QuotaSpent) as caught:
        await client.fetch("energy", SITE, MORNING, NOW)
    assert caught.value.until is not None
    assert timedelta(seconds=20) <= caught.value.until - NOW <= timedelta(minutes=15)
    assert purse.holds == [(None, caught.value.until)]


async def test_a_refused_key_says_what_to_do(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies["/v2/sites"] = payload("error_401.json", 401, PROBLEM)
    with pytest.raises(LoginNeeded, match=r"developer\.solaredge\.com.* V1 API do not work") as caught:
        await client.check(NOW)
    assert (caught.value.operation, caught.value.status) == ("sites", 401)
    assert caught.value.code == "unauthorized-authentication-failed"


async def test_a_forbidden_site_names_itself(client: SolarEdge, vendor: LoopbackVendor) -> None:
    vendor.replies[ENERGY] = Reply({}, 403, PROBLEM)
    with pytest.raises(Forbidden, match=f"site {SITE}.*no access.*scope.*plan") as caught:
        await client.fetch("energy", SITE, MORNING, NOW)
    assert caught.value.subject == SITE


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {}, BadPayload),
        (401, {"error": "invalid_request", "error_description": "The access token is missing"}, LoginNeeded),
        (403, [], Forbidden),
        (404, {"title": "Not Found", "detail": "Unknown endpoint"}, BadPayload),
        (404, {"title": "Not Found", "detail": "No such site"}, Forbidden),
        (410, b"gone", Retired),
        (429, b"\xff\xfe", QuotaSpent),
        (500, {}, Unavailable),
        (503, b"<html>", Unavailable),
        (302, {}, BadPayload),
        (200, b"<html>", BadPayload),
        (200, {"message": "too many requests"}, BadPayload),
        (200, b"", BadPayload),
        (200, b"[" * 5000, BadPayload),
        (200, b'{"values": NaN}', BadPayload),
        (410, b"[" * 60000, Retired),
    ],
)
async def test_refusals_are_named(
    client: SolarEdge, vendor: LoopbackVendor, status: int, body: object, kind: type[VendorError]
) -> None:
    vendor.replies[ENERGY] = Reply(body, status)
    with pytest.raises(VendorError) as caught:
        await client.fetch("energy", SITE, MORNING, NOW)
    assert type(caught.value) is kind
    assert caught.value.operation == "energy"


@pytest.mark.parametrize("key", [KEY, "abcdefghijklmnop", "0af7651916cd43dd8448eb211c80319c"])
async def test_the_key_never_comes_back_in_an_error(
    line: VendorHTTP, vendor: LoopbackVendor, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    caplog.set_level(logging.DEBUG)
    client = SolarEdge(line, {"api_key": key})
    echo = {"title": f"Bad key {key}", "detail": key, "traceId": key}
    for status in (400, 401, 403, 404, 410, 429, 500, 200):
        vendor.replies[ENERGY] = Reply(echo, status, {"x-kong-request-id": key})
        with pytest.raises(VendorError) as caught:
            await client.fetch("energy", SITE, MORNING, NOW)
        error = caught.value
        told = repr((str(error), error.code, error.request_id, error.__cause__, error.__context__))
        assert key not in told
    assert key not in caplog.text
    assert key not in repr(client)


@pytest.mark.parametrize(
    ("title", "code"),
    [
        ("Not Found", "not-found"),
        ("a1b2c3d4e5f60718293a4b5c6d7e8f90", None),
        ("abcdefghijklmnopqrstuvwxyzabcdef", None),
        ("Key ABCD1234EFGH5678 refused", "key-refused"),
        ("<script>alert(1)</script>\r\nX: y", "script-alert-script"),
        ("word " * 50, "word-word-word-word-word-word"),
        (5, None),
    ],
)
def test_codes_are_words_of_the_title(title: object, code: str | None) -> None:
    refusal = Refusal("energy", 400, {}, json.dumps({"title": title}).encode(), NOW, SITE)
    error = explain(refusal)
    assert error is not None
    assert error.code == code
