"""Collecting by hand: what is due, a result each, failures that stop nobody, and a clean end at Ctrl-C."""

import asyncio
import contextlib
import signal
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

from enalysis.cli.session import opened, session
from enalysis.simulators.faults import Fault, FaultKind
from enalysis.store import connections
from tests.cli.conftest import Terminal, Vendors, connect


def by_id(document: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Return status and error of each result, and hold the document to the scheduler call's answer."""
    assert set(document) == {"results", "remaining"}
    for each in document["results"]:
        assert set(each) == {"sourceId", "vendor", "status", "error"}
        assert each["vendor"] == "solaredge"
    return {each["sourceId"]: (each["status"], each["error"]) for each in document["results"]}


async def test_a_first_collection_finds_sites_and_readings_and_a_second_has_nothing_to_do(
    shell: Terminal, vendors: Vendors
) -> None:
    [connection] = await connect(shell, vendors, "portfolio")
    first = await shell.json("collect")
    assert by_id(first) == {connection: ("success", None)}
    assert first["remaining"] == 0
    [row] = (await shell.json("connection", "list"))["connections"]
    assert (row["state"], row["sites"]) == ("healthy", 8)
    assert row["intervals"] > 100
    assert row["next_at"].endswith("Z")

    second = await shell.json("collect")
    assert by_id(second)[connection][0] == "skipped"
    assert str(by_id(second)[connection][1]).startswith("Nothing is due before 20")
    served = sum(vendors.sandbox.vendors["solaredge"].tallies["portfolio"].served.values())
    everything = await shell.json("collect", "--all")
    assert by_id(everything) == {connection: ("success", None)}
    assert sum(vendors.sandbox.vendors["solaredge"].tallies["portfolio"].served.values()) > served


async def test_one_that_fails_never_stops_the_others(shell: Terminal, vendors: Vendors) -> None:
    lapsed, portfolio = await connect(shell, vendors, "lapsed", "portfolio")
    vendors.sandbox.faults.set(Fault(FaultKind.WRONG_KEY, account="lapsed"))
    found = await shell.json("collect")
    assert by_id(found)[portfolio] == ("success", None)
    status, error = by_id(found)[lapsed]
    assert status == "error"
    assert "SolarEdge refused the key" in str(error)
    said = await shell.run("collect", "--all", "--connection", "lapsed")
    assert said.code == 0, said.err
    assert "error" in said.out
    assert "SolarEdge refused" in said.out


async def test_a_credential_that_cannot_be_opened_is_a_result_and_no_crash(shell: Terminal, vendors: Vendors) -> None:
    broken, portfolio = await connect(shell, vendors, "lapsed", "portfolio")
    async with session(None) as work, work.db.org(work.scope) as conn:
        now = work.runtime.clock()
        await connections.set_sealed(work.scope, conn, UUID(broken), b"cut off", now)
    found = by_id(await shell.json("collect"))
    assert found[portfolio] == ("success", None)
    assert found[broken][0] == "error"


async def test_what_the_quota_holds_back_is_counted_and_brought_with_wait(shell: Terminal, vendors: Vendors) -> None:
    [connection] = await connect(shell, vendors, "portfolio")
    await hold(hours=2)
    held = await shell.json("collect", "--wait")
    assert by_id(held)[connection][0] == "skipped"
    assert "quota" in str(by_id(held)[connection][1])
    assert held["remaining"] == 1
    await hold(seconds=4)
    waited = await shell.json("collect", "--wait", "--all")
    assert by_id(waited) == {connection: ("success", None)}
    assert waited["remaining"] == 0


async def test_a_free_plan_leaves_the_rest_for_the_next_minute(shell: Terminal, vendors: Vendors) -> None:
    await connect(shell, vendors, "household")
    left = (await shell.json("collect"))["remaining"]
    assert left > 0
    windows = (await shell.json("quota"))["accounts"][0]["windows"]
    minute = next(each for each in windows if each["window"] == "minute")
    assert minute["taken"] <= minute["limit"] == 10
    assert vendors.sandbox.vendors["solaredge"].tallies["household"].refused.total() == 0
    said = await shell.run("collect", "--all")
    assert said.code == 0
    assert "will follow when a quota turns" in said.err


async def test_without_connections_there_is_nothing_to_do(shell: Terminal) -> None:
    assert await shell.json("collect") == {"results": [], "remaining": 0}
    said = await shell.run("collect", "--connection", "none", "--json")
    assert (said.code, said.document["kind"]) == (1, "not_found")


async def test_ctrl_c_ends_it_without_a_word(shell: Terminal, vendors: Vendors) -> None:
    await connect(shell, vendors, "portfolio")
    before = sum(vendors.sandbox.vendors["solaredge"].tallies["portfolio"].served.values())
    vendors.sandbox.faults.set(Fault(FaultKind.SLOW, seconds=15))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "enalysis", "collect", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        while sum(vendors.sandbox.vendors["solaredge"].tallies["portfolio"].served.values()) == before:
            assert child.returncode is None
            await asyncio.sleep(0.05)
        child.send_signal(signal.SIGINT)
        out, err = await asyncio.wait_for(child.communicate(), 30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
    assert (child.returncode, out, err) == (130, b"", b"")


async def hold(**span: float) -> None:
    """Let no quota grant anything for so long."""
    async with opened() as runtime, runtime.db.world() as conn:
        until = runtime.clock() + timedelta(**span)
        await conn.execute("update quota_limits set hold_until = %s", (until,))
