"""Enphase's token endpoint, its tokens of a thousand letters, and the page that shows a code."""

import base64
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from html import escape
from urllib.parse import unquote

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from enalysis.simulators.consent import page, read_form
from enalysis.simulators.enphase.accounts import KEY
from enalysis.simulators.enphase.errors import method_not_allowed
from enalysis.simulators.faults import FaultKind
from enalysis.simulators.oauth import ERRORS, App, AppKind, AuthServer, Issued, OAuthRefused, Reason, Token

_SIGNATURE_BYTES = 256
# What the server seems to be made of words its errors so, and echoes what it was sent.
_ERRORS: Mapping[Reason, tuple[int, str, str]] = {
    **ERRORS,
    Reason.CLIENT: (401, "unauthorized", "Bad client credentials"),
    Reason.NOT_ALLOWED: (401, "invalid_client", "Unauthorized grant type"),
    Reason.GRANT_TYPE: (400, "unsupported_grant_type", "Unsupported grant type: {value}"),
    Reason.CODE: (400, "invalid_grant", "Invalid authorization code: {value}"),
    Reason.PASSWORD: (400, "invalid_grant", "Bad credentials"),
    Reason.REFRESH: (400, "invalid_grant", "Invalid refresh token: {value}"),
    Reason.REFRESH_EXPIRED: (401, "invalid_token", "Invalid refresh token (expired): {value}"),
}


class TokenDesk:
    """The token endpoint: it needs the app's Basic credentials, and takes what else it needs from query or form."""

    def __init__(self, auth: AuthServer) -> None:
        self._auth = auth

    async def fields(self, request: Request) -> Mapping[str, str]:
        """Return the parameters of a call, those of its body before those of its address."""
        return {**request.query_params, **await read_form(request)}

    def about(self, fields: Mapping[str, str]) -> str | None:
        """Return the key of the account whose tokens a call is about, where that can be known."""
        named = (a.key for a in self._auth.accounts.values() if a.login["username"] == fields.get("username"))
        return self._auth.account_of(fields.get("refresh_token", "")) or next(named, None)

    def serve(
        self, request: Request, fields: Mapping[str, str], now: datetime, faults: frozenset[FaultKind]
    ) -> Response:
        """Return tokens or why there are none."""
        headers = {"cache-control": "no-store", "pragma": "no-cache"}
        if request.method != "POST":
            return JSONResponse(method_not_allowed().body, 405, headers)
        try:
            app = self._auth.authenticate(*_basic(request))
            if FaultKind.WRONG_KEY in faults:
                raise OAuthRefused(Reason.REFRESH, fields.get("refresh_token", ""))
            return JSONResponse(self._body(self._issued(app, fields, now)), headers=headers)
        except OAuthRefused as refused:
            status, error, description = _ERRORS[refused.reason]
            body = {"error": error, "error_description": description.format(value=refused.value)}
            return JSONResponse(body, status, headers)

    def _issued(self, app: App, fields: Mapping[str, str], now: datetime) -> Issued:
        match fields.get("grant_type", ""):
            case "authorization_code":
                # The address is compared here, so leaving it out is as wrong as another one.
                uri, verifier = fields.get("redirect_uri", ""), fields.get("code_verifier")
                return self._auth.exchange(app, fields.get("code", ""), uri, now, verifier=verifier)
            case "password":
                return self._auth.password(app, fields.get("username", ""), fields.get("password", ""), now)
            case "refresh_token":
                return self._auth.refresh(app, fields.get("refresh_token", ""), now)
            case "":
                raise OAuthRefused(Reason.REQUEST)
            case other:
                raise OAuthRefused(Reason.GRANT_TYPE, other)

    def _body(self, issued: Issued) -> dict[str, object]:
        about = _about(self._auth, issued.access)
        return {
            "access_token": issued.access.text,
            "token_type": "bearer",
            "refresh_token": issued.refresh.text,
            # Some of the first second is gone when this is written.
            "expires_in": issued.grant.access_s - 1,
            "scope": "read write",
            **about,
            "jti": issued.access.jti,
        }


def mint(auth: AuthServer, token: Token) -> str:
    """Return a token in the form of a signed one: it can be read, and its signature is chance."""
    about = _about(auth, token)
    account = auth.accounts[token.grant.account]
    claims = {
        "user_name": account.login["username"],
        "authorities": ["ROLE_USER"],
        "client_id": token.grant.client_id,
        "aud": ["oauth2-resource"],
        "scope": ["read", "write"],
        "exp": int(token.expires_at.timestamp()),
        **about,
        "jti": token.jti,
        **({"ati": token.parent} if token.refresh else {}),
    }
    signature = _coded(secrets.token_bytes(_SIGNATURE_BYTES))
    return ".".join((_coded(b'{"alg":"RS256"}'), _coded(json.dumps(claims).encode()), signature))


def redirect_page(params: QueryParams, url: str) -> Response:
    """Return the page that shows an owner the code which an app without a page of its own needs."""
    if "error" in params:
        return page("Not allowed", f"<h1>Not allowed</h1><p>{escape(params['error'])}</p>")
    shown = (
        f"<h1>Your code</h1><p><code>{escape(params.get('code', ''))}</code></p>"
        f"<p>Or copy the whole address: <code>{escape(url)}</code></p>"
    )
    return page("Your code (sandbox)", shown)


def _about(auth: AuthServer, token: Token) -> dict[str, object]:
    app, account = auth.apps[token.grant.client_id], token.grant.account
    company = app.kind is AppKind.PARTNER
    return {
        "enl_uid": _number("user", account),
        "enl_cid": _number("company", account) if company else "",
        "enl_password_last_changed": "1743000000",
        "is_internal_app": False,
        "app_type": "partner" if company else "system",
        "app_Id": f"14096{_number('app', app.client_id)}0",
    }


def _number(what: str, key: str) -> str:
    # Seven digits that stay the same; nothing secret goes in.
    return str(1_000_000 + int.from_bytes(f"{KEY}|{what}|{key}".encode()) % 8_999_993)


def _basic(request: Request) -> tuple[str, str]:
    """Return the client's id and secret. Raises OAuthRefused where there are none."""
    scheme, _, coded = request.headers.get("authorization", "").partition(" ")
    try:
        name, colon, secret = base64.b64decode(coded, validate=True).decode().partition(":")
    except ValueError:
        raise OAuthRefused(Reason.CLIENT) from None
    if scheme.lower() != "basic" or not colon:
        raise OAuthRefused(Reason.CLIENT)
    return unquote(name), unquote(secret)


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
