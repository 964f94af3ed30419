"""The protocol of OAuth 2.0: addresses, callbacks, grants, and what each answer of a token endpoint means."""

import base64
import json
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest

from enalysis.connectors.base import OAuth
from enalysis.connectors.calls import HTTPLimits
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.oauth import (
    AppKeys,
    log_in,
    redeem,
    refresh,
    revoke,
)
from enalysis.core.errors import (
    AppFault,
    BadPayload,
    GrantDead,
    LoginNeeded,
    QuotaSpent,
    Retired,
    Unavailable,
    VendorError,
)
from tests.vendor import Act, Book, Vendor, answer, drip, send, silent, vendor_http

NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)
APP = AppKeys("made-up id:1", "made-up/secret+0042")
SPENT = "made-up-refresh-token-0001"
FRESH = "made-up-refresh-token-0002"
ACCESS = "made-up-access-token-0002"
OWNER = "owner@energy.example"
PASSWORD = "pä&ss=wörd %+1"
CODE = "made-up-code-0001"
BACK = "https://energy.example:8443/oauth/back?x=1"

BASIC = OAuth(
    token_url="https://api.acme.example/oauth/token",
    authorize_url="https://api.acme.example/oauth/authorize",
    basic=True,
    access_s=86400,
    refresh_s=30 * 86400,
    subject="enl_uid",
)
JSON = OAuth(
    token_url="https://api.acme.example/v2/oauth2/token",
    authorize_url="https://connect.acme.example/authorize?old=1",
    revoke_url="https://api.acme.example/v2/oauth2/revoke",
    scope="SITE_DATA DEVICE_DATA",
    extra=(("access_duration", "24"),),
    state_names=("state", "external_id"),
    json_body=True,
    pkce=True,
    access_s=7200,
    kept=("site_id",),
    cost=2,
)
GOOD: dict[str, object] = {
    "access_token": ACCESS,
    "token_type": "bearer",
    "refresh_token": FRESH,
    "expires_in": 86399,
    "scope": "read write",
    "enl_uid": "3312345",
    "app_type": "system",
}


@asynccontextmanager
async def endpoint(*acts: Act) -> AsyncIterator[tuple[Vendor, VendorHTTP, Book]]:
    """Yield a scripted token endpoint, the way to it, and its ledger."""
    book = Book()
    async with Vendor(*acts) as there, vendor_http(there.origin, book, HTTPLimits(0.4, attempts=3)) as http:
        yield there, http, book


def refused(error: str, status: int = 400) -> Act:
    """Return a refusal as RFC 6749, section 5.2, has it; its text repeats what was sent, as some vendors' do."""
    said = f"Invalid token (expired): {SPENT} {CODE} {PASSWORD} {APP.client_secret}"
    return answer({"error": error, "error_description": said}, status)


