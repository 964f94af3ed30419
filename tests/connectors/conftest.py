"""A vendor on loopback for connectors to call, and the folder of recorded answers where there is one."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from enalysis.connectors.calls import HTTPLimits
from enalysis.connectors.http import VendorHTTP
from enalysis.core.quotas import QuotaWindow
from enalysis.egress import Egress

RECORDED = "ENALYSIS_PAYLOADS"
NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Reply:
    """What the loopback vendor answers: bytes as they are, anything else as JSON."""

    body: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body on the wire."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass(frozen=True)
class Call:
    """What the loopback vendor was asked."""

    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]


class LoopbackVendor:
    """Answers each path with its reply, or with its replies in turn, the last one again and again."""

    def __init__(self) -> None:
        self.origin = ""
        self.replies: dict[str, Reply | list[Reply]] = {}
        self.calls: list[Call] = []

    async def speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the one request of a connection."""
        line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").rstrip().split("\r\n")
        target = urlsplit(line.split(" ")[1])
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
        query = tuple(parse_qsl(target.query, strict_parsing=bool(target.query)))
        self.calls.append(Call(target.path, query, headers))
        found = self.replies.get(target.path, Reply({"title": "not set by this test"}, 404))
        if isinstance(found, list):
            found = found.pop(0) if len(found) > 1 else found[0]
        content = found.content
        told = {"content-type": "application/json", **found.headers, "content-length": str(len(content))}
        head = "".join(f"{name}: {value}\r\n" for name, value in {**told, "connection": "close"}.items())
        writer.write(f"HTTP/1.1 {found.status} As Set\r\n{head}\r\n".encode() + content)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def vendor() -> AsyncIterator[LoopbackVendor]:
    """Serve a vendor over real HTTP on a free port of loopback."""
    made = LoopbackVendor()
    async with await asyncio.start_server(made.speak, "127.0.0.1", 0) as server:
        made.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2"
        yield made


@dataclass
class Purse:
    """A ledger in memory: allows everything, and keeps what it was told."""

    taken: list[str] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    observed: list[tuple[QuotaWindow, int, int]] = field(default_factory=list)
    holds: list[tuple[QuotaWindow | None, datetime]] = field(default_factory=list)

    async def take(self, operation: str, cost: int) -> None:
        """Note a reservation, once for each call it costs."""
        self.taken += [operation] * cost

    async def record(self, operation: str, cost: int, verdict: str, ms: float) -> None:
        """Note how a call ended."""
        del operation, cost, ms
        self.verdicts.append(verdict)

    async def observe(self, window: QuotaWindow, limit: int, remaining: int) -> None:
        """Note what the vendor says is left."""
        self.observed.append((window, limit, remaining))

    async def hold(self, window: QuotaWindow | None, until: datetime) -> None:
        """Note that the vendor said wait."""
        self.holds.append((window, until))


@pytest.fixture
def purse() -> Purse:
    """Return the ledger the client spends from."""
    return Purse()


@pytest.fixture
async def line(vendor: LoopbackVendor, purse: Purse) -> AsyncIterator[VendorHTTP]:
    """Return the way to the loopback vendor: one attempt a call, at the time of NOW."""
    async with VendorHTTP(
        vendor="loopback",
        label="Loopback",
        origin=vendor.origin,
        ledger=purse,
        egress=Egress(sandbox_origin=vendor.origin),
        clock=lambda: NOW,
        limits=HTTPLimits(attempts=1),
    ) as opened:
        yield opened


@pytest.fixture
def recorded() -> Path:
    """Return the folder of recorded answers; skip where there is none, fail where it is no folder."""
    named = os.environ.get(RECORDED)
    if not named:
        pytest.skip(f"{RECORDED} is not set")
    folder = Path(named)
    assert folder.is_dir(), f"{RECORDED} does not name a folder"
    return folder
