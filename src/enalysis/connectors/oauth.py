"""The protocol of OAuth 2.0 and nothing else: addresses to send people to, and what token endpoints answer."""

import base64
import hashlib
import json
import math
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec

from enalysis.connectors.base import OAuth
from enalysis.connectors.calls import Refusal
from enalysis.connectors.http import VendorHTTP
from enalysis.core.errors import AppFault, BadPayload, GrantDead, LoginNeeded, Unavailable, VendorError

_STATE_BYTES: Final = 32
_VERIFIER_BYTES: Final = 48
# No vendor here grants longer; a figure beyond this is a mistake, and believing it would never renew.
_LONGEST: Final = 2
_SHORT_TEXT: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ERROR_CODE: Final = re.compile(r"[a-z_]{3,40}")
_REFUSALS: Final = frozenset({400, 401, 403})
# What stands in an address bar is at most this long in every browser.
_LONGEST_TOKEN: Final = 8192


@dataclass(frozen=True, slots=True)
class AppKeys:
    """What an app proves itself by."""

    client_id: str = field(repr=False)
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token endpoint answered.

    Attributes:
        refresh_token: None: it told none, and the one before goes on. expires_at, refresh_expires_at: aware
            UTC by our own clock. subject: whose grant it is, as the vendor tells. kept: further fields by name.
    """

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expires_at: datetime
    refresh_expires_at: datetime | None
    subject: str | None = None
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Callback:
    """What came back with a person: a code, or why there is none; and the state, if one came.

    Attributes:
        error: the vendor's word, such as access_denied; None where a code came. kept: as in Grant.
    """

    state: str | None = field(repr=False)
    code: str | None = field(repr=False)
    error: str | None
    kept: Mapping[str, str]


def new_state() -> str:
    """Return 256 random bits fit for an address."""
    return secrets.token_urlsafe(_STATE_BYTES)


def new_verifier() -> str:
    """Return a fresh PKCE verifier (RFC 7636)."""
    return secrets.token_urlsafe(_VERIFIER_BYTES)


def challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def authorize_address(
    oauth: OAuth, authorize_url: str, app: AppKeys, redirect_uri: str, state: str, verifier: str | None
) -> str:
    """Return the address to send a person to; `authorize_url` is the card's, or the sandbox's in its place."""
    params = [("response_type", "code"), ("client_id", app.client_id), ("redirect_uri", redirect_uri)]
    if oauth.scope:
        params.append(("scope", oauth.scope))
    params += [(name, state) for name in oauth.state_names]
    params += oauth.extra
    if verifier is not None:
        params += [("code_challenge", challenge(verifier)), ("code_challenge_method", "S256")]
    parts = urlsplit(authorize_url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode(params, quote_via=quote), ""))


def parse_callback(oauth: OAuth, params: Mapping[str, str]) -> Callback:
    """Read what a vendor's redirect carries; of our state's names one must come back, and all alike."""
    states = {params[name] for name in oauth.state_names if params.get(name)}
    code, error = params.get("code"), params.get("error")
    if error is not None:
        error = error if _ERROR_CODE.fullmatch(error) else "unknown"
    elif not code or len(code) > _LONGEST_TOKEN or not code.isprintable():
        code, error = None, "no_code"
    kept = {n: params[n] for n in oauth.kept if _SHORT_TEXT.fullmatch(params.get(n, ""))}
    return Callback(states.pop() if len(states) == 1 else None, None if error else code, error, kept)


def parse_pasted(text: str) -> dict[str, str]:
    """Return the parameters of what was copied from a vendor's page: a whole address, or its query."""
    text = text.strip().strip("\"'")
    query = urlsplit(text).query if "://" in text else text.lstrip("?")
    return dict(parse_qsl(query, max_num_fields=50)) if "=" in query else {}


def with_kept(grant: Grant, kept: Mapping[str, str]) -> Grant:
    """Return the grant with what came with the callback kept beside it."""
    return replace(grant, kept={**kept, **grant.kept})


async def redeem(
    http: VendorHTTP,
    oauth: OAuth,
    app: AppKeys,
    code: str,
    redirect_uri: str,
    verifier: str | None,
    now: datetime,
) -> Grant:
    """Exchange a code for tokens, once. Raises GrantDead where it was used, is too old or is another app's."""
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
    if verifier is not None:
        fields["code_verifier"] = verifier
    return await _ask(http, oauth, app, "redeem", fields, now)


async def log_in(http: VendorHTTP, oauth: OAuth, app: AppKeys, username: str, password: str, now: datetime) -> Grant:
    """Buy tokens with a name and a password. Raises LoginNeeded where they are wrong."""
    fields = {"grant_type": "password", "username": username, "password": password}
    return await _ask(http, oauth, app, "log_in", fields, now)


async def refresh(http: VendorHTTP, oauth: OAuth, app: AppKeys, refresh_token: str, now: datetime) -> Grant:
    """Exchange a refresh token for new tokens. Raises GrantDead only for `invalid_grant` and its like."""
    fields = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    return await _ask(http, oauth, app, "refresh", fields, now)


async def revoke(http: VendorHTTP, oauth: OAuth, app: AppKeys, token: str) -> None:
    """Tell the vendor to forget a token (RFC 7009). A token it does not know is revoked already."""
    body, kind, headers = _sent(oauth, app, {"token": token})
    try:
        await http.post(
            "revoke",
            _path(oauth.revoke_url),
            body=body,
            content_type=kind,
            into=dict[str, object],
            headers=headers,
            cost=oauth.cost,
        )
    except BadPayload as answer:
        # The answer's text means nothing (RFC 7009, 2.2), and a 400 says that the token is not known.
        if answer.status not in {200, 202, 204, 400}:
            raise


