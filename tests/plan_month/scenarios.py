"""What the month is simulated for: a plan of a vendor's card, its sites, and who signed in for them."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime

from enalysis.connectors.base import FoundDevice, Plan, Spec, Stream, Subject
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.daylight import Place
from enalysis.core.sites import DeviceKind, MeterKind

START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 31
# Sites stand at so many places between the 30th and the 46th parallel of North America.
_PLACES = 24


@dataclass(frozen=True, slots=True)
class Scenario:
    """One line of the table.

    Attributes:
        connections: sign-ins that share the quota; the sites are divided among them. renews: each spends a
            call a day to renew its token. tick_s: how often the simulated engine looks for what is due, s.
    """

    key: str
    title: str
    vendor: str
    way: str
    plan: str
    sites: int
    connections: int
    renews: bool
    tick_s: int = 20

    @property
    def spec(self) -> Spec:
        """The vendor's card."""
        return CONNECTORS[self.vendor].spec

    @property
    def offer(self) -> Plan:
        """The plan on it."""
        return self.spec.way(self.way).plan(self.plan)


SCENARIOS = (
    Scenario("watt-1", "Enphase Watt, 1 site", "enphase", "developer", "watt", 1, 1, renews=True),
    Scenario("watt-3", "Enphase Watt, 3 sites of 3 owners", "enphase", "developer", "watt", 3, 3, renews=True),
    Scenario(
        "kilowatt-100",
        "Enphase Kilowatt, 100 sites of 100 owners",
        "enphase",
        "developer",
        "kilowatt",
        100,
        100,
        renews=True,
        tick_s=60,
    ),
    Scenario(
        "partner-1000",
        "Enphase Partner, 1,000 sites",
        "enphase",
        "partner",
        "partner",
        1000,
        1,
        renews=True,
        tick_s=60,
    ),
    Scenario("free-1", "SolarEdge free, 1 site", "solaredge", "fleet_key", "free", 1, 1, renews=False),
    Scenario("free-3", "SolarEdge free, 3 sites", "solaredge", "fleet_key", "free", 3, 1, renews=False),
)


@dataclass(frozen=True, slots=True)
class Member:
    """One stream of the month: its card, where its site is, and whose sign-in fetches it."""

    id: int
    card: Stream
    site: int | None
    place: Place | None
    connection: int

    @property
    def tells(self) -> bool:
        """Whether it brings intervals."""
        return self.card.step_s is not None


def members(scenario: Scenario, seed: int) -> list[Member]:
    """Return the streams of a scenario, as discovery would add them for the devices of each site."""
    chance = random.Random(f"{scenario.key} {seed}")  # noqa: S311 - sites, no secret
    places = [
        Place(round(chance.uniform(30, 46), 2), round(chance.uniform(-122, -75), 2))
        for _ in range(min(_PLACES, scenario.sites))
    ]
    found: list[Member] = []

    def add(card: Stream, site: int | None, place: Place | None, connection: int) -> None:
        found.append(Member(len(found) + 1, card, site, place, connection))

    for connection in range(scenario.connections):
        for card in scenario.spec.streams:
            if card.subject is Subject.CONNECTION:
                add(card, None, None, connection)
    for site in range(scenario.sites):
        devices = _devices(site, chance)
        for card in scenario.spec.streams:
            if card.subject is Subject.SITE and card.fits(devices):
                add(card, site, places[site % len(places)], site % scenario.connections)
    return found


def _devices(site: int, chance: random.Random) -> list[FoundDevice]:
    """Return a site's devices: the first has all, of the others two thirds have meters and two in five a battery."""
    metered = site == 0 or chance.random() < 2 / 3
    battery = site == 0 or (metered and chance.random() < 2 / 5)
    feeds = {MeterKind.PV} | ({MeterKind.GRID} if metered else set()) | ({MeterKind.BATTERY} if battery else set())
    name = str(site)
    devices = [FoundDevice(name, name, DeviceKind.SITE_TOTAL, name, feeds=frozenset(feeds))]
    if metered:
        kinds = frozenset({MeterKind.PV, MeterKind.GRID})
        devices.append(FoundDevice(f"{name} meter", name, DeviceKind.METER, "meter", parent=name, feeds=kinds))
    if battery:
        kinds = frozenset({MeterKind.BATTERY})
        devices.append(FoundDevice(f"{name} battery", name, DeviceKind.BATTERY, "battery", parent=name, feeds=kinds))
    return devices
