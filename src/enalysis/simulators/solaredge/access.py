"""SolarEdge's demo accounts, and Site Access: an owner allows an app to read one site, through OAuth."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from enalysis.simulators import fleet
from enalysis.simulators.accounts import Account, Plan, made_up
from enalysis.simulators.consent import Consent, Manners
from enalysis.simulators.faults import FaultKind
from enalysis.simulators.oauth import ERRORS, App, AuthServer, Issued, Lifetimes, OAuthRefused, Reason
from enalysis.simulators.solaredge.view import View

KEY = "solaredge"
# Only the free plan's figures are public; the business plan's are chosen, and the demo says so.
PLANS = {
    "free": Plan("free", "Free", 10, 2000, documented=True),
    "business": Plan("business", "Business", 300, 200_000, documented=False),
}
# Credits come back on the billing day, which is not the first of a month.
BILLED_FROM = datetime(2025, 1, 17, 9, 30, tzinfo=UTC)
LIFETIMES = Lifetimes(access_s=7200, refresh_s=30 * 86400)
_ACCESS = frozenset({"SITE_DATA", "DEVICE_DATA"})
_AUTHORIZE, _TOKEN, _REVOKE = "/authorize", "/v2/oauth2/token", "/v2/oauth2/revoke-token"
_LONGEST_MONTHS = 24
_MONTH = timedelta(days=30.4375)


def demo_accounts(seed: int, plans: Mapping[str, str]) -> tuple[Account, ...]:
    """Return the demo's accounts; `plans` names another plan for an account, by their keys."""
    wanted = (
        ("household", "A household on the free plan", "free", fleet.HOUSEHOLD),
        ("portfolio", "A fleet around the world on a business plan", "business", fleet.PORTFOLIO),
        ("lapsed", "An account whose key is going to be revoked", "free", fleet.LAPSED),
    )
    keyed = (
        Account(
            KEY,
            key,
            label,
            {"api_key": made_up("solaredge key", seed, key)},
            PLANS[plans.get(key, plan)],
            tuple(site.key for site in sites),
            BILLED_FROM,
            way="fleet_key",
        )
        for key, label, plan, sites in wanted
    )
    return (*keyed, site_access_account(seed, plans))


def site_access_account(seed: int, plans: Mapping[str, str], *, key: str = "garden") -> Account:
    """Return the account of an owner who is asked for consent, and the app that asks."""
    return Account(
        KEY,
        key,
        "A home whose owner allows one site to be read",
        {},
        PLANS[plans.get(key, "free")],
        tuple(site.key for site in fleet.GARDEN),
        BILLED_FROM,
        way="site_access",
        app={
            "client_id": made_up("solaredge client", seed, key, 16),
            "client_secret": made_up("solaredge secret", seed, key),
        },
        app_label="Enalysis sandbox",
        login={
            "username": f"{key}@sandbox.example",
            "password": made_up("solaredge password", seed, key, 8),
        },
    )


class SiteAccess:
    """The consent page at `/authorize` and the token endpoints; errors are HTTP 400 in RFC 6749's form.

    Args: echo_state: whether the callback carries `state` now.
    """

    def __init__(self, accounts: Sequence[Account], views: Mapping[str, View], echo_state: Callable[[], bool]) -> None:
        apps = {
            a.app["client_id"]: App(a.app["client_id"], a.app["client_secret"], "", a.app_label, access=_ACCESS)
            for a in accounts
            if a.app
        }
        self.auth = AuthServer(apps.values(), [a for a in accounts if a.login], LIFETIMES)
        self._views = views
        self._consent = Consent(
            self.auth,
            lambda: Manners(
                "SolarEdge",
                echo_state=echo_state(),
                passed=("external_id",),
                typed=False,
                sites=self._sites,
                term=_term,
            ),
        )

    def serves(self, path: str) -> bool:
        """Tell whether a path below the vendor's root is about consent or tokens."""
        return path in {_AUTHORIZE, _TOKEN, _REVOKE}

    async def about(self, request: Request, path: str) -> str | None:
        """Return the key of the account a call about tokens concerns, where that can be known."""
        if path == _AUTHORIZE:
            return None
        fields = await _fields(request)
        return self.auth.account_of(fields.get("refresh_token", fields.get("token", "")))

    async def serve(self, request: Request, path: str, now: datetime, faults: frozenset[FaultKind]) -> Response:
        """Serve the consent page, the token endpoint or the revocation endpoint."""
        if path == _AUTHORIZE:
            return await self._consent.serve(request, now)
        headers = {"cache-control": "no-store"}
        try:
            if request.method != "POST":
                raise OAuthRefused(Reason.REQUEST)
            fields = await _fields(request)
            if path == _REVOKE:
                self.auth.revoke(fields.get("token", ""))
                return JSONResponse({}, headers=headers)
            if FaultKind.WRONG_KEY in faults:
                raise OAuthRefused(Reason.REFRESH)
            return JSONResponse(_body(self._issued(fields, now)), headers=headers)
        except OAuthRefused as refused:
            status, error, description = ERRORS[refused.reason]
            return JSONResponse({"error": error, "error_description": description}, status, headers)

    def _issued(self, fields: Mapping[str, str], now: datetime) -> Issued:
        kind = fields.get("grant_type")
        if kind not in {"authorization_code", "refresh_token"}:
            raise OAuthRefused(Reason.GRANT_TYPE if kind else Reason.REQUEST)
        app = self.auth.authenticate(fields.get("client_id", ""), fields.get("client_secret", ""))
        if kind == "refresh_token":
            return self.auth.refresh(app, fields.get("refresh_token", ""), now)
        # The address may be left out here; where it is sent it must be the same.
        uri, verifier = fields.get("redirect_uri"), fields.get("code_verifier")
        return self.auth.exchange(app, fields.get("code", ""), uri, now, verifier=verifier)

    def _sites(self, account: Account) -> Mapping[str, str]:
        return {str(self._views[key].site_id): self._views[key].world.site.name for key in account.sites}


def _body(issued: Issued) -> dict[str, object]:
    return {
        "access_token": issued.access.text,
        "token_type": "Bearer",
        "expires_in": issued.grant.access_s,
        "refresh_token": issued.refresh.text,
    }


async def _fields(request: Request) -> Mapping[str, str]:
    """Return the fields of a JSON body; what is no object of texts has none."""
    try:
        found = json.loads(await request.body())
    except ValueError:
        return {}
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def _term(params: QueryParams, now: datetime) -> datetime | None:
    """Return when a grant ends: `access_duration` months after consent. Raises ValueError beyond 24."""
    months = int(params.get("access_duration", _LONGEST_MONTHS))
    if not 1 <= months <= _LONGEST_MONTHS:
        raise ValueError(months)
    return now + months * _MONTH
