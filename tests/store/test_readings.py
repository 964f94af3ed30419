"""Storing readings: asked twice nothing changes, corrected the old value is kept, undone nothing is left."""

import asyncio
import contextlib
import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from enalysis.core.access import Scope
from enalysis.core.coverage import Run
from enalysis.core.metrics import INTERVAL_METRICS, SAMPLE_METRICS, Metric, Quality
from enalysis.core.readings import Interval, sift
from enalysis.store import connections, sites, streams
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.readings import Ingest, Ingested, IntervalRow, SampleRow, ingest
from enalysis.store.sites import Site
from tests.conftest import NOW, Base, Cluster, make_organization
from tests.databases import fresh_base

AT = datetime(2026, 6, 2, 8, 45, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
PV, LOAD, SOC = Metric.PV_WH, Metric.LOAD_WH, Metric.SOC_PCT
NOTHING = Ingested(0, 0, 0, 0)


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> Iterator[Base]:
    """Share one database: each test has its own organization."""
    with fresh_base(cluster) as made:
        yield made


@pytest.fixture
async def org(db: Database, scope: Scope) -> Scope:
    """Return an organization whose months of 2026 are ready."""
    await Partitions().ensure(db, [datetime(2026, month, 1, tzinfo=UTC) for month in (5, 6, 7)])
    return scope


def quarter(
    value: float | None,
    *,
    device: int = 1,
    n: int = 0,
    metric: Metric = PV,
    duration_s: int = 900,
    quality: Quality = Quality.MEASURED,
    extra: Mapping[str, object] | None = None,
) -> IntervalRow:
    """Return the n-th quarter of a device with one value."""
    told = {} if value is None else {metric: value}
    return IntervalRow(device, AT + n * QUARTER, duration_s, told, quality, extra)


async def write(
    db: Database, scope: Scope, *rows: IntervalRow, samples: Sequence[SampleRow] = (), now: datetime = NOW
) -> Ingested:
    """Store readings in a transaction of their own."""
    async with db.org(scope) as conn:
        return await ingest(scope, conn, Ingest(samples, rows), now)


async def fetch(db: Database, scope: Scope, query: str) -> list[tuple[Any, ...]]:
    """Return all rows of a query as the organization sees them."""
    async with db.org(scope) as conn:
        return await (await conn.execute(query)).fetchall()


async def everything(db: Database, scope: Scope) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that readings leave in the database."""
    tables = ("samples", "intervals", "revisions", "latest", "coverage", "streams")
    return {t: await fetch(db, scope, f"select * from {t} order by 1, 2, 3, 4") for t in tables}  # noqa: S608 - names above


def month(devices: int) -> list[IntervalRow]:
    """Return some devices' June, every metric in turn left out."""
    first = datetime(2026, 6, 1, tzinfo=UTC)
    return [
        IntervalRow(
            d,
            first + n * QUARTER,
            900,
            {m: float((n * 7 + k * 3 + d) % 90) for k, m in enumerate(INTERVAL_METRICS) if (n + k) % 5},
            Quality(n % 2),
            {"n": n} if n % 9 == 0 else None,
        )
        for d in range(devices)
        for n in range(30 * 96)
    ]


async def test_a_month_asked_for_three_times_in_any_order_changes_nothing(db: Database, org: Scope) -> None:
    """H1: as if it had been asked for once, in whatever pieces it comes."""
    chance = random.Random(1)  # noqa: S311 - an order, no secret
    rows = month(2)
    assert await write(db, org, *rows) == Ingested(0, len(rows), 0, 0)
    before = await everything(db, org)
    for _ in range(3):
        chance.shuffle(rows)
        for part in (rows[:50], rows[50:4000], rows[4000:]):
            assert await write(db, org, *part, now=NOW + timedelta(days=1)) == NOTHING
    assert await everything(db, org) == before
    sums = {m.value: sum(r.values.get(m, 0.0) for r in rows) for m in INTERVAL_METRICS}
    ((*found,),) = await fetch(db, org, f"select {', '.join(f'sum({m})' for m in sums)} from intervals")  # noqa: S608 - our metrics
    assert found == list(sums.values())


async def test_a_correction_keeps_the_old_value_once_and_is_flagged(db: Database, org: Scope) -> None:
    await write(db, org, quarter(100.0), quarter(5.0, n=1))
    corrected = IntervalRow(1, AT, 900, {PV: 120.0, LOAD: 7.0})
    later = NOW + timedelta(hours=1)
    assert await write(db, org, corrected, now=later) == Ingested(0, 0, 1, 1)
    for _ in range(2):
        assert await write(db, org, corrected, now=later + timedelta(hours=1)) == NOTHING
    assert await fetch(db, org, "select device_id, start, metric, old, new, seen_at from revisions") == [
        (1, AT, "pv_wh", 100.0, 120.0, later)
    ]
    assert await fetch(db, org, "select pv_wh, load_wh, quality from intervals order by start") == [
        (120.0, 7.0, Quality.RESTATED),
        (5.0, None, 0),
    ]
    await write(db, org, quarter(100.0), now=later + timedelta(hours=3))
    assert await fetch(db, org, "select old, new from revisions order by seen_at") == [(100.0, 120.0), (120.0, 100.0)]


async def test_nothing_told_blanks_nothing_and_filling_a_gap_is_no_correction(db: Database, org: Scope) -> None:
    await write(db, org, quarter(100.0, extra={"a": 1}, quality=Quality.DERIVED))
    assert await write(db, org, quarter(None)) == NOTHING
    assert await write(db, org, quarter(7.0, metric=LOAD)) == Ingested(0, 0, 1, 0)
    assert await fetch(db, org, "select pv_wh, load_wh, quality, extra from intervals") == [
        (100.0, 7.0, Quality.DERIVED, {"a": 1})
    ]
    assert await fetch(db, org, "select * from revisions") == []
    assert await write(db, org, quarter(0.0)) == Ingested(0, 0, 1, 1)
    assert await fetch(db, org, "select pv_wh from intervals") == [(0.0,)]


async def test_a_note_of_any_kind_is_stored_as_json(db: Database, org: Scope) -> None:
    note = {"text": "a\0b", "half": "\ud800", "nan": float("nan"), "deep": {"list": [1, None, True]}}
    (told,) = sift([], [Interval("a", AT, 900, {PV: 1.0}, extra=note)], NOW).intervals
    await write(db, org, quarter(1.0, extra=told.extra))
    assert await fetch(
        db, org, "select extra ->> 'text', extra #>> '{deep,list,2}', extra -> 'nan' from intervals"
    ) == [("ab", "true", None)]


async def test_duplicates_within_a_batch_become_one_row_of_the_last_word(db: Database, org: Scope) -> None:
    """H2: the page that came twice, the stamp that came twice, and two streams of one device."""
    rows = [
        quarter(1.0),
        quarter(2.0, quality=Quality.DERIVED),
        quarter(9.0, metric=LOAD, extra={"x": 1}),
        quarter(3.0, n=1),
        quarter(4.0, duration_s=3600),
    ]
    assert await write(db, org, *rows, *rows) == Ingested(0, 3, 0, 0)
    found = await fetch(
        db, org, "select start, duration_s, pv_wh, load_wh, quality from intervals order by start, duration_s"
    )
    assert found == [
        (AT, 900, 2.0, 9.0, Quality.DERIVED),
        (AT, 3600, 4.0, None, 0),
        (AT + QUARTER, 900, 3.0, None, 0),
    ]


async def test_the_database_refuses_what_is_no_measurement(db: Database, org: Scope) -> None:
    """H4: should every check before it fail, the batch fails, and nothing of it is there."""
    signed = {Metric.GRID_W, Metric.BATTERY_W, Metric.TEMP_C}
    poisons = [float("nan"), float("inf"), float("-inf"), -1.0]
    for metric in INTERVAL_METRICS:
        for value in poisons:
            with pytest.raises(psycopg.errors.CheckViolation):
                await write(db, org, quarter(1.0, n=1), quarter(value, metric=metric))
    for metric in SAMPLE_METRICS:
        for value in poisons[:3] if metric in signed else poisons:
            with pytest.raises(psycopg.errors.CheckViolation):
                await write(db, org, samples=[SampleRow(1, AT, {metric: value})])
    assert (
        await fetch(db, org, "select from intervals union all select from samples union all select from latest") == []
    )
    await write(db, org, quarter(1.0, metric=SOC))
    with pytest.raises(psycopg.errors.CheckViolation):
        await write(db, org, quarter(float("nan"), metric=SOC))
    with pytest.raises(psycopg.errors.CheckViolation):
        await write(db, org, quarter(1.0, duration_s=901))
    assert await fetch(db, org, "select soc_pct from intervals") == [(1.0,)]


async def test_writers_at_once_in_any_order_do_not_deadlock(db: Database, org: Scope) -> None:
    """H2: samples and intervals of the same devices, some with both and some with one, keys in random order."""

    async def work(task: int) -> int:
        chance = random.Random(task)  # noqa: S311 - an order, no secret
        new = 0
        for turn in range(12):
            keys = [(d, n) for d in range(8) for n in range(turn, turn + 6)]
            rows = [quarter(float(n + d), device=d, n=n) for d, n in keys if (d + task) % 4 != 1]
            told = [SampleRow(d, AT + n * QUARTER, {Metric.PV_W: 1.0}) for d, n in keys if (d + task) % 4 != 2]
            chance.shuffle(rows)
            chance.shuffle(told)
            new += (await write(db, org, *rows, samples=told)).intervals_new
        return new

    new = sum(await asyncio.gather(*(work(n) for n in range(4))))
    assert new == 8 * 17
    assert await fetch(db, org, "select count(*), sum(pv_wh) from intervals") == [
        (new, float(sum(n + d for d in range(8) for n in range(17))))
    ]
    assert await fetch(db, org, "select count(*) from revisions") == [(0,)]


async def make_stream(db: Database, scope: Scope) -> tuple[UUID, int]:
    """Add a connection with one stream and return both."""
    site, connection = uuid4(), uuid4()
    async with db.org(scope) as conn:
        await sites.add_site(scope, conn, Site(site, "Here", None, "Europe/Berlin", None, None, None), NOW)
        await connections.add_connection(scope, conn, connection, "acme", "Acme", "free", "acme:1", NOW, way="key")
        await streams.add_stream(scope, conn, connection, site, "energy", "s1", [PV], NOW)
        (row,) = await streams.list_streams(scope, conn, connection)
    return connection, row.id


async def test_a_cursor_moves_forward_only(db: Database, org: Scope) -> None:
    connection, stream = await make_stream(db, org)

    async def cursor() -> datetime | None:
        async with db.org(org) as conn:
            (row,) = await streams.list_streams(org, conn, connection)
        return row.cursor

    async def move(*to: datetime) -> datetime | None:
        async with db.org(org) as conn:
            await ingest(org, conn, Ingest(cursors=[(stream, at) for at in to]), NOW)
        return await cursor()

    assert await cursor() is None
    assert await move(AT, AT - QUARTER) == AT
    assert await move(AT - timedelta(days=1)) == AT
    assert await move(AT + QUARTER) == AT + QUARTER


async def test_what_is_undone_leaves_no_trace(db: Database, org: Scope) -> None:
    """H8: readings, coverage, newest values, revisions and cursor come together or not at all."""
    _, stream = await make_stream(db, org)
    await write(db, org, quarter(1.0), samples=[SampleRow(1, AT, {Metric.PV_W: 4.0})])
    before = await everything(db, org)
    what = Ingest(
        [SampleRow(1, AT + QUARTER, {Metric.PV_W: 5.0})],
        [quarter(2.0), quarter(3.0, n=1)],
        [(stream, 900, Run(date(2026, 6, 2), 96, 43, "ss"))],
        [(stream, AT + 2 * QUARTER)],
    )

    async def store(how: str, done: asyncio.Event) -> None:
        async with db.org(org) as conn:
            assert await ingest(org, conn, what, NOW + timedelta(hours=1)) == Ingested(1, 1, 1, 1)
            done.set()
            if how == "raised":
                raise ZeroDivisionError
            if how == "cancelled":
                await asyncio.sleep(60)
            await conn.execute("select 1 / 0")

    for how in ("raised", "cancelled", "refused"):
        done = asyncio.Event()
        task = asyncio.create_task(store(how, done))
        await done.wait()
        if how == "cancelled":
            task.cancel()
        with contextlib.suppress(ZeroDivisionError, asyncio.CancelledError, psycopg.errors.DivisionByZero):
            await task
        assert await everything(db, org) == before, how
    async with db.org(org) as conn:
        await ingest(org, conn, what, NOW + timedelta(hours=1))
    after = await everything(db, org)
    assert {t for t in after if after[t] != before[t]} == set(after)


async def test_a_month_without_a_partition_stores_nothing_of_the_batch(db: Database, org: Scope) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await write(db, org, quarter(1.0), quarter(2.0, n=96 * 365))
    assert await fetch(db, org, "select * from intervals") == []


async def test_partitions_are_made_once_and_by_several_at_once(db: Database, org: Scope) -> None:
    months = [datetime(2024, m, 15, tzinfo=UTC) for m in range(1, 13)]
    await asyncio.gather(*(Partitions().ensure(db, months) for _ in range(4)))
    for at in (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 12, 31, 23, 45, tzinfo=UTC)):
        assert (await write(db, org, IntervalRow(1, at, 900, {PV: 1.0}))).intervals_new == 1


