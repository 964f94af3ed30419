"""Meets hostile and long answers in a process of its own and tells what they cost it in time and memory."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from enalysis.connectors.calls import HTTPLimits
from enalysis.core.errors import VendorError
from enalysis.egress import Egress
from tests.vendor import Act, Book, answer, big, deep, drip, head, packed, silent, vendor_http


class Point(msgspec.Struct):
    """One value of the long answer."""

    at: str
    value: float


class Points(msgspec.Struct):
    """The long answer."""

    values: list[Point]


LONG = 18_000_000
POINT = b'{"at": "2026-11-22T10:00:00Z", "value": 123.45},'
HUNGRY = HTTPLimits(deadline_s=0.6, attempts=3, backoff_s=0.05)
ROOMY = replace(HUNGRY, deadline_s=20.0, max_wire_bytes=2 * LONG, max_decoded_bytes=2 * LONG)


def feast() -> dict[str, Act]:
    """Return answers that would take an unbounded client's time or memory, by path."""
    long = b'{"values": [' + (POINT * (LONG // len(POINT)))[:-1] + b"]}"
    return {
        "/warm": answer({"values": []}),
        "/bomb/gzip": packed(200_000_000),
        "/bomb/deflate": packed(200_000_000, encoding="deflate", byte=b"["),
        "/bomb/told": big(50_000_000),
        "/bomb/chunked": big(50_000_000, chunked=True),
        "/bomb/refusal": answer(b"x" * 50_000_000, 500),
        "/bomb/deep": deep(100_000),
        "/bomb/deeper": deep(4_000_000),
        "/bomb/number": answer(b'{"values": [' + b"9" * 5_000_000 + b"]}"),
        "/slow/drip": drip(),
        "/slow/head": drip(whole_head=False),
        "/slow/refusal": drip(status=503),
        "/slow/silent": silent(),
        "/slow/headed": silent(head(200, {"Content-Type": "application/json", "Content-Length": "9"})),
        "/slow/again": answer(b"{}", 503),
        "/long": answer(long),
    }


def memory_kb(field: str) -> int:
    """Return a figure of this process's memory as the kernel tells it, kB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise LookupError(field)


def forget_peak() -> int:
    """Let the peak of this process's memory begin anew; return what it takes now, kB."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return memory_kb("VmRSS")


async def stall_s(work: Awaitable[object]) -> float:
    """Return the longest time for which `work` kept everybody else from a turn, s.

    It is counted in this process's own time on the processors, so that a busy machine adds nothing.
    """
    worst = 0.0

    async def tick() -> None:
        nonlocal worst
        while True:
            before = time.process_time()
            await asyncio.sleep(0.001)
            worst = max(worst, time.process_time() - before)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.01)
    try:
        await work
    finally:
        ticking.cancel()
        with suppress(asyncio.CancelledError):
            await ticking
    return worst


async def eat(origin: str, paths: list[str]) -> dict[str, float]:
    """Ask for every dish of the feast and return what it cost this process."""
    egress = Egress(origin)
    loop = asyncio.get_running_loop()
    ends: dict[str, str] = {}
    took_s: list[float] = []

    async def course(name: str, limits: HTTPLimits = HUNGRY) -> None:
        for path in (path for path in paths if path.startswith(name)):
            async with vendor_http(origin, Book(), limits, egress) as http:
                begun = loop.time()
                try:
                    found = await http.get("feast", path, into=Points)
                    ends[path] = f"{len(found.data.values)} points"
                except VendorError as error:
                    ends[path] = error.state
                took_s.append(loop.time() - begun if limits is HUNGRY else 0.0)

    await course("/warm")
    before_kb = forget_peak()
    bombs_s = await stall_s(course("/bomb"))
    grown_kb = memory_kb("VmHWM") - before_kb
    await course("/slow")
    long_s = await stall_s(course("/long", ROOMY))
    return {
        "n": len(took_s),
        "wrong": sum(end != expected_end(path) for path, end in ends.items()),
        "worst_s": max(took_s),
        "grown_mb": grown_kb / 1024,
        "stall_ms": max(bombs_s, long_s) * 1000,
    }


def expected_end(path: str) -> str:
    """Return how a dish must end."""
    if path in {"/warm", "/long"}:
        return f"{LONG // len(POINT) if path == '/long' else 0} points"
    return "bad_payload" if path.startswith("/bomb") and path != "/bomb/refusal" else "vendor_unavailable"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(eat(sys.argv[1], sys.argv[2:]))))