# What a token endpoint may answer to a refresh. Only the two dead ones may cost anybody a sign-in.
REPLIES: list[tuple[str, Act, type[VendorError] | None]] = [
    ("good", answer(GOOD), None),
    ("no new refresh token", answer({k: v for k, v in GOOD.items() if k != "refresh_token"}), None),
    ("a page", answer(b"<html>Maintenance</html>", content_type="text/html"), BadPayload),
    ("a page that says JSON", answer(b"<html>"), BadPayload),
    ("no token", answer({"token_type": "bearer"}), BadPayload),
    ("an error under 200", answer({"error": "invalid_grant"}), BadPayload),
    ("a list", answer([GOOD]), BadPayload),
    ("truncated", answer(json.dumps(GOOD)[:60].encode()), BadPayload),
    ("empty", answer(b""), BadPayload),
    ("elsewhere", answer(b"", 302, None, {"Location": "https://evil.example"}), BadPayload),
    ("dead", refused("invalid_grant"), GrantDead),
    ("dead, as Spring says it", refused("invalid_token", 401), GrantDead),
    ("wrong secret", refused("invalid_client", 401), AppFault),
    ("wrong secret, with 400", refused("invalid_client"), AppFault),
    ("wrong secret, as Spring says it", refused("Unauthorized", 401), AppFault),
    ("not this app's", refused("unauthorized_client"), AppFault),
    ("something else", refused("invalid_request"), Unavailable),
    ("a word we do not know", refused("x" * 300), Unavailable),
    ("400 with a page", answer(b"<html>invalid_grant</html>", 400, "text/html"), Unavailable),
    ("401 with nothing", answer(b"", 401), Unavailable),
    ("403 at the gateway", answer(b"Forbidden", 403, "text/plain"), Unavailable),
    ("gone missing", answer(b"not found", 404, "text/plain"), Unavailable),
    ("too many", answer({"error": "slow_down"}, 429, headers={"Retry-After": "30"}), QuotaSpent),
    ("too many, with a word that means death", refused("invalid_grant", 429), QuotaSpent),
    ("down", answer({"message": "Internal Server Error"}, 500), Unavailable),
    ("down, with a word that means death", refused("invalid_grant", 500), Unavailable),
    ("down, with a word about the app", refused("invalid_client", 503), Unavailable),
    ("bad gateway", answer(b"<html>Bad Gateway</html>", 502, "text/html"), Unavailable),
    ("busy", answer(b"", 503, None, {"Retry-After": "120"}), Unavailable),
    ("gone for good", answer(b"", 410), Retired),
    ("silent", silent(), Unavailable),
    ("dripping", drip(), Unavailable),
    ("hung up", send(b""), Unavailable),
    (
        "hung up half-way",
        send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"),
        Unavailable,
    ),
]