async def test_two_ingests_of_one_transaction_do_not_mix(db: Database, org: Scope) -> None:
    async with db.org(org) as conn:
        first = await ingest(org, conn, Ingest([SampleRow(1, AT, {Metric.PV_W: 1.0})], [quarter(1.0)]), NOW)
        second = await ingest(org, conn, Ingest([SampleRow(2, AT, {Metric.PV_W: 1.0})], [quarter(2.0, n=1)]), NOW)
    assert first == second == Ingested(1, 1, 0, 0)
    assert len(await fetch(db, org, "select * from samples")) == 2


async def test_samples_fill_change_and_never_blank(db: Database, org: Scope) -> None:
    async def put(**values: float) -> int:
        told = {Metric(k): v for k, v in values.items()}
        return (await write(db, org, samples=[SampleRow(1, AT, told, Quality.SANDBOX)])).samples_new

    assert await put(pv_w=5.0) == 1
    assert await put(pv_w=5.0) == 0
    await put(grid_w=-3.0)
    await put(pv_w=6.0)
    assert await fetch(db, org, "select pv_w, grid_w, load_w, quality from samples") == [(6.0, -3.0, None, 64)]


async def test_nobody_writes_for_another_organization(db: Database, org: Scope) -> None:
    other = await make_organization(db)
    for what in (
        Ingest(intervals=[quarter(1.0)]),
        Ingest(samples=[SampleRow(1, AT, {Metric.PV_W: 1.0})]),
        Ingest(coverage=[(1, 900, Run(date(2026, 6, 2), 96, 0, "s"))]),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with db.org(other) as conn:
                await ingest(org, conn, what, NOW)
    await write(db, org, quarter(1.0))
    assert await write(db, other, quarter(2.0)) == Ingested(0, 1, 0, 0)
    assert await fetch(db, org, "select pv_wh from intervals") == [(1.0,)]
