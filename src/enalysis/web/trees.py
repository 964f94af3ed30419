"""A site's devices as a tree, whatever a vendor claims about who hangs below whom. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from enalysis.queries.shapes import DeviceRow

_ORDER = {"site_total": 0, "gateway": 1, "inverter": 2, "battery": 3, "meter": 4, "panel": 5}
_DEEPEST = 6


# What a positive power (it brings energy to the site) and a negative one mean, by what the device feeds.
_DOING = {
    "pv": ("producing", "drawing"),
    "inverter": ("producing", "drawing"),
    "grid": ("importing", "exporting"),
    "battery": ("discharging", "charging"),
    "load": ("giving", "using"),
}


@dataclass(frozen=True, slots=True)
class Twig:
    """A device and how deep it hangs, 0 at the top."""

    device: DeviceRow
    depth: int

    @property
    def power_w(self) -> float | None:
        """Return the size of the device's power, W; the sign is in `doing`."""
        return None if self.device.power_w is None else abs(self.device.power_w)

    @property
    def doing(self) -> str:
        """Say which way the power flows; empty where it does not or nobody knows."""
        power = self.device.power_w
        if not power:
            return ""
        named = (*self.device.feeds, self.device.kind)
        gives, takes = next((_DOING[n] for n in named if n in _DOING), ("giving", "taking"))
        return gives if power > 0 else takes


def tree(devices: Iterable[DeviceRow]) -> tuple[Twig, ...]:
    """Return the devices from top to bottom, each below its parent, parents before children.

    A parent that is unknown or a circle of parents puts the device at the top, so none is ever lost.
    """
    everyone = sorted(devices, key=lambda d: (_ORDER.get(d.kind, 9), d.name.casefold(), d.id))
    known = {(d.connection, d.ref) for d in everyone}
    children: dict[tuple[str, str], list[DeviceRow]] = defaultdict(list)
    tops = []
    for device in everyone:
        parent = (device.connection, device.parent_ref or "")
        if device.parent_ref is None or parent not in known or device.parent_ref == device.ref:
            tops.append(device)
        else:
            children[parent].append(device)
    out: list[Twig] = []
    seen: set[int] = set()

    def hang(first: DeviceRow) -> None:
        waiting = [(first, 0)]
        while waiting:
            device, depth = waiting.pop()
            if device.id in seen:
                continue
            seen.add(device.id)
            out.append(Twig(device, min(depth, _DEEPEST)))
            below = children[device.connection, device.ref]
            waiting.extend((child, depth + 1) for child in reversed(below))

    for device in [*tops, *everyone]:
        hang(device)
    return tuple(out)
