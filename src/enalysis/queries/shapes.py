"""The answers of the queries: plain, frozen, in W, Wh, % and aware UTC; None is unknown, never 0."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID


class Health(StrEnum):
    """How a site or connection is doing, worst last in meaning: unknown is grey, never green."""

    GOOD = "good"
    WATCH = "watch"
    ACT = "act"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class FleetTotals:
    """The tiles: sums over real sites that know, with how many of them do.

    simulated: how many sites are made up; they are counted nowhere else here.
    """

    sites: int
    online: int
    act: int
    watch: int
    capacity_wp: float | None
    pv_w: float | None
    pv_w_sites: int
    pv_today_wh: float | None
    pv_yesterday_wh: float | None
    pv_today_sites: int
    simulated: int = 0


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One site in the list. `at` is the end of the newest interval or the time of the newest sample.

    spark: mean pv power in W of each hour of the site's today, None where unknown or still ahead. sandbox: the
    site is made up, while its connection waits for the vendor.
    """

    id: UUID
    name: str
    address: str | None
    zone: str
    capacity_wp: float | None
    vendors: tuple[str, ...]
    health: Health
    reason: str
    pv_w: float | None
    at: datetime | None
    pv_today_wh: float | None
    pv_yesterday_wh: float | None
    spark: tuple[float | None, ...]
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class FleetPage:
    """One page of the fleet, worst first unless sorted otherwise; `matching` counts all pages."""

    totals: FleetTotals
    rows: tuple[FleetRow, ...]
    matching: int
    page: int
    per_page: int
    vendors: tuple[str, ...]

    @property
    def pages(self) -> int:
        """Return how many pages there are, at least one."""
        return max(1, -(-self.matching // self.per_page))


@dataclass(frozen=True, slots=True)
class MeterFeed:
    """A measuring point of a site and the devices that feed it now."""

    id: UUID
    kind: str
    name: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SiteNow:
    """Power now, W: the newest quarter in which pv, grid and battery are all known, else the newest with any.

    `at` is the end of that quarter; signs: grid + import, battery + discharge. derived: load was computed.
    """

    pv_w: float | None
    grid_w: float | None
    battery_w: float | None
    load_w: float | None
    soc_pct: float | None
    at: datetime | None
    derived: bool


@dataclass(frozen=True, slots=True)
class SiteHead:
    """Who the site is, how it is doing, and the one sentence that matters. sandbox: it is made up."""

    id: UUID
    name: str
    address: str | None
    zone: str
    latitude: float | None
    longitude: float | None
    capacity_wp: float | None
    vendors: tuple[str, ...]
    health: Health
    reason: str
    now: SiteNow
    meters: tuple[MeterFeed, ...]
    sandbox: bool = False


# Not frozen: a day has a hundred of them, and to freeze them took a tenth of the time its query takes.
@dataclass(slots=True)
class Quarter:
    """Fifteen minutes of a site, Wh; `state` says why pv is missing where it is (a coverage word).

    quality is the bit set of core.metrics.Quality, of the load and the balance.
    """

    start: datetime
    end: datetime
    pv_wh: float | None
    grid_import_wh: float | None
    grid_export_wh: float | None
    battery_charge_wh: float | None
    battery_discharge_wh: float | None
    load_wh: float | None
    soc_pct: float | None
    residual_wh: float | None
    quality: int
    state: str


@dataclass(frozen=True, slots=True)
class DayTotals:
    """A site's day, Wh; sums of what is known, with how many of the day's slots are.

    complete: every stream of the site was told of every slot of the day.
    """

    day: date
    pv_wh: float | None
    grid_import_wh: float | None
    grid_export_wh: float | None
    battery_charge_wh: float | None
    battery_discharge_wh: float | None
    load_wh: float | None
    residual_wh: float | None
    quality: int
    slots: int
    stored: int
    told_null: int
    complete: bool = False


@dataclass(frozen=True, slots=True)
class SiteDay:
    """A site-local day: 92, 96 or 100 quarters (94 or 98 in some zones), gaps included, and its totals."""

    day: date
    zone: str
    quarters: tuple[Quarter, ...]
    totals: DayTotals | None
    first_day: date | None
    last_day: date
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device of a site with its newest value; parent_ref names the device above it."""

    id: int
    ref: str
    parent_ref: str | None
    kind: str
    name: str
    manufacturer: str | None
    model: str | None
    serial: str | None
    firmware: str | None
    vendor: str
    connection: str
    feeds: tuple[str, ...]
    active: bool
    at: datetime | None
    power_w: float | None
    soc_pct: float | None
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class QuotaRow:
    """One quota of a connection's account: what it allows, what was taken, when some of it comes back."""

    window: str
    limit: int
    taken: int
    chosen: bool
    turns_at: datetime | None


@dataclass(frozen=True, slots=True)
class BackfillRow:
    """How far a connection's history has come, in stream-days; next_at is None when all is done."""

    days_done: float
    days_asked: float
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A connection as a person watches it. `sentence` says what is and what to do; no secret is in it.

    sandbox: it reads from the simulators, in place of the waiting connection `twin_of`. twin: the connection that
    does so in place of this one.
    """

    id: UUID
    vendor: str
    vendor_label: str
    name: str
    plan: str
    plan_label: str
    state: str
    health: Health
    sentence: str
    state_since: datetime
    sites: int
    devices: int
    samples: int
    intervals: int
    calls: int
    calls_failed: int
    quota: tuple[QuotaRow, ...]
    backfill: BackfillRow
    last_ok_at: datetime | None
    next_at: datetime | None
    quarantined: int
    paused_at: datetime | None
    secret_set_at: datetime | None
    fingerprint: str
    way: str
    way_label: str
    app: UUID | None
    app_name: str | None
    app_state: str | None
    app_state_since: datetime | None
    expires_at: datetime | None
    refresh_expires_at: datetime | None
    refreshed_at: datetime | None
    sandbox: bool = False
    twin_of: UUID | None = None
    twin: UUID | None = None


@dataclass(frozen=True, slots=True)
class StreamLine:
    """One stream of a connection: what it fetches and of which site, how often and why, and how it goes.

    every_s: the cadence it was last planned with, s. why: of next_at. fault: a state, and fault_text its sentence.
    """

    id: int
    name: str
    label: str
    site: UUID | None
    site_name: str | None
    enabled: bool
    every_s: int | None
    why: str
    last_ok_at: datetime | None
    next_at: datetime
    failures: int
    fault: str | None
    fault_text: str | None


@dataclass(frozen=True, slots=True)
class EventLine:
    """One line of the timeline."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class CallLine:
    """One call to the vendor; verdict is `ok` or the name of what went wrong."""

    at: datetime
    operation: str
    cost: int
    verdict: str
    ms: float


@dataclass(frozen=True, slots=True)
class SiteLine:
    """A site behind a connection; `id` is None until somebody keeps it as a site."""

    id: UUID | None
    name: str
    active: bool


@dataclass(frozen=True, slots=True)
class ConnectionDetail:
    """What stands behind a connection: its sites, streams, newest events and newest calls."""

    sites: tuple[SiteLine, ...]
    streams: tuple[StreamLine, ...]
    events: tuple[EventLine, ...]
    calls: tuple[CallLine, ...]
