"""A scripted vendor on a real socket, which answers, stalls, breaks off and lies as asked; and a ledger."""

import asyncio
import json
import socket
import ssl
import struct
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Self

from enalysis.connectors.calls import HTTPLimits
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.verdicts import Patience
from enalysis.core.errors import QuotaSpent
from enalysis.core.quotas import QuotaWindow
from enalysis.egress import Egress

QUICK = HTTPLimits(deadline_s=0.4, attempts=2, backoff_s=0.005)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came: `at` in seconds of the loop's clock, header names lower-cased."""

    method: str
    target: str
    headers: Mapping[str, str]
    at: float
    body: bytes = b""


Act = Callable[[asyncio.StreamWriter], Awaitable[bool]]
"""Plays one answer; True keeps the connection open for the next request."""


def head(status: int, headers: Mapping[str, str], reason: str = "Because") -> bytes:
    """Return the head of an answer."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(
    body: bytes | str | object = b"{}",
    status: int = 200,
    content_type: str | None = "application/json",
    headers: Mapping[str, str] | None = None,
    reason: str = "Because",
) -> Act:
    """Answer whole and at once; what is neither bytes nor text is written as JSON."""
    if not isinstance(body, bytes):
        body = (body if isinstance(body, str) else json.dumps(body)).encode()
    said = {"Content-Length": str(len(body))} | ({"Content-Type": content_type} if content_type else {})
    whole = head(status, said | dict(headers or {}), reason) + body
    return send(whole, keep=True)


def send(data: bytes, *, keep: bool = False) -> Act:
    """Send exactly these bytes and, unless kept, close."""

    async def act(writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        return keep

    return act


def redirect(to: str, status: int = 302) -> Act:
    """Send the caller elsewhere."""
    return answer(b"", status, None, {"Location": to})


def packed(size: int, *, encoding: str = "gzip", byte: bytes = b" ") -> Act:
    """Answer with `size` bytes of one kind, compressed to about a thousandth."""
    engine = zlib.compressobj(9, wbits={"gzip": 31, "deflate": 15}[encoding])
    block = byte * 2**20
    parts = [engine.compress(block[: min(2**20, size - done)]) for done in range(0, size, 2**20)]
    return answer(b"".join([*parts, engine.flush()]), headers={"Content-Encoding": encoding})


def big(size: int, *, chunked: bool = False, content_type: str = "application/json") -> Act:
    """Answer with one JSON string of `size` bytes, told beforehand or in chunks without an end in sight."""

    async def act(writer: asyncio.StreamWriter) -> bool:
        length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
        writer.write(head(200, {"Content-Type": content_type} | length) + (b'1\r\n"\r\n' if chunked else b'"'))
        block = b"x" * 65536
        for _ in range(size // len(block)):
            writer.write(b"10000\r\n" + block + b"\r\n" if chunked else block)
            await writer.drain()
        return False

    return act


def deep(levels: int) -> Act:
    """Answer with lists in lists."""
    return answer(b"[" * levels + b"]" * levels)


def drip(body: bytes = b"{}" * 500, every_s: float = 0.2, status: int = 200, *, whole_head: bool = True) -> Act:
    """Answer one byte at a time; from the first byte of the body on, or of the head."""

    async def act(writer: asyncio.StreamWriter) -> bool:
        said = head(status, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        if whole_head:
            writer.write(said)
        for byte in body if whole_head else said:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(every_s)
        return False

    return act


def silent(first: bytes = b"") -> Act:
    """Accept, say `first` and never a word more."""

    async def act(writer: asyncio.StreamWriter) -> bool:
        writer.write(first)
        await asyncio.Event().wait()
        return False

    return act


def cut(body: bytes = b'{"values": [1, 2', missing: int = 100) -> Act:
    """Promise a longer body than is sent, then close in good order."""
    length = {"Content-Type": "application/json", "Content-Length": str(len(body) + missing)}
    return send(head(200, length) + body)


def reset(first: bytes = b"") -> Act:
    """Send `first` and tear the connection down with a reset."""

    async def act(writer: asyncio.StreamWriter) -> bool:
        if first:
            writer.write(first)
            await writer.drain()
            # The reset must not overtake what was sent.
            await asyncio.sleep(0.05)
        line: socket.socket = writer.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return False

    return act


class Vendor:
    """Plays acts in turn on loopback, the last for ever; or for each request the one that `choose` names.

    Attributes:
        port: where it listens, or did. asked: every request that came. is_asked: set once there is one.
        connects: connections accepted; with TLS, after the handshake.
    """

    def __init__(
        self,
        *acts: Act,
        choose: Callable[[Asked], Act] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.acts = list(acts)
        self.choose = choose
        self.asked: list[Asked] = []
        self.is_asked = asyncio.Event()
        self.connects = 0
        self.port = 0
        self._context = context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def origin(self) -> str:
        """Return where it is reached."""
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connects += 1
        try:
            # What a caller does to us is its business, and a cancelled task would be reported as broken.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._next(await self._read(reader))(writer):
                    pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> Asked:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        pairs = (line.split(": ", 1) for line in lines[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Asked(method, target, headers, asyncio.get_running_loop().time(), body)

    def _next(self, asked: Asked) -> Act:
        self.asked.append(asked)
        self.is_asked.set()
        if self.choose is not None:
            return self.choose(asked)
        return self.acts[min(len(self.asked), len(self.acts)) - 1]


@dataclass(slots=True)
class Book:
    """A ledger in memory: grants `limit` calls, none before `held_until`, and writes everything down."""

    limit: int = 10**9
    taken: int = 0
    held_until: datetime | None = None
    holds: list[tuple[QuotaWindow | None, datetime]] = field(default_factory=list)
    observed: list[tuple[QuotaWindow, int, int]] = field(default_factory=list)
    records: list[tuple[str, int, str]] = field(default_factory=list)

    @property
    def verdicts(self) -> list[str]:
        """Return how the calls ended, in order."""
        return [verdict for _, _, verdict in self.records]

    async def take(self, operation: str, cost: int) -> None:
        """Reserve calls. Raises QuotaSpent."""
        held = self.held_until is not None and datetime.now(UTC) < self.held_until
        if held or self.taken + cost > self.limit:
            spent = QuotaSpent("The quota is spent.", vendor="acme", operation=operation)
            spent.until, spent.ours = self.held_until, True
            raise spent
        self.taken += cost

    async def record(self, operation: str, cost: int, verdict: str, ms: float) -> None:
        """Write down how a call ended."""
        assert ms >= 0
        self.records.append((operation, cost, verdict))

    async def observe(self, window: QuotaWindow, limit: int, remaining: int) -> None:
        """Write down what the vendor says is left."""
        self.observed.append((window, limit, remaining))

    async def hold(self, window: QuotaWindow | None, until: datetime) -> None:
        """Grant nothing before `until`."""
        self.holds.append((window, until))
        self.held_until = until


def vendor_http(
    origin: str,
    book: Book,
    limits: HTTPLimits = QUICK,
    egress: Egress | None = None,
    patience: Patience | None = None,
) -> VendorHTTP:
    """Return a way to a vendor whose origin counts as the sandbox."""
    return VendorHTTP(
        vendor="acme",
        label="Acme",
        origin=origin,
        ledger=book,
        egress=egress or Egress(origin),
        clock=lambda: datetime.now(UTC),
        limits=limits,
        patience=patience,
    )
