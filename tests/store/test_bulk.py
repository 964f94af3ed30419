"""A great many readings at once go other ways through the database: they must arrive just as a few do."""

import asyncio
import random
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from psycopg import sql

from enalysis.core.access import Scope
from enalysis.core.coverage import Run
from enalysis.core.metrics import INTERVAL_METRICS, SAMPLE_METRICS, Metric, Quality
from enalysis.store import readings, rollups
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.readings import Ingest, Ingested, IntervalRow, SampleRow, ingest
from tests.conftest import NOW, make_organization

AT = datetime(2026, 6, 2, 8, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
DEVICES = range(1, 9)
TABLES = ("samples", "intervals", "latest", "revisions", "coverage")


def some(chance: random.Random, metrics: tuple[Metric, ...]) -> dict[Metric, float]:
    """Return some of the metrics with values out of few, so that many stay what they were."""
    return {m: float(chance.randrange(3)) for m in metrics if chance.random() < 0.5}


def batch(chance: random.Random) -> Ingest:
    """Return readings of a few devices over a few quarters: new, known, corrected, and some of them twice."""
    intervals = [
        IntervalRow(
            chance.choice(DEVICES),
            AT + chance.randrange(6) * QUARTER,
            chance.choice((900, 3600)),
            some(chance, INTERVAL_METRICS),
            chance.choice((Quality.MEASURED, Quality.DERIVED)),
            chance.choice((None, {"note": chance.randrange(3)})),
        )
        for _ in range(chance.choice((0, 12)))
    ]
    samples = [
        SampleRow(chance.choice(DEVICES), AT + chance.randrange(4) * QUARTER, some(chance, SAMPLE_METRICS))
        for _ in range(chance.choice((0, 12)))
    ]
    runs = [
        (stream, 900, Run(date(2026, 6, 2), 96, chance.randrange(9), "".join(chance.choices("snrqx", k=3))))
        for stream in (1, 2, 3)
    ]
    return Ingest(samples, intervals, runs)


async def replay(db: Database, seed: int) -> tuple[list[Ingested], dict[str, list[str]]]:
    """Store the same batches in an organization of their own; return what each did and all that is left."""
    scope, chance, done = await make_organization(db), random.Random(seed), []  # noqa: S311 - the same each time
    for step in range(12):
        async with db.org(scope) as conn:
            done.append(await ingest(scope, conn, batch(chance), NOW + step * QUARTER))
    left: dict[str, list[str]] = {}
    async with db.org(scope) as conn:
        for table in TABLES:
            query = sql.SQL("select to_jsonb(t) - 'organization_id' from {} t").format(sql.Identifier(table))
            found = await (await conn.execute(query)).fetchall()
            left[table] = sorted(str(row) for row in found)
    return done, left


@pytest.mark.parametrize("seed", range(4))
async def test_many_arrive_as_few_do(db: Database, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    await Partitions().ensure(db, [AT])
    few = await replay(db, seed)
    monkeypatch.setattr(readings, "_MANY", 1)
    many = await replay(db, seed)
    assert many == few
    assert all(few[1][table] for table in TABLES)


async def test_what_is_packed_comes_back_as_it_was(db: Database, scope: Scope) -> None:
    """Rows of every kind mixed in one batch, each value to the last bit, times to the microsecond."""
    await Partitions().ensure(db, [AT])
    chance = random.Random(5)  # noqa: S311 - the same each time
    notes: tuple[dict[str, object] | None, ...] = (None, {}, {"a": [1, None, "\u00e4\u20ac\U0001f31e"]})
    awkward = (0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 7)
    rows = [
        IntervalRow(
            2**62 + n,
            AT + chance.randrange(9) * timedelta(microseconds=1),
            900,
            {m: chance.choice(awkward) for m in chance.sample(INTERVAL_METRICS[:-1], chance.randrange(6))},
            Quality(chance.randrange(128)),
            chance.choice(notes),
        )
        for n in range(5000)
    ]
    chance.shuffle(rows)
    async with db.org(scope) as conn:
        await ingest(scope, conn, Ingest(intervals=rows), NOW)
        columns = ", ".join(INTERVAL_METRICS)
        cur = await conn.execute(f"select device_id, start, quality, extra, {columns} from intervals order by 1")  # noqa: S608 - our columns
        found = await cur.fetchall()
    assert found == [
        (r.device, r.start, int(r.quality), r.extra, *map(r.values.get, INTERVAL_METRICS))
        for r in sorted(rows, key=lambda r: r.device)
    ]


async def test_writers_of_many_wait_for_a_rollup(db: Database, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both change rows of coverage in an order the other does not know: at once they could deadlock."""
    monkeypatch.setattr(readings, "_MANY", 1)
    day = date(2026, 6, 2)

    async def write() -> None:
        async with db.org(scope) as conn:
            await ingest(scope, conn, Ingest(coverage=[(1, 900, Run(day, 96, 0, "s"))]), NOW)

    async with db.org(scope) as conn:
        await rollups.clean(scope, conn, uuid4(), day)
        writing = asyncio.create_task(write())
        done, _ = await asyncio.wait([writing], timeout=0.5)
        assert not done
    await writing


async def test_thousands_at_once_are_new_known_and_newest_in_turn(db: Database, scope: Scope) -> None:
    await Partitions().ensure(db, [AT])
    rows = [IntervalRow(n, AT, 900, {Metric.PV_WH: 1.0}) for n in range(readings._MANY)]
    later = [IntervalRow(n, AT + QUARTER, 900, {Metric.PV_WH: 2.0}) for n in range(readings._MANY)]
    for each in (rows, rows, later):
        async with db.org(scope) as conn:
            before = (await (await conn.execute("select count(*) from intervals")).fetchall())[0][0]
            done = await ingest(scope, conn, Ingest(intervals=each), NOW)
            after = (await (await conn.execute("select count(*) from intervals")).fetchall())[0][0]
            assert done == Ingested(0, after - before, 0, 0)
    async with db.org(scope) as conn:
        found = await (await conn.execute("select count(*), min(pv_wh), min(start) from latest")).fetchall()
    assert found == [(readings._MANY, 2.0, AT + QUARTER)]


async def test_writers_of_many_do_not_lock_one_another_out(
    db: Database, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "_MANY", 1)
    await Partitions().ensure(db, [AT])

    async def write(worker: int) -> None:
        for n in range(8):
            order = sorted(range(300), key=lambda d: hash((d, worker, n)))
            rows = [IntervalRow(d, AT + n * QUARTER, 900, {Metric.PV_WH: float(worker)}) for d in order]
            runs = [(d, 900, Run(date(2026, 6, 2), 96, n, "s")) for d in order]
            async with db.org(scope) as conn:
                await ingest(scope, conn, Ingest(intervals=rows, coverage=runs), NOW + n * QUARTER)

    await asyncio.gather(*(write(worker) for worker in range(4)))
    async with db.org(scope) as conn:
        found = await (await conn.execute("select count(*), min(start) from latest")).fetchall()
    assert found == [(300, AT + 7 * QUARTER)]
