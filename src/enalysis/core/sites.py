"""Sites, their meters and devices, and which device feeds which meter when."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from enalysis.core.metrics import Metric


class MeterKind(StrEnum):
    """What flows through a measuring point of a site."""

    PV = "pv"
    GRID = "grid"
    BATTERY = "battery"
    LOAD = "load"


class DeviceKind(StrEnum):
    """What a vendor reports on."""

    SITE_TOTAL = "site_total"
    GATEWAY = "gateway"
    INVERTER = "inverter"
    PANEL = "panel"
    BATTERY = "battery"
    METER = "meter"


METER_ENERGIES: dict[MeterKind, tuple[Metric, ...]] = {
    MeterKind.PV: (Metric.PV_WH,),
    MeterKind.GRID: (Metric.GRID_IMPORT_WH, Metric.GRID_EXPORT_WH),
    MeterKind.BATTERY: (Metric.BATTERY_CHARGE_WH, Metric.BATTERY_DISCHARGE_WH),
    MeterKind.LOAD: (Metric.LOAD_WH,),
}


@dataclass(frozen=True, slots=True)
class Meter:
    """A measuring point; a child is part of its parent and never added to it."""

    id: UUID
    kind: MeterKind
    parent: UUID | None = None


@dataclass(frozen=True, slots=True)
class MeterSource:
    """`device` feeds `meter` in [valid_from, valid_until); None leaves that side open."""

    meter: UUID
    device: int
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def feeds(self, at: datetime) -> bool:
        """Tell whether the device feeds the meter at the instant `at`."""
        after = self.valid_from is None or at >= self.valid_from
        return after and (self.valid_until is None or at < self.valid_until)


def top_meters(meters: Iterable[Meter], kind: MeterKind) -> list[Meter]:
    """Return the meters of a kind that count in the site's balance: those with no parent of the same kind."""
    of_kind = {m.id: m for m in meters if m.kind is kind}
    return [m for m in of_kind.values() if m.parent not in of_kind]


def devices_of(
    sources: Iterable[MeterSource], meters: Iterable[Meter], kind: MeterKind, at: datetime
) -> frozenset[int]:
    """Return the devices whose readings add up to the site's total of `kind` at the instant `at`."""
    tops = {m.id for m in top_meters(meters, kind)}
    return frozenset(s.device for s in sources if s.meter in tops and s.feeds(at))
