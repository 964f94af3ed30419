"""The bar's rows on ends and borders: nothing is asked after a disconnection, nor about a site that is not ours."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID, uuid4

from enalysis.actions import connections, poll, renewals
from enalysis.actions.tokens import Kept
from enalysis.core.errors import EnalysisError, NotFound
from enalysis.store import accounts, streams
from enalysis.store.pool import Database
from enalysis.store.secrets import OrganizationKey, SealBroken
from tests.acme import REVOKE_PATH
from tests.bar.row import Row
from tests.bar.tenancy import superuser
from tests.databases import Base
from tests.oauth_bench import Bench, Clock, everything, opened
from tests.vendor import answer

_SITES = 8
_FIELDS = ("grant", "credential", "revoke", "app", "verifier")
_Kind = Callable[[Bench, UUID, Clock], Awaitable[bool]]


async def a10(base: Base, rounds: int = 12) -> Row:
    """A10: from the moment a disconnection is told, the vendor hears of it and of nothing else, and no secret is left.

    Tried in peace, with polls running and batches queued, in the midst of a renewal, with the vendor's revocation
    down for an hour, and by removing the connection. Every token the vendor ever gave is looked for in every column,
    in clear, by its sealed bytes, and by opening whatever opens under the organization's key.
    """
    late = left = untold = not_at_once = ended = 0
    clock = Clock()
    kinds: tuple[_Kind, ...] = (_in_peace, _while_polling, _while_renewing, _vendor_down, _by_removing)
    async with (
        Database(base.app, base.engine, size=12) as db,
        opened(db, clock=clock, vendor_clock=clock.vendor) as bench,
    ):
        bench.vendor.sites = [{"ref": f"roof-{n}", "name": f"Roof {n}"} for n in range(_SITES)]
        key = await _key(bench)
        for number in range(rounds):
            for kind in kinds:
                connection = await bench.connect(f"{kind.__name__}-{number}")
                await bench.poll(connection)
                bench.vendor.data_delay_s = 0.01
                sealed = _sealed_of(base, connection)
                family = bench.vendor.family_of((await bench.kept(connection) or _nothing()).refresh_token or "")
                asked, at_once = len(bench.vendor.asked), False
                at_once = await kind(bench, connection, clock)
                told_at = asyncio.get_running_loop().time()
                await _queued(bench, connection)
                ended += 1
                late += sum(
                    each.at > told_at and not each.target.endswith(REVOKE_PATH) for each in bench.vendor.asked[asked:]
                )
                not_at_once += not at_once
                untold += not family.revoked
                left += _left(base, bench, key, sealed)
                bench.vendor.data_delay_s = 0.0
    facts = {
        "ways": len(kinds),
        "vendor_calls_after": late,
        "secret_bytes_left": left,
        "vendor_not_told": untold,
        "not_wiped_at_once": not_at_once,
    }
    return Row("A10", ended, late + left + untold + not_at_once, rounds * len(kinds), facts)


def _nothing() -> Kept:
    raise LookupError("a connection without a grant")


async def _in_peace(bench: Bench, connection: UUID, clock: Clock) -> bool:
    await connections.disconnect(bench.scope, bench.db, bench.vendors, connection, clock())
    return await bench.kept(connection) is None


async def _while_polling(bench: Bench, connection: UUID, clock: Clock) -> bool:
    polling = [asyncio.create_task(bench.poll(connection)) for _ in range(2)]
    await asyncio.sleep(random.uniform(0.01, 0.15))  # noqa: S311 - a moment, no secret
    await connections.disconnect(bench.scope, bench.db, bench.vendors, connection, clock())
    gone = await bench.kept(connection) is None
    _running.extend(polling)
    return gone


async def _while_renewing(bench: Bench, connection: UUID, clock: Clock) -> bool:
    bench.vendor.delay_s = 0.2
    row = await bench.find(connection)
    renewing = asyncio.create_task(bench.vendors.tokens.renew(bench.scope, row, None))
    await asyncio.sleep(random.uniform(0.02, 0.2))  # noqa: S311 - a moment, no secret
    await connections.disconnect(bench.scope, bench.db, bench.vendors, connection, clock())
    with suppress(EnalysisError):
        await renewing
    bench.vendor.delay_s = 0.0
    return await bench.kept(connection) is None


async def _vendor_down(bench: Bench, connection: UUID, clock: Clock) -> bool:
    bench.vendor.revoke_act = answer(b"", 503)
    told = await connections.disconnect(bench.scope, bench.db, bench.vendors, connection, clock())
    at_once = not told and await bench.kept(connection) is None
    clock.move(minutes=30)
    await renewals.sweep(bench.db, bench.vendors, clock())
    bench.vendor.revoke_act = None
    clock.move(minutes=30)
    await renewals.sweep(bench.db, bench.vendors, clock())
    return at_once


async def _by_removing(bench: Bench, connection: UUID, clock: Clock) -> bool:
    await connections.remove(bench.scope, bench.db, bench.vendors, connection, clock())
    return await bench.kept(connection) is None


_running: list[asyncio.Task[poll.Report]] = []


async def _queued(bench: Bench, connection: UUID) -> None:
    """Let what runs come to its end and run what was queued before, live and history."""
    await asyncio.gather(*_running)
    _running.clear()
    async with bench.db.org(bench.scope) as conn:
        ids = [r.id for r in await streams.list_streams(bench.scope, conn, connection)]
    for run in (poll.poll, poll.backfill):
        with suppress(NotFound):
            await run(bench.scope, bench.deps, connection, ids)


async def _key(bench: Bench) -> OrganizationKey:
    async with bench.db.org(bench.scope) as conn:
        wrapped = await accounts.find_wrapped_key(bench.scope, conn)
    assert wrapped is not None
    return bench.keyring.open_organization_key(bench.scope.organization, wrapped)


def _sealed_of(base: Base, connection: UUID) -> bytes:
    with superuser(base) as admin:
        row = admin.execute("select sealed from connections where id = %s", (connection,)).fetchone()
    assert row is not None
    return bytes(row[0])


def _left(base: Base, bench: Bench, key: OrganizationKey, sealed: bytes) -> int:
    """Count values in the database that hold a token of any connection, in clear or in a form that opens."""
    tokens = [token.encode() for token in bench.vendor.tokens]
    with superuser(base) as admin:
        found = everything(admin)
        rows = [
            row[0]
            for table in ("connections", "vendor_apps", "revocations")
            for row in admin.execute(f"select id from {table}").fetchall()  # noqa: S608 - our own names
        ]
    values = [value for column in found.values() for value in column]
    left = sum(sealed in value for value in values)
    left += sum(any(token in value for token in tokens) for value in values)
    for value in values:
        for row in rows:
            for name in _FIELDS:
                with suppress(SealBroken):
                    opened_text = key.unseal(row, name, value).encode()
                    left += any(token in opened_text for token in tokens)
    return left


async def e8(base: Base, rounds: int = 6) -> Row:
    """E8: a site's id goes to a vendor only where this connection's own discovery found it.

    Streams about foreign sites are planted past the application, as a hole anywhere in it would: sites of another
    connection of the same app, of another tenant, of nobody, and ids that climb. Then every action that takes a
    connection's or a stream's id is given those of the other tenant. The connection's own site goes on.
    """
    calls = tried = own_missed = 0
    clock = Clock()
    async with (
        Database(base.app, base.engine, size=8) as db,
        opened(db, clock=clock) as bench,
        opened(db, clock=clock) as stranger,
    ):
        bench.vendor.sites = [{"ref": "ours-1", "name": "Ours"}]
        stranger.vendor.sites = [{"ref": "theirs-1", "name": "Theirs"}]
        ours, theirs = await bench.connect("us"), await stranger.connect("them")
        bench.vendor.sites = [{"ref": "next-door", "name": "Next door"}]
        beside = await bench.connect("beside")
        await bench.poll(beside)
        bench.vendor.sites = [{"ref": "ours-1", "name": "Ours"}]
        for one, connection in ((bench, ours), (stranger, theirs)):
            await one.poll(connection)
        foreign = ["theirs-1", "next-door", "nobodys", "ours-1/../next-door", "..%2Fnext-door", "ours-1?x=", "OURS-1"]
        for _ in range(rounds):
            for ref in foreign:
                for run in (poll.poll, poll.backfill):
                    stream = _plant(base, bench, ours, ref)
                    before = len(bench.vendor.used)
                    with suppress(EnalysisError):
                        await run(bench.scope, bench.deps, ours, [stream])
                    calls += sum("/sites/" in each.path for each in bench.vendor.used[before:])
                    tried += 1
            before = len(bench.vendor.used)
            await bench.poll(ours)
            asked = {each.path for each in bench.vendor.used[before:]}
            own_missed += "/api/sites/ours-1/power" not in asked
            calls += len(asked - {"/api/sites", "/api/sites/ours-1/power"})
        theirs_calls, actions = await _by_id(bench, stranger, theirs)
    return Row(
        "E8",
        tried + actions,
        calls + theirs_calls + own_missed,
        rounds * len(foreign) * 2 + 6,
        {"foreign_ids": len(foreign), "vendor_calls": calls + theirs_calls, "own_site_missed": own_missed},
    )


def _plant(base: Base, bench: Bench, connection: UUID, ref: str) -> int:
    with superuser(base) as admin:
        row = admin.execute(
            "insert into streams (organization_id, connection_id, name, subject, metrics, next_at, why, backfill_until,"
            " backfill_at, backfill_next_at) values (%(org)s, %(c)s, 'power', %(ref)s, '{}', %(now)s, 'planted',"
            " %(now)s - interval '3 days', %(now)s, %(now)s)"
            " on conflict (organization_id, connection_id, name, subject)"
            " do update set next_at = excluded.next_at, backfill_next_at = excluded.backfill_next_at returning id",
            {"org": bench.scope.organization, "c": connection, "ref": ref, "now": bench.clock()},
        ).fetchone()
    assert row is not None
    return int(row[0])


async def _by_id(bench: Bench, stranger: Bench, theirs: UUID) -> tuple[int, int]:
    """Give every action that takes a connection's id another tenant's; return vendor calls and actions tried."""
    before = len(stranger.vendor.asked) + len(bench.vendor.asked)
    scope, db, vendors, now = bench.scope, bench.db, bench.vendors, bench.clock()
    async with db.org(stranger.scope) as conn:
        ids = [r.id for r in await streams.list_streams(stranger.scope, conn, theirs)]
    attempts = (
        lambda: connections.test_saved(scope, db, vendors, theirs, now),
        lambda: connections.refresh(scope, db, vendors, theirs, now),
        lambda: connections.poll_now(scope, db, theirs, now),
        lambda: connections.disconnect(scope, db, vendors, theirs, now),
        lambda: connections.remove(scope, db, vendors, theirs, now),
        lambda: poll.poll(scope, bench.deps, theirs, ids),
        lambda: poll.backfill(scope, bench.deps, theirs, ids),
        lambda: bench.begin(connection=theirs),
        lambda: bench.begin(app=str(stranger.app)),
        lambda: bench.begin(app=str(uuid4())),
    )
    done = 0
    for attempt in attempts:
        try:
            await attempt()
        except NotFound:
            pass
        else:
            done += 1
    return len(stranger.vendor.asked) + len(bench.vendor.asked) - before + done, len(attempts)
