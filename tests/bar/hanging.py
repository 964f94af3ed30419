"""Two vendors of which one hangs at will, a worker process that polls both, and how long the other's jobs wait."""

import asyncio
import base64
import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import procrastinate

from enalysis import jobs
from enalysis.actions.poll import Deps
from enalysis.actions.vendors import Vendors
from enalysis.config import load_settings
from enalysis.connectors.base import Auth, Batch, Check, Field, FoundSite, Plan, Spec, Stream, Subject, Way
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.registry import Entry
from enalysis.core.access import Role, Scope
from enalysis.core.intervals import Window
from enalysis.core.quotas import Quota, QuotaScope, QuotaWindow
from enalysis.egress import Egress
from enalysis.runtime import Addresses, Runtime, now
from enalysis.store import accounts, connections, quotas, streams
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.secrets import Keyring
from enalysis.store.streams import Claimed
from tests.databases import Base

ROOT = Path(__file__).resolve().parents[2]
HANGS, WELL = "alpha", "beta"
_CONNECTIONS = 12
# Fewer slots than connections of the vendor that hangs: it fills all it can get.
_SLOTS = 8
_JOBS_PER_S = 8
# Several times what a job waits at most, and less than a call that hangs.
_PATIENCE_S = 8.0


def _spec(vendor: str) -> Spec:
    plenty = Plan("plenty", "Plenty", (Quota(QuotaScope.ACCOUNT, QuotaWindow.MINUTE, 100_000),))
    return Spec(
        vendor,
        vendor.title(),
        f"https://{vendor}.example",
        (f"{vendor}.example",),
        "https://example.com",
        (Way("key", "Key", Auth.API_KEY, (plenty,), (Field("api_key", "Key", "", secret=True),)),),
        (Stream("sites", "Sites", 60, 1, Subject.CONNECTION),),
    )


SPECS = {vendor: _spec(vendor) for vendor in (HANGS, WELL)}


class Plain:
    """Asks one address and finds nothing there."""

    def __init__(self, http: VendorHTTP, fields: Mapping[str, str]) -> None:
        self.spec = SPECS[http.vendor]
        self._http = http
        self._key = fields["api_key"]

    async def check(self, now: datetime) -> Check:
        """Ask once."""
        await self.fetch("sites", "", None, now)
        return Check(0)

    async def discover(self, now: datetime) -> tuple[FoundSite, ...]:
        """Ask once."""
        await self.fetch("sites", "", None, now)
        return ()

    async def fetch(self, stream: str, subject: str, window: Window | None, now: datetime) -> Batch:
        """Ask once."""
        del subject, window, now
        await self._http.get(stream, f"/{self._key}", into=dict)
        return Batch(sites=())


def _runtime(order: Mapping[str, str], db: Database) -> Runtime:
    settings = load_settings({"ENCRYPTION_KEY": order["key"], "WORKER_CONCURRENCY": str(_SLOTS)}, Path(order["folder"]))
    entries = {vendor: Entry(spec, Plain) for vendor, spec in SPECS.items()}
    keyring = Keyring(settings.encryption_key)
    vendors = Vendors(entries, db, keyring, Egress(order["url"]), now, order["url"])
    addresses = Addresses(order["app"], order["engine"], order["jobs"], None)
    return Runtime(settings, addresses, db, keyring, vendors, Deps(db, vendors, Partitions(), now), now)


async def work(order: Mapping[str, str]) -> None:
    """Be a worker of the product until the end; without bulkheads all vendors share its slots."""
    async with Database(order["app"], order["engine"]) as db:
        runtime = _runtime(order, db)
        if order["bulkheads"] == "yes":
            await jobs.run_worker(runtime, plan=False)
        app = jobs.build_app(runtime)
        async with app.open_async():
            await app.run_worker_async(
                queues=list(jobs.bulkheads(runtime)),
                concurrency=_SLOTS,
                listen_notify=False,
                fetch_job_polling_interval=1.0,
                install_signal_handlers=False,
            )


