"""The bar's rows on OAuth, secrets and borders hold here, on less than `make bar` tries."""

import pytest

from tests.bar.rows_oauth_consent import a1, a2
from tests.bar.rows_oauth_end import a10, e8
from tests.bar.rows_oauth_renewal import a6, a7
from tests.bar.rows_oauth_replies import a8, a9
from tests.bar.rows_oauth_web import a5
from tests.databases import Base


async def test_a1_a_state_works_once_for_whom_it_was_made(base: Base) -> None:
    row = await a1(base, rounds=1, parallel=8)
    assert row.ok, row


async def test_a2_verifiers_are_fresh_and_die(base: Base) -> None:
    row = await a2(base, flows=10)
    assert row.ok, row


async def test_a5_callbacks_leave_no_trace(base: Base) -> None:
    row = await a5(base, flows=1)
    assert row.ok, row


async def test_a6_processes_renew_one_after_the_other(base: Base) -> None:
    row = await a6(base, procs=2, secs=2, floor=5)
    assert row.ok, row


async def test_a7_no_renewal_is_lost(base: Base) -> None:
    # Beside other tests a signal may miss the renewal it is meant for: then all of it is measured anew.
    for _ in range(3):
        row = await a7(base, cancels=20, terms=2, kills=2, at_once=2)
        assert (row.facts["grants_lost"], row.facts["shown_otherwise"]) == (0, "none"), row
        if row.ok:
            return
    pytest.fail(f"the signals never hit: {row}")


async def test_a8_replies_drop_no_grant(base: Base) -> None:
    row = await a8(base, replies=6)
    assert (row.bad, row.n) == (0, 12), row


async def test_a9_lifetimes_lead_to_no_dead_token(base: Base) -> None:
    row = await a9(base, cases=3, hours=3)
    assert row.ok, row


async def test_a10_a_disconnection_leaves_nothing(base: Base) -> None:
    row = await a10(base, rounds=1)
    assert row.ok, row


async def test_e8_only_sites_found_there_are_asked_for(base: Base) -> None:
    row = await e8(base, rounds=1)
    assert row.ok, row
