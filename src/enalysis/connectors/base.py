"""The contract of a connector: its card, what it finds, what it fetches, and the ledger it spends from."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from enalysis.core.intervals import Window
from enalysis.core.metrics import Metric
from enalysis.core.quotas import Quota, QuotaWindow
from enalysis.core.readings import Interval, Rejected, Sample
from enalysis.core.sites import DeviceKind, MeterKind


class Auth(StrEnum):
    """How a person proves to the vendor that the data is theirs."""

    API_KEY = "api_key"
    OAUTH = "oauth"
    LOGIN = "login"
    ADDRESS = "address"


class Subject(StrEnum):
    """What one fetch of a stream is about."""

    CONNECTION = "connection"
    SITE = "site"


class APIStatus(StrEnum):
    """Where the vendor's API stands."""

    CURRENT = "current"
    PENDING = "pending"
    RETIRING = "retiring"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a person enters to connect; the form, the CLI and the docs are drawn from it."""

    name: str
    label: str
    help: str
    placeholder: str = ""
    secret: bool = False
    required: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """One of the vendor's plans: its quotas, whether its figures are documented, and a sentence for people."""

    key: str
    label: str
    quotas: tuple[Quota, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """One repeating fetch.

    Attributes:
        every_s: cadence wanted, s. cost: most calls a fetch spends. window_s: longest range per call, s.
        delay_s: how late the vendor publishes, s. step_s: length of its intervals, s; None: no intervals.
        daylight_only: no news while the sun is down. needs: kinds of device without which the stream is idle.
    """

    name: str
    label: str
    every_s: int
    cost: int
    subject: Subject = Subject.SITE
    window_s: int | None = None
    delay_s: int = 0
    step_s: int | None = None
    daylight_only: bool = False
    backfill: bool = False
    needs: frozenset[DeviceKind] = frozenset()
    metrics: tuple[Metric, ...] = ()


@dataclass(frozen=True, slots=True)
class Spec:
    """A connector's card. `origin` is the vendor's scheme, host and path prefix; runtime may replace it."""

    key: str
    label: str
    origin: str
    hosts: tuple[str, ...]
    docs_url: str
    auth: Auth
    fields: tuple[Field, ...]
    streams: tuple[Stream, ...]
    plans: tuple[Plan, ...]
    status: APIStatus = APIStatus.CURRENT
    status_until: date | None = None
    status_note: str = ""
    where_to_find: str = ""
    history_days: int = 0

    def stream(self, name: str) -> Stream:
        """Return the stream of that name. Raises KeyError."""
        return next(s for s in self.streams if s.name == name)

    def plan(self, key: str | None) -> Plan:
        """Return the plan of that key, or the first where the key is unknown or None."""
        return next((p for p in self.plans if p.key == key), self.plans[0])


@dataclass(frozen=True, slots=True)
class FoundSite:
    """A site behind a connection as the vendor tells it; None is not told. capacity_wp in Wp, degrees N and E."""

    ref: str
    name: str
    zone: str | None = None
    address: str | None = None
    capacity_wp: float | None = None
    latitude: float | None = None
    longitude: float | None = None
    installed_on: date | None = None
    active: bool = True


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device of a site: `ref` is unique in the connection, `parent` another device's ref.

    `feeds` are the meter kinds it measures as far as the vendor's data shows; a person may decide otherwise.
    """

    ref: str
    site: str
    kind: DeviceKind
    name: str
    parent: str | None = None
    manufacturer: str | None = None
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    feeds: frozenset[MeterKind] = frozenset()
    active: bool = True


@dataclass(frozen=True, slots=True)
class Batch:
    """What one fetch brought.

    Attributes:
        answered: closed slots the vendor's answer speaks of, aligned to the stream's step_s; None: none.
        sites, devices: None: not asked; an empty tuple: asked, and there are none.
    """

    samples: tuple[Sample, ...] = ()
    intervals: tuple[Interval, ...] = ()
    rejected: tuple[Rejected, ...] = ()
    answered: Window | None = None
    sites: tuple[FoundSite, ...] | None = None
    devices: tuple[FoundDevice, ...] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """What a test of a connection found: W, Wh, the vendor's own status text; None where it gives nothing."""

    sites: int
    capacity_wp: float | None = None
    current_power_w: float | None = None
    energy_today_wh: float | None = None
    status: str | None = None
    last_update: datetime | None = None


class Ledger(Protocol):
    """Where calls are reserved before they are made and written down after; the engine gives one to each client."""

    async def take(self, operation: str, cost: int) -> None:
        """Reserve `cost` calls. Raises QuotaSpent where the quota does not allow them now."""

    async def record(self, operation: str, cost: int, verdict: str, ms: float) -> None:
        """Write down how a call ended; verdict is `ok` or the error's state."""

    async def observe(self, window: QuotaWindow, limit: int, remaining: int) -> None:
        """Believe the vendor where it says that less is left than we counted."""

    async def hold(self, window: QuotaWindow | None, until: datetime) -> None:
        """Make no call of this account before `until`: the vendor said so."""


class Connector(Protocol):
    """One vendor account as seen through its API. Every method raises VendorError subclasses only."""

    spec: Spec

    async def check(self, now: datetime) -> Check:
        """Prove that the credential works, with as few calls as that takes."""

    async def discover(self, now: datetime) -> tuple[FoundSite, ...]:
        """Return every site the credential may read."""

    async def fetch(self, stream: str, subject: str, window: Window | None, now: datetime) -> Batch:
        """Fetch one stream for one subject (a site's ref, or "" for the connection) and range."""
