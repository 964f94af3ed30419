"""SolarEdge's Monitoring API V2 as its clients see it: keys, credits, problems, and what its sites show."""

import asyncio
import hashlib
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from enalysis.core.intervals import Window
from enalysis.core.metrics import Metric
from enalysis.simulators.accounts import Account, Verdict, minute_left_s, tallies_of
from enalysis.simulators.faults import Call, Fault, FaultKind, Faults, deliver, down, spoil
from enalysis.simulators.oauth import Grant, Standing
from enalysis.simulators.solaredge.access import BILLED_FROM, KEY, PLANS, SiteAccess
from enalysis.simulators.solaredge.body import (
    Refused,
    benefits,
    devices,
    energy,
    overview,
    parse_ask,
    power,
    single,
    site,
    sites_page,
    telemetry,
)
from enalysis.simulators.solaredge.view import DELAY_S, SUB_DAILY, Resolution, View
from enalysis.simulators.views import Figure, Told
from enalysis.simulators.world import World

_PROBLEM_TYPE = "https://se-api.stoplight.io/docs/monitoring"
_LIMITED = "API rate limit exceeded"
_NO_CREDENTIAL = "invalid_request"
_TOO_MANY, _UNAUTHORIZED = 429, 401
_KEY_ONLY = frozenset({"sites", "alerts"})
_MOST_SITES_IN_PAGE = 1000
_SITE = r"/v2/sites/(?P<site>[0-9]+)"
_NAMES = "overview|energy|power|devices|alerts|environmental-benefits|power-flow"
_ROUTES = [
    re.compile(pattern)
    for pattern in (
        r"/v2/(?:sites|alerts)",
        _SITE,
        rf"{_SITE}/(?P<name>{_NAMES})",
        rf"{_SITE}/(?P<name>inverters|meters|storage)/telemetry",
        rf"{_SITE}/(?P<name>storage)/(?P<serials>[^/]+)/telemetry",
        rf"{_SITE}/(?P<name>inverters|meters|storage)/(?P<serials>[^/,]+)/(?P<series>[a-z-]+)",
    )
]
_RETIRED = re.compile(r"/(site|sites|equipment|accounts|version)(/.*)?")


@dataclass(frozen=True, slots=True)
class Route:
    """What a path asks for: the endpoint's name, the site, the devices, and the series of one device."""

    endpoint: str
    site: str | None = None
    serials: tuple[str, ...] = ()
    series: str | None = None


@dataclass(frozen=True, slots=True)
class Switches:
    """Where the documentation and recordings of the real cloud disagree.

    Attributes:
        cap_series, cap_telemetry: whether more than 12 h of quarter hours are refused on /energy and /power,
            and on telemetry. delay_s: how long after its end a bucket is published. echo_state: whether the
            callback of a consent carries `state`.
    """

    cap_series: bool = False
    cap_telemetry: bool = True
    delay_s: int = DELAY_S
    echo_state: bool = True


