"""The contract of every connector: it reads what its vendor tells, and that is the truth within a band."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from enalysis.connectors.registry import CONNECTORS
from enalysis.core.intervals import Window, day_window, floor_time
from enalysis.core.metrics import INTERVAL_METRICS, Quality
from enalysis.core.readings import sift
from enalysis.core.sites import DeviceKind
from enalysis.simulators.registry import SIMULATORS
from enalysis.simulators.server import Sandbox
from tests.contract.benches import Bench, Numbers, told_numbers
from tests.contract.conftest import MakeBench
from tests.simulators.ports import Clock

HOUSEHOLD, PORTFOLIO = "household", "portfolio"
# No vendor here is waited for longer than this when some of its devices are late.
GROWS = timedelta(hours=3)
VIENNA, DENVER = ZoneInfo("Europe/Vienna"), ZoneInfo("America/Denver")

# (account, site, window): plain days, nights, both changes of clocks in two zones, an odd zone, odd sites.
STRETCHES = [
    (HOUSEHOLD, "graz", day_window(date(2026, 6, 2), VIENNA)),
    (HOUSEHOLD, "graz", Window(datetime(2026, 6, 2, 20, tzinfo=UTC), datetime(2026, 6, 3, 2, tzinfo=UTC))),
    (HOUSEHOLD, "graz", day_window(date(2026, 3, 29), VIENNA)),
    (HOUSEHOLD, "graz", day_window(date(2026, 10, 25), VIENNA)),
    (PORTFOLIO, "denver", day_window(date(2026, 3, 8), DENVER)),
    (PORTFOLIO, "denver", day_window(date(2026, 11, 1), DENVER)),
    (HOUSEHOLD, "kathmandu", day_window(date(2026, 6, 2), ZoneInfo("Asia/Kathmandu"))),
    (PORTFOLIO, "berlin", day_window(date(2026, 5, 4), ZoneInfo("Europe/Berlin"))),
    # The day on which every inverter was replaced, and one after a counter's reset.
    (PORTFOLIO, "tokyo", day_window(date(2026, 2, 11), ZoneInfo("Asia/Tokyo"))),
    (PORTFOLIO, "honolulu", day_window(date(2026, 1, 9), ZoneInfo("Pacific/Honolulu"))),
    # A day of which the vendor lost an hour and a half.
    (PORTFOLIO, "auckland", day_window(date(2026, 3, 21), ZoneInfo("Pacific/Auckland"))),
]


async def read(bench: Bench, site: str, window: Window) -> Numbers:
    """Return all numbers the connector reads, once it is sure that it may keep every one of them."""
    if not any(d.site == bench.ref(site) for d in bench.devices.values()):
        await bench.inventory(site)
    intervals = []
    for stream in bench.streams(site):
        before = len(bench.ledger.taken)
        batch = await bench.connector.fetch(stream.name, bench.ref(site), window, bench.clock())
        pieces = -(-window.seconds // (stream.window_s or window.seconds))
        assert len(bench.ledger.taken) - before <= stream.cost * pieces
        assert batch.rejected == ()
        assert batch.sites is None
        assert {m for i in batch.intervals for m in i.values} <= set(stream.metrics)
        assert all(i.quality is Quality.MEASURED for i in batch.intervals)
        assert all(i.start >= window.start and i.end <= window.end for i in batch.intervals)
        assert sift((), batch.intervals, bench.clock()).rejected == []
        if batch.answered is not None:
            assert batch.answered.meet(window) == batch.answered
            assert floor_time(batch.answered.start, stream.step_s or 1) == batch.answered.start
            # What may still grow is told as well, and asked for again.
            settled = [i for i in batch.intervals if i.end <= bench.clock() - GROWS]
            assert all(i.end <= batch.answered.end for i in settled)
        intervals += list(batch.intervals)
    return bench.numbers(intervals)


def test_every_connector_has_its_simulator() -> None:
    assert CONNECTORS.keys() == SIMULATORS.keys()


def test_plans_are_the_same_on_both_sides(vendor: str) -> None:
    connector, simulator = CONNECTORS[vendor].spec, SIMULATORS[vendor]
    assert {p.key for p in connector.plans} == simulator.plans.keys()
    for plan in connector.plans:
        for quota in plan.quotas:
            told = simulator.plans[plan.key]
            allowed = {"minute": told.per_minute, "month": told.per_month}[quota.window.value]
            assert quota.limit <= allowed
            assert quota.chosen is not told.documented


@pytest.mark.parametrize("account", [HOUSEHOLD, PORTFOLIO, "lapsed"])
async def test_discovery_finds_exactly_the_accounts_sites(bench: MakeBench, account: str) -> None:
    here = bench(account)
    found = await here.connector.discover(here.clock())
    assert sorted(s.ref for s in found) == sorted(here.ref(site) for site in here.account.sites)
    by_ref = {s.ref: s for s in found}
    for site in here.account.sites:
        truth = here.sandbox.worlds[site].site
        one = by_ref[here.ref(site)]
        assert one.name == truth.name
        assert one.active
        assert one.installed_on == truth.installed
        if one.capacity_wp is None:
            # Where the list does not tell it, a site's own inventory does.
            (one,) = (await here.connector.fetch("inventory", one.ref, None, here.clock())).sites or ()
            assert one.name == truth.name
        assert one.capacity_wp == pytest.approx(truth.capacity_wp)
    check = await here.connector.check(here.clock())
    assert check.sites == len(found)


@pytest.mark.parametrize(
    ("account", "site"),
    [(HOUSEHOLD, "graz"), (HOUSEHOLD, "kathmandu"), (PORTFOLIO, "berlin"), (PORTFOLIO, "tokyo")],
)
async def test_whatever_tells_a_number_is_a_device(bench: MakeBench, account: str, site: str) -> None:
    here = bench(account)
    found = await here.inventory(site)
    assert len({d.ref for d in found}) == len(found)
    assert {d.site for d in found} == {here.ref(site)}
    parents = {d.parent for d in found} - {None}
    assert parents <= {d.ref for d in found}
    window = day_window(date(2026, 6, 2), here.sandbox.worlds[site].zone)
    known = {(d.kind, None if d.kind is DeviceKind.SITE_TOTAL else d.serial) for d in found}
    assert {(t.kind, t.serial) for t in here.vendor.told(site, window, here.clock())} <= known
    # A replaced inverter stays known, but works no more.
    active = [d for d in found if d.kind is DeviceKind.INVERTER and d.active]
    # Micro-inverters are many for one.
    assert len(active) % here.sandbox.worlds[site].site.inverters == 0
    assert active


@pytest.mark.parametrize(("account", "site", "window"), STRETCHES)
async def test_readings_are_what_the_vendor_tells(bench: MakeBench, account: str, site: str, window: Window) -> None:
    here = bench(account)
    numbers = await read(here, site, window)
    told = told_numbers(here.vendor.told(site, window, here.clock()))
    assert numbers == told
    assert len(numbers) > 20
    assert len(here.ledger.taken) == sum(here.vendor.tallies[account].served.values())


@pytest.mark.parametrize(("account", "site", "window"), STRETCHES)
def test_what_the_vendor_tells_is_the_world_within_the_band(
    sandbox: Sandbox, vendor: str, clock: Clock, account: str, site: str, window: Window
) -> None:
    simulated, world = sandbox.vendors[vendor], sandbox.worlds[site]
    assert site in simulated.accounts[account].sites
    told = simulated.told(site, window, clock())
    assert told
    for one in told:
        truth = world.energy(one.start, one.start + timedelta(seconds=one.duration_s))
        assert one.metric in INTERVAL_METRICS
        assert abs(one.value - getattr(truth, one.metric.value)) <= simulated.band(one)


@pytest.mark.parametrize("minutes", [0, 4, 5, 9, 14, 16, 31])
async def test_the_newest_quarters_come_when_they_are_published(bench: MakeBench, clock: Clock, minutes: int) -> None:
    here = bench(HOUSEHOLD)
    clock.at = datetime(2026, 6, 2, 10, minutes, 3, tzinfo=UTC)
    window = Window(clock() - timedelta(hours=6), clock())
    numbers = await read(here, "graz", window)
    told = told_numbers(here.vendor.told("graz", window, clock()))
    assert numbers == told
    assert max(start for _, _, start, _, _ in numbers) <= clock() - timedelta(minutes=15)


async def test_what_is_not_published_yet_is_not_called_answered(bench: MakeBench, clock: Clock) -> None:
    here = bench(HOUSEHOLD)
    clock.at = datetime(2026, 6, 2, 10, 16, tzinfo=UTC)
    window = Window(datetime(2026, 6, 2, 6, tzinfo=UTC), clock())
    await here.inventory("graz")
    told = here.vendor.told("graz", window, clock())
    for name, batch in (await here.fetch("graz", window)).items():
        metrics = here.spec.stream(name).metrics
        newest = max(t.start + timedelta(seconds=t.duration_s) for t in told if t.metric in metrics)
        assert batch.answered == Window(window.start, newest), name
        assert max(i.end for i in batch.intervals) == newest
        # All that closed since are not called empty.
        assert clock() - timedelta(minutes=45) < newest <= clock() - timedelta(minutes=5)


async def test_a_whole_old_day_is_answered_to_its_end(bench: MakeBench) -> None:
    here = bench(HOUSEHOLD)
    window = day_window(date(2026, 6, 2), VIENNA)
    await here.inventory("graz")
    for name, batch in (await here.fetch("graz", window)).items():
        assert batch.answered == window, name


async def test_what_a_gateway_kept_is_read_once_it_is_back(bench: MakeBench, clock: Clock) -> None:
    here = bench(HOUSEHOLD)
    world = here.sandbox.worlds["graz"]
    offline = next(
        found
        for n in range(9)
        for spell in world.site.spells
        if (found := spell.window(date(2026, 6, 2) + timedelta(days=n), world.zone)) is not None
    )
    clock.at = offline.end - timedelta(minutes=5)
    window = Window(offline.start - timedelta(hours=1), offline.end)
    during = await read(here, "graz", window)
    assert max(start for _, _, start, _, _ in during) < offline.start
    clock.forward(hours=1)
    after = await read(here, "graz", window)
    assert after == told_numbers(here.vendor.told("graz", window, clock()))
    assert during.items() < after.items()


async def test_asking_twice_changes_nothing(bench: MakeBench) -> None:
    here = bench(PORTFOLIO)
    window = day_window(date(2026, 11, 1), DENVER)
    await here.inventory("denver")
    assert await here.fetch("denver", window) == await here.fetch("denver", window)
    assert await here.inventory("denver") == await here.inventory("denver")
    assert await here.connector.discover(here.clock()) == await here.connector.discover(here.clock())


async def test_a_window_in_pieces_brings_the_same_numbers(bench: MakeBench) -> None:
    here = bench(PORTFOLIO)
    window = day_window(date(2026, 11, 1), DENVER)
    whole = await read(here, "denver", window)
    pieces: Numbers = {}
    for part in window.chunks(5 * 3600):
        pieces |= await read(here, "denver", part)
    assert pieces == whole
