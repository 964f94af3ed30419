"""Every fault a simulator knows, met by every connector: the right error, nothing invented, no secrets."""

import logging
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from enalysis.core.errors import (
    BadPayload,
    Forbidden,
    LoginNeeded,
    QuotaSpent,
    Retired,
    Unavailable,
    VendorError,
)
from enalysis.core.intervals import Window
from enalysis.core.quotas import QuotaWindow
from enalysis.simulators.faults import MEANINGS, Fault, FaultKind
from tests.contract.benches import IMPATIENT, LIMITS, Bench, told_numbers
from tests.contract.conftest import MakeBench
from tests.simulators.ports import Clock

ACCOUNT, SITE, OTHER = "household", "graz", "kathmandu"
WINDOW = Window(datetime(2026, 6, 2, 4, tzinfo=UTC), datetime(2026, 6, 2, 12, tzinfo=UTC))

# What a connector makes of each fault; how long one lasts is in seconds.
ERRORS: Mapping[FaultKind, type[VendorError]] = {
    FaultKind.DOWN: Unavailable,
    FaultKind.SLOW: Unavailable,
    FaultKind.DRIP: Unavailable,
    FaultKind.RESET: Unavailable,
    FaultKind.HTML_200: BadPayload,
    FaultKind.TRUNCATED: BadPayload,
    FaultKind.HUGE: BadPayload,
    FaultKind.BOMB: BadPayload,
    FaultKind.DEEP: BadPayload,
    FaultKind.NAN: BadPayload,
    FaultKind.EMPTY: BadPayload,
    FaultKind.WRONG_KEY: LoginNeeded,
    FaultKind.MINUTE_SPENT: QuotaSpent,
    FaultKind.QUOTA_SPENT: QuotaSpent,
    FaultKind.FORBIDDEN: Forbidden,
    FaultKind.RETIRED: Retired,
}
NO_ERROR = {FaultKind.HOLLOW, FaultKind.CLOCK_OFFSET}
SECONDS = {FaultKind.SLOW: 30.0, FaultKind.DRIP: 0.2}


def switch_on(bench: Bench, kind: FaultKind, *, seconds: float | None = None, site: str | None = None) -> None:
    wait_s = SECONDS.get(kind, 0.0) if seconds is None else seconds
    bench.sandbox.faults.set(Fault(kind, bench.spec.key, ACCOUNT, site, seconds=wait_s))


def assert_no_secret(bench: Bench, *texts: str) -> None:
    for secret in bench.secrets:
        assert len(secret) > 8
        for text in texts:
            assert secret not in text


async def fail(bench: Bench, kind: FaultKind) -> VendorError:
    """Return the error of the first stream of numbers while the fault is on."""
    stream = next(s.name for s in bench.spec.streams if s.step_s is not None)
    bench.http.limits = IMPATIENT if kind in SECONDS else LIMITS
    with pytest.raises(ERRORS[kind]) as caught:
        await bench.connector.fetch(stream, bench.ref(SITE), WINDOW, bench.clock())
    return caught.value


def test_every_fault_has_its_meaning_and_its_error() -> None:
    assert ERRORS.keys() | NO_ERROR == set(FaultKind) == MEANINGS.keys()


@pytest.mark.parametrize("kind", ERRORS)
async def test_a_fault_becomes_its_error_and_passes(
    bench: MakeBench, caplog: pytest.LogCaptureFixture, kind: FaultKind
) -> None:
    here = bench(ACCOUNT)
    caplog.set_level(logging.DEBUG)
    await here.inventory(SITE)
    before = await here.fetch(SITE, WINDOW)
    switch_on(here, kind)
    error = await fail(here, kind)
    assert type(error) is ERRORS[kind]
    assert error.vendor == here.spec.key
    assert error.operation
    assert here.ledger.verdicts[-1] == error.state
    if isinstance(error, Forbidden):
        assert error.subject == here.ref(SITE)
    told = "".join(traceback.format_exception(error))
    assert_no_secret(here, str(error), repr(error), repr(vars(error)), told, caplog.text)
    assert "http://" not in str(error)
    here.sandbox.faults.clear()
    here.http.limits = LIMITS
    assert await here.fetch(SITE, WINDOW) == before


