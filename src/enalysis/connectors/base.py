"""The contract of a connector: its card, what it finds, what it fetches, and the ledger it spends from."""

from collections.abc import Iterable
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


class AppKind(StrEnum):
    """What an app registered at a vendor may do: ask one owner at a time, or sign in as an installer."""

    DEVELOPER = "developer"
    PARTNER = "partner"


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
class OAuth:
    """How a vendor speaks OAuth 2.0; every address is pinned here and none is ever taken from an answer.

    Attributes:
        authorize_url: where an owner consents; None: no consent, a name and password buy the tokens. Origins
            are https; runtime may replace them. shows_code_at: the vendor's own redirect, whose page shows the
            code to copy where no callback can reach us. state_names: parameters that carry our one-time state
            and may come back with it. extra: further parameters of the authorize address.
        basic: the app proves itself by a Basic header, else by fields of the body. json_body: the token
            endpoint takes JSON, else a form. pkce: it takes S256.
        access_s, refresh_s: lifetimes where the answer tells none, s. rotates: a refresh answers a new refresh
            token and may kill the old one. kept: names in callback or token answer to keep with the grant.
        subject: the name in the token answer of whose grant it is. cost: calls a token request spends.
    """

    token_url: str
    authorize_url: str | None = None
    revoke_url: str | None = None
    shows_code_at: str | None = None
    scope: str = ""
    extra: tuple[tuple[str, str], ...] = ()
    state_names: tuple[str, ...] = ("state",)
    basic: bool = False
    json_body: bool = False
    pkce: bool = False
    access_s: int = 3600
    refresh_s: int = 30 * 86400
    kept: tuple[str, ...] = ()
    subject: str | None = None
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Way:
    """One way to prove to a vendor that the data is theirs: what a person enters or does, and the plans it has.

    Attributes:
        app: the kind of registered app it goes through; None: none. Its quotas then are the app's, shared by
            every connection of the app.
    """

    key: str
    label: str
    auth: Auth
    plans: tuple[Plan, ...]
    fields: tuple[Field, ...] = ()
    app: AppKind | None = None
    oauth: OAuth | None = None
    where_to_find: str = ""
    note: str = ""

    def plan(self, key: str | None) -> Plan:
        """Return the plan of that key, or the first where the key is unknown or None."""
        return next((p for p in self.plans if p.key == key), self.plans[0])


@dataclass(frozen=True, slots=True)
class AppCard:
    """What an app registered at the vendor consists of, for the vendors that want one.

    Attributes:
        fields: client_id and client_secret, and whatever else belongs to the app; also the settings of the
            operator's default app. steps: how to register one, a sentence each; {redirect} stands for our
            callback address. usual_wait: how long approval takes where it is needed.
    """

    fields: tuple[Field, ...]
    register_url: str
    steps: tuple[str, ...]
    usual_wait: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """One repeating fetch.

    Attributes:
        every_s: cadence wanted, s. cost: most calls a fetch spends. window_s: longest range per call, s.
        delay_s: how late the vendor publishes, s. step_s: length of its intervals, s; None: no intervals.
        daylight_only: no news while the sun is down. needs: what a site must have, else the stream is idle: a
            kind of device ("meter"), or one that feeds a kind of meter ("site_total:grid"). unless: what it
            must not have.
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
    needs: frozenset[str] = frozenset()
    unless: frozenset[str] = frozenset()
    metrics: tuple[Metric, ...] = ()

    def fits(self, devices: Iterable["FoundDevice"]) -> bool:
        """Tell whether a site with these devices has what the stream is about."""
        has = {d.kind.value for d in devices} | {f"{d.kind.value}:{f.value}" for d in devices for f in d.feeds}
        return self.needs <= has and not self.unless & has


@dataclass(frozen=True, slots=True)
class Spec:
    """A connector's card. `origin` is the vendor's scheme, host and path prefix; runtime may replace it."""

    key: str
    label: str
    origin: str
    hosts: tuple[str, ...]
    docs_url: str
    ways: tuple[Way, ...]
    streams: tuple[Stream, ...]
    app: AppCard | None = None
    status: APIStatus = APIStatus.CURRENT
    status_until: date | None = None
    status_note: str = ""
    history_days: int = 0

    @property
    def plans(self) -> tuple[Plan, ...]:
        """Every plan of every way, each once."""
        return tuple({p.key: p for way in self.ways for p in way.plans}.values())

    def stream(self, name: str) -> Stream:
        """Return the stream of that name. Raises KeyError."""
        return next(s for s in self.streams if s.name == name)

    def way(self, key: str | None) -> Way:
        """Return the way of that key, or the first where the key is unknown or None."""
        return next((w for w in self.ways if w.key == key), self.ways[0])


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


class TokenSource(Protocol):
    """Where an access token comes from: kept, renewed early, and renewed once more where the vendor refuses it."""

    async def current(self) -> str:
        """Return a token with more than five minutes to live. Raises LoginNeeded or another VendorError."""

    async def renew(self, spent: str) -> str:
        """Return another token than `spent`, which the vendor refused. Raises as `current`."""


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
