"""Trying a vendor live: check, discover, fetch; inside the account's quota and without saving anything."""

from datetime import UTC, datetime, timedelta

import pytest

from enalysis.simulators.faults import Fault, FaultKind
from tests.cli.conftest import Terminal, Vendors


async def test_check_discover_and_fetch_speak_to_the_vendor(
    shell: Terminal, vendors: Vendors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENALYSIS_API_KEY", vendors.secret("portfolio"))
    plan = ("--plan", "business")
    found = await shell.json("connector", "check", "solaredge", *plan)
    assert (found["success"], found["sites"], found["sandbox"]) == (True, 8, True)
    sites = (await shell.json("connector", "discover", "solaredge", *plan))["sites"]
    assert len(sites) == 8
    berlin = next(site["ref"] for site in sites if site["name"] == "Bakery Pankow")

    inventory = await shell.json("connector", "fetch", "solaredge", "inventory", "--subject", berlin, *plan)
    assert {"inverter", "meter"} <= {device["kind"] for device in inventory["batch"]["devices"]}
    # Noon in Berlin of the day before yesterday: told in full, whatever the hour the test runs at.
    today = datetime.now(UTC).replace(hour=11, minute=0, second=0, microsecond=0)
    end = today - timedelta(days=2)
    times = [f"{at:%Y-%m-%dT%H:%M}" for at in (end - timedelta(hours=2), end)]
    words = ("connector", "fetch", "solaredge", "energy", "--subject", berlin, *plan)
    energy = await shell.json(*words, "--start", times[0], "--end", times[1])
    intervals = energy["batch"]["intervals"]
    assert {interval["start"] for interval in intervals} <= {
        f"{end - timedelta(minutes=15 * n):%Y-%m-%dT%H:%M:%SZ}" for n in range(1, 9)
    }
    assert energy["batch"]["answered"]["end"] == f"{end:%Y-%m-%dT%H:%M:%SZ}"
    assert all(set(interval["values"]) == {"pv_wh"} for interval in intervals)

    # Nobody's organization has a connection of it, and the account's quota counted every call.
    assert (await shell.json("connection", "list"))["connections"] == []
    said = await shell.run(*words)
    assert said.code == 0, said.err
    assert "the answer speaks of" in said.err
    assert "pv_wh" in said.out
    assert "Bakery Pankow" in (await shell.run("connector", "discover", "solaredge", *plan)).out


async def test_the_account_s_quota_holds_for_trials_too(shell: Terminal, vendors: Vendors) -> None:
    words = ("connector", "check", "solaredge", "--set", f"api_key={vendors.secret('lapsed')}")
    codes = [(await shell.run(*words, "--json")) for _ in range(4)]
    assert [said.code for said in codes] == [0, 0, 0, 1]
    assert codes[-1].document["kind"] == "quota_spent"
    assert codes[-1].document["retry_at"].endswith("Z")
    assert vendors.sandbox.vendors["solaredge"].tallies["lapsed"].refused.total() == 0


async def test_a_failure_of_the_vendor_is_told_with_its_kind(shell: Terminal, vendors: Vendors) -> None:
    words = ("connector", "discover", "solaredge", "--set", f"api_key={vendors.secret('portfolio')}")
    vendors.sandbox.faults.set(Fault(FaultKind.RETIRED))
    said = await shell.run(*words, "--json")
    assert (said.code, said.document["kind"]) == (1, "vendor_api_retired")
    said = await shell.run(*words)
    assert (said.code, said.out) == (1, "")
    assert "Error: SolarEdge" in said.err


async def test_what_cannot_be_asked_is_told_before_anything_is(terminal: Terminal) -> None:
    wrong = {
        ("check", "nobody"): "there are: enphase, solaredge",
        ("fetch", "solaredge", "weather"): "energy, meters, storage",
        ("fetch", "solaredge", "energy"): "--subject",
        ("fetch", "solaredge", "energy", "--subject", "1", "--end", "2026-01-01"): "--start",
        (
            *("fetch", "solaredge", "energy", "--subject", "1"),
            *("--start", "2026-01-02", "--end", "2026-01-01"),
        ): "--end",
    }
    for words, told in wrong.items():
        said = await terminal.run("connector", *words)
        assert (said.code, said.out) == (2, ""), words
        assert told in said.err
