"""A site's day as the page asks for it, against one query written by hand for the same rows."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
from psycopg.conninfo import make_conninfo

from enalysis.core.access import Scope
from enalysis.queries import sites
from enalysis.store.pool import Database
from tests.bench.figure import Figure, p95_ms
from tests.databases import Base, fresh_base, make_organization, temporary_cluster

SITES = 200
DAYS = 30
CALLS = 400
FIRST = date(2026, 5, 1)
NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)
ZONES = ("Europe/Berlin", "America/Denver", "Asia/Kolkata", "Australia/Adelaide")

_QUARTERS = """
    insert into site_quarters (organization_id, site_id, start, pv_wh, grid_import_wh, grid_export_wh,
                               battery_charge_wh, battery_discharge_wh, load_wh, soc_pct, residual_wh, quality)
    select %(org)s, %(site)s, %(first)s::date::timestamp at time zone %(zone)s + make_interval(mins => 15 * n),
           900 * random(), 300 * random(), 500 * random(), 90 * random(), 90 * random(), 400 * random(),
           100 * random(), random(), 0
    from generate_series(0, 96 * %(days)s - 1) n
"""
_TOTALS = """
    insert into site_days (organization_id, site_id, day, pv_wh, grid_import_wh, grid_export_wh, battery_charge_wh,
                           battery_discharge_wh, load_wh, residual_wh, quality, slots, stored, told_null)
    select %(org)s, %(site)s, %(first)s::date + n, 20000, 9000, 12000, 4000, 4000, 17000, 5, 0, 96, 96, 0
    from generate_series(0, %(days)s - 1) n
"""
_COVERAGE = """
    with made as (
        insert into streams (organization_id, connection_id, site_id, name, subject, metrics, next_at)
        select organization_id, id, %(site)s, 'energy', %(site)s::text, '{pv_wh,load_wh}', now() from connections
        returning id
    )
    insert into coverage (organization_id, stream_id, day, step_s, slots)
    select %(org)s, id, %(first)s::date + n, 900, repeat('s', 96) from made, generate_series(0, %(days)s - 1) n
"""
# A row for each quarter; what the day has once stands beside its first.
_BY_HAND = """
    with told as materialized (
        select s.zone, d.*, %(day)s::date::timestamp at time zone s.zone as begins,
               (%(day)s::date + 1)::timestamp at time zone s.zone as ends,
               (select min(day) from site_days where organization_id = %(org)s and site_id = %(site)s) as first_day,
               (select array_agg(c.slots)
                from streams t join coverage c on c.organization_id = t.organization_id and c.stream_id = t.id
                where t.organization_id = %(org)s and t.site_id = %(site)s and 'pv_wh' = any(t.metrics)
                  and c.day = %(day)s and c.step_s = 900) as letters
        from sites s left join site_days d on d.organization_id = %(org)s and d.site_id = %(site)s and d.day = %(day)s
        where s.organization_id = %(org)s and s.id = %(site)s
    )
    select q.start, q.pv_wh, q.grid_import_wh, q.grid_export_wh, q.battery_charge_wh, q.battery_discharge_wh,
           q.load_wh, q.soc_pct, q.residual_wh, q.quality, told.*
    from site_quarters q left join told on told.begins = q.start
    where q.organization_id = %(org)s and q.site_id = %(site)s
      and q.start >= (select begins from told) and q.start < (select ends from told)
    order by q.start
"""


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Yield `site_day_p95`: ms below which 95 of 100 random days of random sites are answered.

    Ours: the query behind the page and the API, by the app's login under row-level security, in a transaction
    and with a connection of the pool. The reference: one statement for the same 96 quarters, totals and
    coverage, over a connection held open by a superuser, whom row-level security does not touch, in psycopg's
    own way of reading answers.
    """
    with temporary_cluster() as cluster, fresh_base(cluster) as base:
        ours, by_hand = asyncio.run(_measure(base, tell))
    yield Figure("site_day_p95", p95_ms(ours), p95_ms(by_hand), "ms", len(ours))


async def _measure(base: Base, tell: Callable[[str], None]) -> tuple[list[float], list[float]]:
    async with Database(base.app, base.engine) as db:
        scope = await make_organization(db)
        ids = await _populate(db, scope)
        tell(f"{SITES} sites with {DAYS} days each are there")
        plain = make_conninfo(base.cluster.server.admin_conninfo, dbname=base.name)
        async with await psycopg.AsyncConnection.connect(plain, autocommit=True) as held:
            await held.execute("vacuum analyze")
            # Both have asked before, so that both know their statements.
            await _in_turn(db, scope, held, ids, 40)
            return await _in_turn(db, scope, held, ids, CALLS)


async def _populate(db: Database, scope: Scope) -> list[UUID]:
    ids = [uuid4() for _ in range(SITES)]
    async with db.org(scope) as conn:
        await conn.execute(
            "insert into connections"
            " (organization_id, vendor, name, plan, account, state, state_since, created_at)"
            " values (%s, 'bench', 'Bench', 'none', 'bench', 'healthy', now(), now())",
            (scope.organization,),
        )
    for n, site in enumerate(ids):
        zone = ZONES[n % len(ZONES)]
        what = {"org": scope.organization, "site": site, "zone": zone, "first": FIRST, "days": DAYS}
        async with db.org(scope) as conn:
            await conn.execute(
                "insert into sites (organization_id, id, name, zone, created_at)"
                " values (%(org)s, %(site)s, 'Bench', %(zone)s, now())",
                what,
            )
            for statement in (_QUARTERS, _TOTALS, _COVERAGE):
                await conn.execute(statement, what)
    return ids


async def _in_turn(
    db: Database, scope: Scope, held: psycopg.AsyncConnection, ids: list[UUID], calls: int
) -> tuple[list[float], list[float]]:
    """Ask both for the same days, one after the other; return how long each took, s."""
    chance = random.Random(7)  # noqa: S311 - the same days each time
    ours, by_hand = [], []
    for _ in range(calls):
        site, day = chance.choice(ids), FIRST + timedelta(days=chance.randrange(1, DAYS))
        begun = time.perf_counter()
        found = await sites.day(scope, db, site, day, NOW)
        between = time.perf_counter()
        cur = await held.execute(_BY_HAND, {"org": scope.organization, "site": site, "day": day})
        rows = await cur.fetchall()
        ended = time.perf_counter()
        if [q.pv_wh for q in found.quarters] != [row[1] for row in rows]:
            raise RuntimeError(f"two answers for {day} of site {site}")
        ours.append(between - begun)
        by_hand.append(ended - between)
    return ours, by_hand
