"""A breaker opens for whom it must and for nobody else, ends by itself, and lets exactly one call see."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enalysis.core.breaker import (
    ACCOUNTS,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    OPENS_AFTER,
    PROBE_S,
    Breaker,
    Circuit,
    State,
    host_breaker,
)

NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def failing(circuit: Circuit, operations: Iterable[str], now: datetime = NOW) -> None:
    """Let calls of these operations fail, one after the other, as far as they may be made."""
    for operation in operations:
        if circuit.ask(operation, now) == 0:
            circuit.report(operation, now, 0.0, good=False)


def circuit(account: str = "a", host: Breaker | None = None) -> Circuit:
    """Return what stands between an account and its host."""
    return Circuit(account, host or host_breaker())


def test_it_opens_after_failures_in_a_row_and_a_good_answer_between_them_counts_anew() -> None:
    breaker = Breaker()
    for _ in range(OPENS_AFTER - 1):
        breaker.report("x", NOW, 0.0, good=False)
    assert breaker.state(NOW) is State.CLOSED
    breaker.report("x", NOW, 0.0, good=True)
    for _ in range(OPENS_AFTER - 1):
        breaker.report("x", NOW, 0.0, good=False)
    assert breaker.state(NOW) is State.CLOSED
    breaker.report("x", NOW, 0.0, good=False)
    assert breaker.state(NOW) is State.OPEN
    assert breaker.wait_s(NOW) == FIRST_WAIT_S


def test_half_open_lets_one_probe_through_and_its_word_decides() -> None:
    breaker = Breaker(opens_after=1)
    breaker.report("x", NOW, 0.0, good=False)
    later = NOW + timedelta(seconds=FIRST_WAIT_S)
    assert breaker.state(later) is State.HALF_OPEN
    assert breaker.wait_s(later) == 0
    breaker.begin(later)
    assert breaker.wait_s(later) == PROBE_S
    breaker.report("x", later, 0.0, good=False)
    assert breaker.wait_s(later) == 2 * FIRST_WAIT_S, "twice the wait"
    again = later + timedelta(seconds=2 * FIRST_WAIT_S)
    breaker.begin(again)
    breaker.report("x", again, 0.0, good=True)
    assert breaker.state(again) is State.CLOSED


def test_a_probe_that_nobody_reported_is_given_to_another() -> None:
    breaker = Breaker(opens_after=1)
    breaker.report("x", NOW, 0.0, good=False)
    later = NOW + timedelta(seconds=FIRST_WAIT_S)
    breaker.begin(later)
    breaker.abandon()
    assert breaker.wait_s(later) == 0, "cancelled: at once"
    breaker.begin(later)
    assert breaker.wait_s(later + timedelta(seconds=PROBE_S)) == 0, "killed: after its time"


def test_the_wait_doubles_up_to_a_quarter_of_an_hour_and_jitter_only_shortens_it() -> None:
    breaker, at, waits = Breaker(opens_after=1), NOW, []
    for _ in range(12):
        breaker.report("x", at, 0.0, good=False)
        waits.append(breaker.wait_s(at))
        at += timedelta(seconds=waits[-1])
    assert waits[:5] == [FIRST_WAIT_S * 2**n for n in range(5)]
    assert set(waits[5:]) == {LONGEST_WAIT_S}
    breaker.report("x", at, 0.999, good=False)
    assert 0.8 * LONGEST_WAIT_S <= breaker.wait_s(at) < LONGEST_WAIT_S


@pytest.mark.parametrize("back", [timedelta(hours=1), timedelta(days=400)])
def test_a_clock_set_back_keeps_nothing_open_for_years(back: timedelta) -> None:
    breaker = Breaker(opens_after=1)
    breaker.report("x", NOW, 0.0, good=False)
    assert breaker.wait_s(NOW - back) == 0


def test_one_endpoint_that_fails_is_left_alone_without_the_others() -> None:
    one = circuit()
    failing(one, ["meters"] * 20)
    assert one.ask("meters", NOW) > 0
    assert one.ask("energy", NOW) == 0


def test_several_operations_that_fail_are_the_account() -> None:
    one = circuit()
    failing(one, ["meters", "energy", "meters", "energy", "meters"])
    assert one.ask("never asked yet", NOW) > 0


def test_one_account_never_blocks_another_and_several_are_the_host() -> None:
    host = host_breaker()
    accounts = [circuit(f"a{n}", host) for n in range(ACCOUNTS + 1)]
    failing(accounts[0], ["meters", "energy"] * 50)
    assert accounts[1].ask("energy", NOW) == 0
    accounts[1].abandon("energy")
    failing(accounts[1], ["meters", "energy"] * 5)
    assert accounts[-1].ask("energy", NOW) == 0, "two accounts are no host"
    accounts[-1].abandon("energy")
    failing(accounts[2], ["meters"])
    assert accounts[-1].ask("energy", NOW) > 0


def test_after_an_outage_one_call_of_all_accounts_goes_first() -> None:
    host = host_breaker()
    accounts = [circuit(f"a{n}", host) for n in range(10)]
    for account in accounts:
        failing(account, ["energy"])
    later = NOW + timedelta(seconds=FIRST_WAIT_S)
    assert [a.ask("energy", later) == 0 for a in accounts].count(True) == 1
    accounts[0].report("energy", later, 0.0, good=True)
    assert [a.ask("energy", later + SECOND) for a in accounts] == [0.0] * 10


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.booleans(), st.integers(0, 400)), max_size=80))
def test_however_calls_end_the_longest_wait_is_never_exceeded(story: list[tuple[str, bool, int]]) -> None:
    one, at = circuit(), NOW
    for operation, good, pause_s in story:
        at += timedelta(seconds=pause_s)
        wait_s = one.ask(operation, at)
        assert 0 <= wait_s <= LONGEST_WAIT_S
        if wait_s == 0:
            one.report(operation, at, 0.5, good=good)
            assert not good or one.ask(operation, at) == 0
