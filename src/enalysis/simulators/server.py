"""One ASGI application with every simulated vendor below its key, and switches for who holds the token."""

import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, TypedDict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from enalysis.simulators import fleet
from enalysis.simulators.accounts import Account
from enalysis.simulators.faults import MEANINGS, Fault, FaultKind, Faults
from enalysis.simulators.oauth import Ageing, AppState
from enalysis.simulators.registry import SIMULATORS
from enalysis.simulators.views import Figure, Vendor
from enalysis.simulators.world import World


class ServerOptions(TypedDict):
    """What the sandbox asks of uvicorn."""

    date_header: bool
    server_header: bool
    lifespan: Literal["off"]


CONTROL_ROOT = "/_sandbox"
CONTROL_HEADER = "x-sandbox-token"
# How uvicorn must be told to serve the sandbox: its own Date header would contradict the vendor's clock.
SERVER_OPTIONS: ServerOptions = {"date_header": False, "server_header": False, "lifespan": "off"}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Everything a sandbox is made of.

    Attributes:
        app: the ASGI application; a vendor answers below `/{key}`. vendors: by key. worlds: by site key.
    """

    app: ASGIApp
    accounts: tuple[Account, ...]
    faults: Faults
    vendors: Mapping[str, Vendor]
    worlds: Mapping[str, World]

    def describe(self) -> list[Figure]:
        """Return the figures the sandbox goes by, and which of them are documented by the vendors."""
        return [figure for vendor in self.vendors.values() for figure in vendor.figures()]


def create(
    seed: int,
    clock: Callable[[], datetime],
    *,
    plans: Mapping[str, str] | None = None,
    control_token: str | None = None,
) -> Sandbox:
    """Return the demo's sandbox: its accounts, sites and vendors, the same for the same seed.

    Args: clock: tells the vendors' time, aware UTC. plans: another plan's key for an account named
        `vendor/account`.
        control_token: opens the switches below `/_sandbox`; None: they are not there at all.
    """
    faults = Faults()
    worlds = {key: World(site, seed) for key, site in fleet.SITES.items()}
    vendors: dict[str, Vendor] = {}
    accounts: list[Account] = []
    for key, simulator in SIMULATORS.items():
        other = {name.partition("/")[2]: plan for name, plan in (plans or {}).items() if name.startswith(f"{key}/")}
        own = tuple(simulator.accounts(seed, other))
        accounts += own
        vendors[key] = simulator.build(own, worlds, clock, faults)
    return Sandbox(build_app(vendors, clock, faults, control_token), tuple(accounts), faults, vendors, worlds)


def build_app(
    vendors: Mapping[str, Vendor],
    clock: Callable[[], datetime],
    faults: Faults,
    control_token: str | None = None,
) -> ASGIApp:
    """Return the application that serves each vendor below `/{key}` and the switches below `/_sandbox`."""
    control = Control(vendors, clock, faults, control_token) if control_token else None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # Neither websockets nor start-up work exist here; uvicorn is run with `lifespan` off.
            return
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root)
        first = path.split("/", 2)[1] if path.startswith("/") else ""
        inner = {**scope, "root_path": f"{root}/{first}"}
        if first in vendors:
            await vendors[first](inner, receive, send)
        elif control is not None and path.startswith(f"{CONTROL_ROOT}/"):
            await control(inner, receive, send)
        else:
            await JSONResponse({"detail": "no such simulator"}, 404)(scope, receive, send)

    return app


class Control:
    """The switches of a sandbox: its state, faults to set and clear, grants to age, apps to approve or stop."""

    def __init__(
        self, vendors: Mapping[str, Vendor], clock: Callable[[], datetime], faults: Faults, token: str
    ) -> None:
        self._vendors, self._clock, self._faults, self._token = vendors, clock, faults, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request: `state`, `faults`, `faults/{number}`, `grants` or `apps` below the root."""
        request = Request(scope, receive)
        response = await self._answer(request, scope["path"].removeprefix(scope["root_path"]))
        await response(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> Response:
        given = request.headers.get(CONTROL_HEADER, "")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            return JSONResponse({"detail": "the sandbox's token is missing or wrong"}, 401)
        match request.method, path.strip("/").split("/"):
            case "GET", ["state"]:
                return JSONResponse(self._state())
            case "GET", ["faults"]:
                return JSONResponse(self._listed())
            case "POST", [("faults" | "grants" | "apps") as what]:
                setters = {"faults": self._set, "grants": self._grants, "apps": self._apps}
                return setters[what](await request.body())
            case "DELETE", ["faults"]:
                self._faults.clear()
                return JSONResponse(self._listed())
            case "DELETE", ["faults", number] if number.isdecimal():
                self._faults.clear(int(number))
                return JSONResponse(self._listed())
        return JSONResponse({"detail": "no such switch"}, 404)

    def _set(self, body: bytes) -> Response:
        try:
            wanted = json.loads(body)
            fault = Fault(**{**wanted, "kind": FaultKind(wanted["kind"])})
        except (ValueError, TypeError, KeyError):
            known = {kind.value: meaning for kind, meaning in MEANINGS.items()}
            return JSONResponse({"detail": "this is no fault", "kinds": known}, 422)
        return JSONResponse({"number": self._faults.set(fault)}, 201)

    def _grants(self, body: bytes) -> Response:
        """Expire the tokens of an account or revoke its grants: {"vendor", "account", "do"}."""
        try:
            wanted = json.loads(body)
            vendor, account, do = self._vendors[wanted["vendor"]], wanted["account"], Ageing(wanted["do"])
            auth = vendor.auth
            if auth is None or account not in vendor.accounts:
                raise KeyError(account)
        except (ValueError, TypeError, KeyError):
            return JSONResponse({"detail": "no such account or deed", "do": [one.value for one in Ageing]}, 422)
        return JSONResponse({"changed": auth.age(account, do, self._clock())})

    def _apps(self, body: bytes) -> Response:
        """Change an app, named by its client id or an account's key: {"vendor", "app"} and what shall change.

        That is `state`, or `redirect_uri`, an address to which its codes may be sent from now on.
        """
        try:
            wanted = json.loads(body)
            vendor, name = self._vendors[wanted["vendor"]], wanted["app"]
            auth = vendor.auth
            if auth is None:
                raise KeyError(name)
            app = auth.app_of(vendor.accounts[name]) if name in vendor.accounts else auth.apps[name]
            state = AppState(wanted["state"]) if "state" in wanted else None
            if app is None or (state is None and not isinstance(wanted.get("redirect_uri"), str)):
                raise KeyError(name)
        except (ValueError, TypeError, KeyError):
            return JSONResponse({"detail": "no such app or state", "state": [one.value for one in AppState]}, 422)
        app.state = state or app.state
        if "redirect_uri" in wanted:
            app.redirect_uris = tuple(dict.fromkeys((*app.redirect_uris, wanted["redirect_uri"])))
        return JSONResponse({"client_id": app.client_id, "label": app.label, "state": app.state.value})

    def _listed(self) -> dict[str, object]:
        return {str(number): asdict(fault) for number, fault in self._faults.listed().items()}

    def _state(self) -> dict[str, object]:
        now = self._clock()
        accounts: list[dict[str, object]] = []
        figures: list[Figure] = []
        for vendor in self._vendors.values():
            figures += vendor.figures()
            accounts += [account_state(account, vendor, now) for account in vendor.accounts.values()]
        return {
            "now": now.isoformat(),
            "accounts": accounts,
            "faults": self._listed(),
            "figures": [asdict(figure) for figure in figures],
        }


def account_state(account: Account, vendor: Vendor, now: datetime) -> dict[str, object]:
    """Return an account for the demo and the tests: credentials, sites, plan and what it has spent."""
    tally = vendor.tallies[account.key]
    app = vendor.auth.app_of(account) if vendor.auth else None
    return {
        "vendor": account.vendor,
        "key": account.key,
        "label": account.label,
        "way": account.way,
        "credentials": dict(account.credentials),
        "app": dict(account.app),
        "app_label": account.app_label,
        "app_state": app.state.value if app else None,
        "login": dict(account.login),
        "plan": asdict(account.plan),
        "sites": {key: vendor.ref(key) for key in account.sites},
        "served": dict(tally.served),
        "refused": {verdict.value: count for verdict, count in tally.refused.items()},
        "minute": tally.minute(now),
        "month": tally.month(now),
        "most_in_minute": tally.most_in_minute,
        "most_in_month": tally.most_in_month,
    }
