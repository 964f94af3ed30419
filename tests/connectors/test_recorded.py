"""Recorded answers of real accounts, where at hand: parsers and client read what a person reads in them."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from enalysis.connectors.enphase import Enphase
from enalysis.connectors.enphase_series import gather, parse_rgm
from enalysis.connectors.enphase_wire import DevicesBody as EnphaseDevices
from enalysis.connectors.enphase_wire import MeteredBody, parse_systems
from enalysis.connectors.enphase_wire import SystemsBody as EnphaseSystems
from enalysis.connectors.enphase_wire import parse_devices as parse_enphase_devices
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.solaredge import SolarEdge
from enalysis.connectors.solaredge_series import parse_energy, parse_time
from enalysis.connectors.solaredge_wire import (
    OverviewBody,
    SeriesBody,
    SitesBody,
    parse_overview,
    parse_sites,
)
from enalysis.core.intervals import Window
from enalysis.core.metrics import Metric, Quality
from enalysis.core.sites import DeviceKind, MeterKind
from tests.connectors.conftest import LoopbackVendor, Reply

T = TypeVar("T")

SITE = "3066774"
MIDNIGHT = datetime(2026, 8, 23, 23, tzinfo=UTC)
NOW = datetime(2026, 8, 24, 16, 5, 45, tzinfo=UTC)


def load(recorded: Path, name: str, into: type[T]) -> T:
    """Return a recorded body, decoded as strictly as the client does."""
    return msgspec.json.decode((recorded / "solaredge" / name).read_bytes(), type=into, strict=True)


def test_solaredge_sites(recorded: Path) -> None:
    (site,) = parse_sites(load(recorded, "sites.json", SitesBody))
    assert (site.ref, site.capacity_wp, site.active) == (SITE, 5680.0, True)
    # The owner blackened name, date and place: the first stays text, the second is no date.
    assert (site.name, site.installed_on, site.zone) == ("REDACTED", None, None)


def test_solaredge_overview(recorded: Path) -> None:
    assert parse_overview(load(recorded, "overview.json", OverviewBody), SITE) == 26290.0


def test_solaredge_energy(recorded: Path) -> None:
    body = load(recorded, "energy.json", SeriesBody)
    told = parse_energy(body, SITE, Window(MIDNIGHT, datetime(2026, 8, 24, 16, tzinfo=UTC)))
    values = [row[Metric.PV_WH] for row in told.values.values()]
    assert (len(body.values), len(values), sum(values), told.rejected) == (69, 69 - 25, 26290.0, [])
    # The three quarters after dawn are measured zeros; the night before them is nothing.
    assert values[:4] == [0.0, 0.0, 0.0, 7.0]
    assert min(at for _, at in told.values) == MIDNIGHT + timedelta(hours=6)


def test_solaredge_period_ends_in_nanoseconds(recorded: Path) -> None:
    stamp = load(recorded, "energy.json", SeriesBody).period.end
    assert stamp.endswith(".016061916+01:00")
    assert parse_time(stamp) == datetime(2026, 8, 24, 16, 5, 45, 16061, tzinfo=UTC)


@pytest.fixture
def served(recorded: Path, vendor: LoopbackVendor) -> LoopbackVendor:
    """Serve the recorded bodies over HTTP, byte for byte."""
    folder = recorded / "solaredge"
    vendor.replies = {
        "/v2/sites": Reply((folder / "sites.json").read_bytes()),
        f"/v2/sites/{SITE}/overview": Reply((folder / "overview.json").read_bytes()),
        f"/v2/sites/{SITE}/energy": Reply((folder / "energy.json").read_bytes()),
        f"/v2/sites/{SITE}/power": Reply(b"{}", 403),
    }
    return vendor


async def test_solaredge_through_the_client(served: LoopbackVendor, line: VendorHTTP) -> None:
    client = SolarEdge(line, {"api_key": "made-up-key-0001"})
    check = await client.check(NOW)
    batch = await client.fetch("energy", SITE, Window(MIDNIGHT, NOW), NOW)
    assert (check.sites, check.capacity_wp, check.energy_today_wh, check.status) == (
        1,
        5680.0,
        26290.0,
        "ACTIVE",
    )
    assert sum(i.values[Metric.PV_WH] for i in batch.intervals) == 26290.0
    assert {(i.device, i.duration_s, i.quality) for i in batch.intervals} == {(f"site:{SITE}", 900, Quality.MEASURED)}
    assert (len(batch.intervals), batch.rejected) == (44, ())
    assert batch.answered == Window(MIDNIGHT, datetime(2026, 8, 24, 16, tzinfo=UTC))
    # 17 hours are asked for in two calls, each bucket is taken from one of them only.
    assert [call.path for call in served.calls].count(f"/v2/sites/{SITE}/energy") == 2


def load_enphase(recorded: Path, name: str, into: type[T]) -> T:
    """Return a recorded body of Enphase, decoded as strictly as the client does."""
    return msgspec.json.decode((recorded / "enphase" / f"enphase-{name}-01.json").read_bytes(), type=into, strict=True)


def test_enphase_systems(recorded: Path) -> None:
    first, second = parse_systems(load_enphase(recorded, "systems", EnphaseSystems))
    assert (first.ref, first.name, first.zone, first.active) == ("2875", "Site 1", "US/Eastern", True)
    assert (first.address, first.capacity_wp) == ("Anytown, 20906, MD, US", None)
    # Operational since 04:00 UTC on the 6th, which is midnight there; the second since an afternoon.
    assert (first.installed_on, second.installed_on) == (date(2022, 7, 6), date(2024, 6, 17))


def test_enphase_devices(recorded: Path) -> None:
    devices = parse_enphase_devices(load_enphase(recorded, "system-devices", EnphaseDevices), "2875")
    kinds = [d.kind for d in devices]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        DeviceKind.SITE_TOTAL: 1,
        DeviceKind.GATEWAY: 1,
        DeviceKind.METER: 2,
        DeviceKind.INVERTER: 2,
        # One battery, and two of another make that carry one id between them.
        DeviceKind.BATTERY: 3,
    }
    by_serial = {d.serial: d for d in devices}
    assert by_serial["000000058195EIM1"].feeds == {MeterKind.PV}
    assert by_serial["000000058195EIM2"].feeds == frozenset()
    assert by_serial["000000058195"].firmware == "D5.0.55.201210 (4f2662)"
    assert by_serial[None].feeds == {MeterKind.PV, MeterKind.BATTERY}


def test_enphase_metered_day(recorded: Path) -> None:
    body = load_enphase(recorded, "system-telemetry-rgm", MeteredBody)
    day = Window(datetime(2025, 3, 4, 5, tzinfo=UTC), datetime(2025, 3, 5, 5, tzinfo=UTC))
    told, channels = parse_rgm(body, "2875", day)
    values = [row[Metric.PV_WH] for _, row in sorted(told.values.items())]
    assert (len(values), values[:3], values[-1], sum(values)) == (34, [0.0, 5.0, 21.0], 544.0, 16730.0)
    # 11:45 UTC is the end of the first bucket.
    assert min(told.values) == datetime(2025, 3, 4, 11, 30, tzinfo=UTC)
    assert told.rejected == []
    sums = {key: sum(values.values()) for key, values in channels.items()}
    # The third is not used: null but for one zero.
    assert list(sums.values()) == pytest.approx([8378.0, 8352.0, 0.0])
    assert list(sums) == [("000005058195EIM1", channel) for channel in (1, 2, 3)]
    found = gather([told], "2875", day, 900, datetime(2025, 3, 4, 20, 10, tzinfo=UTC))
    assert found.answered == Window(day.start, datetime(2025, 3, 4, 20, tzinfo=UTC))


async def test_enphase_through_the_client(recorded: Path, vendor: LoopbackVendor, line: VendorHTTP) -> None:
    vendor.replies = {
        "/v2/systems": Reply((recorded / "enphase" / "enphase-systems-01.json").read_bytes()),
        "/v2/systems/2875": Reply(
            msgspec.json.encode(
                msgspec.json.decode((recorded / "enphase" / "enphase-systems-01.json").read_bytes())["systems"][0]
            )
        ),
        "/v2/systems/2875/devices": Reply((recorded / "enphase" / "enphase-system-devices-01.json").read_bytes()),
        "/v2/systems/2875/summary": Reply({"system_id": 2875, "size_w": 5000}),
    }
    client = Enphase(line, {"api_key": "made-up-key-0001"})
    assert [site.ref for site in await client.discover(NOW)] == ["2875", "5254"]
    batch = await client.fetch("inventory", "2875", None, NOW)
    assert batch.devices is not None
    assert (len(batch.devices), batch.sites is not None) == (9, True)
