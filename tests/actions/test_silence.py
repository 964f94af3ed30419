"""A vendor that leaves out what it does not have, for days, holds nothing up that comes after."""

from uuid import UUID

from enalysis.simulators.faults import Fault, FaultKind
from enalysis.store import streams
from tests.actions.conftest import Bench


async def letters(bench: Bench, connection: UUID, name: str) -> str:
    """Return what the ledger says of every slot of one stream, day after day."""
    async with bench.db.org(bench.scope) as conn:
        rows = await streams.list_streams(bench.scope, conn, connection)
        stream = next(r.id for r in rows if r.name == name)
        found = await (
            await conn.execute("select slots from coverage where stream_id = %s order by day", (stream,))
        ).fetchall()
    return "".join(row[0] for row in found)


async def test_days_that_are_left_out_are_passed_over_and_named(bench: Bench) -> None:
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    before = (await bench.row(connection)).intervals
    number = bench.sandbox.faults.set(Fault(FaultKind.HOLLOW, "solaredge", "lapsed"))
    for _ in range(16):
        bench.clock.move(hours=6)
        await bench.run_due(connection)
    silent = await bench.row(connection)
    assert silent.intervals == before
    bench.sandbox.faults.clear(number)
    for _ in range(6):
        bench.clock.move(hours=3)
        await bench.run_due(connection)
    assert (await bench.row(connection)).intervals > before + 40, "what came after the silence is here"
    told = await letters(bench, connection, "meters")
    assert "r" in told, "what was left out is still to be retried"
    assert "." not in told.strip("."), "every slot from the first look to the newest has a word"