class Clouds:
    """Both vendors on one port: writes down when each connection asked, and lets the one hang that is told to."""

    def __init__(self) -> None:
        self.asked: dict[str, asyncio.Future[float]] = {}
        self.hanging = False
        self._served: set[asyncio.Task[object]] = set()

    async def end(self) -> None:
        """Wait until every connection is closed; its other side is gone."""
        self.hanging = False
        await asyncio.gather(*self._served, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one line after the other until the client goes."""
        task = asyncio.current_task()
        assert task is not None
        self._served.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                waiting = self.asked.get(path)
                if waiting is not None and not waiting.done():
                    waiting.set_result(time.monotonic())
                while self.hanging and path.startswith(f"/{HANGS}/"):  # noqa: ASYNC110 - nobody wakes who hangs
                    await asyncio.sleep(0.05)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def latencies(
    base: Base, rounds: int, phase_s: float, *, bulkheads: bool
) -> tuple[list[float], list[float], int]:
    """Return how long jobs of the well vendor waited for their call, s, while the other was well and while it hung.

    The third is how many of them never made their call.
    """
    clouds = Clouds()
    server = await asyncio.start_server(clouds.serve, "127.0.0.1", 0)
    order = {
        "url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        "key": base64.b64encode(secrets.token_bytes(32)).decode(),
        "folder": str(ROOT),
        "app": base.app,
        "engine": base.engine,
        "jobs": base.jobs,
        "bulkheads": "yes" if bulkheads else "no",
    }
    calm: list[float] = []
    hung: list[float] = []
    lost = 0
    async with server, Database(base.app, base.engine) as db:
        runtime = _runtime(order, db)
        batches = {vendor: await _connect(runtime, vendor) for vendor in SPECS}
        app = jobs.build_app(runtime)
        async with app.open_async(), _worker(order):
            async with asyncio.timeout(60):
                await _ask(clouds, runtime, app, batches[WELL][0])
            for n in range(rounds):
                # First one, then the other: a machine that grows busy weighs on both alike.
                for hangs, into in ((False, calm), (True, hung))[:: 1 if n % 2 == 0 else -1]:
                    clouds.hanging = hangs
                    for batch in batches[HANGS]:
                        await _defer(runtime, app, batch)
                    told = await _phase(clouds, runtime, app, batches[WELL], phase_s)
                    into += [t for t in told if t is not None]
                    lost += sum(t is None for t in told)
                clouds.hanging = False
        server.close()
        # What was under way when the worker ended is accepted still.
        await asyncio.sleep(0.1)
        await clouds.end()
    return calm, hung, lost


async def _phase(
    clouds: Clouds,
    runtime: Runtime,
    app: procrastinate.App,
    batches: list[Claimed],
    phase_s: float,
) -> list[float | None]:
    """Put jobs on the queue one after the other, and wait for the last one's call."""
    asks = []
    for n in range(int(phase_s * _JOBS_PER_S)):
        asks.append(asyncio.create_task(_ask(clouds, runtime, app, batches[n % len(batches)])))
        await asyncio.sleep(1 / _JOBS_PER_S)
    return list(await asyncio.gather(*asks))


async def _ask(clouds: Clouds, runtime: Runtime, app: procrastinate.App, batch: Claimed) -> float | None:
    """Put one job on the queue; return how long its call took to come, s, or None where it did not."""
    path = f"/{WELL}/{batch.connection}"
    begun = time.monotonic()
    clouds.asked[path] = asyncio.get_running_loop().create_future()
    await _defer(runtime, app, batch)
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await clouds.asked[path] - begun
    except TimeoutError:
        return None


async def _defer(runtime: Runtime, app: procrastinate.App, batch: Claimed) -> None:
    async with runtime.db.engine() as conn:
        await jobs.defer(app, conn, batch, backfill=False)


async def _connect(runtime: Runtime, vendor: str) -> list[Claimed]:
    """Add connections of a vendor in an organization of their own, as adding them on a page would."""
    scope = Scope(uuid4(), None, Role.OWNER)
    at, db = runtime.clock(), runtime.db
    wrapped = runtime.keyring.new_organization_key(scope.organization)
    async with db.org(scope) as conn:
        await accounts.add_organization(scope, conn, vendor, wrapped, at)
    return [await _one(runtime, scope, vendor) for _ in range(_CONNECTIONS)]


async def _one(runtime: Runtime, scope: Scope, vendor: str) -> Claimed:
    made, at = uuid4(), runtime.clock()
    fields = {"api_key": str(made)}
    account = runtime.vendors.account(vendor, fields)
    sealed = await runtime.vendors.seal(scope, made, fields)
    async with runtime.db.world() as conn:
        await quotas.declare(conn, account, SPECS[vendor].ways[0].plans[0].quotas)
    async with runtime.db.org(scope) as conn:
        await connections.add_connection(scope, conn, made, vendor, vendor, "plenty", account, at, way="key")
        await connections.set_sealed(scope, conn, made, sealed, at)
        await streams.add_stream(scope, conn, made, None, "sites", "", (), at)
        rows = await streams.list_streams(scope, conn, made)
    return Claimed(scope.organization, UUID(str(made)), vendor, tuple(r.id for r in rows))


@asynccontextmanager
async def _worker(order: Mapping[str, str]) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bar.hanging"),
        cwd=ROOT,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
        stdin=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    process.stdin.write(f"{json.dumps(order)}\n".encode())
    await process.stdin.drain()
    try:
        yield
        if process.returncode is not None:
            raise RuntimeError("the worker ended before its time")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    asyncio.run(work(json.loads(sys.stdin.readline())))
