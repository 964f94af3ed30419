"""The ledger of slots in the database: the same rule as in core, letter for letter, whoever writes at once."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import pytest

from enalysis.core.access import Scope
from enalysis.core.coverage import Run, merge, runs
from enalysis.core.intervals import Window, day_window
from enalysis.store.pool import Database
from enalysis.store.readings import Ingest, ingest
from tests.conftest import NOW, Base, Cluster, make_organization
from tests.databases import fresh_base

WORTH = ".rxnqs"
Told = tuple[int, int, Run]
Key = tuple[int, date]


@pytest.fixture(scope="module")
def base(cluster: Cluster) -> Iterator[Base]:
    """Share one database: each test has its own organization."""
    with fresh_base(cluster) as made:
        yield made


def random_run(chance: random.Random, day: date, slots: int) -> Run:
    """Make up what one answer says of a day; mostly one letter, as answers are."""
    first = chance.randrange(slots)
    length = chance.randint(1, slots - first)
    few = chance.choice(["s", "n", "r", "q", "ssssn", WORTH])
    return Run(day, slots, first, "".join(chance.choice(few) for _ in range(length)))


async def stored(db: Database, scope: Scope) -> dict[Key, str]:
    """Return all letters of the organization."""
    async with db.org(scope) as conn:
        rows = await (await conn.execute("select stream_id, day, slots from coverage")).fetchall()
    return {(stream, day): slots for stream, day, slots in rows}


def merged(told: list[Told], known: dict[Key, str] | None = None) -> dict[Key, str]:
    """Return what core's rule makes of it."""
    out = defaultdict(str, known or {})
    for stream, _, run in told:
        out[stream, run.day] = merge(out[stream, run.day], run)
    return dict(out)


async def write(db: Database, scope: Scope, told: list[Told]) -> None:
    """Store coverage in one transaction."""
    async with db.org(scope) as conn:
        await ingest(scope, conn, Ingest(coverage=told), NOW)


async def test_the_databases_merge_is_cores(db: Database) -> None:
    """Three thousand pairs of rows of every length, and every pair of letters."""
    chance = random.Random(1)  # noqa: S311 - letters, no secret
    pairs = [(a, b) for a in WORTH for b in WORTH]
    for _ in range(3000):
        slots = chance.choice([4, 92, 94, 96, 98, 100])
        old = "".join(chance.choice(WORTH) for _ in range(chance.choice([0, 4, 92, 96, 100])))
        pairs.append((old, "".join(chance.choice(WORTH) for _ in range(slots))))
    async with db.world() as conn:
        rows = await (
            await conn.execute(
                "select coverage_merge(a, b) from unnest(%s::text[], %s::text[])"
                " with ordinality v (a, b, n) order by n",
                ([a for a, _ in pairs], [b for _, b in pairs]),
            )
        ).fetchall()
    assert [row[0] for row in rows] == [merge(a, Run(NOW.date(), len(b), 0, b)) for a, b in pairs]


async def test_random_answers_in_random_batches_come_out_as_cores_rule_says(db: Database, scope: Scope) -> None:
    """Many streams and days, several answers of one day in one batch, days whose length changed with the zone."""
    chance = random.Random(2)  # noqa: S311 - letters, no secret
    known: dict[Key, str] = {}
    for _ in range(60):
        slots = chance.choice([92, 96, 96, 96, 100])
        told = [
            (stream, 900, random_run(chance, date(2026, 6, chance.randint(1, 3)), slots))
            for stream in chance.choices(range(1, 6), k=chance.randint(1, 8))
        ]
        await write(db, scope, told)
        known = merged(told, known)
    assert await stored(db, scope) == known
    assert len(known) == 15


async def test_a_day_that_became_longer_or_shorter_keeps_its_slots_in_place(db: Database, scope: Scope) -> None:
    """A site's zone was corrected: what comes then is laid over a day of another length."""
    day = date(2026, 10, 25)
    told = [
        (1, 900, Run(day, 92, 0, "rr")),
        (1, 900, Run(day, 100, 97, "rn")),
        (2, 900, Run(day, 100, 96, "rrrr")),
        (2, 900, Run(day, 92, 3, "s")),
    ]
    for one in told:
        await write(db, scope, [one])
    assert await stored(db, scope) == merged(told)
    assert {key: len(row) for key, row in (await stored(db, scope)).items()} == {(1, day): 100, (2, day): 92}


async def test_the_order_of_answers_does_not_matter(db: Database) -> None:
    chance = random.Random(3)  # noqa: S311 - letters, no secret
    told = [(1, 900, random_run(chance, date(2026, 6, 2), 96)) for _ in range(12)]
    expected = merged(told)
    for _ in range(4):
        scope = await make_organization(db)
        chance.shuffle(told)
        for one in [*told, *told]:
            await write(db, scope, [one])
        assert await stored(db, scope) == expected


async def test_days_of_changed_clocks_are_stored_in_their_own_length(db: Database, scope: Scope) -> None:
    for zone, day, slots in (
        ("Europe/Berlin", date(2026, 3, 29), 92),
        ("Europe/Berlin", date(2026, 10, 25), 100),
        ("Australia/Lord_Howe", date(2026, 4, 5), 98),
        ("Australia/Lord_Howe", date(2026, 10, 4), 94),
    ):
        window = day_window(day, ZoneInfo(zone))
        around = Window(window.start - timedelta(hours=12), window.end + timedelta(hours=12))
        for answered in around.chunks(12 * 3600):
            good = [at for at in answered.slots(900) if at.minute]
            await write(db, scope, [(slots, 900, run) for run in runs(answered, 900, ZoneInfo(zone), good)])
        row = (await stored(db, scope))[slots, day]
        assert len(row) == slots
        assert row == "".join("s" if at.minute else "n" for at in window.slots(900)), zone


async def test_writers_at_once_lose_nothing_and_do_not_deadlock(db: Database, scope: Scope) -> None:
    """Four tasks, the same streams and days in each one's own order, on rows that are there and that are not."""
    chance = random.Random(4)  # noqa: S311 - letters, no secret
    days = [date(2026, 6, 1) + timedelta(days=n) for n in range(3)]
    batches = [
        [(stream, 900, random_run(chance, day, 96)) for stream in range(1, 30) for day in days] for _ in range(12)
    ]
    for batch in batches:
        chance.shuffle(batch)

    async def work(mine: list[list[Told]]) -> None:
        for batch in mine:
            await write(db, scope, batch)

    await asyncio.gather(*(work(batches[n::4]) for n in range(4)))
    assert await stored(db, scope) == merged([one for batch in batches for one in batch])


async def test_whatever_was_told_marks_the_day_for_the_rollup(db: Database, scope: Scope) -> None:
    run = Run(date(2026, 6, 2), 96, 0, "s")
    for _ in range(2):
        await write(db, scope, [(1, 900, run)])
        async with db.org(scope) as conn:
            cur = await conn.execute("update coverage set dirty = false where dirty returning day")
            assert await cur.fetchall() == [(run.day,)]
