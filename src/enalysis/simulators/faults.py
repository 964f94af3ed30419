"""Faults that can be switched on while a vendor's simulator runs, and how they spoil its answers."""

import asyncio
import itertools
import json
import zlib
from collections.abc import Container, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

_MEBIBYTE = 1024 * 1024
_HUGE_BYTES = 48 * _MEBIBYTE
_DEEP_LEVELS = 100_000
_PAGE = b"<!doctype html><title>Scheduled maintenance</title><p>We will be back shortly.</p>"


class FaultKind(StrEnum):
    """What can be wrong with a vendor."""

    DOWN = "down"
    SLOW = "slow"
    DRIP = "drip"
    HTML_200 = "html_200"
    TRUNCATED = "truncated"
    HUGE = "huge"
    BOMB = "bomb"
    DEEP = "deep"
    NAN = "nan"
    EMPTY = "empty"
    HOLLOW = "hollow"
    RESET = "reset"
    WRONG_KEY = "wrong_key"
    MINUTE_SPENT = "minute_spent"
    QUOTA_SPENT = "quota_spent"
    FORBIDDEN = "forbidden"
    RETIRED = "retired"
    CLOCK_OFFSET = "clock_offset"


MEANINGS: dict[FaultKind, str] = {
    FaultKind.DOWN: "503, with Retry-After where `seconds` is set",
    FaultKind.SLOW: "the answer begins after `seconds`",
    FaultKind.DRIP: "the body comes byte by byte, `seconds` apart",
    FaultKind.HTML_200: "a web page with status 200",
    FaultKind.TRUNCATED: "the body stops in the middle, as if it were whole",
    FaultKind.HUGE: "48 MiB of body",
    FaultKind.BOMB: "a small body that unpacks to 48 MiB",
    FaultKind.DEEP: "a body nested 100,000 deep",
    FaultKind.NAN: "every measured number is NaN",
    FaultKind.EMPTY: "status 200 without a body",
    FaultKind.HOLLOW: "every list in the answer is empty",
    FaultKind.RESET: "the connection breaks in the middle of the body",
    FaultKind.WRONG_KEY: "the credential is refused as if it had been revoked",
    FaultKind.MINUTE_SPENT: "too many calls in this minute",
    FaultKind.QUOTA_SPENT: "the calls of this month are spent",
    FaultKind.FORBIDDEN: "the site may not be read",
    FaultKind.RETIRED: "the vendor has switched the API off: 410",
    FaultKind.CLOCK_OFFSET: "the vendor's clock is ahead of ours by `seconds`, or behind if negative",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong, and where: None means everywhere.

    Attributes:
        vendor, account: keys of the sandbox. site: the vendor's own reference. endpoint: the vendor's name.
        seconds: how long, where the kind needs it. times: how many answers it spoils; None: until cleared.
    """

    kind: FaultKind
    vendor: str | None = None
    account: str | None = None
    site: str | None = None
    endpoint: str | None = None
    seconds: float = 0.0
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """What a request is about, as far as its vendor's simulator understood it."""

    vendor: str
    account: str | None
    site: str | None
    endpoint: str


class Faults:
    """The switches, shared by all simulators of a sandbox."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._set: dict[int, Fault] = {}
        self._left: dict[int, int] = {}

    def set(self, fault: Fault) -> int:
        """Switch a fault on and return its number."""
        number = next(self._ids)
        self._set[number] = fault
        if fault.times is not None:
            self._left[number] = fault.times
        return number

    def clear(self, number: int | None = None) -> None:
        """Switch off one fault, or all of them; a number that is not on is no error."""
        for found in [number] if number is not None else list(self._set):
            self._set.pop(found, None)
            self._left.pop(found, None)

    def listed(self) -> dict[int, Fault]:
        """Return the faults that are on, by number."""
        return dict(self._set)

    def offset_s(self, call: Call) -> float:
        """Return how far the vendor's clock is ahead for this call, s."""
        return sum(f.seconds for f in self._set.values() if f.kind is FaultKind.CLOCK_OFFSET and _fits(f, call))

    def take(self, call: Call) -> dict[FaultKind, Fault]:
        """Return the faults that spoil this call and count them down."""
        found = {}
        for number, fault in list(self._set.items()):
            if not _fits(fault, call):
                continue
            found[fault.kind] = fault
            if number in self._left:
                self._left[number] -= 1
                if self._left[number] <= 0:
                    self.clear(number)
        return found


def _fits(fault: Fault, call: Call) -> bool:
    pairs = (
        (fault.vendor, call.vendor),
        (fault.account, call.account),
        (fault.site, call.site),
        (fault.endpoint, call.endpoint),
    )
    return all(wanted is None or wanted == found for wanted, found in pairs)


def down(fault: Fault) -> Response:
    """Return the answer of a vendor that is down, with Retry-After where the fault says how long."""
    headers = {"retry-after": str(int(fault.seconds))} if fault.seconds else {}
    return Response(b"Service Unavailable", 503, headers, "text/plain")


def spoil(response: Response, faults: Iterable[FaultKind], measured: Container[str] = ()) -> Response:
    """Return the answer with its body and type spoiled; headers that are not about the body stay.

    Args: measured: names of the fields that hold measurements as whole numbers; other whole numbers are ids.
    """
    kinds = frozenset(faults)
    if not response.headers.get("content-type", "").startswith("application/json"):
        # A page has no numbers and no lists.
        kinds -= {FaultKind.NAN, FaultKind.HOLLOW}
    kept = {k: v for k, v in response.headers.items() if k not in {"content-length", "content-type"}}
    body, media_type = bytes(response.body), response.headers.get("content-type", "application/json")
    if FaultKind.NAN in kinds:
        body = json.dumps(_change(json.loads(body), FaultKind.NAN, measured)).encode()
    if FaultKind.HOLLOW in kinds:
        body = json.dumps(_change(json.loads(body), FaultKind.HOLLOW, measured)).encode()
    if FaultKind.TRUNCATED in kinds:
        body = body[: len(body) * 2 // 3]
    if FaultKind.EMPTY in kinds:
        body = b""
    if FaultKind.HTML_200 in kinds:
        body, media_type = _PAGE, "text/html"
    if FaultKind.DEEP in kinds:
        body = b"[" * _DEEP_LEVELS + b"]" * _DEEP_LEVELS
    if FaultKind.HUGE in kinds:
        body = _huge()
    if FaultKind.BOMB in kinds:
        body, kept["content-encoding"] = _bomb(), "gzip"
    return Response(body, response.status_code, kept, media_type)


async def deliver(
    response: Response, faults: dict[FaultKind, Fault], scope: Scope, receive: Receive, send: Send
) -> None:
    """Send an answer as the faults let it: late, byte by byte, or broken off in the middle of its body."""
    if FaultKind.RESET in faults:
        # An ASGI application that returns before its body is complete makes the server close the connection.
        await send(_start(response))
        half = bytes(response.body)[: len(response.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
        return
    slow, drip = faults.get(FaultKind.SLOW), faults.get(FaultKind.DRIP)
    if slow is None and drip is None:
        await response(scope, receive, send)
        return
    # A client that gives up must not leave a task behind that drips for minutes.
    gone = asyncio.create_task(_gone(receive))
    try:
        if slow is not None:
            await asyncio.wait([gone], timeout=slow.seconds)
        await send(_start(response))
        for byte in bytes(response.body) if drip else ():
            await send({"type": "http.response.body", "body": bytes((byte,)), "more_body": True})
            await asyncio.wait([gone], timeout=drip.seconds if drip else 0)
        await send({"type": "http.response.body", "body": b"" if drip else response.body})
    finally:
        gone.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _start(response: Response) -> Message:
    return {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}


def _change(value: object, kind: FaultKind, measured: Container[str], name: str = "") -> object:
    if isinstance(value, dict):
        return {k: _change(v, kind, measured, k) for k, v in value.items()}
    if isinstance(value, list):
        return [] if kind is FaultKind.HOLLOW else [_change(v, kind, measured, name) for v in value]
    number = isinstance(value, float) or (isinstance(value, int) and name in measured)
    return float("nan") if kind is FaultKind.NAN and number else value


@cache
def _huge() -> bytes:
    return b'{"values":[' + b"0," * (_HUGE_BYTES // 2) + b"0]}"


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(b" " * _HUGE_BYTES) + packer.flush()
