"""Proves VendorHTTP against a vendor that misbehaves on real sockets."""

import asyncio
import gzip
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest

from enalysis.connectors.calls import HTTPLimits, Refusal
from enalysis.core.errors import (
    BadPayload,
    Forbidden,
    LoginNeeded,
    QuotaSpent,
    Retired,
    Unavailable,
    VendorError,
    WaitingForVendor,
)
from enalysis.core.quotas import QuotaWindow
from enalysis.egress import Egress
from tests.bar.rows_http import SECRET
from tests.vendor import (
    QUICK,
    Act,
    Asked,
    Book,
    Vendor,
    answer,
    cut,
    drip,
    head,
    redirect,
    reset,
    send,
    silent,
    vendor_http,
)

JSON_HEAD = {"Content-Type": "application/json"}
PATIENT = HTTPLimits(deadline_s=5.0, backoff_s=0.002)


class Power(msgspec.Struct, rename="camel"):
    """What the made-up vendor documents."""

    power_w: float
    at: str | None = None


GOOD = {"powerW": 12.5}


async def ask(act: Act, limits: HTTPLimits = QUICK) -> tuple[Power | VendorError, Book, list[Asked]]:
    """Make one call to a vendor that plays one act; return what came of it."""
    book = Book()
    async with Vendor(act) as vendor, vendor_http(vendor.origin, book, limits) as http:
        try:
            return (await http.get("power", "/power", into=Power)).data, book, vendor.asked
        except VendorError as error:
            return error, book, vendor.asked


async def test_an_answer_is_decoded_and_written_down() -> None:
    book = Book()
    vendor_time = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    async with Vendor(answer(GOOD, headers={"Date": vendor_time, "X-Left": "7"})) as vendor:
        egress = Egress(vendor.origin)
        async with vendor_http(vendor.origin + "/v2", book, egress=egress) as http:
            got = await http.get("power", "/sites/a%2Fb", into=Power, params=[("q", "a b&c"), ("q", "é")], cost=3)
    assert got.data == Power(12.5)
    assert got.headers["x-left"] == "7"
    assert got.clock_ahead_s == pytest.approx(90, abs=3)
    assert (book.taken, book.records) == (3, [("power", 3, "ok")])
    (asked,) = vendor.asked
    assert (asked.method, asked.target) == ("GET", "/v2/sites/a%2Fb?q=a+b%26c&q=%C3%A9")
    assert (asked.headers["accept-encoding"], asked.headers["accept"]) == ("gzip", "application/json")


@pytest.mark.parametrize(
    ("status", "kind", "state"),
    [
        (401, LoginNeeded, "reauth_required"),
        (403, Forbidden, "forbidden"),
        (404, BadPayload, "bad_payload"),
        (410, Retired, "vendor_api_retired"),
        (400, BadPayload, "bad_payload"),
        (422, BadPayload, "bad_payload"),
        (429, QuotaSpent, "quota_spent"),
        (301, BadPayload, "bad_payload"),
        (204, BadPayload, "bad_payload"),
        (206, BadPayload, "bad_payload"),
    ],
)
async def test_a_refusal_is_named_and_never_repeated(status: int, kind: type[VendorError], state: str) -> None:
    error, book, asked = await ask(answer(b"" if status == 204 else b"<html>no</html>", status, "text/html"))
    assert type(error) is kind
    assert (error.vendor, error.operation, error.status) == ("acme", "power", status)
    assert (book.verdicts, len(asked)) == ([state], 1)
    assert "Acme" in str(error)
    assert "{" not in str(error)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520])
async def test_what_may_pass_is_tried_again_and_each_try_is_reserved(status: int) -> None:
    error, book, asked = await ask(answer(b"", status), HTTPLimits(deadline_s=5.0, backoff_s=0.002))
    assert isinstance(error, Unavailable)
    assert len(asked) == book.taken == len(book.records) == 3
    assert book.verdicts == ["vendor_unavailable"] * 3


