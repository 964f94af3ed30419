"""From a key to a day's balance: connect, discover, poll, backfill, roll up, over real HTTP and PostgreSQL."""

from uuid import UUID

from enalysis.actions import poll
from enalysis.queries.connections import connection as find_connection
from enalysis.queries.fleet import fleet
from enalysis.queries.sites import day, devices, head
from enalysis.store import streams
from tests.actions.conftest import Bench


async def run_due(bench: Bench, connection: UUID) -> None:
    """Poll everything that is due until nothing is, as the worker would."""
    for _ in range(20):
        async with bench.db.org(bench.scope) as conn:
            rows = await streams.list_streams(bench.scope, conn, connection)
        due = [r.id for r in rows if r.next_at <= bench.clock()]
        if not due:
            return
        await poll.poll(bench.scope, bench.deps, connection, due)


async def test_a_key_becomes_sites_meters_and_readings(bench: Bench) -> None:
    """The fleet account: eight sites discovered and mapped, half a day of each stored and balanced."""
    connection = await bench.add("portfolio")
    await run_due(bench, connection)
    row = await find_connection(bench.scope, bench.db, bench.vendors.specs, connection, bench.clock())
    print(row)
    assert row.state == "healthy", row.sentence
    assert row.sites == 8
    page = await fleet(bench.scope, bench.db, bench.clock())
    assert page.totals.sites == 8
    for r in page.rows:
        print(r)
    site = next(r for r in page.rows if r.name == "Bakery Pankow")
    print(await head(bench.scope, bench.db, site.id, bench.clock()))
    found = await day(bench.scope, bench.db, site.id, None, bench.clock())
    print([q for q in found.quarters if q.state == 'stored'][:2], found.totals)
    for d in await devices(bench.scope, bench.db, site.id):
        print(d)


async def test_backfill(bench: Bench) -> None:
    """x."""
    connection = await bench.add("lapsed")
    await run_due(bench, connection)
    for n in range(200):
        async with bench.db.org(bench.scope) as conn:
            rows = await streams.list_streams(bench.scope, conn, connection)
        due = [r.id for r in rows if r.backfill_next_at is not None]
        if not due:
            break
        await poll.backfill(bench.scope, bench.deps, connection, due)
        bench.clock.move(seconds=20)
    row = await find_connection(bench.scope, bench.db, bench.vendors.specs, connection, bench.clock())
    print(n, row)
    page = await fleet(bench.scope, bench.db, bench.clock())
    from datetime import date
    for k in range(26,32):
        f = await day(bench.scope, bench.db, page.rows[0].id, date(2026,5,k), bench.clock())
        print(f.totals)
