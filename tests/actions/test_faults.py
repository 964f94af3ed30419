"""Bad input: each fault of a vendor becomes a named state with a sentence; nothing is lost, nothing invented."""

from dataclasses import replace

import pytest

from enalysis.queries.shapes import Health
from enalysis.simulators.faults import Fault, FaultKind
from tests.actions.conftest import Bench

FAULTS = {
    FaultKind.WRONG_KEY: "reauth_required",
    FaultKind.QUOTA_SPENT: "quota_spent",
    FaultKind.DOWN: "vendor_unavailable",
    FaultKind.RESET: "vendor_unavailable",
    FaultKind.HTML_200: "bad_payload",
    FaultKind.TRUNCATED: "bad_payload",
    FaultKind.HUGE: "bad_payload",
    FaultKind.BOMB: "bad_payload",
    FaultKind.DEEP: "bad_payload",
    FaultKind.NAN: "bad_payload",
    FaultKind.EMPTY: "bad_payload",
    FaultKind.RETIRED: "vendor_api_retired",
    FaultKind.FORBIDDEN: "forbidden",
}


@pytest.mark.parametrize("kind", FAULTS)
async def test_a_fault_is_a_state_and_passes(bench: Bench, kind: FaultKind, caplog: pytest.LogCaptureFixture) -> None:
    """While it lasts: its own state, a sentence, no new value. After it: healthy, and every slot accounted for."""
    caplog.set_level("DEBUG")
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    before = await bench.row(connection)
    number = bench.sandbox.faults.set(Fault(kind, vendor="solaredge", account="lapsed"))
    bench.clock.move(hours=1)
    await bench.run_due(connection)
    during = await bench.row(connection)
    assert during.state == FAULTS[kind], during.sentence
    assert during.health is not Health.GOOD
    assert len(during.sentence) > 30
    assert during.intervals == before.intervals, "nothing invented"
    key = bench.account("lapsed").credentials["api_key"]
    assert key not in during.sentence + caplog.text
    bench.sandbox.faults.clear(number)
    for _ in range(26):
        bench.clock.move(hours=1)
        await bench.run_due(connection)
    after = await bench.row(connection)
    assert after.state == "healthy", after.sentence
    async with bench.db.org(bench.scope) as conn:
        holes = await (
            await conn.execute(
                "select count(*) from coverage c join streams s on s.id = c.stream_id"
                " where s.name = 'meters' and strpos(trim(both '.' from c.slots), '.') > 0"
            )
        ).fetchone()
        told = await (
            await conn.execute(
                "select sum(length(trim(both '.' from c.slots))) from coverage c"
                " join streams s on s.id = c.stream_id where s.name = 'meters'"
            )
        ).fetchone()
    assert holes == (0,)
    assert told is not None
    assert told[0] >= (12 + 26) * 4, "the hours of the fault came after it"


async def test_one_broken_connection_disturbs_no_other(bench: Bench) -> None:
    """The household's connection collects on while the other account's vendor is away."""
    broken = await bench.add("lapsed")
    fine = await bench.add("household")
    for connection in (broken, fine):
        await bench.run_due(connection)
    before = await bench.row(fine)
    bench.sandbox.faults.set(Fault(FaultKind.DOWN, vendor="solaredge", account="lapsed"))
    bench.clock.move(hours=1)
    for connection in (broken, fine):
        await bench.run_due(connection)
    after = await bench.row(fine)
    assert after.state == "healthy"
    assert after.intervals > before.intervals
    assert (await bench.row(broken)).state == "vendor_unavailable"


async def test_one_forbidden_site_leaves_the_others(bench: Bench) -> None:
    """Half a connection shows as half: degraded, naming what fails; the other site stays fresh."""
    connection = await bench.add("household")
    await bench.run_due(connection)
    site = bench.sandbox.vendors["solaredge"].ref("graz")
    bench.sandbox.faults.set(Fault(FaultKind.FORBIDDEN, vendor="solaredge", account="household", site=site))
    bench.clock.move(hours=3)
    await bench.run_due(connection)
    row = await bench.row(connection)
    assert row.state == "degraded", row.sentence
    assert site in row.sentence


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, -4 * 3600.0])
async def test_a_clock_an_hour_off_is_named(bench: Bench, seconds: float) -> None:
    """The state says whose clock is ahead; nothing of the future is stored, nothing is lost when it is set."""
    connection = await bench.add("lapsed")
    await bench.run_due(connection)
    fault = Fault(FaultKind.CLOCK_OFFSET, vendor="solaredge", account="lapsed", seconds=seconds)
    number = bench.sandbox.faults.set(replace(fault))
    bench.clock.move(hours=1)
    await bench.run_due(connection)
    row = await bench.row(connection)
    assert row.state == "clock_off", row.sentence
    assert ("behind" if seconds > 0 else "ahead") in row.sentence
    async with bench.db.org(bench.scope) as conn:
        newest = await (await conn.execute("select max(start) from intervals")).fetchone()
    assert newest is not None
    assert newest[0] < bench.clock()
    bench.sandbox.faults.clear(number)
    for _ in range(6):
        bench.clock.move(hours=1)
        await bench.run_due(connection)
    assert (await bench.row(connection)).state == "healthy"
    async with bench.db.org(bench.scope) as conn:
        lost = await (
            await conn.execute(
                "select count(*) from coverage c join streams s on s.id = c.stream_id where s.name = 'meters'"
                " and trim(both '.' from c.slots) ~ '[^s]'"
            )
        ).fetchone()
    assert lost == (0,), "no slot of a meter that never pauses counts as null"
