"""The page on which an owner signs in at a simulated vendor and allows an app to read, or does not."""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from enalysis.simulators.accounts import Account
from enalysis.simulators.oauth import App, AppKind, AppState, AuthServer

_MOST_FORM_BYTES = 65_536
_PAGE_LIVES_S = 900
_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:26rem;padding:1.5rem}"
    "h1{font-size:1.3rem}label{display:block;margin:.8rem 0 .2rem}fieldset{border:0;padding:0;margin:0}"
    "input:not([type=radio]){box-sizing:border-box;font:inherit;padding:.5rem;width:100%}"
    "button{font:inherit;margin:1.2rem .6rem 0 0;min-height:2.75rem;padding:.4rem 1.2rem}"
    "code{overflow-wrap:anywhere}.note{border:1px solid;border-radius:.4rem;padding:.6rem .8rem}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def no_choice(_: Account) -> Mapping[str, str]:
    """Return no sites: the grant is for all an owner has."""
    return {}


def no_term(_: QueryParams, __: datetime) -> datetime | None:
    """Return no end: a grant lives as long as it is refreshed."""
    return None


@dataclass(frozen=True, slots=True)
class Manners:
    """What differs from vendor to vendor.

    Attributes:
        label: the vendor's name on the page. echo_state: whether the callback carries `state`. passed: further
            parameters it carries on. typed: whether response_type must be sent. sites: among which sites, by
            the vendor's reference, an owner chooses one; none: no choice. term: when the grant ends; raises
            ValueError for a term that cannot be.
    """

    label: str
    echo_state: bool = True
    passed: tuple[str, ...] = ()
    typed: bool = True
    sites: Callable[[Account], Mapping[str, str]] = no_choice
    term: Callable[[QueryParams, datetime], datetime | None] = no_term


@dataclass(slots=True)
class _Visit:
    """A page that is open in somebody's browser."""

    app: App
    redirect_uri: str
    back: dict[str, str]
    challenge: str | None
    until: datetime | None
    expires_at: datetime
    account: Account | None = None
    sites: Mapping[str, str] = field(default_factory=dict)


