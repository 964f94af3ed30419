"""From a key to a day's balance: connect, discover, poll, backfill, roll up, over real HTTP and PostgreSQL."""

from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest
from psycopg.sql import SQL, Identifier

from enalysis.actions import connections
from enalysis.core.errors import LoginNeeded, NotFound, Refused
from enalysis.core.intervals import day_window
from enalysis.core.metrics import Quality
from enalysis.queries.fleet import fleet
from enalysis.queries.shapes import FleetRow, Health
from enalysis.queries.sites import day, devices, head
from tests.actions.conftest import NOON, Bench
from tests.conftest import make_organization


async def site_named(bench: Bench, name: str) -> FleetRow:
    """Return the row of a site in the fleet."""
    page = await fleet(bench.scope, bench.db, bench.clock())
    return next(r for r in page.rows if r.name == name)


async def test_a_key_becomes_sites_meters_and_readings(bench: Bench) -> None:
    """The fleet account: eight sites discovered and mapped, half a day of each stored and balanced."""
    connection = await bench.add("portfolio")
    await bench.run_due(connection)
    row = await bench.row(connection)
    assert (row.state, row.health, row.sites) == ("healthy", Health.GOOD, 8), row.sentence
    assert row.intervals > 500
    assert row.calls_failed == 0
    page = await fleet(bench.scope, bench.db, bench.clock())
    assert page.totals.sites == 8
    assert page.totals.pv_w is not None
    assert all(r.pv_yesterday_wh is None for r in page.rows), "half a yesterday is none"
    bakery = await site_named(bench, "Bakery Pankow")
    shown = await head(bench.scope, bench.db, bakery.id, bench.clock())
    assert {m.kind for m in shown.meters} == {"pv", "grid", "load"}
    assert shown.now.pv_w is not None
    assert shown.now.load_w == pytest.approx(shown.now.pv_w + (shown.now.grid_w or 0), abs=8)
    assert not shown.now.derived, "this site measures its load"
    found = await devices(bench.scope, bench.db, bakery.id)
    assert [d.kind for d in found].count("inverter") == 2
    assert next(d for d in found if d.name == "Production Meter").feeds == (), "it is part of the site's total"


async def test_history_is_the_worlds_to_the_watt_hour(bench: Bench) -> None:
    """Seven days of history: every day's totals are the World's, and the derived load closes the balance."""
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    await bench.run_history(connection)
    row = await bench.row(connection)
    assert row.backfill.days_done == row.backfill.days_asked > 13
    assert row.backfill.next_at is None
    site = await site_named(bench, "Rua do Almada")
    assert site.pv_yesterday_wh is not None
    today = (await day(bench.scope, bench.db, site.id, None, bench.clock())).totals
    assert today is not None
    assert not today.complete
    world = bench.sandbox.worlds["porto"]
    for number in range(26, 32):
        which = date(2026, 5, number)
        shown = await day(bench.scope, bench.db, site.id, which, bench.clock())
        window = day_window(which, ZoneInfo(shown.zone))
        truth = world.energy(window.start, window.end)
        totals = shown.totals
        assert totals is not None
        assert (totals.slots, totals.stored, totals.told_null, totals.complete) == (96, 96, 0, True)
        # The vendor rounds each quarter of each of three series to a whole Wh: half a Wh a slot at most.
        assert totals.pv_wh == pytest.approx(truth.pv_wh, abs=48)
        assert totals.grid_import_wh == pytest.approx(truth.grid_import_wh, abs=48)
        assert totals.grid_export_wh == pytest.approx(truth.grid_export_wh, abs=48)
        assert totals.load_wh == pytest.approx(truth.load_wh, abs=144)
        parts = (totals.pv_wh, totals.grid_import_wh, totals.grid_export_wh)
        assert None not in parts
        pv, imported, exported = (part or 0.0 for part in parts)
        assert totals.load_wh == pytest.approx(pv + imported - exported, abs=1e-6)
        assert totals.quality & Quality.DERIVED


async def test_asking_again_changes_nothing(bench: Bench) -> None:
    """A second poll of the same hours writes no row, no revision and no other total."""
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    before = await bench.row(connection)
    async with bench.db.org(bench.scope) as conn:
        await conn.execute("update streams set cursor = cursor - interval '6 h'")
    await connections.poll_now(bench.scope, bench.db, connection, bench.clock())
    await bench.run_due(connection)
    after = await bench.row(connection)
    assert after.intervals == before.intervals
    async with bench.db.org(bench.scope) as conn:
        revisions = await (await conn.execute("select count(*) from revisions")).fetchone()
    assert revisions == (0,)


async def test_the_next_day_goes_on_where_this_one_ended(bench: Bench) -> None:
    """Polled through a night and a day at its own pace, no slot of the day between is missing."""
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    while bench.clock() < NOON + timedelta(hours=44):
        bench.clock.move(minutes=45)
        await bench.run_due(connection)
    site = await site_named(bench, "Rua do Almada")
    shown = await day(bench.scope, bench.db, site.id, date(2026, 6, 3), bench.clock())
    assert shown.totals is not None
    assert shown.totals.stored == 96
    assert all(q.load_wh is not None for q in shown.quarters)
    night = [q for q in shown.quarters if q.pv_wh is None]
    assert night, "the vendor tells nothing at night"
    assert {q.state for q in night} == {"vendor_null"}


async def test_a_wrong_key_is_never_saved(bench: Bench) -> None:
    """The vendor refuses it; nothing is stored, and the sentence says what to do without the key in it."""
    with pytest.raises(LoginNeeded) as caught:
        await connections.add(
            bench.scope,
            bench.db,
            bench.vendors,
            vendor="solaredge",
            name="Wrong",
            plan="free",
            fields={"api_key": "SANDBOX-NOT-A-KEY"},
            now=bench.clock(),
        )
    assert "key" in str(caught.value)
    assert "SANDBOX-NOT-A-KEY" not in str(caught.value)
    async with bench.db.org(bench.scope) as conn:
        assert await (await conn.execute("select count(*) from connections")).fetchone() == (0,)


async def test_a_key_is_connected_once(bench: Bench) -> None:
    """A second connection with the same key is refused by name: it would spend the quota twice."""
    await bench.add("lapsed")
    with pytest.raises(Refused, match="connected already"):
        await bench.add("lapsed")


async def test_disconnecting_leaves_nothing_but_the_site(bench: Bench) -> None:
    """The secret, devices, readings and streams are gone; another organization cannot do it."""
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    stranger = await make_organization(bench.db, "Stranger")
    with pytest.raises(NotFound):
        await connections.remove(stranger, bench.db, bench.vendors, connection, bench.clock())
    await connections.remove(bench.scope, bench.db, bench.vendors, connection, bench.clock())
    async with bench.db.org(bench.scope) as conn:
        for table in ("connections", "devices", "streams", "intervals", "latest", "coverage", "vendor_calls"):
            query = SQL("select count(*) from {}").format(Identifier(table))
            assert await (await conn.execute(query)).fetchone() == (0,), table
        assert await (await conn.execute("select count(*) from sites")).fetchone() == (1,)
