"""What a simulated vendor tells of the worlds it sees, in our own words, and what each must offer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from starlette.types import Receive, Scope, Send

from enalysis.core.intervals import Window
from enalysis.core.metrics import Metric
from enalysis.core.sites import DeviceKind
from enalysis.simulators.accounts import Account, Tally
from enalysis.simulators.oauth import AuthServer


@dataclass(frozen=True, slots=True)
class Told:
    """One number the vendor's API gives out: Wh of [start, start + duration_s), or % at its end.

    `serial` names the device as the vendor does; None is the site's total.
    """

    kind: DeviceKind
    serial: str | None
    start: datetime
    duration_s: int
    metric: Metric
    value: float


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure a simulator goes by, and whether the vendor documents it or it was chosen here."""

    vendor: str
    what: str
    value: str
    documented: bool


class Vendor(Protocol):
    """A simulated vendor: an ASGI application, and what the demo and the tests want to know of it."""

    @property
    def accounts(self) -> Mapping[str, Account]:
        """Its accounts by key."""

    @property
    def auth(self) -> AuthServer | None:
        """Its authorization server, where it has one."""

    @property
    def tallies(self) -> Mapping[str, Tally]:
        """What each account has spent, by the account's key; the accounts of one app share theirs."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request below the vendor's own root."""

    def ref(self, world: str) -> str:
        """Return the vendor's reference of a site. Raises KeyError for a world it cannot see."""

    def told(self, world: str, window: Window, now: datetime) -> Sequence[Told]:
        """Return every number of the buckets inside the window that the vendor gives out at `now`."""

    def band(self, one: Told) -> float:
        """Return how far a number may be from the World's because of what the vendor does to it, in its unit."""

    def grant(self, account: str) -> Mapping[str, str]:
        """Return new tokens of an account as if its owner had consented. Raises KeyError where that cannot be."""

    def figures(self) -> Sequence[Figure]:
        """Return the figures it goes by."""
