"""What stands at an Enphase site: serial numbers, models, place, and what is odd about some of them."""

import hashlib
from dataclasses import dataclass
from datetime import date

from enalysis.core.sites import MeterKind
from enalysis.simulators.world import World

PANEL_WP = 400
_MODEL, _PART, _SKU = "IQ7+", "800-01731-r02", "IQ7PLUS-72-M-US"
MICRO = {"part_number": _PART, "sku": _SKU, "model": _MODEL}
# Two-letter codes of the countries our sites are in.
COUNTRIES = {
    "Australia": "AU",
    "Austria": "AT",
    "Brazil": "BR",
    "Germany": "DE",
    "Japan": "JP",
    "Kenya": "KE",
    "Nepal": "NP",
    "Netherlands": "NL",
    "New Zealand": "NZ",
    "Portugal": "PT",
    "United Kingdom": "GB",
    "United States": "US",
}


@dataclass(frozen=True, slots=True)
class Quirk:
    """What is odd about a site.

    Attributes:
        total_load: its consumption meter sees the load alone, not the grid connection. status: what its status
            always is; None: normal, or what its reports say. zone: a legacy alias the vendor tells as its time
            zone. link: how its gateway reaches the cloud. meter_since: its production meter replaced one that
            was retired on this day. state: of its country.
    """

    total_load: bool = False
    status: str | None = None
    zone: str | None = None
    link: str = "ethernet"
    meter_since: date | None = None
    state: str | None = None

    @property
    def cellular(self) -> bool:
        """Whether it reports every six hours only."""
        return self.link == "cellular"


QUIRKS = {
    "denver": Quirk(zone="US/Mountain", state="CO"),
    "saopaulo": Quirk(total_load=True),
    "honolulu": Quirk(status="micro", state="HI", link="Wi-Fi"),
    "nairobi": Quirk(link="cellular"),
    "tokyo": Quirk(link="Wi-Fi", meter_since=date(2026, 2, 11)),
    "sacramento": Quirk(state="CA", link="Wi-Fi"),
}


def number(what: str, world: World) -> int:
    """Return a number below 2**40 that depends on the seed, the site and what it is for."""
    digest = hashlib.blake2b(f"enphase|{world.seed}|{world.site.key}|{what}".encode(), digest_size=5)
    return int.from_bytes(digest.digest())


class Hardware:
    """The devices of a site by serial number and id."""

    def __init__(self, world: World) -> None:
        site = world.site
        self.quirk = QUIRKS.get(site.key, Quirk())
        self.site_id = 1_000_000 + number("system", world) % 8_999_999
        self.panels = max(1, round(site.capacity_wp / PANEL_WP))
        self.metered = MeterKind.GRID in site.meters
        self.net = self.metered and not self.quirk.total_load
        self.envoy = f"2023{number('envoy', world) % 10**8:08d}"
        self.battery = f"4923{number('battery', world) % 10**8:08d}" if site.battery else None
        self.ids = 60_000_000 + number("devices", world) % 3_000_000 * 10
        self._replaced = site.inverter_replaced
        self._micros = number("micros", world) % 10**6
        self.link = self.quirk.link
        self.country = COUNTRIES[site.country]
        self.postal_code = f"{number('postal code', world) % 90_000 + 10_000}"

    def micros(self, today: date) -> list[str]:
        """Return the serial numbers of the microinverters at work on a day."""
        generation = 3 if self._replaced is not None and today >= self._replaced else 2
        return [f"54{generation}{self._micros:06d}{n:03d}" for n in range(1, self.panels + 1)]

    def meter(self, what: int) -> str:
        """Return the serial number of a meter: 1 production, 2 consumption, 3 storage, 4 the retired one."""
        return f"{self.envoy}EIM{what}"
