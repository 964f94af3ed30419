"""Sites and quotas on the command line: the same figures in JSON and for people, in their units."""

from uuid import UUID

import pytest

from enalysis.cli.session import pick, session
from enalysis.core.access import Role, Scope
from enalysis.core.errors import NotFound, Refused
from enalysis.store import accounts
from enalysis.store.sites import Site, add_site
from tests.cli.conftest import Terminal, Vendors, connect

QUARTERS_OF_A_DAY = 96


async def test_the_list_and_a_site_show_what_was_collected(shell: Terminal, vendors: Vendors) -> None:
    await connect(shell, vendors, "portfolio")
    await shell.json("collect")
    listed = await shell.json("site", "list", "--sort", "name", "--per-page", "3")
    assert listed["sandbox"] is True
    assert (listed["matching"], listed["pages"], listed["totals"]["sites"]) == (8, 3, 8)
    assert [row["name"] for row in listed["rows"]] == [
        "Bakery Pankow",
        "Clínica Pinheiros",
        "Hindmarsh Workshop",
    ]
    assert all(row["vendors"] == ["solaredge"] for row in listed["rows"])
    found = await shell.json("site", "list", "--search", "pankow")
    assert (found["matching"], found["rows"][0]["name"]) == (1, "Bakery Pankow")

    site = await shell.json("site", "show", "bakery")
    assert site["site"]["id"] == found["rows"][0]["id"]
    assert site["day"]["zone"] == "Europe/Berlin"
    assert len(site["day"]["quarters"]) in (92, QUARTERS_OF_A_DAY, 100)
    # Nothing was fetched of that day, so nothing is known of it: not zero, but null.
    past = await shell.json("site", "show", found["rows"][0]["id"], "--day", "2026-01-15")
    assert len(past["day"]["quarters"]) == QUARTERS_OF_A_DAY
    assert {quarter["pv_wh"] for quarter in past["day"]["quarters"]} == {None}
    assert past["day"]["totals"] is None

    said = await shell.run("site", "list")
    assert said.code == 0, said.err
    assert "8 sites of 8, page 1 of 1" in said.err
    assert "Today, kWh" in said.out
    said = await shell.run("site", "show", "bakery")
    assert said.code == 0, said.err
    assert "Berlin, Germany · Europe/Berlin · 28.0 kWp · solaredge" in said.err
    assert "Not accounted for" in said.out
    said = await shell.run("site", "show", "bakery", "--day", "2026-01-15")
    assert "15 Jan 2026 in Europe/Berlin: nothing is known of this day." in said.err


async def test_a_name_that_carries_an_escape_sequence_stays_a_name(shell: Terminal) -> None:
    barn = UUID(int=1)
    name = "[bold]Barn[/bold]\x1b[2J\u202e"
    async with session(None) as opened, opened.db.org(opened.scope) as conn:
        found = Site(barn, name, None, "Europe/Vienna", None, None, None)
        await add_site(opened.scope, conn, found, opened.runtime.clock())
    listed = await shell.json("site", "list")
    assert listed["rows"][0]["name"] == name
    for command in (("site", "list"), ("site", "show", str(barn))):
        said = await shell.run(*command)
        assert said.code == 0
        assert "\x1b" not in said.out + said.err
        assert "\u202e" not in said.out + said.err
        assert "[bold]Barn[/bold]" in said.out + said.err


async def test_a_site_that_is_not_there_is_told(shell: Terminal) -> None:
    said = await shell.run("site", "show", "barn", "--json")
    assert (said.code, said.document["kind"]) == (1, "not_found")
    said = await shell.run("site", "show", "barn", "--day", "yesterday")
    assert said.code == 2
    said = await shell.run("site", "list", "--sort", "size")
    assert said.code == 2
    assert "enalysis connection add" in (await shell.run("site", "list")).err


async def test_quotas_tell_what_is_taken_left_and_chosen(shell: Terminal, vendors: Vendors) -> None:
    await connect(shell, vendors, "portfolio", "lapsed")
    told = await shell.json("quota")
    assert told["sandbox"] is True
    business, free = told["accounts"]
    assert (business["plan"], free["plan"]) == ("business", "free")
    assert [each["name"] for each in free["connections"]] == ["lapsed"]
    for account in (business, free):
        served = vendors.sandbox.vendors["solaredge"].tallies[account["connections"][0]["name"]].served.total()
        month = next(each for each in account["windows"] if each["window"] == "month")
        assert (month["taken"], month["left"]) == (served, month["limit"] - served)
        assert month["chosen"] is (account is business)
    said = await shell.run("quota")
    assert said.code == 0, said.err
    assert "200,000*" in said.out
    assert "2,000 " in said.out


KNOWN = [
    (UUID("11110000-0000-4000-8000-000000000001"), "North roof"),
    (UUID("11120000-0000-4000-8000-000000000002"), "North roof annex"),
    (UUID("22220000-0000-4000-8000-000000000003"), "Barn"),
]


@pytest.mark.parametrize(
    ("wanted", "which"),
    [
        ("north roof", 0),
        ("NORTH ROOF A", 1),
        ("b", 2),
        ("1112", 1),
        ("22220000-0000-4000-8000-000000000003", 2),
        (" barn ", 2),
    ],
)
def test_a_thing_is_picked_by_name_id_or_beginning(wanted: str, which: int) -> None:
    assert pick("site", KNOWN, wanted, "see") == KNOWN[which][0]


@pytest.mark.parametrize(
    ("wanted", "error", "told"),
    [
        (
            "north",
            Refused,
            r"there are several sites this may mean: 'North roof' \(11110000\), 'North roof annex'",
        ),
        (None, Refused, "there are several sites"),
        (
            "house",
            NotFound,
            "no site begins with 'house'; there are: 'North roof', 'North roof annex', 'Barn'",
        ),
        ("", NotFound, "no site begins with ''"),
    ],
)
def test_what_is_picked_by_nothing_or_several_is_told(wanted: str | None, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        pick("site", KNOWN, wanted, "see")


def test_the_only_one_needs_no_name_and_none_is_told() -> None:
    assert pick("site", KNOWN[:1], None, "see") == KNOWN[0][0]
    with pytest.raises(NotFound, match="there is no site yet"):
        pick("site", [], None, "see")


async def test_among_several_organizations_one_is_named(shell: Terminal) -> None:
    async with session(None) as opened:
        now = opened.runtime.clock()
        other = Scope(UUID(int=2), None, Role.OWNER)
        async with opened.db.org(other) as conn:
            key = opened.runtime.keyring.new_organization_key(other.organization)
            await accounts.add_organization(other, conn, "Windy Side", key, now)
            user = await accounts.add_user(conn, "other@example.org", "Other", "none", now)
            await accounts.add_membership(other, conn, user, Role.OWNER, now)
            barn = Site(UUID(int=3), "Barn", None, "Europe/Vienna", None, None, None)
            await add_site(other, conn, barn, now)
    said = await shell.run("site", "list", "--json")
    assert (said.code, said.document["kind"]) == (1, "refused")
    assert "'Sunny Side'" in said.document["error"]
    assert "--organization" in said.document["error"]
    listed = await shell.json("site", "list", "--organization", "windy side")
    assert [row["name"] for row in listed["rows"]] == ["Barn"]
    assert (await shell.json("site", "list", "--organization", "sunny"))["rows"] == []
    said = await shell.run("site", "show", "barn", "--organization", "sunny", "--json")
    assert (said.code, said.document["kind"]) == (1, "not_found")
