"""What the tests of SolarEdge's simulated cloud share: its parts, keys, views and series by name."""

from datetime import UTC, datetime
from typing import Any

from enalysis.simulators.server import Sandbox
from enalysis.simulators.solaredge import SolarEdgeCloud
from enalysis.simulators.solaredge.view import View


def cloud(sandbox: Sandbox) -> SolarEdgeCloud:
    vendor = sandbox.vendors["solaredge"]
    assert isinstance(vendor, SolarEdgeCloud)
    return vendor


def key(sandbox: Sandbox, account: str) -> dict[str, str]:
    return {"X-API-Key": cloud(sandbox).accounts[account].credentials["api_key"]}


def view(sandbox: Sandbox, site: str) -> View:
    return cloud(sandbox).views[site]


def points(body: dict[str, Any]) -> list[tuple[datetime, float | None]]:
    return [(datetime.fromisoformat(v["timestamp"]).astimezone(UTC), v["value"]) for v in body["values"]]
