"""Recorded answers of real accounts, where at hand: parsers and client read what a person reads in them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

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