@pytest.mark.parametrize("first", [answer(b"", 503), reset(), cut(), reset(head(200, {"Content-Length": "9"}))])
async def test_a_second_try_that_succeeds_is_the_answer(first: Act) -> None:
    book = Book()
    async with Vendor(first, answer(GOOD)) as vendor, vendor_http(vendor.origin, book, PATIENT) as http:
        assert (await http.get("power", "/power", into=Power)).data == Power(12.5)
    assert book.verdicts == ["vendor_unavailable", "ok"]
    assert book.taken == len(vendor.asked) == 2


async def test_a_kept_connection_that_breaks_is_not_used_again_in_secret() -> None:
    book = Book()
    once = HTTPLimits(deadline_s=2.0, attempts=1)
    acts = (answer(GOOD), send(b""), answer(GOOD))
    async with Vendor(*acts) as vendor, vendor_http(vendor.origin, book, once) as http:
        await http.get("power", "/power", into=Power)
        with pytest.raises(Unavailable):
            await http.get("power", "/power", into=Power)
    assert vendor.connects == 1, "the second call was meant to meet a kept connection"
    assert len(vendor.asked) == book.taken == 2


async def test_the_vendors_own_file_is_asked_first() -> None:
    met: list[Refusal] = []

    def explain(refusal: Refusal) -> VendorError | None:
        met.append(refusal)
        if refusal.body == b"pending":
            return WaitingForVendor("Acme has not approved the app.", vendor="acme", operation="power")
        return None

    acts = [
        answer(b"pending", 403, headers={"X-Request-Id": "r-1"}),
        answer(b"x" * 100_000, 403, headers={"CF-Ray": "r-2"}),
        answer({"success": False}, headers={"X-Kong-Request-Id": "r-3"}),
        cut(),
    ]
    found: list[VendorError] = []
    book = Book()
    async with Vendor(*acts) as vendor, vendor_http(vendor.origin, book) as http:
        for _ in acts:
            with pytest.raises(VendorError) as caught:
                await http.get("power", "/power", into=Power, subject="7", explain=explain)
            found.append(caught.value)
    assert [type(error) for error in found] == [WaitingForVendor, Forbidden, BadPayload, Unavailable]
    assert [error.request_id for error in found] == ["r-1", "r-2", "r-3", None]
    assert found[0].status == 403
    assert isinstance(found[1], Forbidden)
    assert found[1].subject == "7"
    assert [(r.status, len(r.body), r.subject) for r in met] == [
        (403, 7, "7"),
        (403, 64 * 1024, "7"),
        (200, len(b'{"success": false}'), "7"),
    ]
    assert all(refusal.at.tzinfo is UTC for refusal in met)
    assert book.verdicts[:3] == ["waiting_for_vendor", "forbidden", "bad_payload"]


async def test_headers_of_every_answer_are_shown() -> None:
    shown: list[str] = []

    async def seen(headers: Mapping[str, str]) -> None:
        shown.append(headers["x-left"])

    acts = [answer(GOOD, headers={"X-Left": "2"}), answer(b"", 503, headers={"X-Left": "1"}), reset()]
    acts.append(answer(b"", 401, headers={"X-Left": "0"}))
    async with Vendor(*acts) as vendor, vendor_http(vendor.origin, Book(), PATIENT) as http:
        await http.get("power", "/power", into=Power, seen=seen)
        with pytest.raises(LoginNeeded):
            await http.get("power", "/power", into=Power, seen=seen)
    assert shown == ["2", "1", "0"]


async def test_the_account_sleeps_as_long_as_the_vendor_says() -> None:
    book = Book()

    def explain(refusal: Refusal) -> VendorError | None:
        spent = QuotaSpent("Today is spent.", vendor="acme", operation=refusal.operation)
        spent.window = "day"
        return spent

    act = answer(b"", 429, headers={"Retry-After": "120"})
    async with Vendor(act) as vendor, vendor_http(vendor.origin, book) as http:
        before = datetime.now(UTC)
        with pytest.raises(QuotaSpent) as theirs:
            await http.get("power", "/power", into=Power)
        with pytest.raises(QuotaSpent) as ours:
            await http.get("power", "/power", into=Power)
        book.held_until = None
        with pytest.raises(QuotaSpent):
            await http.get("power", "/power", into=Power, explain=explain)
    assert theirs.value.until is not None
    assert 119 < (theirs.value.until - before).total_seconds() < 123
    assert not theirs.value.ours
    assert f"{theirs.value.until:%H:%M}" in str(theirs.value)
    assert ours.value.ours
    assert len(vendor.asked) == 2
    assert [window for window, _ in book.holds] == [None, QuotaWindow.DAY]
    assert book.holds[0][1] == theirs.value.until