class Consent:
    """The authorization endpoint: GET opens the page, its forms post to the same address."""

    def __init__(self, auth: AuthServer, manners: Callable[[], Manners]) -> None:
        self._auth, self._manners = auth, manners
        self._visits: dict[str, _Visit] = {}

    async def serve(self, request: Request, now: datetime) -> Response:
        """Serve one request of a browser."""
        self._visits = {ticket: v for ticket, v in self._visits.items() if v.expires_at > now}
        if request.method == "POST":
            return self._answer(await read_form(request), now)
        if request.method != "GET":
            return error_page(405, "invalid_request", "Only GET and POST are allowed.")
        return self._open(request.query_params, now)

    def _open(self, params: QueryParams, now: datetime) -> Response:
        app, uri = self._auth.apps.get(params.get("client_id", "")), params.get("redirect_uri", "")
        if app is None:
            return error_page(401, "invalid_client", "Bad client credentials")
        if not uri:
            return error_page(400, "invalid_request", "A redirect_uri must be supplied.")
        if not app.may_redirect(uri):
            # Whoever made this link must not learn anything at the address it names.
            text = "Invalid redirect: the redirect_uri is not one of the registered values."
            return error_page(400, "invalid_grant", text)
        if app.state is AppState.SUSPENDED or app.kind is not AppKind.DEVELOPER:
            return error_page(403, "unauthorized_client", "This app may not ask for consent.")
        manners = self._manners()
        back = {name: params[name] for name in manners.passed if name in params}
        if manners.echo_state and "state" in params:
            back["state"] = params["state"]
        if params.get("response_type", "" if manners.typed else "code") != "code":
            return _send(uri, {"error": "unsupported_response_type", **back})
        challenge = params.get("code_challenge")
        if challenge is not None and params.get("code_challenge_method") != "S256":
            return _send(uri, {"error": "invalid_request", **back})
        try:
            until = manners.term(params, now)
        except ValueError:
            return _send(uri, {"error": "invalid_request", **back})
        ticket = secrets.token_urlsafe(24)
        visit = _Visit(app, uri, back, challenge, until, now + timedelta(seconds=_PAGE_LIVES_S))
        self._visits[ticket] = visit
        return self._page(ticket, visit)

    def _answer(self, form: Mapping[str, str], now: datetime) -> Response:
        ticket = form.get("ticket", "")
        visit = self._visits.get(ticket)
        if visit is None:
            return error_page(400, "invalid_request", "This page was answered before, or was open too long.")
        answer = form.get("answer", "")
        if answer == "deny":
            del self._visits[ticket]
            return _send(visit.redirect_uri, {"error": "access_denied", **visit.back})
        if visit.account is None:
            visit.account = self._auth.sign_in(visit.app, form.get("username", ""), form.get("password", ""))
            if visit.account is None:
                return self._page(ticket, visit, "The user name or the password is wrong.", 401)
            visit.sites = self._manners().sites(visit.account)
            return self._page(ticket, visit)
        site = form.get("site") if visit.sites else None
        if answer != "allow" or (visit.sites and site not in visit.sites):
            return self._page(ticket, visit, "Choose a site, then allow or deny.", 422)
        del self._visits[ticket]
        code = self._auth.new_code(
            visit.app,
            visit.redirect_uri,
            visit.account.key,
            now,
            challenge=visit.challenge,
            site=site,
            until=visit.until,
        )
        chosen = {"site_id": site} if site else {}
        return _send(visit.redirect_uri, {"code": code, **chosen, **visit.back})

    def _page(self, ticket: str, visit: _Visit, problem: str = "", status: int = 200) -> Response:
        label, app = escape(self._manners().label), visit.app
        hidden = f'<input type="hidden" name="ticket" value="{ticket}">'
        deny = '<button name="answer" value="deny" formnovalidate>Deny</button>'
        alert = f'<p role="alert"><strong>{escape(problem)}</strong></p>' if problem else ""
        if visit.account is None:
            title, middle = f"Sign in to {label}", self._sign_in(app)
            buttons = f'<button name="answer" value="sign-in">Sign in</button>{deny}'
        else:
            title, middle = f"Allow {escape(app.label)}?", _choice(visit)
            buttons = f'<button name="answer" value="allow">Allow</button>{deny}'
        body = (
            f"<h1>{title}</h1>{alert}<p><strong>{escape(app.label)}</strong> asks to read your {label} account.</p>"
            f'<form method="post">{hidden}{middle}{buttons}</form>'
        )
        return page(f"{title} (sandbox)", body, status, forms_to=_origin(visit.redirect_uri))

    def _sign_in(self, app: App) -> str:
        owners = [a for a in self._auth.accounts.values() if a.login and a.app.get("client_id") == app.client_id]
        first = owners[0].login if owners else {"username": "", "password": ""}
        known = "".join(
            f"<br>{escape(a.label)}: <code>{escape(a.login['username'])}</code> and "
            f"<code>{escape(a.login['password'])}</code>"
            for a in owners
        )
        return (
            '<p class="note">This is a sandbox, not the vendor. Everybody may sign in; the data below are made up.'
            f"{known}</p>"
            '<label for="username">E-mail</label><input id="username" name="username" autocomplete="off" required '
            f'value="{escape(first["username"])}">'
            '<label for="password">Password</label><input id="password" name="password" type="password" '
            f'autocomplete="off" required value="{escape(first["password"])}">'
        )


def page(title: str, body: str, status: int = 200, forms_to: str = "") -> Response:
    """Return a page that runs nothing, loads nothing and may not be framed.

    Args: body: HTML, escaped. forms_to: an origin to which the answer of its form may send the browser.
    """
    html = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style><main>{body}</main></html>"
    )
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'; "
        # Browsers hold form-action against the redirect that answers a form, too.
        f"form-action 'self'{' ' + forms_to if forms_to else ''}"
    )
    headers = {
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }
    return HTMLResponse(html, status, headers)


def error_page(status: int, error: str, description: str) -> Response:
    """Return the page of an authorization that cannot go on and must not be redirected."""
    text = f'error="{error}", error_description="{description}"'
    return page("OAuth Error", f"<h1>OAuth Error</h1><p>{escape(text)}</p>", status)


async def read_form(request: Request) -> dict[str, str]:
    """Return the fields of an urlencoded form; an oversized or foreign body has none."""
    size = request.headers.get("content-length", "0")
    if not size.isdecimal() or int(size) > _MOST_FORM_BYTES:
        return {}
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True))
    except ValueError:
        return {}


def _choice(visit: _Visit) -> str:
    access = "".join(f"<li>{escape(one)}</li>" for one in sorted(visit.app.access))
    listed = f"<p>It wants access to:</p><ul>{access}</ul>" if access else ""
    if not visit.sites:
        return listed
    radios = "".join(
        f'<label><input type="radio" name="site" value="{escape(ref)}" required{" checked" if n == 0 else ""}> '
        f"{escape(name)}</label>"
        for n, (ref, name) in enumerate(visit.sites.items())
    )
    return f"{listed}<fieldset><legend>Which site may it read?</legend>{radios}</fieldset>"


def _origin(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}"


def _send(uri: str, params: Mapping[str, str]) -> Response:
    joint = "&" if urlsplit(uri).query else "?"
    return RedirectResponse(f"{uri}{joint}{urlencode(params)}", 302, {"cache-control": "no-store"})
