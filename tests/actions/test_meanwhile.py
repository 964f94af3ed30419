"""Simulated sites for a connection that waits: begun, apart from everything real, and gone when the vendor sends."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

import httpx2
import psutil
import psycopg
import pytest
from psycopg import sql

from enalysis.actions import apps, connections, meanwhile, poll
from enalysis.actions.poll import Deps
from enalysis.actions.vendors import Vendors
from enalysis.connectors.registry import CONNECTORS, Entry
from enalysis.core.access import Role, Scope
from enalysis.core.errors import NotFound, Refused
from enalysis.core.metrics import Quality
from enalysis.core.sites import MeterKind
from enalysis.egress import Egress
from enalysis.queries import fleet, sites
from enalysis.sandbox import Simulators
from enalysis.simulators.accounts import Account
from enalysis.simulators.oauth import AppState
from enalysis.simulators.server import Sandbox, create
from enalysis.store import connections as stored_connections
from enalysis.store import sites as stored_sites
from enalysis.store import streams
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.secrets import Keyring
from tests.actions.conftest import Bench, Clock, organization_of, served
from tests.bar.tenancy import ordinary_tables, superuser, tenant_tables
from tests.conftest import Base, make_organization

VENDOR = "enphase"
WAITS = "waiting_for_vendor"


def real_entries(url: str) -> Mapping[str, Entry]:
    """Return the registry with a vendor whose own addresses lead to a simulator, which nobody is told is one."""
    entry = CONNECTORS[VENDOR]

    def moved(address: str) -> str:
        return address.replace(f"https://{entry.spec.hosts[0]}", url)

    ways = tuple(
        replace(way, oauth=replace(way.oauth, token_url=moved(way.oauth.token_url))) if way.oauth else way
        for way in entry.spec.ways
    )
    return {VENDOR: Entry(replace(entry.spec, origin=moved(entry.spec.origin), ways=ways), entry.build)}


@dataclass
class Waiting(Bench):
    """A bench on which one connection waits for the vendor; `host` is where its twin looks around."""

    host: Sandbox
    connection: UUID

    @property
    def pending(self) -> Account:
        """Return the account whose app the vendor has not approved."""
        return self.sandbox.vendors[VENDOR].accounts["pending"]

    def approve(self) -> None:
        """Let the vendor approve the app."""
        auth = self.sandbox.vendors[VENDOR].auth
        assert auth
        auth.apps[self.pending.app["client_id"]].state = AppState.VERIFIED

    async def probe(self) -> None:
        """Poll the waiting connection once its pause is over."""
        self.clock.move(hours=8)
        await self.run_due(self.connection)


@pytest.fixture
async def waiting(db: Database, clock: Clock) -> AsyncIterator[Waiting]:
    """Connect an installer through an app that the vendor has not approved, beside a host with other weather."""
    vendor, host = create(2, clock), create(1, clock)
    # One site is enough to look at.
    hosting = host.vendors[VENDOR].accounts
    assert isinstance(hosting, dict)
    hosting["portfolio"] = replace(hosting["portfolio"], sites=hosting["portfolio"].sites[:1])
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(vendor.vendors[VENDOR]))
        elsewhere = await stack.enter_async_context(served(host.app))
        keyring = Keyring(secrets.token_bytes(32))
        vendors = Vendors(real_entries(url), db, keyring, Egress(url), clock, None, host=Simulators(elsewhere))
        scope = await organization_of(db, keyring, clock)
        bench = Waiting(scope, db, Deps(db, vendors, Partitions(), clock, 0), vendors, vendor, clock, host, UUID(int=0))
        account = bench.pending
        app = await apps.add(
            scope,
            db,
            vendors,
            vendor=VENDOR,
            kind="partner",
            name="App",
            plan="partner",
            fields=account.app,
            now=clock(),
        )
        bench.connection, found = await connections.add(
            scope, db, vendors, vendor=VENDOR, name="Sunny Installers", plan="partner", fields=account.credentials,
            way="partner", app=app, now=clock(),
        )  # fmt: skip
        assert found is None
        await bench.run_due(bench.connection)
        yield bench


async def test_a_waiting_connection_looks_around_and_goes_live(waiting: Waiting, base: Base) -> None:
    """Simulated sites come, are marked and counted nowhere, and are gone in one step with the first real data."""
    assert (await waiting.row(waiting.connection)).state == WAITS
    twin = await begin(waiting)
    await waiting.run_due(twin)
    row = await waiting.row(twin)
    assert (row.state, row.sandbox, row.twin_of) == ("healthy", True, waiting.connection)
    assert row.name == "Sunny Installers (simulated)"
    assert row.intervals > 0
    waits = await waiting.row(waiting.connection)
    assert (waits.state, waits.sandbox, waits.twin, waits.sites) == (WAITS, False, twin, 0)
    page = await fleet.fleet(waiting.scope, waiting.db, waiting.clock())
    assert [r.sandbox for r in page.rows] == [True]
    assert page.rows[0].pv_today_wh
    assert (page.totals.sites, page.totals.simulated) == (0, 1)
    assert (page.totals.pv_today_wh, page.totals.capacity_wp, page.totals.pv_w) == (None, None, None)
    await all_marked(waiting, page.rows[0].id)
    assert qualities(base) == {(True, True)}

    waiting.approve()
    await waiting.probe()
    live = await waiting.row(waiting.connection)
    assert (live.state, live.twin) == ("healthy", None)
    page = await fleet.fleet(waiting.scope, waiting.db, waiting.clock())
    assert [r.sandbox for r in page.rows] == [False, False]
    assert (page.totals.sites, page.totals.simulated) == (2, 0)
    assert page.totals.capacity_wp
    assert qualities(base) == {(False, False)}
    assert traces(base, twin) == []
    assert any("is live" in text for text in events(base))


async def test_the_host_and_the_vendor_see_only_who_is_theirs(waiting: Waiting) -> None:
    """What the twin asks never reaches the vendor nor its quota, and the waiting connection never asks the host."""
    before = sum(waiting.sandbox.vendors[VENDOR].tallies["pending"].served.values())
    spent = [q.taken for q in (await waiting.row(waiting.connection)).quota]
    twin = await begin(waiting)
    await waiting.run_due(twin)
    assert sum(waiting.sandbox.vendors[VENDOR].tallies["pending"].served.values()) == before
    assert waiting.host.vendors[VENDOR].tallies["portfolio"].served
    row, waits = await waiting.row(twin), await waiting.row(waiting.connection)
    assert row.calls > 0
    assert [(q.window, q.limit) for q in row.quota] == [(q.window, q.limit) for q in waits.quota]
    assert all(q.taken >= row.calls for q in row.quota)
    assert [q.taken for q in waits.quota] == spent


async def test_simulated_sites_are_deleted_on_request(waiting: Waiting, base: Base) -> None:
    """The twin goes with everything it brought; the waiting connection waits on and may begin again."""
    twin = await begin(waiting)
    assert await begin(waiting) == twin
    await waiting.run_due(twin)
    assert await meanwhile.end(waiting.scope, waiting.db, waiting.vendors, waiting.connection, waiting.clock()) == 1
    assert traces(base, twin) == []
    assert qualities(base) == set()
    assert (await waiting.row(waiting.connection)).state == WAITS
    again = await begin(waiting)
    assert await meanwhile.end(waiting.scope, waiting.db, waiting.vendors, again, waiting.clock()) == 0
    assert await meanwhile.end(waiting.scope, waiting.db, waiting.vendors, waiting.connection, waiting.clock()) == 0


@pytest.mark.parametrize("which", ["twin", "waiting"])
async def test_removing_either_removes_the_twin(waiting: Waiting, base: Base, which: str) -> None:
    """No simulated site outlives the connection it stands in for."""
    twin = await begin(waiting)
    await waiting.run_due(twin)
    gone = twin if which == "twin" else waiting.connection
    await connections.remove(waiting.scope, waiting.db, waiting.vendors, gone, waiting.clock())
    assert traces(base, twin) == []
    assert (await fleet.fleet(waiting.scope, waiting.db, waiting.clock())).totals.simulated == 0


async def test_a_poll_under_way_stores_nothing_after_the_end(waiting: Waiting, base: Base) -> None:
    """An answer that arrives after the twin is gone leaves nothing behind."""
    twin = await begin(waiting)
    await waiting.run_due(twin)
    async with waiting.db.org(waiting.scope) as conn:
        await conn.execute("update streams set cursor = null, next_at = %s", (waiting.clock(),))
    ended: list[int] = []

    class Late(Partitions):
        """Partitions that are made after somebody has ended it."""

        async def ensure(self, db: Database, times: Iterable[datetime]) -> None:
            """End first."""
            if not ended:
                at = waiting.clock()
                ended.append(await meanwhile.end(waiting.scope, db, waiting.vendors, waiting.connection, at))
            await super().ensure(db, times)

    waiting.deps.partitions = Late()
    await waiting.run_due(twin)
    assert ended == [1]
    assert traces(base, twin) == []
    assert qualities(base) == set()


async def test_nobody_signs_in_at_a_twin(waiting: Waiting) -> None:
    """A real grant is never kept where only simulators would be asked with it."""
    twin = await begin(waiting)
    account = waiting.pending
    scope, db, vendors, now = waiting.scope, waiting.db, waiting.vendors, waiting.clock()
    async with db.org(scope) as conn:
        app = (await stored_connections.find_connection(scope, conn, waiting.connection)).app_id
    with pytest.raises(Refused, match="is simulated"):
        await connections.enter_again(scope, db, vendors, twin, account.credentials, now, app=app)
    with pytest.raises(Refused, match="nothing to renew"):
        await connections.refresh(scope, db, vendors, twin, now)


async def test_a_child_serves_it_and_is_started_again(waiting: Waiting, clock: Clock) -> None:
    """Without SANDBOX_URL the first poll starts the simulators, one for all; killed, the next starts them again."""
    host = Simulators(None)
    waiting.vendors._host = host
    clock.at = datetime.now(UTC)
    twin = await begin(waiting)
    async with waiting.db.org(waiting.scope) as conn:
        [first] = [r.id for r in await streams.list_streams(waiting.scope, conn, twin)]
    report, *origins = await asyncio.gather(
        poll.poll(waiting.scope, waiting.deps, twin, [first]), host.origin(), host.origin()
    )
    assert (report.ok, report.failed) == (1, [])
    assert len(set(origins)) == 1
    old = host.child
    assert old
    async with httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{old.told['url']}/_sandbox/state")).status_code == 401
    os.kill(old.pid, signal.SIGKILL)
    while old.alive:  # noqa: ASYNC110 - nothing tells when a process was found dead
        await asyncio.sleep(0.01)
    report = await poll.poll(waiting.scope, waiting.deps, twin, [first])
    assert (report.ok, report.failed) == (1, [])
    new = host.child
    assert new
    assert new.pid != old.pid
    assert new.told["accounts"] == old.told["accounts"]
    await host.close()
    await old.end()
    assert not psutil.pid_exists(new.pid)


async def test_only_a_connection_that_waits_may_begin(waiting: Waiting) -> None:
    """Neither a live connection, nor a twin, nor a viewer, nor another organization begins or ends."""
    twin = await begin(waiting)
    assert await begin_as(waiting, waiting.scope, twin) == twin
    viewer = replace(waiting.scope, role=Role.VIEWER)
    with pytest.raises(Refused, match="admin"):
        await begin_as(waiting, viewer, waiting.connection)
    with pytest.raises(Refused, match="admin"):
        await meanwhile.end(viewer, waiting.db, waiting.vendors, waiting.connection, waiting.clock())
    other = await make_organization(waiting.db)
    for act in (meanwhile.begin, meanwhile.end):
        with pytest.raises(NotFound):
            await act(other, waiting.db, waiting.vendors, waiting.connection, waiting.clock())
    waiting.approve()
    await waiting.probe()
    with pytest.raises(Refused, match="does not wait"):
        await begin(waiting)


async def test_a_public_server_that_was_not_allowed_refuses(waiting: Waiting) -> None:
    """Without a host nothing begins, and a twin from before rests instead of calling anybody."""
    twin = await begin(waiting)
    waiting.vendors._host = None
    assert not meanwhile.may_begin(waiting.vendors, WAITS, sandbox=False)
    with pytest.raises(Refused, match="SANDBOX_ALLOWED=true"):
        await begin(waiting)
    await waiting.run_due(twin)
    assert (await waiting.row(twin)).calls == 0
    assert await meanwhile.end(waiting.scope, waiting.db, waiting.vendors, twin, waiting.clock()) == 0


async def test_the_database_keeps_simulated_and_real_apart(waiting: Waiting) -> None:
    """Whatever the code does, a real connection never feeds a simulated site, nor the other way round."""
    twin = await begin(waiting)
    await waiting.run_due(twin)
    waiting.approve()
    made_up = (await fleet.fleet(waiting.scope, waiting.db, waiting.clock())).rows[0].id
    scope, now = waiting.scope, waiting.clock()
    real = stored_sites.Site(UUID(int=9), "Real", None, "UTC", None, None, None)
    async with waiting.db.org(scope) as conn:
        await stored_sites.add_site(scope, conn, real, now)
        await stored_sites.set_vendor_site(scope, conn, waiting.connection, "1", "Real", active=True, now=now)
        await stored_sites.set_vendor_site(scope, conn, twin, "1", "Twin's", active=True, now=now)
        mine = await stored_sites.add_meter(scope, conn, real.id, MeterKind.PV, "PV")
    wrong = [
        ("update vendor_sites set site_id = %s where connection_id = %s and ref = '1'", (made_up, waiting.connection)),
        ("update vendor_sites set site_id = %s where connection_id = %s and ref = '1'", (real.id, twin)),
        ("update devices set site_id = %s where connection_id = %s", (real.id, twin)),
        ("update streams set site_id = %s where connection_id = %s", (real.id, twin)),
        ("update meter_sources set meter_id = %s", (mine,)),
        ("update sites set sandbox = not sandbox where id = %s", (made_up,)),
        ("update connections set sandbox = false, twin_of = null where id = %s", (twin,)),
    ]
    for statement, values in wrong:
        with pytest.raises(psycopg.errors.CheckViolation):
            async with waiting.db.org(scope) as conn:
                await conn.execute(statement, values)


async def begin(waiting: Waiting) -> UUID:
    """Give the waiting connection its twin."""
    return await begin_as(waiting, waiting.scope, waiting.connection)


async def begin_as(waiting: Waiting, scope: Scope, connection: UUID) -> UUID:
    """Give a connection its twin, as somebody."""
    return await meanwhile.begin(scope, waiting.db, waiting.vendors, connection, waiting.clock())


async def all_marked(waiting: Waiting, site: UUID) -> None:
    """Hold every answer about a simulated site to its mark."""
    scope, db, now = waiting.scope, waiting.db, waiting.clock()
    assert (await sites.head(scope, db, site, now)).sandbox
    day = await sites.day(scope, db, site, None, now)
    assert day.sandbox
    assert all(q.quality & Quality.SANDBOX for q in day.quarters if q.pv_wh is not None)
    devices = await sites.devices(scope, db, site)
    assert devices
    assert all(d.sandbox for d in devices)


def qualities(base: Base) -> set[tuple[bool, bool]]:
    """Return whether readings are marked, with whether their site is simulated: no other pair may be there."""
    with superuser(base) as admin:
        return {
            (bool(quality & Quality.SANDBOX), sandbox)
            for quality, sandbox in admin.execute(
                "select distinct i.quality, s.sandbox from intervals i left join devices d on d.id = i.device_id"
                " left join sites s on s.id = d.site_id"
            ).fetchall()
        }


def traces(base: Base, twin: UUID) -> list[str]:
    """Return the tables in which anything is left of a twin: its id, or what hung on it."""
    left = []
    with superuser(base) as admin:
        named = sql.SQL("{} t where t::text like %s")
        left += [n for n in ordinary_tables(admin) if count(admin, named.format(sql.Identifier(n)), f"%{twin}%")]
        for table in tenant_tables(admin):
            for column, owner in {"device_id": "devices", "site_id": "sites", "stream_id": "streams"}.items():
                orphans = sql.SQL(
                    "{table} t where t.{column} is not null"
                    " and not exists (select from {owner} o where o.id = t.{column})"
                ).format(table=sql.Identifier(table.name), column=sql.Identifier(column), owner=sql.Identifier(owner))
                if column in table.columns and count(admin, orphans):
                    left.append(f"{table.name} without its {owner}")
        if count(admin, sql.SQL("sites where sandbox")):
            left.append("sites")
    return left


def count(admin: psycopg.Connection, where: sql.Composable, *values: str) -> int:
    """Return how many rows there are of what stands behind `from`."""
    row = admin.execute(sql.SQL("select count(*) from ") + where, values).fetchone()
    assert row
    return int(row[0])


def events(base: Base) -> list[str]:
    """Return what the timeline says."""
    with superuser(base) as admin:
        return [text for (text,) in admin.execute("select text from events").fetchall()]
