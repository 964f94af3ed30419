"""Enphase's answers that no stream asks for yet, its pages and its late devices, read from the simulator."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar, cast
from zoneinfo import ZoneInfo

import pytest

from enalysis.connectors.enphase import Enphase
from enalysis.connectors.enphase_series import parse_lifetime, parse_rgm
from enalysis.connectors.enphase_wire import LifetimeBody, MeteredBody
from enalysis.core.intervals import Window, day_window
from enalysis.core.metrics import Metric
from enalysis.egress import Egress
from enalysis.simulators.enphase import EnphaseCloud, crowd_account
from enalysis.simulators.faults import Faults
from enalysis.simulators.fleet import crowd
from enalysis.simulators.server import Sandbox, build_app
from enalysis.simulators.world import World
from tests.contract.benches import Bench, build
from tests.contract.conftest import MakeBench
from tests.simulators.ports import Clock, serving

T = TypeVar("T")

VIENNA = ZoneInfo("Europe/Vienna")
DAYS = [date(2026, 6, 1), date(2026, 6, 2), date(2026, 6, 3)]
SYSTEMS = 230


async def ask(bench: Bench, path: str, into: type[T], **params: object) -> T:
    """Return an answer about a site, asked as the client asks."""
    client = cast("Enphase", bench.connector)
    query = tuple((name, str(value)) for name, value in params.items())
    ref = bench.ref("graz")
    return await client._get("test", f"/systems/{ref}/{path}", into, query, ref)


async def test_metered_channels_add_up_to_what_the_stream_brings(enphase: MakeBench) -> None:
    here = enphase("household")
    week = Window(day_window(DAYS[0], VIENNA).start, day_window(DAYS[-1], VIENNA).end)
    asked = {"start_at": int(week.start.timestamp()), "end_at": int(week.end.timestamp())}
    told, channels = parse_rgm(await ask(here, "rgm_stats", MeteredBody, **asked), here.ref("graz"), week)
    batch = await here.connector.fetch("production", here.ref("graz"), week, here.clock())
    stream = {i.start: i.values[Metric.PV_WH] for i in batch.intervals}
    assert {start: row[Metric.PV_WH] for start, row in told.values.items()} == stream
    assert len(stream) == 3 * 96
    assert len(channels) == 2
    for start, wh in stream.items():
        assert sum(values[start] for values in channels.values()) == pytest.approx(wh, abs=1)


async def test_days_of_the_lifetime_are_the_sums_of_their_quarters(enphase: MakeBench) -> None:
    here = enphase("household")
    found: dict[date, dict[Metric, float]] = {day: {} for day in DAYS}
    for path in ("energy_lifetime", "energy_import_lifetime", "energy_export_lifetime", "battery_lifetime"):
        body = await ask(here, path, LifetimeBody, start_date=DAYS[0], end_date=DAYS[-1])
        for day, row in parse_lifetime(body, here.ref("graz")).items():
            found[day] |= row
    sums: dict[date, dict[Metric, float]] = {day: {} for day in DAYS}
    for stream in ("production", "import", "export", "battery"):
        for day in DAYS:
            batch = await here.connector.fetch(stream, here.ref("graz"), day_window(day, VIENNA), here.clock())
            for interval in batch.intervals:
                for metric, wh in interval.values.items():
                    sums[day][metric] = sums[day].get(metric, 0.0) + wh
    for row in sums.values():
        del row[Metric.SOC_PCT]
    assert found == sums


async def test_late_devices_are_asked_for_again_until_all_have_told(enphase: MakeBench, clock: Clock) -> None:
    here = enphase("expiring")
    await here.inventory("sacramento")
    world = here.sandbox.worlds["sacramento"]
    noisy = next(
        found
        for n in range(9)
        for spell in world.site.spells
        if (found := spell.window(date(2026, 6, 2) + timedelta(days=n), world.zone)) is not None
    )
    clock.at = noisy.start + timedelta(hours=2)
    window = Window(noisy.start - timedelta(hours=1), noisy.end)
    (early,) = (await here.fetch("sacramento", window)).values()
    # What some have told is kept, and none of it is settled.
    assert early.answered == Window(window.start, noisy.start)
    assert max(i.end for i in early.intervals) > noisy.start + timedelta(hours=1)
    clock.at = noisy.end + timedelta(hours=12)
    (late,) = (await here.fetch("sacramento", window)).values()
    assert late.answered == window
    before = {i.start: i.values[Metric.PV_WH] for i in early.intervals}
    after = {i.start: i.values[Metric.PV_WH] for i in late.intervals}
    assert before.keys() <= after.keys()
    grown = {start for start, wh in before.items() if after[start] > wh}
    assert grown
    assert min(grown) >= noisy.start


@pytest.fixture
async def many(clock: Clock) -> AsyncIterator[Bench]:
    """Yield the bench of an installer with more systems than fit on two pages."""
    sites, faults = crowd(SYSTEMS), Faults()
    worlds = {site.key: World(site, 5) for site in sites}
    account = crowd_account(5, sites)
    cloud = EnphaseCloud((account,), worlds, clock, faults)
    app = build_app({"enphase": cloud}, clock, faults, None)
    sandbox = Sandbox(app, (account,), faults, {"enphase": cloud}, worlds)
    async with AsyncExitStack() as stack, serving(app) as origin:
        made = build(sandbox, "enphase", account.key, clock, origin, Egress(origin))
        stack.push_async_callback(made.http.aclose)
        yield made


async def test_pages_of_an_installer(many: Bench) -> None:
    found = await many.connector.discover(datetime(2026, 11, 5, 13, tzinfo=UTC))
    assert len(found) == SYSTEMS
    assert {s.ref for s in found} == {many.ref(site) for site in many.account.sites}
    assert [operation for _, operation in many.ledger.taken] == ["systems"] * 3
    assert (await many.connector.check(many.clock())).sites == SYSTEMS
