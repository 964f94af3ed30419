"""The bar's rows on renewing: processes that compete spend no token twice, and none that was given is lost."""

import asyncio
import json
import multiprocessing
import os
import random
import sys
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from enalysis.store.pool import Database
from tests.bar.renewer import renew_until_told
from tests.bar.row import Row
from tests.databases import Base
from tests.oauth_bench import Bench, opened

ROOT = Path(__file__).resolve().parents[2]
KEY = b"\x00a key of tests, 32 bytes long\x01\x02\x03"[:32]
# Every token that says so little is one that is never used: each question for one is a renewal.
ALWAYS_STALE_S = 300
DELAY_S = 0.04


def _order(base: Base, bench: Bench, connection: UUID, **more: object) -> dict[str, str]:
    return {
        "app": base.app,
        "engine": base.engine,
        "jobs": base.jobs,
        "key": b64encode(KEY).decode(),
        "origin": bench.vendor.origin,
        "organization": str(bench.scope.organization),
        "connection": str(connection),
        **{name: str(value) for name, value in more.items()},
    }


async def a6(base: Base, procs: int = 6, secs: float = 60.0, floor: int = 100) -> Row:
    """A6: processes over one connection, whose vendor revokes all when a spent token comes again.

    Each asks for a token without pause, and every one given is too short-lived to be used twice. What the
    processes count as renewals is what the vendor gave, so none was given and dropped; at the end the token kept
    is the one that lives.
    """
    async with Database(base.app, base.engine) as db, opened(db, key=KEY) as bench:
        connection = await bench.connect()
        bench.vendor.expires_in, bench.vendor.delay_s = ALWAYS_STALE_S, DELAY_S
        # The first, from the consent, was long-lived.
        await bench.vendors.tokens.renew(bench.scope, await bench.find(connection), None)
        before = bench.vendor.refreshes
        told = await _compete(_order(base, bench, connection, secs=secs), procs)
        given = bench.vendor.refreshes - before
        lives = await bench.lives(connection)
        refreshes = sum(each["refreshes"] for each in told)
        invalid = sum(each["invalid_grant"] for each in told) + bench.vendor.invalid_grants
        failed = sum(each["failed"] for each in told)
        revoked = any(family.revoked for family in bench.vendor.families.values())
    idle = sum(each["refreshes"] == 0 for each in told)
    return Row(
        "A6",
        refreshes,
        abs(refreshes - given) + invalid + revoked + (not lives) + failed + idle,
        floor,
        {
            "processes": procs,
            "secs": secs,
            "refreshes": refreshes,
            "vendor_count": given,
            "invalid_grant": invalid,
            "revoked": "yes" if revoked else "no",
            "asked": sum(each["asked"] for each in told),
            "failed": failed,
        },
    )


async def _compete(order: Mapping[str, str], procs: int) -> list[dict[str, int]]:
    running = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bar.renewer"),
            cwd=ROOT,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(procs)
    ]
    for process in running:
        assert process.stdin
        process.stdin.write(f"{json.dumps(order)}\n".encode())
    for process in running:
        assert process.stdout
        await process.stdout.readline()
    told = await asyncio.gather(*(process.communicate(b"go\n") for process in running))
    if any(process.returncode for process in running):
        raise RuntimeError("a process that renews tokens failed")
    return [json.loads(out) for out, _ in told]


@dataclass
class _Fates:
    """What became of renewals that were cut short: how many, how many in the midst of it, how many lost."""

    cut: int = 0
    midst: int = 0
    lost: int = 0
    shown: int = 0