def parse_grant(body: Mapping[str, object], oauth: OAuth, now: datetime) -> Grant:
    """Read a token endpoint's answer. Raises ValueError where it holds no usable access token.

    Lifetimes are counted from our own clock, whatever the vendor's says; a missing or senseless one is the
    card's, and none is believed beyond twice that.
    """
    access = _token(body.get("access_token"))
    kind = body.get("token_type")
    if access is None or (isinstance(kind, str) and kind.lower() != "bearer"):
        raise ValueError("no bearer token")
    lives_s = _seconds(body.get("expires_in"), oauth.access_s)
    refresh_token = _token(body.get("refresh_token"))
    refresh_s = _seconds(body.get("refresh_expires_in"), oauth.refresh_s)
    subject = _word(body.get(oauth.subject)) if oauth.subject else ""
    kept = {n: _word(body.get(n)) for n in oauth.kept if _SHORT_TEXT.fullmatch(_word(body.get(n)))}
    return Grant(
        access,
        refresh_token,
        now + timedelta(seconds=lives_s),
        None if refresh_token is None else now + timedelta(seconds=refresh_s),
        subject[:64] or None,
        kept,
    )


async def _ask(
    http: VendorHTTP, oauth: OAuth, app: AppKeys, operation: str, fields: Mapping[str, str], now: datetime
) -> Grant:
    body, kind, headers = _sent(oauth, app, fields)
    explain = _Explainer(http.vendor, http.label)
    answer = await http.post(
        operation,
        _path(oauth.token_url),
        body=body,
        content_type=kind,
        into=dict[str, object],
        headers=headers,
        cost=oauth.cost,
        explain=explain.of_grant if operation != "log_in" else explain.of_login,
    )
    try:
        return parse_grant(answer.data, oauth, now)
    except ValueError:
        pass
    raise BadPayload(
        f"{http.label}'s sign-in answered without a token. What we hold is kept; Enalysis tries again by itself.",
        vendor=http.vendor,
        operation=operation,
        status=200,
    )


def _sent(oauth: OAuth, app: AppKeys, fields: Mapping[str, str]) -> tuple[bytes, str, dict[str, str]]:
    headers = {}
    fields = dict(fields)
    if oauth.basic:
        # RFC 6749, 2.3.1: both parts are form-encoded before they are joined.
        pair = f"{quote(app.client_id, safe='')}:{quote(app.client_secret, safe='')}"
        headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        fields |= {"client_id": app.client_id, "client_secret": app.client_secret}
    if oauth.json_body:
        return json.dumps(fields).encode(), "application/json", headers
    return urlencode(fields).encode(), "application/x-www-form-urlencoded", headers


def _path(url: str | None) -> str:
    # The client is opened for scheme and host alone; what follows is the card's.
    return urlsplit(url or "").path


@dataclass(frozen=True, slots=True)
class _Explainer:
    """Names what a token endpoint's refusal means; the vendor's words are read for its error code only.

    Texts of such answers are never shown: some repeat the token that was sent.
    """

    vendor: str
    label: str

    def of_grant(self, refusal: Refusal) -> VendorError | None:
        """Explain a refused code or refresh token."""
        code = _code(refusal)
        if code in {"invalid_grant", "invalid_token"}:
            text = f"{self.label} says this sign-in is used up, too old or withdrawn: sign in at {self.label} again."
            return self._error(GrantDead, refusal, text, code)
        return self._of_any(refusal, code)

    def of_login(self, refusal: Refusal) -> VendorError | None:
        """Explain a refused name and password."""
        code = _code(refusal)
        if code == "invalid_grant":
            text = f"{self.label} does not know this name and password: they are those of {self.label}'s own app."
            return self._error(LoginNeeded, refusal, text, code)
        return self._of_any(refusal, code)

    def _of_any(self, refusal: Refusal, code: str | None) -> VendorError | None:
        if code in {"invalid_client", "unauthorized_client", "unauthorized"}:
            text = (
                f"{self.label} does not accept the app's client ID and secret: correct the app."
                " Nobody needs to sign in again."
            )
            return self._error(AppFault, refusal, text, code)
        if refusal.status in {*_REFUSALS, 404}:
            # Some other refusal: nothing proves that the grant is dead, so it is kept and tried again.
            text = f"{self.label}'s sign-in refused the request. What we hold is kept; Enalysis tries again by itself."
            return self._error(Unavailable, refusal, text, code)
        return None

    def _error(self, kind: type[VendorError], refusal: Refusal, text: str, code: str | None) -> VendorError:
        return kind(text, vendor=self.vendor, operation=refusal.operation, status=refusal.status, code=code)


def _code(refusal: Refusal) -> str | None:
    """Return the error code of an answer that refuses; a failing or busy server proves nothing by its words."""
    if refusal.status not in _REFUSALS:
        return None
    try:
        body = msgspec.json.decode(refusal.body, type=dict[str, object])
    except (ValueError, RecursionError):
        return None
    code = body.get("error")
    code = code.lower() if isinstance(code, str) else ""
    return code if _ERROR_CODE.fullmatch(code) else None


def _word(value: object) -> str:
    """Return a text or a whole number as text, anything else as an empty one."""
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _token(value: object) -> str | None:
    ok = isinstance(value, str) and 0 < len(value) <= _LONGEST_TOKEN and value.isascii() and value.isprintable()
    return str(value) if ok and " " not in str(value) else None


def _seconds(value: object, usual_s: int) -> int:
    try:
        found = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else 0.0
    except (ValueError, OverflowError):
        found = 0.0
    if not math.isfinite(found) or found < 1:
        return usual_s
    return int(min(found, _LONGEST * usual_s))