async def test_without_a_word_from_the_vendor_the_wait_doubles_up_to_one_slot() -> None:
    book = Book()
    waits = []
    async with Vendor(answer(b"", 429)) as vendor, vendor_http(vendor.origin, book) as http:
        for _ in range(8):
            book.held_until = None
            with pytest.raises(QuotaSpent) as caught:
                await http.get("power", "/power", into=Power)
            assert caught.value.until is not None
            waits.append((caught.value.until - datetime.now(UTC)).total_seconds())
        vendor.acts = [answer(GOOD), answer(b"", 429)]
        vendor.asked.clear()
        book.held_until = None
        await http.get("power", "/power", into=Power)
        with pytest.raises(QuotaSpent) as caught:
            await http.get("power", "/power", into=Power)
    longest = [60, 120, 240, 480, 900, 900, 900, 900]
    assert all(most / 2 - 5 < wait <= most for wait, most in zip(waits, longest, strict=True))
    assert len(set(waits)) == len(waits)
    assert caught.value.until is not None
    assert (caught.value.until - datetime.now(UTC)).total_seconds() <= 60


async def test_a_pause_longer_than_the_deadline_ends_the_call_and_the_next_ones() -> None:
    book = Book()
    act = answer(b"", 503, headers={"Retry-After": "30"})
    async with Vendor(act) as vendor, vendor_http(vendor.origin, book) as http:
        with pytest.raises(Unavailable) as first:
            await http.get("power", "/power", into=Power)
        with pytest.raises(Unavailable) as second:
            await http.get("energy", "/energy", into=Power)
    assert first.value.retry_after_s == 30
    assert second.value.retry_after_s == pytest.approx(30, abs=1)
    assert len(vendor.asked) == book.taken == 1


async def test_a_short_pause_is_waited_for() -> None:
    pause = answer(b"", 503, headers={"Retry-After": "1"})
    async with Vendor(pause, answer(GOOD)) as vendor, vendor_http(vendor.origin, Book(), PATIENT) as http:
        await http.get("power", "/power", into=Power)
    assert vendor.asked[1].at - vendor.asked[0].at >= 1


async def test_a_spent_quota_stops_the_call_before_the_wire() -> None:
    book = Book(limit=2)
    async with Vendor(answer(b"", 500)) as vendor, vendor_http(vendor.origin, book, PATIENT) as http:
        with pytest.raises(QuotaSpent) as caught:
            await http.get("power", "/power", into=Power)
    assert caught.value.ours
    assert len(vendor.asked) == 2


@pytest.mark.parametrize(
    "act", [drip(), drip(whole_head=False), drip(status=503), silent(), silent(head(200, JSON_HEAD))]
)
async def test_no_call_outlives_its_deadline(act: Act) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    error, book, _ = await ask(act, HTTPLimits(deadline_s=0.3, attempts=3))
    assert isinstance(error, Unavailable)
    assert loop.time() - begun < 0.3 + 0.2 + 0.15, "0.15 s for the test's own beginning and end"
    assert book.verdicts == ["vendor_unavailable"]


async def test_cancelling_ends_the_call_and_leaves_the_rest_in_order() -> None:
    book = Book()
    async with Vendor(silent(), answer(GOOD)) as vendor, vendor_http(vendor.origin, book, PATIENT) as http:
        task = asyncio.create_task(http.get("power", "/power", into=Power))
        await vendor.is_asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await http.get("power", "/power", into=Power)).data == Power(12.5)
    assert (book.taken, book.verdicts) == (2, ["ok"])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_carries_no_secret_away(status: int) -> None:
    async with (
        Vendor(answer(GOOD)) as elsewhere,
        Vendor(redirect(elsewhere.origin, status)) as vendor,
        vendor_http(vendor.origin, Book()) as http,
    ):
        with pytest.raises(BadPayload, match="redirects"):
            await http.get("power", "/power", into=Power, headers={"X-API-Key": SECRET})
    assert vendor.asked[0].headers["x-api-key"] == SECRET
    assert elsewhere.connects == 0


