"""Every simulated vendor, by key: the one place that lists them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from enalysis.simulators import enphase, solaredge
from enalysis.simulators.accounts import Account, Plan
from enalysis.simulators.faults import Faults
from enalysis.simulators.views import Vendor
from enalysis.simulators.world import World


@dataclass(frozen=True, slots=True)
class Simulator:
    """How to build a simulated vendor.

    Attributes:
        plans: what it sells, by key. accounts: its demo accounts, from a seed and plans chosen by account.
        build: the vendor, from accounts, worlds by key, a clock, and the switches for faults.
    """

    plans: Mapping[str, Plan]
    accounts: Callable[[int, Mapping[str, str]], Sequence[Account]]
    build: Callable[[Sequence[Account], Mapping[str, World], Callable[[], datetime], Faults], Vendor]


SIMULATORS: dict[str, Simulator] = {
    solaredge.KEY: Simulator(solaredge.PLANS, solaredge.demo_accounts, solaredge.SolarEdgeCloud),
    enphase.KEY: Simulator(enphase.PLANS, enphase.demo_accounts, enphase.EnphaseCloud),
}