@pytest.mark.parametrize("kind", [FaultKind.WRONG_KEY, FaultKind.DOWN, FaultKind.HTML_200])
async def test_a_test_of_the_connection_says_what_is_wrong(bench: MakeBench, kind: FaultKind) -> None:
    here = bench(ACCOUNT)
    assert (await here.connector.check(here.clock())).sites == 2
    switch_on(here, kind)
    with pytest.raises(ERRORS[kind]):
        await here.connector.check(here.clock())
    with pytest.raises(ERRORS[kind]):
        await here.connector.discover(here.clock())


async def test_down_for_a_time_says_how_long(bench: MakeBench) -> None:
    here = bench(ACCOUNT)
    switch_on(here, FaultKind.DOWN, seconds=120)
    error = await fail(here, FaultKind.DOWN)
    assert isinstance(error, Unavailable)
    assert error.retry_after_s == 120
    # The pause asked for is kept, without another call.
    asked = len(here.ledger.taken)
    here.sandbox.faults.clear()
    await fail(here, FaultKind.DOWN)
    assert len(here.ledger.taken) == asked


async def test_a_spent_minute_and_a_spent_month_are_told_apart(bench: MakeBench, clock: Clock) -> None:
    for kind, window in (
        (FaultKind.MINUTE_SPENT, QuotaWindow.MINUTE),
        (FaultKind.QUOTA_SPENT, QuotaWindow.MONTH),
    ):
        here = bench(ACCOUNT)
        switch_on(here, kind)
        error = await fail(here, kind)
        assert isinstance(error, QuotaSpent)
        assert error.window == window.value
        assert not error.ours
        assert error.until is not None
        assert here.ledger.held_until == error.until
        longest = timedelta(seconds=61) if window is QuotaWindow.MINUTE else timedelta(days=31)
        assert clock() < error.until <= clock() + longest
        here.sandbox.faults.clear()


async def test_one_forbidden_site_leaves_the_others(bench: MakeBench) -> None:
    here = bench(ACCOUNT)
    await here.inventory(SITE)
    await here.inventory(OTHER)
    switch_on(here, FaultKind.FORBIDDEN, site=here.ref(SITE))
    await fail(here, FaultKind.FORBIDDEN)
    batches = await here.fetch(OTHER, WINDOW)
    numbers = here.numbers(i for b in batches.values() for i in b.intervals)
    assert numbers == told_numbers(here.vendor.told(OTHER, WINDOW, here.clock()))
    assert len(await here.connector.discover(here.clock())) == 2


async def test_a_hollow_answer_brings_nothing_and_answers_nothing(bench: MakeBench) -> None:
    here = bench(ACCOUNT)
    await here.inventory(SITE)
    switch_on(here, FaultKind.HOLLOW)
    for stream, batch in (await here.fetch(SITE, WINDOW)).items():
        assert batch.intervals == (), stream
        assert batch.answered is None, stream


@pytest.mark.parametrize("hours", [-3, 2])
async def test_a_vendor_whose_clock_is_wrong_is_believed_only_about_the_past(
    bench: MakeBench, clock: Clock, hours: int
) -> None:
    here = bench(ACCOUNT)
    await here.inventory(SITE)
    clock.at = datetime(2026, 6, 2, 12, 1, tzinfo=UTC)
    switch_on(here, FaultKind.CLOCK_OFFSET, seconds=hours * 3600)
    batches = await here.fetch(SITE, WINDOW)
    assert here.http.clock_ahead_s == pytest.approx(-hours * 3600, abs=1)
    numbers = here.numbers(i for b in batches.values() for i in b.intervals)
    told = told_numbers(here.vendor.told(SITE, WINDOW, clock() + timedelta(hours=hours)))
    assert numbers == told
    assert max(start for _, _, start, _, _ in numbers) < clock()


async def test_no_secret_reaches_a_log_in_a_whole_day_of_work(
    bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    here = bench("portfolio")
    caplog.set_level(logging.DEBUG)
    await here.connector.check(here.clock())
    await here.connector.discover(here.clock())
    for site in here.account.sites:
        await here.inventory(site)
        await here.fetch(site, WINDOW)
    # The levels are open: what the libraries below say at DEBUG would be here.
    assert all(logging.getLogger(name).isEnabledFor(logging.DEBUG) for name in ("aiohttp", "httpx2", "enalysis"))
    assert caplog.records
    assert_no_secret(here, caplog.text, *(str(vars(r)) for r in caplog.records))
    assert_no_secret(here, repr(here.connector), repr(here.http))
