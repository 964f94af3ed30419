"""Storing 100,000 interval rows, against COPY of the same rows into a table that knows nothing."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import psycopg
from psycopg import sql

from enalysis.core.access import Scope
from enalysis.core.coverage import Run
from enalysis.core.metrics import INTERVAL_METRICS, Metric
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.readings import Ingest, IntervalRow, ingest
from tests.bench.figure import Figure, rate
from tests.databases import Base, fresh_base, make_organization, temporary_cluster

ROWS = 100_000
ROUNDS, ROUNDS_OF_THE_WORST = 5, 3
DAY = date(2026, 6, 1)
FIRST = datetime(2026, 6, 1, 8, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
_COPIED = ["uuid", "int8", "timestamptz", "int4", *["float8"] * len(INTERVAL_METRICS), "int2", "jsonb"]


@dataclass
class Times:
    """How long each round took, s: ours, COPY into a table without and with a primary key."""

    ours: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    keyed: list[float] = field(default_factory=list)


def figures(tell: Callable[[str], None]) -> Iterator[Figure]:
    """Yield `ingest_slot`, `ingest_slot_indexed` and `ingest_slot_one_per_stream`, rows a second.

    Ours: the app's login under row-level security, one transaction with coverage, cursors and latest. The
    reference: binary COPY by the owner of the same rows into an ordinary logged table of the same columns,
    without any index, and for `ingest_slot_indexed` with the same primary key. Both begin with the same Python
    rows and end with the commit. A slot of 15 minutes of 100,000 devices, five to a stream as in a house with
    a few devices, and in the worst shape one to a stream. A first round that fills empty tables is not counted.
    """
    times = _measure(5, ROUNDS, tell)
    yield Figure("ingest_slot", rate(ROWS, times.ours), rate(ROWS, times.plain), "rows/s", ROWS)
    yield Figure("ingest_slot_indexed", rate(ROWS, times.ours), rate(ROWS, times.keyed), "rows/s", ROWS)
    times = _measure(1, ROUNDS_OF_THE_WORST, tell)
    yield Figure("ingest_slot_one_per_stream", rate(ROWS, times.ours), rate(ROWS, times.plain), "rows/s", ROWS)


def _measure(devices_a_stream: int, rounds: int, tell: Callable[[str], None]) -> Times:
    with temporary_cluster() as cluster, fresh_base(cluster) as base:
        return asyncio.run(_rounds(base, devices_a_stream, rounds, tell))


async def _rounds(base: Base, devices_a_stream: int, rounds: int, tell: Callable[[str], None]) -> Times:
    times = Times()
    async with Database(base.app, base.engine) as db:
        scope = await make_organization(db)
        streams = await _make_streams(db, scope, ROWS // devices_a_stream)
        await Partitions().ensure(db, [FIRST])
        with psycopg.connect(base.owner) as owner:
            _make_tables(owner)
            for n in range(rounds + 1):
                slot = _slot(n, streams)
                took = (
                    await _ours(db, scope, slot),
                    _copy(owner, "plain", scope.organization, slot.intervals),
                    _copy(owner, "keyed", scope.organization, slot.intervals),
                )
                tell(
                    f"devices a stream: {devices_a_stream}, round {n} of {rounds}: ours {took[0]:.2f} s,"
                    f" COPY {took[1]:.2f} s, COPY with a primary key {took[2]:.2f} s"
                )
                if n:
                    times.ours.append(took[0])
                    times.plain.append(took[1])
                    times.keyed.append(took[2])
    return times


async def _make_streams(db: Database, scope: Scope, count: int) -> list[int]:
    async with db.org(scope) as conn:
        await conn.execute(
            "insert into connections"
            " (organization_id, vendor, name, plan, account, state, state_since, created_at)"
            " values (%s, 'bench', 'Bench', 'none', 'bench', 'healthy', now(), now())",
            (scope.organization,),
        )
        made = await conn.execute(
            "insert into streams (organization_id, connection_id, name, subject, next_at)"
            " select organization_id, id, 'energy', n::text, now() from connections, generate_series(1, %s) n"
            " returning id",
            (count,),
        )
        return sorted(row[0] for row in await made.fetchall())


def _make_tables(owner: psycopg.Connection) -> None:
    for name in ("plain", "keyed"):
        owner.execute(sql.SQL("create table {} (like intervals)").format(sql.Identifier(name)))
    owner.execute("alter table keyed add primary key (organization_id, device_id, start, duration_s)")
    owner.commit()


def _slot(n: int, streams: list[int]) -> Ingest:
    """Return the n-th quarter of every device: pv, import, export and load, as an inverter with a meter tells."""
    start, chance = FIRST + n * QUARTER, random.Random(n)  # noqa: S311 - the same numbers each time
    run = Run(DAY, 96, 32 + n, "s")
    return Ingest(
        intervals=[
            IntervalRow(
                device,
                start,
                900,
                {
                    Metric.PV_WH: chance.uniform(0, 2000),
                    Metric.GRID_IMPORT_WH: chance.uniform(0, 500),
                    Metric.GRID_EXPORT_WH: chance.uniform(0, 1500),
                    Metric.LOAD_WH: chance.uniform(20, 900),
                },
            )
            for device in range(1, ROWS + 1)
        ],
        coverage=[(stream, 900, run) for stream in streams],
        cursors=[(stream, start + QUARTER) for stream in streams],
    )


async def _ours(db: Database, scope: Scope, slot: Ingest) -> float:
    begun = time.perf_counter()
    async with db.org(scope) as conn:
        done = await ingest(scope, conn, slot, FIRST)
    took_s = time.perf_counter() - begun
    if done.intervals_new != ROWS:
        raise RuntimeError(f"stored {done.intervals_new} rows instead of {ROWS}")
    return took_s


def _copy(owner: psycopg.Connection, table: str, organization: UUID, rows: Sequence[IntervalRow]) -> float:
    begun = time.perf_counter()
    into = sql.SQL("copy {} from stdin (format binary)").format(sql.Identifier(table))
    with owner.cursor() as cur, cur.copy(into) as copy:
        copy.set_types(_COPIED)
        for r in rows:
            told = map(r.values.get, INTERVAL_METRICS)
            copy.write_row((organization, r.device, r.start, r.duration_s, *told, int(r.quality), r.extra))
    owner.commit()
    return time.perf_counter() - begun
