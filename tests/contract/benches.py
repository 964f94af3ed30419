"""A connector at work against its vendor's simulator: one account, and a clock that is moved by hand."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import httpx2
from starlette.types import ASGIApp

from enalysis.connectors.base import Batch, Connector, FoundDevice, Spec, Stream, Subject, Way
from enalysis.connectors.calls import HTTPLimits
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.errors import QuotaSpent
from enalysis.core.intervals import Window
from enalysis.core.quotas import (
    SLICE_S,
    SPAN_S,
    Alignment,
    Budget,
    Quota,
    QuotaWindow,
    calendar_window,
    counting_window,
)
from enalysis.core.readings import Interval
from enalysis.core.sites import DeviceKind
from enalysis.egress import Egress
from enalysis.simulators.accounts import Account
from enalysis.simulators.server import Sandbox
from enalysis.simulators.views import Told, Vendor
from tests.simulators.ports import Clock

# Waits are real seconds: long enough for a busy machine, and for a simulator that sums up years for the first
# time; short where a test is about waiting.
LIMITS = HTTPLimits(deadline_s=30.0, attempts=1)
IMPATIENT = HTTPLimits(deadline_s=3.0, attempts=1)

Numbers = dict[tuple[DeviceKind, str | None, datetime, int, str], float]


@dataclass
class CountingLedger:
    """A ledger that keeps every call and refuses none unless it is given quotas to enforce."""

    clock: Clock
    quotas: tuple[Quota, ...] = ()
    taken: list[tuple[datetime, str]] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)
    held_until: datetime | None = None
    refused: int = 0

    async def take(self, operation: str, cost: int) -> None:
        for budget in self.budgets("any"):
            waits = budget.hold_until is not None and budget.hold_until > self.clock()
            if waits or budget.left < cost:
                self.refused += 1
                error = QuotaSpent("our own budget is spent", vendor="any", operation=operation)
                error.ours, error.until = True, budget.turns_at
                raise error
        self.taken += [(self.clock(), operation)] * cost

    async def record(self, operation: str, cost: int, verdict: str, ms: float) -> None:
        assert cost > 0
        assert ms >= 0
        assert operation
        self.verdicts.append(verdict)

    async def observe(self, window: QuotaWindow, limit: int, remaining: int) -> None:
        assert window in QuotaWindow
        assert 0 <= remaining <= limit

    async def hold(self, window: QuotaWindow | None, until: datetime) -> None:
        assert window is None or window in QuotaWindow
        self.held_until = max(until, self.held_until or until)

    def budgets(self, scope: str) -> list[Budget]:
        """Return what is left of each quota, counted so that every alignment of its window is respected."""
        now, found = self.clock(), []
        for quota in self.quotas:
            first = bisect_left(self.taken, (counting_window(quota, now).start, ""))
            oldest = self.taken[first][0] if first < len(self.taken) else now
            back = oldest + timedelta(seconds=SPAN_S[quota.window] + SLICE_S[quota.window])
            if quota.alignment is Alignment.CALENDAR:
                back = calendar_window(quota.window, now).end
            found.append(Budget(scope, quota, len(self.taken) - first, back, self.held_until))
        return found


class InProcess(Egress):
    """An egress whose transports call an application directly: for the long run of a simulated month."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__("http://sandbox.test")
        self._app = app

    def transport(self, origin: str) -> httpx2.AsyncBaseTransport:
        """Return a transport into the application."""
        assert origin.startswith("http://sandbox.test")
        return httpx2.ASGITransport(app=self._app)


@dataclass
class Granted:
    """A source of tokens that asks the vendor's own desk, so that renewals cost the account nothing."""

    vendor: Vendor
    account: str
    clock: Clock
    grant: Mapping[str, str] = field(default_factory=dict, repr=False)
    issued: list[str] = field(default_factory=list, repr=False)

    async def current(self) -> str:
        """Return a token with more than five minutes to live."""
        if not self.grant or datetime.fromisoformat(self.grant["expires_at"]) <= self.clock() + timedelta(minutes=5):
            self.take()
        return self.grant["access_token"]

    async def renew(self, spent: str) -> str:
        """Return another token than the one that was refused."""
        assert spent in self.issued
        self.take()
        return self.grant["access_token"]

    def take(self) -> None:
        """Take new tokens, as if the owner had just consented."""
        self.grant = self.vendor.grant(self.account)
        self.issued += [self.grant["access_token"], self.grant["refresh_token"]]


