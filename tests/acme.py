"""A made-up vendor's card and connector: a key, an owner's consent, an installer's password; sites and their power."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from enalysis.connectors.base import (
    AppCard,
    AppKind,
    Auth,
    Batch,
    Check,
    Field,
    FoundSite,
    OAuth,
    Plan,
    Spec,
    Stream,
    Subject,
    Way,
)
from enalysis.connectors.http import VendorHTTP
from enalysis.connectors.registry import Entry
from enalysis.core.errors import BadPayload
from enalysis.core.intervals import Window
from enalysis.core.quotas import Quota, QuotaScope, QuotaWindow

TOKEN_PATH, REVOKE_PATH = "/oauth/token", "/oauth/revoke"
_HOST = "https://api.acme.example"
_PLANS = (Plan("free", "Free", (Quota(QuotaScope.ACCOUNT, QuotaWindow.MINUTE, 1_000_000),)),)
_OAUTH = OAuth(
    token_url=f"{_HOST}{TOKEN_PATH}",
    authorize_url=f"{_HOST}/oauth/authorize",
    revoke_url=f"{_HOST}{REVOKE_PATH}",
    shows_code_at=f"{_HOST}/oauth/code",
    scope="read",
    access_s=3600,
    refresh_s=30 * 86400,
    pkce=True,
    kept=("region",),
    subject="uid",
)

ACME = Spec(
    key="acme",
    label="Acme",
    origin=f"{_HOST}/api",
    hosts=("api.acme.example",),
    docs_url="https://acme.example/docs",
    ways=(
        Way("key", "Fleet key", Auth.API_KEY, _PLANS, (Field("api_key", "Key", "The fleet's key.", secret=True),)),
        Way("owner", "An owner's consent", Auth.OAUTH, _PLANS, app=AppKind.DEVELOPER, oauth=_OAUTH),
        Way(
            "partner",
            "An installer's login",
            Auth.LOGIN,
            _PLANS,
            (Field("username", "E-mail", "Of the app."), Field("password", "Password", "Of the app.", secret=True)),
            app=AppKind.PARTNER,
            oauth=replace(_OAUTH, authorize_url=None, shows_code_at=None, basic=True),
        ),
    ),
    streams=(
        Stream("sites", "Sites", every_s=86400, cost=1, subject=Subject.CONNECTION),
        Stream("power", "Power of a site", every_s=900, cost=1),
    ),
    app=AppCard(
        (
            Field("client_id", "Client ID", "Of the app."),
            Field("client_secret", "Client secret", "Of the app.", secret=True),
            Field("api_key", "API key", "Of the app.", secret=True),
        ),
        "https://acme.example/apps",
        ("Register {redirect}.",),
    ),
)


def acme_with(way: str = "owner", **oauth: Any) -> Spec:  # noqa: ANN401 - whatever the card's OAuth takes
    """Return the card with another OAuth in one of its ways."""
    ways = tuple(
        replace(w, oauth=replace(w.oauth, **oauth)) if w.key == way and w.oauth is not None else w for w in ACME.ways
    )
    return replace(ACME, ways=ways)


class Acme:
    """Reads the vendor's sites and their power."""

    spec = ACME

    def __init__(self, http: VendorHTTP, fields: Mapping[str, str]) -> None:
        self._http = http
        self._key = fields["api_key"]

    async def check(self, now: datetime) -> Check:
        """Count the sites."""
        return Check(len(await self.discover(now)))

    async def discover(self, now: datetime) -> tuple[FoundSite, ...]:
        """Return the sites."""
        del now
        found = await self._get("sites", "/sites", None)
        listed = found.get("sites")
        if not isinstance(listed, list):
            raise BadPayload("Acme sent no list of sites.", vendor="acme", operation="sites", status=200)
        return tuple(FoundSite(str(each["ref"]), str(each["name"]), "UTC") for each in listed)

    async def fetch(self, stream: str, subject: str, window: Window | None, now: datetime) -> Batch:
        """Fetch a stream; power is asked for and not kept, for what it proves is the call."""
        del window
        if stream == "sites":
            return Batch(sites=await self.discover(now))
        assert re.fullmatch(r"[a-z0-9-]+", subject)
        await self._get("power", f"/sites/{subject}/power", subject)
        return Batch()

    async def _get(self, operation: str, path: str, site: str | None) -> Mapping[str, object]:
        answer = await self._http.get(
            operation,
            path,
            into=dict[str, object],
            params=(("fmt", "json"),),
            headers={"X-API-Key": self._key},
            subject=site,
        )
        return answer.data


def entries(spec: Spec = ACME) -> dict[str, Entry]:
    """Return the registry with nothing but this vendor in it."""
    return {spec.key: Entry(spec, Acme)}
