"""What a call to a vendor is made of: its bounds, what is sent, and what comes back."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from enalysis.connectors.verdicts import LATE, Verdict
from enalysis.core.errors import VendorError

T = TypeVar("T")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_REQUEST_ID_HEADERS = ("x-request-id", "x-kong-request-id", "cf-ray")
# Any part of what we sent that could be a secret or a piece of one.
_SECRET = re.compile(r"[A-Za-z0-9._~+/-]{6,}")

NOTHING: Final = object()
"""Stands where no answer was decoded; None is an answer."""


@dataclass(frozen=True, slots=True)
class HTTPLimits:
    """What one call may take: seconds, bytes on the wire and unpacked, JSON levels, tries and waits."""

    deadline_s: float = 20.0
    max_wire_bytes: int = 8 * 2**20
    max_decoded_bytes: int = 16 * 2**20
    max_depth: int = 64
    attempts: int = 3
    backoff_s: float = 0.5
    backoff_cap_s: float = 8.0


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What a vendor answered.

    Attributes:
        headers: lower-cased names. clock_ahead_s: our clock minus the vendor's, s; None: it tells no time.
    """

    data: T
    headers: Mapping[str, str] = field(repr=False)
    clock_ahead_s: float | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not the reading asked for, for the vendor's own file to explain.

    Attributes:
        headers: lower-cased names. body: its first 64 KiB, unpacked. at: when it came, aware UTC.
    """

    operation: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    at: datetime
    subject: str | None


Explain = Callable[[Refusal], VendorError | None]
"""Names a refusal; None leaves it to the table that all vendors share."""

Seen = Callable[[Mapping[str, str]], Awaitable[None]]
"""Is told the headers of every answer."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it is sent, however often."""

    operation: str
    path: str = field(repr=False)
    params: tuple[tuple[str, str], ...] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    into: Any
    cost: int
    subject: str | None
    explain: Explain | None
    seen: Seen | None
    deadline: float
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer; `at` is when it came, aware UTC."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    at: datetime


@dataclass(slots=True)
class Reply:
    """What came of one attempt, as far as it came; `failure` is what kept it from being a reading."""

    head: Head | None = None
    body: bytearray = field(default_factory=bytearray, repr=False)
    data: Any = NOTHING
    failure: Verdict = LATE
    why: str = ""


def find_request_id(call: Call, head: Head) -> str | None:
    """Return the vendor's id of the call, unless it looks like none or gives back what we sent."""
    sent = {word for _, text in (*call.headers.items(), *call.params) for word in _SECRET.findall(text)}
    for name in _REQUEST_ID_HEADERS:
        found = head.headers.get(name, "")
        if _REQUEST_ID.fullmatch(found) and not any(word in found for word in sent):
            return found
    return None
