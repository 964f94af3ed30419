"""Who is asking, by session cookie, and whether a writing request really comes from a page of ours."""

import hmac
import secrets
from hashlib import sha256
from typing import Annotated

from fastapi import Depends, Request
from starlette.responses import Response

from enalysis.actions import accounts
from enalysis.actions.accounts import Person
from enalysis.runtime import Runtime
from enalysis.web.address import Address
from enalysis.web.errors import ForeignRequest, SignInNeeded

CSRF_FIELD = "csrf"
CSRF_HEADER = "X-CSRF-Token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_SESSION_S = 30 * 86400
_SEED_S = 3600
_LONGEST_COOKIE = 200
SCHEDULER_PATHS = ("/api/cron/collect", "/api/cron/fetch-energy-data")
"""Where external schedulers call: no cookie counts there, only their secret, so no page can be made to call."""

# Pages that are for people who have not signed in; their forms are bound to a cookie of their own.
_ANONYMOUS = frozenset({"/sign-in", "/setup"})


def runtime_of(request: Request) -> Runtime:
    """Return the runtime the application was made with."""
    runtime: Runtime = request.app.state.runtime
    return runtime


def address_of_request(request: Request) -> Address:
    """Return where this server is reached."""
    address: Address = request.app.state.address
    return address


RuntimeOf = Annotated[Runtime, Depends(runtime_of)]


def session_cookie(address: Address) -> str:
    """Return the name of the session cookie: browsers take `__Host-` only where Secure cookies work."""
    return "__Host-enalysis" if address.sealed else "enalysis_session"


def seed_cookie(address: Address) -> str:
    """Return the name of the cookie that binds the forms before signing in."""
    return "__Host-enalysis_form" if address.sealed else "enalysis_form"


def session_token(request: Request) -> str | None:
    """Return the session token the browser sent, if it can be one."""
    return _cookie(request, session_cookie(address_of_request(request)))


def csrf_token(secret: str) -> str:
    """Return the form token that belongs to a session or seed cookie; it does not give the cookie away."""
    return hmac.new(secret.encode(), b"enalysis form token", sha256).hexdigest()


def form_token(request: Request) -> str:
    """Return the form token for this visitor, making a seed for one who has not signed in."""
    secret = session_token(request) or _cookie(request, seed_cookie(address_of_request(request)))
    if secret is None:
        secret = getattr(request.state, "seed", None) or secrets.token_urlsafe(24)
        request.state.seed = secret
    return csrf_token(secret)


def keep_seed(request: Request, response: Response) -> None:
    """Give the visitor the cookie that a form on this page is bound to, if one was made."""
    seed: str | None = getattr(request.state, "seed", None)
    if seed is not None:
        _set(response, address_of_request(request), seed_cookie(address_of_request(request)), seed, _SEED_S)


def open_session(request: Request, response: Response, token: str) -> None:
    """Give the browser its session and take the seed away."""
    address = address_of_request(request)
    _set(response, address, session_cookie(address), token, _SESSION_S)
    _set(response, address, seed_cookie(address), "", 0)


def close_session(request: Request, response: Response) -> None:
    """Take the session cookie away."""
    address = address_of_request(request)
    _set(response, address, session_cookie(address), "", 0)


async def visitor(request: Request, runtime: RuntimeOf) -> Person | None:
    """Return who is signed in, or None."""
    token = session_token(request)
    person = None if token is None else await accounts.who(runtime.db, token, runtime.clock())
    request.state.person = person
    return person


async def signed_in(person: Annotated[Person | None, Depends(visitor)]) -> Person:
    """Return who is signed in. Raises SignInNeeded."""
    if person is None:
        raise SignInNeeded
    return person


Visitor = Annotated[Person | None, Depends(visitor)]
SignedIn = Annotated[Person, Depends(signed_in)]


async def refuse_foreign_writes(request: Request) -> None:
    """Refuse a writing request unless it comes from our own page and carries that visitor's form token.

    It stands before every route, so that none can forget it. Raises SignInNeeded without any cookie of ours,
    ForeignRequest for another origin or a wrong token (BAR F2).
    """
    if request.method in _SAFE or (request.method == "POST" and request.url.path in SCHEDULER_PATHS):
        return
    address = address_of_request(request)
    secret = session_token(request)
    if secret is None and request.url.path in _ANONYMOUS:
        secret = _cookie(request, seed_cookie(address))
        if secret is None:
            msg = "The form is out of date, or this browser keeps no cookies. Load the page and send it again."
            raise ForeignRequest(msg)
    if secret is None:
        raise SignInNeeded
    if not _is_ours(request, address):
        msg = "This request was sent by another site, so nothing was done."
        raise ForeignRequest(msg)
    if not hmac.compare_digest((await _sent_token(request)).encode(), csrf_token(secret).encode()):
        msg = "The form is out of date. Load the page again and send it anew; nothing was done."
        raise ForeignRequest(msg)


def _is_ours(request: Request, address: Address) -> bool:
    """Tell whether the browser says that a page of ours sent this; a request that says nothing is not."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None or (origin == "null" and site is not None):
        # Under our no-referrer policy browsers write "null" for forms; what they say beside it decides.
        return site is not None
    return address.same_origin(origin, request.headers.get("host", ""))


async def _sent_token(request: Request) -> str:
    sent = request.headers.get(CSRF_HEADER)
    if sent is not None:
        return sent
    kind = request.headers.get("content-type", "")
    if not kind.startswith("application/x-www-form-urlencoded"):
        return ""
    value = (await request.form(max_files=0, max_fields=100)).get(CSRF_FIELD)
    return value if isinstance(value, str) else ""


def _cookie(request: Request, name: str) -> str | None:
    value = request.cookies.get(name)
    return value if value and len(value) <= _LONGEST_COOKIE else None


def _set(response: Response, address: Address, name: str, value: str, max_age_s: int) -> None:
    response.set_cookie(name, value, max_age=max_age_s, path="/", secure=address.sealed, httponly=True, samesite="lax")
