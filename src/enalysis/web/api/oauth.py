"""/api/oauth/{vendor}: to a vendor's consent and back, renewing and ending what it gave. For people and programs."""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from enalysis.actions import connections as actions
from enalysis.actions import consent
from enalysis.actions.accounts import Person
from enalysis.actions.consent import ConsentFailed, Finished
from enalysis.connectors.base import Spec
from enalysis.core.errors import NotFound, Refused
from enalysis.runtime import Runtime
from enalysis.web import forms
from enalysis.web.auth import RuntimeOf, SignedIn, Visitor, session_token
from enalysis.web.errors import SignInNeeded, Unfit, about, is_api
from enalysis.web.formats import iso
from enalysis.web.pages.connection import row_of
from enalysis.web.pages.connections import spec_of
from enalysis.web.pages.consent import FAILED
from enalysis.web.views import page

router = APIRouter(prefix="/api/oauth/{vendor}", tags=["oauth"])
_LONGEST_NAME = 120
# What may be handed on to the wizard from an address.
_HANDED_ON = ("way", "app", "connection")


def vendor_spec(runtime: RuntimeOf, vendor: Annotated[str, Path(max_length=40)]) -> Spec:
    """Return the card of the vendor in the address. Raises NotFound."""
    return spec_of(runtime, vendor)


VendorSpec = Annotated[Spec, Depends(vendor_spec)]


@router.get("/authorize")
async def show_authorize(request: Request, person: SignedIn, spec: VendorSpec) -> Response:
    """Lead to the page from which a person sets out to the vendor; nothing is begun by a GET."""
    del person
    asked = {"vendor": spec.key} | {n: request.query_params[n] for n in _HANDED_ON if n in request.query_params}
    return RedirectResponse(f"/connections/new?{urlencode(asked)}", 303)


@router.post("/authorize")
async def authorize(request: Request, runtime: RuntimeOf, person: SignedIn, spec: VendorSpec) -> Response:
    """Begin a consent: {"app", "name", "connection", "pasted"}; answers where the person must go.

    A form is answered by a page that takes the browser there: our own policy forbids forms that lead elsewhere.
    """
    sent = await forms.sent_of(request)
    started = await consent.begin(
        person.scope,
        runtime.db,
        runtime.vendors,
        session=_session(request),
        vendor=spec.key,
        app=sent.get("app", ""),
        public_url=public_url(runtime),
        now=runtime.clock(),
        name=forms.line(sent.get("name"))[:_LONGEST_NAME],
        connection=forms.identifier(sent.get("connection")),
        pasted=bool(sent.get("pasted")),
    )
    if is_api(request):
        return JSONResponse(
            {
                "address": started.address,
                "pasted": started.pasted,
                "expires_in": int(consent.LIFETIME.total_seconds()),
            }
        )
    template = "consent_paste.html" if started.pasted else "consent_leave.html"
    return page(request, template, spec=spec, address=started.address, error=None)


@router.get("/callback")
async def callback(
    request: Request, runtime: RuntimeOf, person: Visitor, vendor: Annotated[str, Path(max_length=40)]
) -> Response:
    """Take what the vendor sends a person back with, and lead to a clean address at once (BAR A5)."""
    if person is None:
        if is_api(request):
            raise SignInNeeded
        return RedirectResponse(f"/sign-in?again={vendor if vendor in runtime.vendors.specs else ''}", 303)
    spec = spec_of(runtime, vendor)
    return await _led(request, runtime, person, spec, dict(request.query_params), pasted=False)