@pytest.mark.parametrize(("act", "kind"), [pytest.param(a, k, id=name) for name, a, k in REPLIES])
async def test_what_an_answer_to_a_refresh_means(
    act: Act, kind: type[VendorError] | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with endpoint(act) as (there, http, book):
        if kind is None:
            grant = await refresh(http, BASIC, APP, SPENT, NOW)
            assert grant.access_token == ACCESS
            assert grant.expires_at == NOW + timedelta(seconds=86399)
            assert book.verdicts == ["ok"]
            return
        with pytest.raises(VendorError) as caught:
            await refresh(http, BASIC, APP, SPENT, NOW)
        # Once: what a refresh does at the vendor may be done, whatever came back.
        assert len(there.asked) == book.taken == 1
    error = caught.value
    assert type(error) is kind
    assert (error.vendor, error.operation) == ("acme", "refresh")
    told = "".join(traceback.format_exception(error)) + repr(vars(error)) + caplog.text
    for secret in (SPENT, CODE, APP.client_secret, "Invalid token", "evil.example"):
        assert secret not in told
    assert "http" not in str(error)


def test_only_a_dead_grant_is_called_dead() -> None:
    dead = [name for name, _, kind in REPLIES if kind is not None and issubclass(kind, LoginNeeded)]
    assert dead == ["dead", "dead, as Spring says it"]
    assert len(REPLIES) >= 16


async def test_no_new_refresh_token_means_that_the_old_one_goes_on() -> None:
    async with endpoint(next(act for name, act, _ in REPLIES if name == "no new refresh token")) as (_, http, _):
        grant = await refresh(http, BASIC, APP, SPENT, NOW)
    assert (grant.refresh_token, grant.refresh_expires_at) == (None, None)


async def test_waits_that_the_endpoint_asks_for_are_kept() -> None:
    async with endpoint(answer(b"", 503, None, {"Retry-After": "120"})) as (_, http, _):
        with pytest.raises(Unavailable) as caught:
            await refresh(http, BASIC, APP, SPENT, NOW)
    assert caught.value.retry_after_s == 120


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (refused("invalid_grant"), LoginNeeded),
        (refused("invalid_client", 401), AppFault),
        (refused("unauthorized", 401), AppFault),
        (refused("unauthorized_client"), AppFault),
        (refused("invalid_token", 401), Unavailable),
        (refused("unsupported_grant_type"), Unavailable),
        (refused("invalid_grant", 500), Unavailable),
        (answer(b"<html>", 403, "text/html"), Unavailable),
        (answer({"error": "slow_down"}, 429), QuotaSpent),
        (answer({}), BadPayload),
    ],
)
async def test_what_an_answer_to_a_name_and_password_means(
    act: Act, kind: type[VendorError], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with endpoint(act) as (there, http, _):
        with pytest.raises(VendorError) as caught:
            await log_in(http, BASIC, APP, OWNER, PASSWORD, NOW)
        # Never twice: a wrong password asked again is how accounts get locked.
        assert len(there.asked) == 1
    assert type(caught.value) is kind
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + caplog.text
    assert PASSWORD not in told
    assert OWNER not in told


async def test_a_used_code_is_dead() -> None:
    async with endpoint(refused("invalid_grant")) as (_, http, _):
        with pytest.raises(GrantDead, match="sign in at Acme again"):
            await redeem(http, BASIC, APP, CODE, BACK, None, NOW)


async def test_what_is_sent_with_a_basic_header_and_a_form() -> None:
    async with endpoint(answer(GOOD)) as (there, http, book):
        await redeem(http, BASIC, APP, CODE, BACK, None, NOW)
        await refresh(http, BASIC, APP, SPENT, NOW)
        await log_in(http, BASIC, APP, OWNER, PASSWORD, NOW)
    assert {(a.method, a.target) for a in there.asked} == {("POST", "/oauth/token")}
    # RFC 6749, 2.3.1: a colon in the id must not move the border between id and secret.
    pairs = {base64.b64decode(a.headers["authorization"].removeprefix("Basic ")).decode() for a in there.asked}
    assert pairs == {"made-up%20id%3A1:made-up%2Fsecret%2B0042"}
    assert {a.headers["content-type"] for a in there.asked} == {"application/x-www-form-urlencoded"}
    assert [dict(parse_qsl(body.decode(), strict_parsing=True)) for body in [asked.body for asked in there.asked]] == [
        {"grant_type": "authorization_code", "code": CODE, "redirect_uri": BACK},
        {"grant_type": "refresh_token", "refresh_token": SPENT},
        {"grant_type": "password", "username": OWNER, "password": PASSWORD},
    ]
    assert [(operation, cost) for operation, cost, _ in book.records] == [("redeem", 1), ("refresh", 1), ("log_in", 1)]


async def test_what_is_sent_as_json() -> None:
    async with endpoint(answer(GOOD)) as (there, http, book):
        await redeem(http, JSON, APP, CODE, BACK, "the verifier", NOW)
        await refresh(http, JSON, APP, SPENT, NOW)
    keys = {"client_id": APP.client_id, "client_secret": APP.client_secret}
    assert [json.loads(body) for body in [asked.body for asked in there.asked]] == [
        {"grant_type": "authorization_code", "code": CODE, "redirect_uri": BACK, "code_verifier": "the verifier"}
        | keys,
        {"grant_type": "refresh_token", "refresh_token": SPENT} | keys,
    ]
    assert {a.headers["content-type"] for a in there.asked} == {"application/json"}
    assert all("authorization" not in a.headers for a in there.asked)
    assert {(a.method, a.target) for a in there.asked} == {("POST", "/v2/oauth2/token")}
    # What a token call costs is the card's word.
    assert book.taken == 4


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (answer({}), None),
        (answer(b""), None),
        (answer(b"revoked", content_type="text/plain"), None),
        (answer(b"", 204, None), None),
        (refused("invalid_token", 400), None),
        (answer(b"", 401), LoginNeeded),
        (answer(b"", 503), Unavailable),
        (answer(b"", 404), BadPayload),
    ],
)
async def test_revoking(act: Act, kind: type[VendorError] | None) -> None:
    async with endpoint(act) as (there, http, _):
        if kind is None:
            await revoke(http, JSON, APP, SPENT)
        else:
            with pytest.raises(kind) as caught:
                await revoke(http, JSON, APP, SPENT)
            assert SPENT not in repr((str(caught.value), vars(caught.value)))
        assert json.loads(there.asked[0].body)["token"] == SPENT
    assert there.asked[0].target == "/v2/oauth2/revoke"


def test_app_keys_do_not_show_themselves() -> None:
    assert repr(APP) == "AppKeys()"
