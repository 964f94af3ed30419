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
from enalysis.simulators import fleet
from enalysis.simulators.accounts import Account, Plan, Tally, Verdict, made_up, minute_left_s
from enalysis.simulators.faults import Call, FaultKind, Faults, deliver, down, spoil
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

KEY = "solaredge"
# Only the free plan's figures are public; the business plan's are chosen, and the demo says so.
PLANS = {
    "free": Plan("free", "Free", 10, 2000, documented=True),
    "business": Plan("business", "Business", 300, 200_000, documented=False),
}
# Credits come back on the billing day, which is not the first of a month.
_BILLED_FROM = datetime(2025, 1, 17, 9, 30, tzinfo=UTC)
_PROBLEM_TYPE = "https://se-api.stoplight.io/docs/monitoring"
_LIMITED = "API rate limit exceeded"
_NO_CREDENTIAL = "invalid_request"
_TOO_MANY, _UNAUTHORIZED = 429, 401
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
            and on telemetry. delay_s: how long after its end a bucket is published.
    """

    cap_series: bool = False
    cap_telemetry: bool = True
    delay_s: int = DELAY_S


def demo_accounts(seed: int, plans: Mapping[str, str]) -> tuple[Account, ...]:
    """Return the demo's accounts; `plans` names another plan for an account, by their keys."""
    wanted = (
        ("household", "A household on the free plan", "free", fleet.HOUSEHOLD),
        ("portfolio", "A fleet around the world on a business plan", "business", fleet.PORTFOLIO),
        ("lapsed", "An account whose key is going to be revoked", "free", fleet.LAPSED),
    )
    return tuple(
        Account(
            KEY,
            key,
            label,
            {"api_key": made_up("solaredge key", seed, key)},
            PLANS[plans.get(key, plan)],
            tuple(site.key for site in sites),
            _BILLED_FROM,
        )
        for key, label, plan, sites in wanted
    )


class SolarEdgeCloud:
    """The cloud: an ASGI application for everything below `/v2`, and the 410 that is left of V1."""

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
        self.tallies = {a.key: Tally(a.plan, a.billed_from) for a in accounts}
        self.views = {key: View(world, self.switches.delay_s) for key, world in worlds.items()}
        self._by_key = {a.credentials["api_key"]: a for a in accounts}
        self._clock, self._faults = clock, faults
        self._requests = itertools.count(1)

    def ref(self, world: str) -> str:
        """Return the site id as text. Raises KeyError for a world it cannot see."""
        return str(self.views[world].site_id)

    def told(self, world: str, window: Window, now: datetime) -> Sequence[Told]:
        """Return every number of the quarters inside the window that is given out at `now`."""
        return self.views[world].told(window, now)

    def band(self, metric: Metric) -> float:
        """Return half the last digit SolarEdge gives: 0.5 Wh, or 0.05 % of charge."""
        return 0.05 if metric is Metric.SOC_PCT else 0.5

    def figures(self) -> Sequence[Figure]:
        """Return the figures it goes by, and whether the vendor documents them."""
        found = []
        for plan in PLANS.values():
            found.append(Figure(KEY, f"{plan.label}: calls a minute", str(plan.per_minute), plan.documented))
            found.append(Figure(KEY, f"{plan.label}: calls a month", str(plan.per_month), plan.documented))
        found.append(Figure(KEY, "a quarter hour is published after", f"{self.switches.delay_s} s", documented=False))
        found.append(Figure(KEY, "credits come back on the day of the month", str(_BILLED_FROM.day), documented=False))
        return found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the path is below the vendor's root, as in `/v2/sites`."""
        request = Request(scope)
        account = self._by_key.get(request.headers.get("x-api-key", ""))
        route = _route(scope["path"][len(scope.get("root_path", "")) :])
        call = Call(KEY, account.key if account else None, route.site, route.endpoint)
        now = self._clock() + timedelta(seconds=self._faults.offset_s(call))
        faults = self._faults.take(call)
        if FaultKind.DOWN in faults:
            response = down(faults[FaultKind.DOWN])
        else:
            try:
                views = self._admit(request, account, route, frozenset(faults), now)
                # A lifetime is a thousand days of sun: other clients need not wait for it.
                body = await asyncio.to_thread(self._body, request, route, views, now)
                response = spoil(JSONResponse(body), faults)
            except Refused as refused:
                response = self._refusal(refused, account, now)
        for name, value in self._headers(account, now).items():
            response.headers.setdefault(name, value)
        await deliver(response, faults, scope, receive, send)

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
            raise Refused(401, "Unauthorized - Authentication Failed", "Invalid API key")
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


def _count(params: QueryParams, name: str, default: int) -> int:
    text = params.get(name, str(default))
    if re.fullmatch(r"[1-9][0-9]{0,3}", text) is None or int(text) > _MOST_SITES_IN_PAGE:
        raise Refused(400, "Bad Request", f"Invalid {name}")
    return int(text)
