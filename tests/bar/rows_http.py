"""Measures how calls to vendors hold up: C3 secrets in errors, I5 time and memory, I6 retries."""

import asyncio
import json
import random
import ssl
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import trustme

from enalysis.connectors.calls import HTTPLimits, Refusal
from enalysis.connectors.http import VendorHTTP
from enalysis.core.errors import EnalysisError, QuotaSpent, Unavailable, VendorError
from enalysis.egress import Egress
from tests.bar.appetite import HUNGRY, Points, feast
from tests.bar.row import Row
from tests.vendor import (
    Act,
    Asked,
    Book,
    Vendor,
    answer,
    cut,
    head,
    redirect,
    reset,
    send,
    silent,
    vendor_http,
)

ROOT = Path(__file__).resolve().parents[2]
SECRET = "Canary-7d1f0c55aa91"


class Caller:
    """Asks as a connector does, with its secret wherever vendors want one."""

    def __init__(self, http: VendorHTTP, secret: str = SECRET) -> None:
        self._http = http
        self._secret = secret

    async def check(self) -> None:
        """Ask with the secret in a header of the vendor's own."""
        await self._http.get("check", "/account", into=Points, headers={"X-API-Key": self._secret})

    async def sites(self) -> None:
        """Ask with the secret as a bearer token."""
        bearer = {"Authorization": f"Bearer {self._secret}"}
        await self._http.get("sites", "/sites", into=Points, headers=bearer)

    async def power(self) -> None:
        """Ask with the secret in the query."""
        query = [("api_key", self._secret), ("page", "1")]
        await self._http.get("power", "/sites/7/power", into=Points, params=query, subject="7")

    async def devices(self) -> None:
        """Ask with the secret as a cookie."""
        cookie = {"Cookie": f"session={self._secret}"}
        await self._http.get("devices", "/sites/7/devices", into=Points, headers=cookie, subject="7")

    async def energy(self) -> None:
        """Ask with the secret twice, and with a vendor's file that has nothing to say."""

        def explain(_: Refusal) -> VendorError | None:
            return None

        await self._http.get(
            "energy",
            "/sites/7/energy",
            into=Points,
            params=[("key", self._secret)],
            headers={"X-API-Key": self._secret},
            explain=explain,
        )

    @property
    def operations(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Return every operation."""
        return (self.check, self.sites, self.power, self.devices, self.energy)


def echoing() -> dict[str, Act]:
    """Return faults of a vendor that gives back what it was sent wherever it can."""
    said = {"X-Request-Id": SECRET, "Set-Cookie": f"a={SECRET}", "X-Echo": SECRET}
    page = f"<html>{SECRET}</html>"
    statuses = {
        f"status {status}": answer({"error": SECRET}, status, headers=said, reason=SECRET)
        for status in (204, 400, 401, 403, 404, 408, 410, 418, 429, 500, 503)
    }
    return statuses | {
        "redirect": redirect(f"https://example.com/?key={SECRET}"),
        "html": answer(page, content_type="text/html", headers=said),
        "wrong type": answer({"values": SECRET}, headers=said),
        "wrong item": answer({"values": [{"at": 1, SECRET: 1}]}),
        "not JSON": answer(f'{{"values": {SECRET}'),
        "not UTF-8": answer(b'{"values": [{"at": "\xff' + SECRET.encode() + b'", "value": 1}]}'),
        "empty": answer(b""),
        "unasked packing": answer(headers={"Content-Encoding": SECRET}),
        "cut": cut(SECRET.encode()),
        "reset": reset(head(200, {"X-Echo": SECRET, "Content-Length": "9"})),
        "reset at once": reset(),
        "garbled": send(f"{SECRET} is no HTTP\r\n\r\n".encode()),
        "garbled header": send(f"HTTP/1.1 200 OK\r\n{SECRET}\r\n: x\r\n\r\n".encode()),
        "silent": silent(),
    }


def tells(error: BaseException) -> bool:
    """True if an error holds the secret in its text, its facts, its traceback or another error inside it."""
    facts = repr(vars(error))
    texts = (str(error), repr(error), facts, "".join(traceback.format_exception(error)))
    inside = error.__cause__ or error.__context__
    return any(SECRET in text for text in texts) or inside is not None


def untrusted() -> ssl.SSLContext:
    """Return the identity of a server that nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


async def c3() -> Row:
    """Every operation meets every fault; no error tells the secret."""
    n = bad = silent_ends = 0
    seen = 0
    faults = echoing()

    async def try_all(origin: str, egress: Egress, secret: str = SECRET) -> None:
        nonlocal n, bad, silent_ends
        async with vendor_http(origin, Book(), egress=egress) as http:
            for operation in Caller(http, secret).operations:
                n += 1
                # A pause the vendor asked for must not keep the next operation from meeting the fault.
                http._patience.quiet_until = 0
                try:
                    await operation()
                except EnalysisError as error:
                    bad += tells(error)
                else:
                    silent_ends += 1

    for act in faults.values():
        async with Vendor(act) as vendor:
            await try_all(vendor.origin, Egress(vendor.origin))
            seen += sum(SECRET in f"{asked.target} {asked.headers}" for asked in vendor.asked)
    async with Vendor(answer()) as vendor:
        gone = vendor.origin
        await try_all(vendor.origin, Egress())
        await try_all(vendor.origin, Egress(vendor.origin), f"{SECRET}\r\nX: \ud800")
    await try_all(gone, Egress(gone))
    async with Vendor(answer(), context=untrusted()) as vendor:
        await try_all(vendor.origin, Egress(vendor.origin))
        bad += len(vendor.asked)
    bad += silent_ends + (seen < len(faults))
    facts = {"faults": len(faults) + 4, "operations": n // (len(faults) + 4), "seen_at_vendor": seen}
    return Row("C3", n, bad, 60, facts)


async def i5() -> Row:
    """A process of its own meets drips, bombs and long answers; its time and memory stay bounded."""
    dishes = feast()

    def choose(asked: Asked) -> Act:
        return dishes[asked.target]

    async with Vendor(choose=choose) as vendor:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bar.appetite",
            vendor.origin,
            *dishes,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        told, _ = await child.communicate()
    found = json.loads(told)
    late = found["worst_s"] > HUNGRY.deadline_s + 0.2
    bad = found["wrong"] + late + (found["grown_mb"] >= 32) + (found["stall_ms"] >= 50)
    figures = {key: float(found[key]) for key in ("worst_s", "grown_mb", "stall_ms")}
    return Row("I5", int(found["n"]), bad, 15, {"deadline_s": HUNGRY.deadline_s, **figures})


async def i6() -> Row:
    """Repeats stay below a tenth of the calls, pauses are kept, and a plain refusal is never repeated."""
    calls, extra = await repeats(600)
    tries, inside = await pauses()
    refused, again = await refusals()
    bad = max(0, extra - calls // 10) + inside + again
    share = round(100 * extra / calls, 1)
    return Row(
        "I6",
        calls + tries + refused,
        bad,
        600,
        {
            "extra_pct": share,
            "extra": extra,
            "tries_in_pause": tries,
            "inside_retry_after": inside,
            "retries_4xx": again,
        },
    )


async def repeats(calls: int) -> tuple[int, int]:
    """Make calls to a vendor that fails one in four; return how many, and how many more reached it."""
    chance = random.Random(7)  # noqa: S311 - the same run each time
    good, failing = answer({"values": []}), answer(b"", 503)

    def choose(_: Asked) -> Act:
        return failing if chance.random() < 0.25 else good

    book = Book()
    async with Vendor(choose=choose) as vendor:
        limits = HTTPLimits(deadline_s=5.0, backoff_s=0.001)
        async with vendor_http(vendor.origin, book, limits) as http:

            async def ask() -> None:
                with suppress(Unavailable):
                    await http.get("power", "/power", into=Points)

            for _ in range(calls // 10):
                await asyncio.gather(*(ask() for _ in range(10)))
        reached = len(vendor.asked)
    return calls, reached - calls if book.taken == reached == len(book.records) else calls


async def pauses() -> tuple[int, int]:
    """Ask on and on during pauses of a second; return how often, and how many calls reached the vendor."""
    wait = {"Retry-After": "1"}
    acts = (answer(b"", 503, headers=wait), answer(b"", 429, headers=wait))
    tries = inside = 0
    for act in acts:
        async with Vendor(act) as vendor, vendor_http(vendor.origin, Book()) as http:
            loop = asyncio.get_running_loop()
            begun = loop.time()
            while loop.time() < begun + 0.95:
                tries += 1
                with suppress(Unavailable, QuotaSpent):
                    await http.get("power", "/power", into=Points)
                await asyncio.sleep(0.02)
            end = vendor.asked[0].at + 1
            inside += sum(asked.at < end for asked in vendor.asked[1:])
    return tries, inside


async def refusals() -> tuple[int, int]:
    """Meet every refusal that repeating cannot mend; return how often, and how many calls were repeated."""
    n = again = 0
    for status in (300, 302, 400, 401, 402, 403, 404, 405, 409, 410, 422, 429, 451):
        async with Vendor(answer(b"", status)) as vendor, vendor_http(vendor.origin, Book()) as http:
            with suppress(VendorError):
                await http.get("power", "/power", into=Points)
            n += 1
            again += len(vendor.asked) - 1
    return n, again
