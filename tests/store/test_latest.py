"""The newest value of each device: never older than what was there, never blanked, never of two durations."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from enalysis.core.access import Scope
from enalysis.core.metrics import Metric, Quality
from enalysis.store.partitions import Partitions
from enalysis.store.pool import Database
from enalysis.store.readings import Ingest, IntervalRow, SampleRow, ingest
from tests.conftest import NOW, Base, Cluster
from tests.databases import fresh_base

AT = datetime(2026, 6, 2, 8, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> Iterator[Base]:
    """Share one database: each test has its own organization."""
    with fresh_base(cluster) as made:
        yield made


@pytest.fixture
async def org(db: Database, scope: Scope) -> Scope:
    """Return an organization whose month is ready."""
    await Partitions().ensure(db, [AT])
    return scope


def interval(n: int, duration_s: int = 900, quality: Quality = Quality.MEASURED, **values: float) -> IntervalRow:
    """Return the interval that begins n quarters after 08:00."""
    return IntervalRow(1, AT + n * QUARTER, duration_s, {Metric(k): v for k, v in values.items()}, quality)


def sample(minute: int, quality: Quality = Quality.MEASURED, **values: float) -> SampleRow:
    """Return the sample of some minutes after 08:00."""
    return SampleRow(1, AT + timedelta(minutes=minute), {Metric(k): v for k, v in values.items()}, quality)


async def latest(db: Database, scope: Scope, *rows: IntervalRow | SampleRow) -> dict[str, Any]:
    """Store rows in one transaction and return what is newest then, without what is unknown."""
    what = Ingest([r for r in rows if isinstance(r, SampleRow)], [r for r in rows if isinstance(r, IntervalRow)])
    async with db.org(scope) as conn:
        await ingest(scope, conn, what, NOW)
        cur = await conn.execute("select * from latest where device_id = 1")
        (row,) = await cur.fetchall()
    named = dict(zip([c.name for c in cur.description or ()], row, strict=True))
    told = {k: v for k, v in named.items() if v is not None and not k.endswith("_id")}
    if "start" in told:
        told["start"] = int((told["start"] - AT) / QUARTER)
    if "at" in told:
        told["at"] = int((told["at"] - AT).total_seconds() // 60)
    return told


async def test_only_the_newest_counts_whatever_order_it_comes_in(db: Database, org: Scope) -> None:
    newest = {"start": 3, "duration_s": 900, "pv_wh": 3.0, "quality": 0}
    assert await latest(db, org, interval(2, pv_wh=2.0), interval(3, pv_wh=3.0), interval(1, pv_wh=1.0)) == newest
    assert await latest(db, org, interval(0, pv_wh=9.0, load_wh=9.0)) == newest
    assert await latest(db, org, interval(4, load_wh=4.0)) == {
        "start": 4, "duration_s": 900, "load_wh": 4.0, "quality": 0
    }  # fmt: skip


async def test_two_streams_fill_one_interval_and_nothing_told_blanks_nothing(db: Database, org: Scope) -> None:
    await latest(db, org, interval(1, pv_wh=1.0, quality=Quality.DERIVED))
    await latest(db, org, interval(1, grid_import_wh=2.0, quality=Quality.SANDBOX))
    assert await latest(db, org, interval(1, grid_export_wh=0.0)) == {
        "start": 1,
        "duration_s": 900,
        "pv_wh": 1.0,
        "grid_import_wh": 2.0,
        "grid_export_wh": 0.0,
        "quality": Quality.DERIVED | Quality.SANDBOX,
    }


async def test_a_correction_of_the_newest_interval_is_shown(db: Database, org: Scope) -> None:
    await latest(db, org, interval(1, pv_wh=1.0))
    assert (await latest(db, org, interval(1, pv_wh=8.0)))["pv_wh"] == 8.0


async def test_an_hour_and_a_quarter_that_begin_together_are_never_one_row(db: Database, org: Scope) -> None:
    """Power is energy over duration: a quarter's Wh beside an hour's seconds would show a fourth of it."""
    quarter = {"start": 0, "duration_s": 900, "pv_wh": 100.0, "quality": 0}
    assert await latest(db, org, interval(0, pv_wh=100.0)) == quarter
    assert await latest(db, org, interval(0, 3600, pv_wh=390.0, load_wh=50.0)) == quarter
    assert (await latest(db, org, interval(1, 3600, load_wh=60.0))) == {
        "start": 1, "duration_s": 3600, "load_wh": 60.0, "quality": 0
    }  # fmt: skip
    assert await latest(db, org, interval(1, pv_wh=7.0), interval(1, 3600, pv_wh=9.0)) == {
        "start": 1, "duration_s": 900, "pv_wh": 7.0, "quality": 0
    }  # fmt: skip


async def test_samples_and_intervals_of_a_device_live_side_by_side(db: Database, org: Scope) -> None:
    await latest(db, org, sample(20, pv_w=20.0, soc_pct=55.0))
    both = await latest(db, org, interval(0, pv_wh=1.0))
    assert both == {
        "at": 20, "pv_w": 20.0, "start": 0, "duration_s": 900, "pv_wh": 1.0, "soc_pct": 55.0, "quality": 0
    }  # fmt: skip
    assert await latest(db, org, sample(19, pv_w=19.0), interval(0, load_wh=2.0)) == {**both, "load_wh": 2.0}
    assert await latest(db, org, sample(20, grid_w=-4.0)) == {**both, "load_wh": 2.0, "grid_w": -4.0}


async def test_a_charge_survives_rows_that_do_not_tell_it(db: Database, org: Scope) -> None:
    assert (await latest(db, org, sample(1, soc_pct=50.0), interval(0, pv_wh=1.0)))["soc_pct"] == 50.0
    assert (await latest(db, org, interval(1, pv_wh=1.0)))["soc_pct"] == 50.0
    assert (await latest(db, org, sample(31, pv_w=1.0)))["soc_pct"] == 50.0
    assert (await latest(db, org, interval(2, soc_pct=52.0)))["soc_pct"] == 52.0


async def test_of_two_charges_in_one_batch_the_later_counts(db: Database, org: Scope) -> None:
    """An interval's charge is that of its end: here 08:15."""
    assert (await latest(db, org, sample(14, soc_pct=50.0), interval(0, soc_pct=60.0)))["soc_pct"] == 60.0
    assert (await latest(db, org, sample(31, soc_pct=51.0), interval(1, soc_pct=61.0)))["soc_pct"] == 51.0


async def test_flags_are_those_of_what_was_told_last(db: Database, org: Scope) -> None:
    assert (await latest(db, org, sample(1, Quality.SUSPECT, pv_w=1.0)))["quality"] == Quality.SUSPECT
    assert (await latest(db, org, sample(2, pv_w=1.0)))["quality"] == Quality.MEASURED
    assert (await latest(db, org, interval(0, 900, Quality.IMPORTED, pv_wh=1.0)))["quality"] == Quality.IMPORTED
    assert (await latest(db, org, sample(1, Quality.CLIPPED, pv_w=9.0)))["quality"] == Quality.IMPORTED