@router.post("/paste")
async def paste(request: Request, runtime: RuntimeOf, person: SignedIn, spec: VendorSpec) -> Response:
    """Take the address that the vendor's own page shows, where no callback reaches us: {"pasted_address"}."""
    sent = await forms.sent_of(request)
    params = consent.parse_pasted(sent.get(forms.PASTED, ""))
    if not params:
        msg = (
            "That is not the whole address. Copy everything in the address bar of the vendor's page, from https to"
            " its last letter; the code alone does not say which sign-in it belongs to."
        )
        if is_api(request):
            raise Unfit(msg)
        return page(request, "consent_paste.html", 422, spec=spec, address=None, error=msg)
    if is_api(request):
        return JSONResponse(_told(await _finish(request, runtime, person, spec, params, pasted=True)))
    return await _led(request, runtime, person, spec, params, pasted=True)


@router.post("/refresh")
async def refresh(request: Request, runtime: RuntimeOf, person: SignedIn, spec: VendorSpec) -> Response:
    """Renew the tokens of a connection now: {"connection"}; answers when they end."""
    connection = await _connection(request, runtime, person, spec)
    await actions.refresh(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())
    if not is_api(request):
        return RedirectResponse(f"/connections/{connection}?renewed=1", 303)
    row = await row_of(runtime, person, connection)
    ends = {"expires_at": row.expires_at, "refresh_expires_at": row.refresh_expires_at}
    return JSONResponse({"connection": str(connection)} | {name: iso(at) or None for name, at in ends.items()})


@router.post("/disconnect")
async def disconnect(request: Request, runtime: RuntimeOf, person: SignedIn, spec: VendorSpec) -> Response:
    """Wipe a connection's credential here at once and have the vendor forget it: {"connection"}.

    `revoked` false means that the vendor did not answer; it is told in the background.
    """
    connection = await _connection(request, runtime, person, spec)
    told = await actions.disconnect(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())
    if not is_api(request):
        return RedirectResponse(f"/connections/{connection}?disconnected=1", 303)
    return JSONResponse({"connection": str(connection), "revoked": told})


def public_url(runtime: Runtime) -> str:
    """Return the only address that redirects are made of (BAR A4)."""
    return runtime.settings.public_url.rstrip("/")


async def _connection(request: Request, runtime: Runtime, person: Person, spec: Spec) -> UUID:
    sent = await forms.sent_of(request)
    which = forms.identifier(sent.get("connection"))
    if which is None:
        msg = "`connection` is missing."
        raise Unfit(msg)
    row = await row_of(runtime, person, which)
    if row.vendor != spec.key:
        msg = "no such connection"
        raise NotFound(msg)
    about(request, which)
    return which


async def _finish(
    request: Request, runtime: Runtime, person: Person, spec: Spec, params: Mapping[str, str], *, pasted: bool
) -> Finished:
    return await consent.finish(
        person.scope,
        runtime.db,
        runtime.vendors,
        session=_session(request),
        vendor=spec.key,
        params=params,
        public_url=public_url(runtime),
        now=runtime.clock(),
        pasted=pasted,
    )


async def _led(
    request: Request, runtime: Runtime, person: Person, spec: Spec, params: Mapping[str, str], *, pasted: bool
) -> Response:
    """Finish a consent and lead to the page that says how it went; no code or state goes along."""
    try:
        done = await _finish(request, runtime, person, spec, params, pasted=pasted)
    except ConsentFailed as failed:
        asked = {"vendor": spec.key} | ({} if failed.way is None else {"way": failed.way})
        return RedirectResponse(f"/connections/consent/{failed.why.value}?{urlencode(asked)}", 303)
    except (Refused, NotFound):
        return RedirectResponse(f"/connections/consent/{FAILED}?{urlencode({'vendor': spec.key})}", 303)
    word = "again" if done.renewed else "connected"
    return RedirectResponse(f"/connections/{done.connection}?{word}=1", 303)


def _told(done: Finished) -> dict[str, object]:
    trouble = None if done.trouble is None else {"state": done.trouble.state, "detail": done.trouble.message}
    return {"connection": str(done.connection), "renewed": done.renewed, "trouble": trouble}


def _session(request: Request) -> str:
    token = session_token(request)
    if token is None:
        raise SignInNeeded
    return token