async def test_cookies_are_neither_kept_nor_shared() -> None:
    async with Vendor(answer(GOOD, headers={"Set-Cookie": "session=abc; Path=/"})) as vendor:
        # By name: many a jar keeps nothing of a bare address.
        origin = vendor.origin.replace("127.0.0.1", "localhost")
        egress = Egress(origin)
        async with (
            vendor_http(origin, Book(), egress=egress) as one,
            vendor_http(origin, Book(), egress=egress) as two,
        ):
            for http in (one, one, two):
                await http.get("power", "/power", into=Power)
    assert len(vendor.asked) == 3
    assert vendor.connects == 2, "each account has connections of its own"
    assert not any("cookie" in asked.headers for asked in vendor.asked)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html>maintenance</html>", "text/html"),
        (b'{"powerW": 1}', "text/plain"),
        (b'{"powerW": 1}', None),
        (b"", "application/json"),
        (b" \r\n", "application/json"),
        (b'\xef\xbb\xbf{"powerW": 1}', "application/json"),
        (b'{"powerW": 1', "application/json"),
        (b'{"powerW": 1} and more', "application/json"),
        (b'{"powerW": NaN}', "application/json"),
        (b'{"powerW": Infinity}', "application/json"),
        (b'{"powerW": -1e400}', "application/json"),
        (b'{"powerW": "NaN"}', "application/json"),
        (b'{"powerW": "1"}', "application/json"),
        (b'{"powerW": true}', "application/json"),
        (b'{"powerW": null}', "application/json"),
        (b'{"powerW": ' + b"9" * 5000 + b"}", "application/json"),
        (b"{}", "application/json"),
        (b"[]", "application/json"),
        (b'{"powerW": 1, "at": "\\u0000"}', "application/json"),
        (b'{"powerW": 1, "at": "\\ud800"}', "application/json"),
        (b'{"powerW": 1, "at": "\xff"}', "application/json"),
        (b'{"powerW": 1, "more": ' + b"[" * 64 + b"]" * 64 + b"}", "application/json"),
    ],
)
async def test_rubbish_with_status_200_is_no_reading(body: bytes, content_type: str | None) -> None:
    error, book, asked = await ask(answer(body, content_type=content_type))
    assert isinstance(error, BadPayload)
    assert (book.verdicts, len(asked)) == (["bad_payload"], 1)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"powerW": 12.5}', {"Content-Type": "application/problem+json; charset=utf-8"}),
        (b'{"powerW": 1, "powerW": 12.5, "new": [1e400]}', JSON_HEAD),
        (gzip.compress(b'{"powerW": 12.5}', mtime=0), JSON_HEAD | {"Content-Encoding": "GZIP"}),
        (
            gzip.compress(b'{"powerW"', mtime=0) + gzip.compress(b": 12.5}", mtime=0),
            JSON_HEAD | {"Content-Encoding": "x-gzip"},
        ),
        (zlib.compress(b'{"powerW": 12.5}'), JSON_HEAD | {"Content-Encoding": "deflate"}),
        (zlib.compress(b'{"powerW": 12.5}', wbits=-15), JSON_HEAD | {"Content-Encoding": "deflate"}),
    ],
)
async def test_unusual_but_proper_answers_are_read(body: bytes, headers: dict[str, str]) -> None:
    data, _, _ = await ask(answer(body, content_type=None, headers=headers))
    assert data == Power(12.5)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (gzip.compress(b'{"powerW": 12.5}', mtime=0)[:-4], "gzip"),
        (b'{"powerW": 12.5}', "gzip"),
        (gzip.compress(b'{"powerW": 12.5}', mtime=0) + b"more", "gzip"),
        (zlib.compress(b'{"powerW": 12.5}') + b"more", "deflate"),
        (b'{"powerW": 12.5}', "br"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "gzip, gzip"),
    ],
)
async def test_damaged_or_unasked_packing_is_no_reading(body: bytes, encoding: str) -> None:
    error, _, _ = await ask(answer(body, headers={"Content-Encoding": encoding}))
    assert isinstance(error, BadPayload)