@dataclass
class Bench:
    """One account of one vendor, its connector, and what its simulator knows."""

    spec: Spec
    vendor: Vendor
    account: Account
    sandbox: Sandbox
    clock: Clock
    ledger: CountingLedger
    http: VendorHTTP
    connector: Connector
    tokens: Granted | None = None
    devices: Mapping[str, FoundDevice] = field(default_factory=dict)

    @property
    def way(self) -> Way:
        """Return the way by which the account is connected."""
        return self.spec.way(self.account.way)

    @property
    def secrets(self) -> list[str]:
        """What may never be seen in a log or an error."""
        entered = [self.account.credentials[f.name] for f in self.way.fields if f.secret]
        card = self.spec.app if self.way.app else None
        keys = [self.account.app[f.name] for f in card.fields if f.secret] if card else []
        return [*entered, *keys, *(self.tokens.issued if self.tokens else ())]

    def ref(self, site: str) -> str:
        """Return the vendor's reference of one of the account's sites."""
        return self.vendor.ref(site)

    def streams(self, site: str) -> list[Stream]:
        """Return the streams that bring intervals of a site with these devices; its inventory was taken."""
        devices = [d for d in self.devices.values() if d.site == self.ref(site)]
        assert devices, f"the inventory of {site} was not taken"
        of_site = [s for s in self.spec.streams if s.step_s is not None and s.subject is Subject.SITE]
        return [s for s in of_site if s.fits(devices)]

    async def inventory(self, site: str) -> list[FoundDevice]:
        """Return the devices of a site from every stream that has no intervals."""
        found = []
        for stream in self.spec.streams:
            if stream.step_s is None and stream.subject is Subject.SITE:
                batch = await self.connector.fetch(stream.name, self.ref(site), None, self.clock())
                found += list(batch.devices or ())
        self.devices = {**self.devices, **{d.ref: d for d in found}}
        return found

    async def fetch(self, site: str, window: Window) -> dict[str, Batch]:
        """Return what each stream of intervals brings for a site and a window, by the stream's name."""
        return {
            s.name: await self.connector.fetch(s.name, self.ref(site), window, self.clock()) for s in self.streams(site)
        }

    def numbers(self, intervals: Iterable[Interval]) -> Numbers:
        """Return readings by what the vendor calls the device; a number told twice fails."""
        found: Numbers = {}
        for i in intervals:
            device = self.devices[i.device]
            serial = None if device.kind is DeviceKind.SITE_TOTAL else device.serial
            for metric, value in i.values.items():
                key = (device.kind, serial, i.start, i.duration_s, metric.value)
                assert key not in found
                found[key] = value
        return found


def told_numbers(told: Iterable[Told]) -> Numbers:
    """Return what the vendor tells by the same keys as a connector's readings."""
    return {(t.kind, t.serial, t.start, t.duration_s, t.metric.value): t.value for t in told}


def build(
    sandbox: Sandbox,
    vendor: str,
    account: str,
    clock: Clock,
    origin: str,
    egress: Egress,
    *,
    quotas: tuple[Quota, ...] = (),
    limits: HTTPLimits = LIMITS,
) -> Bench:
    """Return a bench for an account, with the vendor's origin replaced as the sandbox wants it."""
    entry, simulated = CONNECTORS[vendor], sandbox.vendors[vendor]
    spec, owner, ledger = entry.spec, simulated.accounts[account], CountingLedger(clock, quotas)
    way = spec.way(owner.way)
    assert way.key == owner.way
    tokens, fields = None, owner.credentials
    if way.oauth is not None and spec.app is not None:
        tokens = Granted(simulated, account, clock)
        tokens.take()
        rest = [f.name for f in spec.app.fields if f.name not in {"client_id", "client_secret"}]
        fields = {n: owner.app[n] for n in rest} | {n: tokens.grant[n] for n in way.oauth.kept}
    http = VendorHTTP(
        vendor=vendor,
        label=spec.label,
        origin=f"{origin}/{vendor}{urlsplit(spec.origin).path}",
        ledger=ledger,
        egress=egress,
        clock=clock,
        limits=limits,
        tokens=tokens,
    )
    return Bench(spec, simulated, owner, sandbox, clock, ledger, http, entry.build(http, fields), tokens)