async def a7(base: Base, cancels: int = 300, terms: int = 100, kills: int = 100, at_once: int = 6) -> Row:
    """A7: a renewal outlives who waits for it, and a process that is told to end; one that is killed is named.

    Cancelled at any moment, or with SIGTERM between the vendor's rotation and our commit: the token that lives is
    the one kept. With SIGKILL there a token may be lost, which no client can help; then the connection says
    `reauth_required` after one poll, and every one not lost still works.
    """
    async with Database(base.app, base.engine, size=12) as db, opened(db, key=KEY) as bench:
        bench.vendor.delay_s = DELAY_S
        ids = [await bench.connect(f"owner-{n}") for n in range(max(at_once, 10))]
        bench.vendor.expires_in = ALWAYS_STALE_S
        cancelled = await _cancel(bench, ids, cancels)
        termed = await _end(base, bench, ids[:at_once], terms, kill=False)
        killed = await _end(base, bench, ids[:at_once], kills, kill=True)
    floor = cancels + terms + kills
    # Cut short before or after the exchange proves nothing of it: a third must be in the midst.
    few = sum(fate.midst * 3 < fate.cut for fate in (cancelled, termed, killed))
    bad = cancelled.lost + termed.lost + (killed.lost - killed.shown) + few
    return Row(
        "A7",
        cancelled.cut + termed.cut + killed.cut,
        bad,
        floor,
        {
            "cancels": cancelled.cut,
            "in_midst": cancelled.midst,
            "sigterms": termed.cut,
            "term_in_midst": termed.midst,
            "grants_lost": cancelled.lost + termed.lost,
            "sigkill_lost": f"{killed.lost}/{killed.cut}",
            "shown_reauth_required": f"{killed.shown}/{killed.lost}",
        },
    )


async def _cancel(bench: Bench, ids: list[UUID], cancels: int) -> _Fates:
    fates = _Fates()
    found = [await bench.find(each) for each in ids]

    async def one(at: int) -> None:
        for _ in range(at, cancels, len(ids)):
            waiter = asyncio.create_task(bench.vendors.tokens.renew(bench.scope, found[at], None))
            await asyncio.sleep(random.uniform(0, 3 * DELAY_S))  # noqa: S311 - a moment, no secret
            fates.midst += waiter.cancel()
            with suppress(asyncio.CancelledError):
                await waiter
            await bench.vendors.tokens.drain()
            fates.cut += 1
            fates.lost += not await bench.lives(found[at].id)

    await asyncio.gather(*(one(at) for at in range(len(ids))))
    return fates


async def _end(base: Base, bench: Bench, ids: list[UUID], times: int, *, kill: bool) -> _Fates:
    """End processes at a random moment after the vendor rotated the token they spent."""
    fates = _Fates()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.bar.renewer"])

    async def one(connection: UUID, share: int) -> None:
        current = connection
        for _ in range(share):
            await _end_one(context, base, bench, current, fates, kill=kill)
            if not await bench.lives(current):
                fates.lost += 1
                current = await _name(bench, current, fates)

    shares = [len(range(at, times, len(ids))) for at in range(len(ids))]
    await asyncio.gather(*(one(connection, share) for connection, share in zip(ids, shares, strict=True)))
    for connection in ids:
        await bench.poll(connection)
    return fates


async def _end_one(
    context: multiprocessing.context.ForkServerContext,
    base: Base,
    bench: Bench,
    connection: UUID,
    fates: _Fates,
    *,
    kill: bool,
) -> None:
    kept = await bench.kept(connection)
    assert kept is not None
    assert kept.refresh_token is not None
    family = bench.vendor.family_of(kept.refresh_token)
    rotated = bench.vendor.rotation_of(family)
    process = context.Process(target=renew_until_told, args=(_order(base, bench, connection),))
    await asyncio.to_thread(process.start)
    try:
        async with asyncio.timeout(30):
            await rotated.wait()
        await asyncio.sleep(random.uniform(0, 1.5 * DELAY_S))  # noqa: S311 - a moment, no secret
        now_kept = await bench.kept(connection)
        # Not stored yet when the signal came: that is the midst.
        fates.midst += now_kept is not None and now_kept.refresh_token == kept.refresh_token
        (process.kill if kill else process.terminate)()
    finally:
        await asyncio.to_thread(process.join, 30)
    fates.cut += 1


async def _name(bench: Bench, connection: UUID, fates: _Fates) -> UUID:
    """Poll a connection whose token was lost, note whether it says so, and sign in anew."""
    await bench.poll(connection)
    fates.shown += (await bench.find(connection)).state == "reauth_required"
    return await bench.connect(f"again-{fates.lost}")