class SolarEdgeCloud:
    """The cloud: an ASGI application for `/v2`, `/authorize`, and the 410 that is left of V1."""

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
        self.views = {key: View(world, self.switches.delay_s) for key, world in worlds.items()}
        self.access = SiteAccess(accounts, self.views, lambda: self.switches.echo_state)
        self.auth = self.access.auth
        self._by_key = {a.credentials["api_key"]: a for a in accounts if "api_key" in a.credentials}
        self._clock, self._faults = clock, faults
        self._requests = itertools.count(1)

    def ref(self, world: str) -> str:
        """Return the site id as text. Raises KeyError for a world it cannot see."""
        return str(self.views[world].site_id)

    def told(self, world: str, window: Window, now: datetime) -> Sequence[Told]:
        """Return every number of the quarters inside the window that is given out at `now`."""
        return self.views[world].told(window, now)

    def band(self, one: Told) -> float:
        """Return half the last digit SolarEdge gives: 0.5 Wh, or 0.05 % of charge."""
        return 0.05 if one.metric is Metric.SOC_PCT else 0.5

    def grant(self, account: str) -> Mapping[str, str]:
        """Return new tokens for the first site of an account. Raises KeyError for one that has no app."""
        site = self.ref(self.accounts[account].sites[0])
        return self.auth.issue(account, self._clock(), site=site).as_text()

    def figures(self) -> Sequence[Figure]:
        """Return the figures it goes by, and whether the vendor documents them."""
        found = []
        for plan in PLANS.values():
            found.append(Figure(KEY, f"{plan.label}: calls a minute", str(plan.per_minute), plan.documented))
            found.append(Figure(KEY, f"{plan.label}: calls a month", str(plan.per_month), plan.documented))
        found.append(Figure(KEY, "a quarter hour is published after", f"{self.switches.delay_s} s", documented=False))
        found.append(Figure(KEY, "credits come back on the day of the month", str(BILLED_FROM.day), documented=False))
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the path is below the vendor's root, as in `/v2/sites`."""
        request, path = Request(scope, receive), scope["path"][len(scope.get("root_path", "")) :]
        if self.access.serves(path):
            await self._open(request, path, send)
            return
        account, grant = self._caller(request)
        route = _route(path)
        call = Call(KEY, account.key if account else None, route.site, route.endpoint)
        now = self._clock() + timedelta(seconds=self._faults.offset_s(call))
        faults = self._faults.take(call)
        if FaultKind.DOWN in faults:
            response = down(faults[FaultKind.DOWN])
        else:
            try:
                if grant is not None:
                    self._check(request, grant, route, now)
                views = self._admit(request, account, route, frozenset(faults), now)
                # A lifetime is a thousand days of sun: other clients need not wait for it.
                body = await asyncio.to_thread(self._body, request, route, views, now)
                response = spoil(JSONResponse(body), faults)
            except Refused as refused:
                response = self._refusal(refused, account, now)
        for name, value in self._headers(account, now).items():
            response.headers.setdefault(name, value)
        await deliver(response, faults, scope, receive, send)

    async def _open(self, request: Request, path: str, send: Send) -> None:
        """Serve the consent page or a call about tokens; these cost no credit."""
        account = await self.access.about(request, path)
        call = Call(KEY, account, None, path.rpartition("/")[2])
        faults: dict[FaultKind, Fault] = self._faults.take(call)
        if FaultKind.DOWN in faults:
            response = down(faults[FaultKind.DOWN])
        else:
            now = self._clock() + timedelta(seconds=self._faults.offset_s(call))
            response = spoil(await self.access.serve(request, path, now, frozenset(faults)), faults)
        await deliver(response, faults, request.scope, request.receive, send)

    def _caller(self, request: Request) -> tuple[Account | None, Grant | None]:
        """Return who calls: the account of the key, else the owner of the token and what was granted."""
        account = self._by_key.get(request.headers.get("x-api-key", ""))
        if account is not None or "x-api-key" in request.headers:
            return account, None
        _, grant = self.auth.look(_bearer(request), self._clock())
        return (self.accounts[grant.account], grant) if grant else (None, None)

    def _check(self, request: Request, grant: Grant, route: Route, now: datetime) -> None:
        """Refuse a token that is worth nothing, and what no token opens. Raises Refused."""
        if self.auth.look(_bearer(request), now)[0] is not Standing.VALID:
            raise Refused(401, "Unauthorized - Authentication Failed", "Invalid access token")
        if route.endpoint in _KEY_ONLY:
            # Chosen: the documentation says only that these take no token.
            raise Refused(403, "Forbidden", "This endpoint needs an API key")
        if route.site is not None and route.site != grant.site:
            raise Refused(403, "Forbidden", "No access to this site")

    def _admit(
        self,
        request: Request,
        account: Account | None,
        route: Route,
        faults: frozenset[FaultKind],
        now: datetime,
    ) -> list[View]:
        """Return the views the call is about, the site's or all of the account's. Raises Refused."""
        if route.endpoint == "retired" or "api_key" in request.query_params or FaultKind.RETIRED in faults:
            raise Refused(410, "Gone", "Monitoring API V1 has been retired")
        if not {"x-api-key", "authorization"} & set(request.headers):
            raise Refused(401, _NO_CREDENTIAL, "The access token is missing")
        if account is None or FaultKind.WRONG_KEY in faults:
            what = "API key" if "x-api-key" in request.headers else "access token"
            raise Refused(401, "Unauthorized - Authentication Failed", f"Invalid {what}")
        self._spend(account, route, faults, now)
        if route.endpoint == "unknown" or request.method != "GET":
            raise Refused(404, "Not Found", "Unknown endpoint")
        views = [self.views[key] for key in account.sites]
        if route.site is not None:
            views = [view for view in views if str(view.site_id) == route.site]
        if not views or FaultKind.FORBIDDEN in faults:
            raise Refused(403, "Forbidden", "No access to this site")
        if route.endpoint == "power-flow":
            # Its answer is not known outside, so no plan here includes it.
            raise Refused(403, "Forbidden", "Not included in the subscription")
        return views

    def _spend(self, account: Account, route: Route, faults: frozenset[FaultKind], now: datetime) -> None:
        """Count the call, of any outcome. Raises Refused with 429 where the minute or the month is spent."""
        verdict = self.tallies[account.key].spend(route.endpoint, now)
        if verdict is Verdict.MINUTE or FaultKind.MINUTE_SPENT in faults:
            raise Refused(429, Verdict.MINUTE.value, _LIMITED)
        if verdict is Verdict.MONTH or FaultKind.QUOTA_SPENT in faults:
            raise Refused(429, Verdict.MONTH.value, _LIMITED)

    def _body(self, request: Request, route: Route, views: list[View], now: datetime) -> object:
        params, view = request.query_params, views[0]
        match route.endpoint:
            case "sites":
                return sites_page(views, _count(params, "page", 1), _count(params, "sites-in-page", 1000))
            case "alerts":
                return []
            case "site":
                return site(view, now)
            case "overview":
                return overview(view, params, now)
            case "devices":
                return devices(view, params.getlist("types"))
            case "environmental-benefits":
                return benefits(view, params.get("unit", "METRIC"), now)
        return self._series(params, route, view, now)

    def _series(self, params: QueryParams, route: Route, view: View, now: datetime) -> object:
        allowed, capped = SUB_DAILY | {Resolution.DAY}, self.switches.cap_telemetry
        if route.endpoint in {"energy", "power"}:
            allowed = frozenset(Resolution) if route.endpoint == "energy" else SUB_DAILY
            capped = self.switches.cap_series
        ask = parse_ask(params, view.zone, now, allowed, capped=capped)
        if route.endpoint == "energy":
            return energy(view, ask, now)
        if route.endpoint == "power":
            return power(view, ask, now)
        if route.series is not None:
            return single(view, route.endpoint, route.serials[0], route.series, ask, now)
        return telemetry(view, route.endpoint, ask, now, route.serials or None)

    def _refusal(self, refused: Refused, account: Account | None, now: datetime) -> Response:
        trace = self._id("trace")
        problem = {
            "type": _PROBLEM_TYPE,
            "title": refused.title,
            "status": refused.status,
            "detail": refused.detail,
        }
        if refused.status == _TOO_MANY:
            # Kong's own words. A spent month is told from a spent minute by the headers only.
            response: Response = JSONResponse({"message": refused.detail}, refused.status)
            if refused.title == Verdict.MINUTE.value:
                response.headers["retry-after"] = str(minute_left_s(now))
                response.headers["x-ratelimit-remaining-minute"] = "0"
            elif account is not None:
                left = max(1, self.tallies[account.key].remaining_minute(now))
                response.headers["x-ratelimit-remaining-minute"] = str(left)
            return response
        if refused.title == _NO_CREDENTIAL:
            return JSONResponse({"error": refused.title, "error_description": refused.detail}, refused.status)
        if refused.status == _UNAUTHORIZED:
            problem |= {"instance": None, "properties": {"traceId": trace}}
        else:
            problem |= {"traceId": trace}
        return JSONResponse(problem, refused.status, media_type="application/problem+json")

    def _headers(self, account: Account | None, now: datetime) -> dict[str, str]:
        headers = {
            "date": format_datetime(now.astimezone(UTC), usegmt=True),
            "via": "kong/3.7.1",
            "x-kong-request-id": self._id("request"),
            "x-kong-upstream-latency": "38",
            "x-kong-proxy-latency": "1",
            "cache-control": "no-cache, no-store, max-age=0, must-revalidate",
            "set-cookie": f"__cf_bm={self._id('cookie')}; path=/; HttpOnly",
        }
        if account is not None:
            headers["x-ratelimit-limit-minute"] = str(account.plan.per_minute)
            headers["x-ratelimit-remaining-minute"] = str(self.tallies[account.key].remaining_minute(now))
        return headers

    def _id(self, what: str) -> str:
        return hashlib.blake2b(f"{what}|{next(self._requests)}".encode(), digest_size=16).hexdigest()


def _route(path: str) -> Route:
    for pattern in _ROUTES:
        if match := pattern.fullmatch(path):
            parts = match.groupdict()
            endpoint = parts.get("name") or ("site" if parts.get("site") else path.rpartition("/")[2])
            serials = tuple((parts.get("serials") or "").split(",")) if parts.get("serials") else ()
            return Route(endpoint, parts.get("site"), serials, parts.get("series"))
    return Route("retired" if _RETIRED.fullmatch(path) else "unknown")


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _count(params: QueryParams, name: str, default: int) -> int:
    text = params.get(name, str(default))
    if re.fullmatch(r"[1-9][0-9]{0,3}", text) is None or int(text) > _MOST_SITES_IN_PAGE:
        raise Refused(400, "Bad Request", f"Invalid {name}")
    return int(text)
