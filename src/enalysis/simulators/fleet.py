"""The make-believe sites of the demo: which there are, where, and what is awkward about them."""

from datetime import date

from enalysis.core.sites import MeterKind
from enalysis.simulators.house import Battery, House, Profile
from enalysis.simulators.weather import Array
from enalysis.simulators.world import Awkward, Spell, WorldSite

_GRID = frozenset({MeterKind.GRID})
# Which site of the crowd has a gateway that is nearly always away.
_SILENT = 7
_ALL = frozenset({MeterKind.GRID, MeterKind.PV, MeterKind.LOAD})

# A household: one site with everything, one with panels only in a zone of +05:45.
HOUSEHOLD: tuple[WorldSite, ...] = (
    WorldSite(
        "graz", "Mill Lane", "Europe/Vienna", 47.07, 15.44, "Graz", "Austria",
        (Array(32, 170, 5600), Array(32, 260, 2400)), 7000, date(2025, 3, 14),
        battery=Battery(9700, 5000, 5000), meters=_GRID,
        spells=(Spell(Awkward.GATEWAY_OFFLINE, 10.5, 2.25, every_days=9, phase=4),),
    ),
    WorldSite(
        "kathmandu", "Patan Terrace", "Asia/Kathmandu", 27.67, 85.32, "Lalitpur", "Nepal",
        (Array(25, 180, 3200),), 3000, date(2025, 9, 2),
        house=House(120, 500), standby_w=4,
        spells=(Spell(Awkward.GRID_OUTAGE, 14, 1.5, every_days=3, phase=1),),
    ),
)  # fmt: skip

# A fleet spread so that the sun is up over some of it at every hour of the year.
PORTFOLIO: tuple[WorldSite, ...] = (
    WorldSite(
        "berlin", "Bakery Pankow", "Europe/Berlin", 52.57, 13.41, "Berlin", "Germany",
        (Array(12, 90, 14000), Array(12, 270, 14000)), 20000, date(2024, 6, 3),
        inverters=2, meters=_ALL, house=House(1600, 9000, Profile.WORK), standby_w=14,
        spells=(Spell(Awkward.LATE, 12, 6, every_days=6, phase=2, late_h=7),),
    ),
    WorldSite(
        "denver", "Ridge House", "America/Denver", 39.74, -104.99, "Denver", "United States",
        (Array(35, 180, 9600),), 6000, date(2025, 1, 20),
        battery=Battery(13500, 5000, 7000), meters=_GRID, house=House(380, 1700),
        spells=(Spell(Awkward.GRID_OUTAGE, 15.5, 2, every_days=21, phase=6),),
    ),
    WorldSite(
        "saopaulo", "Clínica Pinheiros", "America/Sao_Paulo", -23.56, -46.69, "São Paulo", "Brazil",
        (Array(18, 0, 18000),), 15000, date(2024, 11, 11),
        meters=_GRID, house=House(900, 5200, Profile.WORK), standby_w=9,
    ),
    WorldSite(
        "tokyo", "Setagaya 4", "Asia/Tokyo", 35.64, 139.65, "Tokyo", "Japan",
        (Array(22, 200, 4800),), 4000, date(2025, 4, 8),
        meters=frozenset({MeterKind.GRID, MeterKind.PV}), house=House(260, 900),
        inverter_replaced=date(2026, 2, 11),
    ),
    WorldSite(
        "adelaide", "Hindmarsh Workshop", "Australia/Adelaide", -34.91, 138.58, "Adelaide", "Australia",
        (Array(20, 0, 16500), Array(20, 270, 6500)), 15000, date(2024, 8, 19),
        battery=Battery(19400, 10000, 10000), meters=_GRID, house=House(700, 4800, Profile.WORK),
        standby_w=10,
    ),
    WorldSite(
        "auckland", "Titirangi", "Pacific/Auckland", -36.94, 174.66, "Auckland", "New Zealand",
        (Array(28, 20, 6200),), 5000, date(2025, 2, 1),
        meters=_GRID, house=House(300, 1300),
        spells=(Spell(Awkward.LOST, 9, 1.5, every_days=14, phase=3),),
    ),
    WorldSite(
        "nairobi", "Karen Greenhouse", "Africa/Nairobi", -1.32, 36.71, "Nairobi", "Kenya",
        (Array(8, 0, 12000),), 10000, date(2025, 6, 30),
        battery=Battery(14600, 7500, 7500), meters=_GRID, house=House(800, 2600, Profile.WORK),
        spells=(Spell(Awkward.GRID_OUTAGE, 18.25, 1, every_days=4, phase=0),),
    ),
    WorldSite(
        "honolulu", "Mānoa", "Pacific/Honolulu", 21.31, -157.81, "Honolulu", "United States",
        (Array(15, 190, 7400),), 6000, date(2025, 5, 5),
        house=House(240, 1000), counter_reset=date(2026, 1, 9),
    ),
)  # fmt: skip

# An account whose key is going to be revoked.
LAPSED: tuple[WorldSite, ...] = (
    WorldSite(
        "porto", "Rua do Almada", "Europe/Lisbon", 41.15, -8.61, "Porto", "Portugal",
        (Array(25, 150, 4000),), 3680, date(2025, 7, 21), meters=_GRID, house=House(180, 800),
    ),
)  # fmt: skip

# A home whose owner allows one app to read one site.
GARDEN: tuple[WorldSite, ...] = (
    WorldSite(
        "garden", "Tuinstraat", "Europe/Amsterdam", 52.51, 6.09, "Zwolle", "Netherlands",
        (Array(40, 165, 4400), Array(40, 255, 1760)), 5000, date(2025, 10, 6),
        battery=Battery(8200, 4000, 4000), meters=_GRID, house=House(260, 1200),
    ),
)  # fmt: skip

# A site without meters, some of whose panels are heard of only hours later.
BRIEF: tuple[WorldSite, ...] = (
    WorldSite(
        "sacramento", "Curtis Park", "America/Los_Angeles", 38.55, -121.48, "Sacramento", "United States",
        (Array(22, 190, 6800),), 5800, date(2025, 11, 3),
        house=House(310, 1400), spells=(Spell(Awkward.LATE, 10, 5, every_days=4, phase=1, late_h=6),),
    ),
)  # fmt: skip

SITES: dict[str, WorldSite] = {
    site.key: site for site in (*HOUSEHOLD, *PORTFOLIO, *LAPSED, *GARDEN, *BRIEF)
}  # fmt: skip


def crowd(count: int) -> tuple[WorldSite, ...]:
    """Return many small sites that differ in little, for whoever has to turn pages; none is in SITES."""
    return tuple(
        WorldSite(
            f"crowd-{n:03d}", f"Row House {n}", "Europe/London", 51.3 + n / 200, -0.8 - n / 300, "Reading",
            "United Kingdom", (Array(30 + n % 15, 140 + n % 90, 400.0 * (6 + n % 7)),), 3680, date(2026, 3, 2),
            # One gateway is hardly ever heard of.
            spells=(Spell(Awkward.GATEWAY_OFFLINE, 2, 22),) if n == _SILENT else (),
        )
        for n in range(1, count + 1)
    )  # fmt: skip
