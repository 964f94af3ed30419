"""The bar's rows on tenants and quotas hold here, at reduced floors; and each of them can fail."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from enalysis.core.access import Scope
from enalysis.store.pool import Conn, Database
from tests.bar.rows_store import e1, e2, e3, e4, e5, i3
from tests.bar.tenancy import superuser
from tests.bar.ways_round import ESCAPES
from tests.databases import Base, Cluster, fresh_base


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> Iterator[Base]:
    """Share one database: the rows plant organizations of their own."""
    with fresh_base(cluster) as made:
        yield made


def test_e1_every_tenants_table_is_walled(base: Base) -> None:
    row = e1(base)
    assert row.ok, row


def test_e2_without_an_organization_there_is_nothing(base: Base) -> None:
    row = e2(base)
    assert row.ok, row


async def test_e3_nobody_sees_anothers_row_over_a_shared_pool(base: Base) -> None:
    row = await e3(base, requests=1500)
    assert row.ok, row


class Leaky(Database):
    """Sets the organization for the session instead of the transaction: the next user of the connection has it."""

    @asynccontextmanager
    async def org(self, scope: Scope) -> AsyncIterator[Conn]:
        async with self.world() as conn:
            await conn.execute("select set_config('app.org', %s, false)", (str(scope.organization),))
            yield conn


async def test_e3_finds_an_organization_that_stays_on_its_connection(base: Base) -> None:
    assert (await e3(base, requests=200, database=Leaky)).facts["foreign"]


def test_e4_no_key_reaches_over_the_wall(base: Base) -> None:
    row = e4(base)
    assert row.ok, row


def test_e5_there_is_no_way_round(base: Base) -> None:
    row = e5(base)
    assert row.ok, row


async def test_i3_two_processes_make_exactly_the_calls_there_are(base: Base) -> None:
    row = await i3(base, processes=2, accounts=15)
    assert row.ok, row


async def test_i3_finds_a_ledger_that_counts_without_locking(cluster: Cluster) -> None:
    with fresh_base(cluster) as own:
        with superuser(own) as admin:
            admin.execute(
                "create or replace function quota_lock(p_scope text) returns void language sql"
                " as 'select pg_sleep(0.01)'"
            )
        assert (await i3(own, processes=2, accounts=15)).bad > 0


@pytest.mark.parametrize(
    ("hole", "row"),
    [
        ("alter table sites no force row level security", "E1"),
        ("create policy open on sites for select using (true)", "E1"),
        ("create table notes (id int)", "E1"),
        ("grant truncate on sites to enalysis_app", "E1"),
        ("alter role enalysis_jobs inherit", "E1"),
        ("create policy open on events using (true)", "E2"),
        ("alter table sites disable row level security", "E2"),
        ("create unique index on sites (address)", "E4"),
        ("alter table sites add unique (id); alter table meters add foreign key (site_id) references sites (id)", "E4"),
        ("grant select on samples_2026_06 to enalysis_app", "E5"),
        ("create view all_sites as select * from sites; grant select on all_sites to enalysis_app", "E5"),
        ("create function f() returns bigint language sql security definer as 'select 1'", "E5"),
        ("grant enalysis_owner to enalysis_app", "E5"),
        ("grant select on connections to enalysis_engine", "E5"),
    ],
)
def test_a_hole_in_the_wall_is_found(cluster: Cluster, hole: str, row: str) -> None:
    """Each row sees the fault it is for: it is made on purpose, in a database of its own."""
    with fresh_base(cluster) as own:
        with superuser(own) as admin:
            admin.execute("select ensure_partitions('2026-06-01', '2026-06-01')")
            admin.execute(hole)
        try:
            # Of the ways to another role one is enough: the holes of E5 are open without any.
            found = e5(own, ESCAPES[:1]) if row == "E5" else {"E1": e1, "E2": e2, "E4": e4}[row](own)
        finally:
            with superuser(own) as admin:
                admin.execute("revoke enalysis_owner from enalysis_app; alter role enalysis_jobs noinherit")
    assert found.bad > 0
