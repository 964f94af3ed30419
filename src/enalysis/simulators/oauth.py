"""An OAuth 2.0 authorization server for simulated vendors: apps, codes, grants and tokens, all in memory."""

import base64
import hashlib
import hmac
import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from enalysis.simulators.accounts import Account

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CODE_LETTERS = string.ascii_letters + string.digits


class AppKind(StrEnum):
    """How an app comes to tokens: owners consent one by one, or an installer signs in for all of its sites."""

    DEVELOPER = "developer"
    PARTNER = "partner"


class AppState(StrEnum):
    """What the vendor makes of an app."""

    VERIFIED = "verified"
    PENDING = "pending"
    SUSPENDED = "suspended"


class Rotation(StrEnum):
    """What becomes of a refresh token that was used: dead, and its reuse an alarm; or alive until it expires."""

    STRICT = "strict"
    LENIENT = "lenient"


class Standing(StrEnum):
    """What an access token is worth."""

    VALID = "valid"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class Ageing(StrEnum):
    """What a test may do to the grants of an account."""

    EXPIRE_ACCESS = "expire_access"
    EXPIRE_REFRESH = "expire_refresh"
    REVOKE = "revoke"


class Reason(StrEnum):
    """Why the token endpoint refuses."""

    REQUEST = "request"
    CLIENT = "client"
    NOT_ALLOWED = "not_allowed"
    GRANT_TYPE = "grant_type"
    CODE = "code"
    PASSWORD = "password"  # noqa: S105 - the name of a reason
    REFRESH = "refresh"
    REFRESH_EXPIRED = "refresh_expired"


# Status, error and description as RFC 6749 section 5.2 has them; {value} is what was sent.
ERRORS: Mapping[Reason, tuple[int, str, str]] = {
    Reason.REQUEST: (400, "invalid_request", "A required parameter is missing"),
    Reason.CLIENT: (400, "invalid_client", "Client authentication failed"),
    Reason.NOT_ALLOWED: (400, "unauthorized_client", "The client may not use this grant type"),
    Reason.GRANT_TYPE: (400, "unsupported_grant_type", "The grant type is not supported"),
    Reason.CODE: (400, "invalid_grant", "The authorization code is invalid or expired"),
    Reason.PASSWORD: (400, "invalid_grant", "Wrong user name or password"),
    Reason.REFRESH: (400, "invalid_grant", "The refresh token is invalid, used or revoked"),
    Reason.REFRESH_EXPIRED: (400, "invalid_grant", "The refresh token has expired"),
}


