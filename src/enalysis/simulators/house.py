"""What a make-believe site uses and what its battery does about it, in whole quanta of energy per slot."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from enalysis.simulators.weather import SLOT_S, Bools, Floats, seeded

Quanta = npt.NDArray[np.int64]

# Energy is kept in whole 1/1024 Wh: sums are then exact in any order, in integers and in floats alike.
QUANTA_PER_WH = 1024
# What is left of energy put into the battery or drawn from it, one way, as a ratio of whole numbers.
_KEPT, _OF = 96, 100
_SATURDAY = 5


class Profile(StrEnum):
    """Who uses the electricity: a home by morning and evening, a business by day and on weekdays."""

    HOME = "home"
    WORK = "work"


@dataclass(frozen=True, slots=True)
class House:
    """The load of a site: what never stops, and the height of its daily peaks, both W."""

    base_w: float = 220.0
    peak_w: float = 1100.0
    profile: Profile = Profile.HOME


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery that saves pv for the evening and never trades with the grid.

    Attributes:
        capacity_wh: usable. charge_w, discharge_w: most it takes and gives at the site's side.
        reserve_pct: state of charge it never falls below and starts each of its days with.
    """

    capacity_wh: float
    charge_w: float
    discharge_w: float
    reserve_pct: float = 10.0


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Quanta per slot: what the battery gives (+) or takes (-), and what it stores above its reserve.

    `stored` has one more element than there are slots: before the first and after each.
    """

    battery: Quanta
    stored: Quanta


def load_w(house: House, seed: object, key: str, day: date, minute: Floats) -> Floats:
    """Return the power used in W in slots whose local clock reads `minute` (0 to 1440), shape (n,)."""
    random = seeded("load", seed, key, day)
    busy = random.uniform(0.75, 1.25)
    weekend = day.weekday() >= _SATURDAY
    hour = minute / 60.0
    if house.profile is Profile.WORK:
        opened = 1.0 / (1.0 + np.exp(-(hour - 7.0) * 2.5)) - 1.0 / (1.0 + np.exp(-(hour - 17.5) * 2.0))
        shape = opened * (0.25 if weekend else 1.0)
    else:
        shape = 0.45 * _bump(hour, 7.2, 1.1) + 0.30 * _bump(hour, 12.8, 1.4) + 0.95 * _bump(hour, 19.4, 2.0)
        if weekend:
            shape = shape + 0.35 * _bump(hour, 11.5, 2.5)
    power = house.base_w + house.peak_w * busy * shape
    # A compressor of its own rhythm, and a few heavy appliances of a quarter to an hour and a half.
    power += 0.35 * house.base_w * ((minute + random.integers(0, 50)) % 50 < 18)  # noqa: PLR2004 - minutes
    for _ in range(int(random.poisson(3.0))):
        begins, lasts = random.uniform(360.0, 1320.0), random.uniform(15.0, 90.0)
        power += random.uniform(0.5, 1.6) * house.peak_w * ((minute >= begins) & (minute < begins + lasts))
    return np.asarray(np.maximum(power * random.normal(1.0, 0.04, len(minute)), 0.3 * house.base_w))


def quanta(power_w: Floats | float) -> Quanta:
    """Return the energy of a mean power over one slot, in whole quanta."""
    return np.rint(np.asarray(power_w) * (SLOT_S / 3600.0 * QUANTA_PER_WH)).astype(np.int64)


def dispatch(battery: Battery, pv: Quanta, load: Quanta) -> Dispatch:
    """Return what the battery does in a stretch that begins and ends at its reserve.

    It takes only surplus, gives only what is used, and takes no more than the rest of the stretch can use:
    that is what makes every stretch start from the same charge, whichever is asked for first.
    """
    surplus = pv - load
    can_take = np.clip(surplus, 0, int(quanta(battery.charge_w)))
    can_give = np.clip(-surplus, 0, int(quanta(battery.discharge_w)))
    costs = -(-can_give * _OF // _KEPT)
    room = int(battery.capacity_wh * (1.0 - battery.reserve_pct / 100.0) * QUANTA_PER_WH)
    # What can still be given between a slot's end and the stretch's end bounds what may be stored there.
    ahead = np.concatenate((np.cumsum(costs[::-1])[::-1][1:], np.zeros(1, np.int64)))
    bound = np.minimum(ahead, room).tolist()
    stored, now, flows = [0], 0, []
    for take, give, cost, most in zip(can_take.tolist(), can_give.tolist(), costs.tolist(), bound, strict=True):
        flow = 0
        if take and now < most:
            gain = min(take * _KEPT // _OF, most - now)
            flow = -min(take, -(-gain * _OF // _KEPT))
            now += gain
        elif give and now:
            flow = give if cost <= now else now * _KEPT // _OF
            now -= min(cost, now)
        stored.append(now)
        flows.append(flow)
    return Dispatch(np.array(flows, np.int64), np.array(stored, np.int64))


def island(pv: Quanta, load: Quanta, battery: Quanta, dark: Bools) -> tuple[Quanta, Quanta]:
    """Return pv and load where the grid is away in the slots `dark`: load is shed and pv curtailed."""
    served = np.where(dark, np.minimum(load, pv + np.maximum(battery, 0)), load)
    kept = np.where(dark, served - battery, pv)
    return np.asarray(kept, np.int64), np.asarray(served, np.int64)


def _bump(hour: Floats, at: float, width: float) -> Floats:
    return np.asarray(np.exp(-0.5 * ((hour - at) / width) ** 2))
