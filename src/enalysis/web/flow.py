"""The live flow of a site: who gives and who takes right now, in words and in arrow widths. Pure."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from enalysis.queries.shapes import MeterFeed, SiteNow

# Quarters arrive up to half an hour after the fact; beyond an hour a value is told as old.
STALE = timedelta(hours=1)
_THINNEST = 2.0
_WIDEST = 12.0
# Standby currents of meters are no flow worth an arrow.
_STILL_W = 5.0


@dataclass(frozen=True, slots=True)
class Branch:
    """One of pv, grid, battery and house around the hub.

    Attributes:
        power_w: size of the flow, W, never negative; None is unknown. word: what it is doing.
        colour: its meaning. inward: True towards the hub, False away from it, None stands still.
        width: of the arrow, in the drawing's units. present: the site has a meter of this kind.
    """

    key: str
    label: str
    power_w: float | None
    word: str
    colour: str
    inward: bool | None
    width: float
    present: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """The four branches, the state of charge, and how old it all is."""

    pv: Branch
    grid: Branch
    battery: Branch
    house: Branch
    soc_pct: float | None
    at: datetime | None
    stale: bool
    derived: bool

    @property
    def branches(self) -> tuple[Branch, ...]:
        """Return pv, grid, battery and house."""
        return (self.pv, self.grid, self.battery, self.house)

    @property
    def sentence(self) -> str:
        """Say the flow in one sentence without figures, for those who do not see the drawing."""
        told = [f"{b.label} {b.word}" for b in self.branches if b.present and b.power_w is not None]
        return ", ".join(told) or "Nothing is known about now"


def flow(now_at_site: SiteNow, meters: tuple[MeterFeed, ...], now: datetime) -> Flow:
    """Turn signed powers (grid + import, battery + discharge) into branches with words.

    A kind without a meter and without a value is not present; the house always is.
    """
    kinds = {m.kind for m in meters}
    powers = (now_at_site.pv_w, now_at_site.grid_w, now_at_site.battery_w, now_at_site.load_w)
    top = max((abs(p) for p in powers if p is not None), default=0.0)

    def branch(key: str, label: str, watts: float | None, words: tuple[str, str, str], colour: str) -> Branch:
        gives, takes, still = words
        present = watts is not None or key in kinds or key == "load"
        if watts is None:
            return Branch(key, label, None, "unknown", colour, None, 0.0, present)
        if abs(watts) < _STILL_W:
            return Branch(key, label, abs(watts), still, colour, None, 0.0, present)
        width = _THINNEST + (_WIDEST - _THINNEST) * math.sqrt(abs(watts) / top)
        word, inward = (gives, True) if watts > 0 else (takes, False)
        return Branch(key, label, abs(watts), word, colour, inward, round(width, 1), present)

    grid_w, load_w = now_at_site.grid_w, now_at_site.load_w
    return Flow(
        pv=branch("pv", "PV", now_at_site.pv_w, ("producing", "producing", "not producing"), "pv"),
        grid=branch(
            "grid",
            "Grid",
            grid_w,
            ("importing", "exporting", "balanced"),
            "export" if grid_w is not None and grid_w < 0 else "import",
        ),
        battery=branch("battery", "Battery", now_at_site.battery_w, ("discharging", "charging", "resting"), "battery"),
        house=branch("load", "House", None if load_w is None else -load_w, ("using", "using", "using nothing"), "load"),
        soc_pct=now_at_site.soc_pct,
        at=now_at_site.at,
        stale=now_at_site.at is not None and now - now_at_site.at > STALE,
        derived=now_at_site.derived,
    )