class OAuthRefused(Exception):
    """The token endpoint says no; `value` is the code or token that was sent, which some vendors echo."""

    def __init__(self, reason: Reason, value: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.value = value


@dataclass(slots=True)
class App:
    """An application registered with a vendor.

    Attributes:
        access: the access controls ticked for it. redirect_uris: where codes may be sent, exactly.
        loopback: codes may also go to any http address of this machine, whatever the port.
        access_s: lifetime of its access tokens, s, where it differs from the vendor's usual one.
    """

    client_id: str
    client_secret: str = field(repr=False)
    api_key: str = field(repr=False)
    label: str
    kind: AppKind = AppKind.DEVELOPER
    state: AppState = AppState.VERIFIED
    access: frozenset[str] = frozenset()
    redirect_uris: tuple[str, ...] = ()
    loopback: bool = True
    access_s: int | None = None

    def may_redirect(self, uri: str) -> bool:
        """Tell whether a code may be sent to this address."""
        if uri in self.redirect_uris:
            return True
        try:
            parts = urlsplit(uri)
        except ValueError:
            return False
        return self.loopback and parts.scheme == "http" and parts.hostname in _LOOPBACK and not parts.fragment


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long what the server hands out lives, s."""

    access_s: int
    refresh_s: int
    code_s: int = 300


@dataclass(slots=True, eq=False)
class Grant:
    """What an owner once allowed: every token that descends from it belongs to it.

    Attributes:
        account: key of the owner. site: the vendor's reference where a grant is for one site only.
        until: when it ends whatever is refreshed.
    """

    account: str
    client_id: str
    site: str | None
    access_s: int
    refresh_s: int
    until: datetime | None = None
    revoked: bool = False


@dataclass(slots=True, eq=False)
class Token:
    """One token; `spent` is a refresh token that was used under strict rotation, `jti` its number.

    `parent` is the number of the access token that a refresh token came with, empty for an access token.
    """

    grant: Grant
    refresh: bool
    expires_at: datetime
    jti: str
    parent: str = ""
    spent: bool = False
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """A pair of tokens, new."""

    access: Token
    refresh: Token

    @property
    def grant(self) -> Grant:
        """The grant both belong to."""
        return self.access.grant

    def as_text(self) -> dict[str, str]:
        """Return what a test needs to use the grant."""
        found = {
            "access_token": self.access.text,
            "refresh_token": self.refresh.text,
            "expires_at": self.access.expires_at.isoformat(),
            "refresh_expires_at": self.refresh.expires_at.isoformat(),
        }
        return found | ({"site_id": self.grant.site} if self.grant.site else {})


@dataclass(frozen=True, slots=True)
class _Code:
    client_id: str
    redirect_uri: str
    account: str
    site: str | None
    challenge: str | None
    until: datetime | None
    expires_at: datetime


class AuthServer:
    """The apps of a vendor, the people who may sign in, and the tokens they were given.

    Args: mint: makes a token's text; a random one by default. code_length: letters and digits of a code.
    """

    def __init__(
        self,
        apps: Iterable[App],
        accounts: Iterable[Account],
        lifetimes: Lifetimes,
        *,
        mint: Callable[[Token], str] | None = None,
        code_length: int = 32,
        rotation: Rotation = Rotation.STRICT,
    ) -> None:
        self.apps = {app.client_id: app for app in apps}
        self.accounts = {account.key: account for account in accounts}
        self.lifetimes = lifetimes
        self.rotation = rotation
        self._mint = mint or (lambda _: secrets.token_urlsafe(32))
        self._code_length = code_length
        self._codes: dict[str, _Code] = {}
        self._tokens: dict[str, Token] = {}

    def authenticate(self, client_id: str, client_secret: str) -> App:
        """Return the app of these credentials. Raises OAuthRefused where they are wrong or it is suspended."""
        app = self.apps.get(client_id)
        wanted = app.client_secret if app else secrets.token_hex(8)
        right = hmac.compare_digest(client_secret.encode(), wanted.encode())
        if app is None or not right or app.state is AppState.SUSPENDED:
            raise OAuthRefused(Reason.CLIENT)
        return app

    def app_of_key(self, api_key: str) -> App | None:
        """Return the app an API key belongs to."""
        return next((app for app in self.apps.values() if app.api_key and app.api_key == api_key), None)

    def app_of(self, account: Account) -> App | None:
        """Return the app an account of the sandbox is meant to be connected by."""
        return self.apps.get(account.app.get("client_id", ""))

    def sign_in(self, app: App, username: str, password: str) -> Account | None:
        """Return whose sign-in data these are: an owner may allow any app, the app's own owners come first."""
        known = [
            a
            for a in self.accounts.values()
            if a.login
            and hmac.compare_digest(a.login["username"].casefold().encode(), username.strip().casefold().encode())
            and hmac.compare_digest(a.login["password"].encode(), password.encode())
        ]
        return min(known, key=lambda a: a.app.get("client_id") != app.client_id, default=None)

    def new_code(
        self,
        app: App,
        redirect_uri: str,
        account: str,
        now: datetime,
        *,
        challenge: str | None = None,
        site: str | None = None,
        until: datetime | None = None,
    ) -> str:
        """Return an authorization code, bound to the app and the address it is sent to."""
        self._codes = {text: code for text, code in self._codes.items() if code.expires_at > now}
        text = "".join(secrets.choice(_CODE_LETTERS) for _ in range(self._code_length))
        expires_at = now + timedelta(seconds=self.lifetimes.code_s)
        self._codes[text] = _Code(app.client_id, redirect_uri, account, site, challenge, until, expires_at)
        return text

    def exchange(
        self, app: App, code: str, redirect_uri: str | None, now: datetime, *, verifier: str | None = None
    ) -> Issued:
        """Return tokens for a code, which is spent by that, also in vain; None as address is not compared.

        Raises: OAuthRefused: the code is used, late, another app's, or its address or PKCE verifier differs.
        """
        if app.kind is not AppKind.DEVELOPER:
            raise OAuthRefused(Reason.NOT_ALLOWED)
        found = self._codes.get(code)
        if found is None or found.client_id != app.client_id:
            raise OAuthRefused(Reason.CODE, code)
        del self._codes[code]
        right = found.expires_at > now and redirect_uri in {found.redirect_uri, None}
        if not right or not _proves(found.challenge, verifier):
            raise OAuthRefused(Reason.CODE, code)
        return self._issue(self._grant(app, found.account, found.site, found.until), now)

    def password(self, app: App, username: str, password: str, now: datetime) -> Issued:
        """Return tokens for an installer's sign-in data. Raises OAuthRefused, also for an app of another kind."""
        if app.kind is not AppKind.PARTNER:
            raise OAuthRefused(Reason.NOT_ALLOWED)
        account = self.sign_in(app, username, password)
        if account is None:
            raise OAuthRefused(Reason.PASSWORD)
        return self._issue(self._grant(app, account.key), now)

    def refresh(self, app: App, text: str, now: datetime) -> Issued:
        """Return new tokens for a refresh token. Under strict rotation a used one revokes its whole family.

        Raises: OAuthRefused: the token is used, revoked, expired, unknown or another app's.
        """
        token = self._tokens.get(text)
        if token is None or not token.refresh or token.grant.client_id != app.client_id:
            raise OAuthRefused(Reason.REFRESH, text)
        if token.spent:
            # Two hold the same token, and nobody can say which of them is the thief: both lose it.
            token.grant.revoked = True
        if token.grant.revoked:
            raise OAuthRefused(Reason.REFRESH, text)
        if token.expires_at <= now:
            raise OAuthRefused(Reason.REFRESH_EXPIRED, text)
        token.spent = self.rotation is Rotation.STRICT
        return self._issue(token.grant, now)

    def revoke(self, text: str) -> bool:
        """Revoke the grant a token belongs to; an unknown token is no error. Return whether there was one."""
        token = self._tokens.get(text)
        if token is not None:
            token.grant.revoked = True
        return token is not None

    def look(self, text: str, now: datetime) -> tuple[Standing, Grant | None]:
        """Return what an access token is worth, and the grant it belongs to."""
        token = self._tokens.get(text)
        if token is None or token.refresh:
            return Standing.UNKNOWN, None
        if token.grant.revoked:
            return Standing.REVOKED, token.grant
        return (Standing.EXPIRED if token.expires_at <= now else Standing.VALID), token.grant

    def account_of(self, text: str) -> str | None:
        """Return whose token this is, of whatever kind and however dead."""
        token = self._tokens.get(text)
        return token.grant.account if token else None

    def issue(
        self,
        account: str,
        now: datetime,
        *,
        site: str | None = None,
        access_s: int | None = None,
        refresh_s: int | None = None,
    ) -> Issued:
        """Return tokens for an account as if its owner had just consented. Raises KeyError for one without an app."""
        grant = self._grant(self.apps[self.accounts[account].app["client_id"]], account, site)
        grant.access_s, grant.refresh_s = access_s or grant.access_s, refresh_s or grant.refresh_s
        return self._issue(grant, now)

    def age(self, account: str, do: Ageing, now: datetime) -> int:
        """Do this to every token or grant of an account that still lives, and return to how many."""
        if do is Ageing.REVOKE:
            grants = {id(t.grant): t.grant for t in self._tokens.values() if t.grant.account == account}
            alive = [g for g in grants.values() if not g.revoked]
            for grant in alive:
                grant.revoked = True
            return len(alive)
        wanted = do is Ageing.EXPIRE_REFRESH
        tokens = [t for t in self._tokens.values() if t.grant.account == account and t.refresh is wanted]
        tokens = [t for t in tokens if t.expires_at > now and not t.spent]
        for token in tokens:
            token.expires_at = now
        return len(tokens)

    def _grant(self, app: App, account: str, site: str | None = None, until: datetime | None = None) -> Grant:
        lives_s = app.access_s or self.lifetimes.access_s
        return Grant(account, app.client_id, site, lives_s, self.lifetimes.refresh_s, until)

    def _issue(self, grant: Grant, now: datetime) -> Issued:
        access = self._token(grant, now, grant.access_s)
        return Issued(access, self._token(grant, now, grant.refresh_s, parent=access.jti))

    def _token(self, grant: Grant, now: datetime, lives_s: int, parent: str = "") -> Token:
        expires_at = now + timedelta(seconds=lives_s)
        if grant.until is not None:
            expires_at = min(expires_at, grant.until)
        number = secrets.token_hex(16)
        jti = "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:]))
        token = Token(grant, bool(parent), expires_at, jti, parent)
        token.text = self._mint(token)
        self._tokens[token.text] = token
        return token


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a PKCE verifier, as RFC 7636 section 4.2 has it."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _proves(challenge: str | None, verifier: str | None) -> bool:
    if challenge is None:
        return True
    return verifier is not None and hmac.compare_digest(challenge_of(verifier), challenge)
