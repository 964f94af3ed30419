"""Enphase's Monitoring API v4 as its clients see it: two credentials, access controls, quotas, refusals."""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from enalysis.core.intervals import Window
from enalysis.core.metrics import Metric
from enalysis.simulators.accounts import Account, Verdict, tallies_of
from enalysis.simulators.consent import Consent, Manners
from enalysis.simulators.enphase import body, errors, series
from enalysis.simulators.enphase.accounts import (
    BRIEF_S,
    CONSUMPTION,
    DETAILS,
    DEVICE_LEVEL,
    KEY,
    LIFETIMES,
    PLANS,
    PRODUCTION,
    apps_of,
)
from enalysis.simulators.enphase.errors import Refused
from enalysis.simulators.enphase.tokens import TokenDesk, mint, redirect_page
from enalysis.simulators.enphase.view import CELLULAR_S, MICRO_S, REPORT_S, View
from enalysis.simulators.faults import Call, FaultKind, Faults, deliver, down, spoil
from enalysis.simulators.guests import HostServer
from enalysis.simulators.oauth import App, AppState, Rotation, Standing
from enalysis.simulators.views import Figure, Told
from enalysis.simulators.world import World

_METHODS = frozenset({"POST", "PUT", "GET", "DELETE", "HEAD", "OPTIONS", "PATCH"})
# Whole numbers that are measurements: the fault that makes these nonsense must know them by name.
_MEASURED = frozenset(
    {
        *("enwh", "powr", "wh_del", "curr_w", "wh_imported", "wh_exported", "percent", "power", "value"),
        *("production", "micro_production", "meter_production", "consumption", "import", "export", "charge"),
        *("discharge", "value_charged", "value_discharged", "current_power", "energy_today", "size_w"),
    }
)
Answer = Callable[[View, QueryParams, datetime], object]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: what it answers, the access control it needs, and how it refuses.

    Attributes:
        told: whether a refusal for too many calls says which window is spent. Which endpoints do is not known
            one by one; chosen: those of energy. answer: None: the simulator knows the path only.
    """

    control: str
    answer: Answer | None
    told: bool = True


def _daily(*fields: str) -> Answer:
    return lambda view, params, now: series.daily(view, params, now, *fields)


# Below /systems/{id}/.
_OF_SYSTEM: dict[str, Endpoint] = {
    "summary": Endpoint(DETAILS, body.summary, told=False),
    "devices": Endpoint(DETAILS, lambda view, _, now: body.devices(view, now), told=False),
    "latest_telemetry": Endpoint(CONSUMPTION, lambda view, _, now: body.latest_telemetry(view, now), told=False),
    "telemetry/production_micro": Endpoint(PRODUCTION, series.production_micro),
    "telemetry/production_meter": Endpoint(PRODUCTION, series.production_meter),
    "telemetry/consumption_meter": Endpoint(CONSUMPTION, series.consumption_meter),
    "telemetry/battery": Endpoint(CONSUMPTION, series.battery),
    "energy_import_telemetry": Endpoint(CONSUMPTION, series.energy_import_telemetry),
    "energy_export_telemetry": Endpoint(CONSUMPTION, series.energy_export_telemetry),
    "rgm_stats": Endpoint(PRODUCTION, series.rgm_stats),
    "energy_lifetime": Endpoint(PRODUCTION, series.energy_lifetime),
    "consumption_lifetime": Endpoint(CONSUMPTION, _daily("consumption")),
    "battery_lifetime": Endpoint(CONSUMPTION, _daily("charge", "discharge")),
    "energy_import_lifetime": Endpoint(CONSUMPTION, _daily("import")),
    "energy_export_lifetime": Endpoint(CONSUMPTION, _daily("export")),
    "production_meter_readings": Endpoint(PRODUCTION, series.production_meter_readings),
    "consumption_meter_readings": Endpoint(CONSUMPTION, series.consumption_meter_readings),
    "storage_meter_readings": Endpoint(CONSUMPTION, series.storage_meter_readings),
    "devices/micros/telemetry": Endpoint(DEVICE_LEVEL, None),
}
_LISTS = {name: Endpoint(DETAILS, None, told=False) for name in ("systems", "system")} | {
    name: Endpoint(DETAILS, None, told=False) for name in ("retrieve_system_id", "inverters_summary_by_envoy_or_site")
}
ENDPOINTS: Mapping[str, Endpoint] = {**_OF_SYSTEM, **_LISTS}
_PATH = re.compile(r"/api/v4/systems(?:/(?P<first>[^/]*)(?:/(?P<rest>.+))?)?/?")


@dataclass(frozen=True, slots=True)
class Switches:
    """Where what is known of the real cloud contradicts itself, or a test wants trouble.

    Attributes:
        rotation: whether a used refresh token dies at once. drift: by which share microinverters count more
            than the meter; None: 0.5 to 1 %. failing: endpoints that answer 500.
    """

    rotation: Rotation = Rotation.STRICT
    drift: float | None = None
    failing: frozenset[str] = frozenset()


class EnphaseCloud:
    """The cloud: an ASGI application for everything below `/oauth` and `/api/v4`."""

    def __init__(
        self,
        accounts: Sequence[Account],
        worlds: Mapping[str, World],
        clock: Callable[[], datetime],
        faults: Faults,
        switches: Switches | None = None,
    ) -> None:
        self.switches = switches or Switches()
        self.accounts = {a.key: a for a in accounts}
        self.tallies = tallies_of(accounts)
        self.views = {key: View(world, self.switches.drift) for key, world in worlds.items()}
        self.auth = HostServer(
            apps_of(accounts),
            accounts,
            LIFETIMES,
            mint=lambda token: mint(self.auth, token),
            code_length=6,
            rotation=self.switches.rotation,
        )
        self._desk = TokenDesk(self.auth)
        self._consent = Consent(self.auth, lambda: Manners("Enphase"))
        self._by_app = {a.app["client_id"]: a for a in reversed(accounts)}
        self._by_id = {str(view.site_id): view for view in self.views.values()}
        self._clock, self._faults = clock, faults

    def ref(self, world: str) -> str:
        """Return the system id as text. Raises KeyError for a world it cannot see."""
        return str(self.views[world].site_id)

    def told(self, world: str, window: Window, now: datetime) -> Sequence[Told]:
        """Return every number of the buckets inside the window that is given out at `now`."""
        return self.views[world].told(window, now)

    def band(self, one: Told) -> float:
        """Return half a Wh or a per cent of charge; microinverters count up to 1 % more than is true.

        It holds once no device is late any more: until then a bucket tells what has arrived.
        """
        if one.metric is Metric.PV_WH and one.duration_s == MICRO_S:
            drift = self.switches.drift
            return 0.51 + one.value * (0.01 if drift is None else abs(drift))
        return 0.5

    def grant(self, account: str) -> Mapping[str, str]:
        """Return new tokens of an account as if its owner had just consented. Raises KeyError."""
        return self.auth.issue(account, self._clock()).as_text()

    def figures(self) -> Sequence[Figure]:
        """Return the figures it goes by, and whether the vendor documents them."""
        found = []
        for plan in PLANS.values():
            found.append(Figure(KEY, f"{plan.label}: calls a minute of an app", str(plan.per_minute), plan.documented))
            found.append(Figure(KEY, f"{plan.label}: calls a month of an app", str(plan.per_month), plan.documented))
        for what, value, documented in (
            ("an access token lives", f"{LIFETIMES.access_s} s", True),
            ("a refresh token lives", f"{LIFETIMES.refresh_s} s", True),
            ("a gateway reports every", f"{REPORT_S} s", True),
            ("a gateway on a mobile network reports every", f"{CELLULAR_S} s", True),
            ("an access token of the brief app lives", f"{BRIEF_S} s", False),
            ("an authorization code lives", f"{LIFETIMES.code_s} s", False),
            ("a day of telemetry is", "86400 s", False),
            ("microinverters count more than the meter", "0.5 to 1 %", False),
            ("the month of an app begins in UTC on the day", "1", False),
        ):
            found.append(Figure(KEY, what, value, documented))
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the path is below the vendor's root, as in `/api/v4/systems`."""
        request, path = Request(scope, receive), scope["path"][len(scope.get("root_path", "")) :]
        fields = await self._desk.fields(request) if path == "/oauth/token" else {}
        name, site = _route(path)
        key = self._desk.about(fields) if fields else self.auth.account_of(_bearer(request))
        call = Call(KEY, key, site or request.query_params.get("site_id"), name)
        now = self._clock() + timedelta(seconds=self._faults.offset_s(call))
        faults = self._faults.take(call)
        if FaultKind.DOWN in faults:
            response = down(faults[FaultKind.DOWN])
        elif path.startswith("/oauth/"):
            response = spoil(await self._oauth(request, path, fields, now, frozenset(faults)), faults, _MEASURED)
        else:
            try:
                answer = self._admit(request, name, site, frozenset(faults), now)
                # A lifetime is a thousand days of sun: other clients need not wait for it.
                response = spoil(JSONResponse(await asyncio.to_thread(answer)), faults, _MEASURED)
            except Refused as refused:
                response = JSONResponse(refused.body, refused.status)
        response.headers.setdefault("date", format_datetime(now.astimezone(UTC), usegmt=True))
        await deliver(response, faults, scope, receive, send)

    async def _oauth(
        self, request: Request, path: str, fields: Mapping[str, str], now: datetime, faults: frozenset[FaultKind]
    ) -> Response:
        match path:
            case "/oauth/authorize":
                return await self._consent.serve(request, now)
            case "/oauth/token":
                return self._desk.serve(request, fields, now, faults)
            case "/oauth/redirect_uri":
                return redirect_page(request.query_params, str(request.url))
        return JSONResponse(errors.no_path().body, 404)

    def _admit(
        self, request: Request, name: str, site: str | None, faults: frozenset[FaultKind], now: datetime
    ) -> Callable[[], object]:
        """Return what makes the answer. Raises Refused: key, quota, token, access, path, site, in this order."""
        if request.method not in _METHODS:
            raise errors.not_implemented()
        if FaultKind.RETIRED in faults:
            raise errors.gone()
        app = self.auth.app_of_key(request.headers.get("key") or request.query_params.get("key", ""))
        if app is None or app.state is AppState.SUSPENDED:
            raise errors.not_authorized()
        endpoint = ENDPOINTS.get(name)
        self._spend(app, name, faults, now, told=endpoint.told if endpoint else False)
        account = self._owner(request, app, endpoint, now)
        if FaultKind.WRONG_KEY in faults:
            raise errors.not_authorized()
        if endpoint is None:
            raise errors.no_path()
        if request.method != "GET":
            raise errors.method_not_allowed()
        view = self._view(account, site, name) if site is not None else None
        if FaultKind.FORBIDDEN in faults:
            raise errors.forbidden()
        if name in self.switches.failing:
            raise errors.failing(metered=name == "rgm_stats")
        return self._answer(request.query_params, name, endpoint, account, view, now)

    def _owner(self, request: Request, app: App, endpoint: Endpoint | None, now: datetime) -> Account:
        """Return whose token it is. Raises Refused: the token, the app's state or its access controls say no."""
        standing, grant = self.auth.look(_bearer(request), now)
        if grant is not None and grant.client_id != app.client_id:
            raise errors.mismatch()
        if grant is None or standing is not Standing.VALID or app.state is not AppState.VERIFIED:
            raise errors.not_authorized()
        if endpoint is not None and endpoint.control not in app.access:
            raise errors.not_authorized()
        return self.accounts[grant.account]

    def _spend(self, app: App, name: str, faults: frozenset[FaultKind], now: datetime, *, told: bool) -> None:
        """Count the call, of any outcome: whether refusals count is not known, so they do here. Raises Refused."""
        owner = self._by_app[app.client_id]
        verdict = self.tallies[owner.key].spend(name, now)
        if FaultKind.MINUTE_SPENT in faults:
            verdict = Verdict.MINUTE
        elif FaultKind.QUOTA_SPENT in faults:
            verdict = Verdict.MONTH
        if verdict is not Verdict.SERVED:
            raise errors.too_many(owner.plan, verdict, owner.billed_from, now, told=told)

    def _view(self, account: Account, site: str, name: str) -> View:
        """Return the view of a system by its id. Raises Refused where there is none, or it is another's."""
        view = self._by_id.get(site)
        if view is None:
            raise errors.no_system(site, readings=name.endswith("_meter_readings"))
        if view.world.site.key not in account.sites:
            raise errors.forbidden()
        return view

    def _answer(
        self,
        params: QueryParams,
        name: str,
        endpoint: Endpoint,
        account: Account,
        view: View | None,
        now: datetime,
    ) -> Callable[[], object]:
        company = account.way == "partner"
        if view is not None and endpoint.answer is not None:
            return partial(endpoint.answer, view, params, now)
        if view is not None and name == "system":
            return partial(body.system, view, now, company=company, alone=True)
        if name == "systems":
            views = [self.views[key] for key in account.sites]
            return partial(body.systems, views, params, now, company=company)
        if name == "retrieve_system_id":
            if "serial_num" not in params:
                raise errors.unprocessable("Provide envoy serial number")
            found = self._of_envoy(account, params["serial_num"])
            return lambda: {"system_id": found.site_id}
        if name == "inverters_summary_by_envoy_or_site":
            if "envoy_serial_number" in params:
                view = self._of_envoy(account, params["envoy_serial_number"])
            elif "site_id" in params:
                view = self._view(account, params["site_id"], name)
            else:
                raise errors.unprocessable("Envoy serial number or Site id mandatory")
            return partial(body.inverters_summary, view, params, now)
        # What the vendor has and this simulator has not.
        raise errors.not_implemented()

    def _of_envoy(self, account: Account, serial: str) -> View:
        view = next((v for v in self.views.values() if v.hardware.envoy == serial), None)
        if view is None:
            raise errors.no_envoy()
        return self._view(account, str(view.site_id), "")


def _route(path: str) -> tuple[str, str | None]:
    """Return the endpoint a path means, by its name, and the system it is about."""
    match = _PATH.fullmatch(path)
    if match is None:
        return (path.removeprefix("/oauth/") if path.startswith("/oauth/") else "unknown"), None
    first, rest = match["first"], match["rest"]
    if not first:
        return "systems", None
    if rest is None:
        return (first, None) if first in _LISTS else ("system", first)
    return (rest if rest in _OF_SYSTEM else "unknown"), first


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""
