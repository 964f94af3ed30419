"""One connection: how it does and why, and everything that can be done with it."""

from collections.abc import Mapping
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from enalysis.actions import connections as actions
from enalysis.actions.accounts import Person
from enalysis.core.access import Role
from enalysis.core.errors import LoginNeeded, Refused, VendorError
from enalysis.queries import connections as connection_queries
from enalysis.queries.behind import behind
from enalysis.queries.shapes import ConnectionDetail, ConnectionRow
from enalysis.runtime import Runtime
from enalysis.web import forms
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.formats import age, count
from enalysis.web.pages.connections import ConnectionID, told_by
from enalysis.web.views import page

router = APIRouter(prefix="/connections/{connection}", include_in_schema=False)
_FIRST_LOOKS = {"first_look", "first_look_waits", "first_look_failed"}
_TOLD = {
    "renewed": "The sign-in is renewed.",
    "paused": "Paused. The vendor is asked nothing until you resume; the sign-in is kept alive.",
    "resumed": "Resumed. It goes on where it was paused.",
    "disconnected": "Disconnected: the credential is wiped here. Sites and history stay.",
}


async def row_of(runtime: Runtime, person: Person, connection: UUID) -> ConnectionRow:
    """Return the connection as people watch it. Raises NotFound."""
    return await connection_queries.connection(
        person.scope, runtime.db, runtime.vendors.specs, connection, runtime.clock()
    )


@router.get("")
async def show(request: Request, runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Show how a connection does: state, sign-in, quota, streams, events, calls."""
    return await _show(request, runtime, person, connection)


@router.post("/fetch")
async def fetch_now(runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Make everything of a connection due now, inside its quota."""
    streams = await actions.poll_now(person.scope, runtime.db, connection, runtime.clock())
    return _back(connection, fetched=str(streams))


@router.post("/test")
async def test(request: Request, runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Ask the vendor whether the connection works, and show what it says."""
    now = runtime.clock()
    try:
        found = await actions.test_saved(person.scope, runtime.db, runtime.vendors, connection, now)
    except VendorError as error:
        return await _show(request, runtime, person, connection, trouble=error)
    words = forms.check_words(found, age(found.last_update, now))
    called = f" The vendor calls it “{found.status}”." if found.status else ""
    return await _show(request, runtime, person, connection, told=f"It works: {words}.{called}")


@router.post("/refresh")
async def refresh(request: Request, runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Renew the sign-in now."""
    try:
        await actions.refresh(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())
    except VendorError as error:
        return await _show(request, runtime, person, connection, trouble=error)
    return _back(connection, renewed="1")


@router.post("/pause")
async def pause(runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Ask the vendor nothing until somebody resumes."""
    await actions.pause(person.scope, runtime.db, connection, runtime.clock())
    return _back(connection, paused="1")


@router.post("/resume")
async def resume(runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Go on collecting."""
    await actions.resume(person.scope, runtime.db, connection, runtime.clock())
    return _back(connection, resumed="1")


@router.get("/reconnect")
async def reconnect(runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Lead to the step of the wizard where this connection signs in again."""
    person.scope.allow(Role.ADMIN)
    row = await row_of(runtime, person, connection)
    asked = {"vendor": row.vendor, "way": row.way, "connection": str(row.id)}
    if row.app is not None and row.app_state != "suspended":
        asked["app"] = str(row.app)
    return RedirectResponse(f"/connections/new?{urlencode(asked)}", 303)


@router.get("/disconnect")
async def ask_disconnect(request: Request, runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Say what disconnecting does and ask once; the form posts to the vendor's own route."""
    person.scope.allow(Role.ADMIN)
    row = await row_of(runtime, person, connection)
    oauth = runtime.vendors.spec(row.vendor).way(row.way).oauth
    revokes = oauth is not None and oauth.revoke_url is not None
    return page(request, "connection_disconnect.html", row=row, revokes=revokes)


@router.get("/remove")
async def ask_remove(request: Request, runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Say what removing deletes and ask once."""
    return page(request, "connection_remove.html", row=await row_of(runtime, person, connection))


@router.post("/remove")
async def remove(runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Delete the connection with its credential and what was collected with it."""
    await actions.remove(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())
    return RedirectResponse("/connections?removed=1", 303)


async def _show(
    request: Request,
    runtime: Runtime,
    person: Person,
    connection: UUID,
    told: str | None = None,
    trouble: VendorError | Refused | None = None,
) -> Response:
    row = await row_of(runtime, person, connection)
    detail = await behind(person.scope, runtime.db, runtime.vendors.specs, connection)
    params = request.query_params
    failed = None
    if told is None and trouble is None:
        told, failed = _said(params, detail)
    spec = runtime.vendors.specs.get(row.vendor)
    return page(
        request,
        "connection.html",
        200 if trouble is None else 422,
        c=row,
        detail=detail,
        told=told,
        trouble=str(trouble) if trouble is not None else failed,
        sign_in_again=isinstance(trouble, LoginNeeded),
        has_apps=spec is not None and spec.app is not None,
        out_of_plan=sorted({s.label for s in detail.streams if s.fault == "not_in_plan"}),
        fresh="connected" in params or "again" in params,
    )


def _said(params: Mapping[str, str], detail: ConnectionDetail) -> tuple[str | None, str | None]:
    """Return what was just done, or what went wrong with it, as the address says."""
    if "connected" in params or "again" in params:
        looked = next((e for e in detail.events if e.kind in _FIRST_LOOKS), None)
        if looked is not None and looked.kind == "first_look_failed":
            return None, f"The sign-in worked and is kept, but the first look did not. {looked.text}"
        done = "Connected." if "connected" in params else "Signed in again; sites and history are kept."
        if looked is None:
            return done, None
        soon = " Readings follow within a minute." if looked.kind == "first_look" else ""
        return f"{done} {looked.text}{soon}", None
    fetched = params.get("fetched", "")
    if fetched.isascii() and fetched.isdigit():
        return f"{count(int(fetched[:6]), 'fetch', 'fetches')} will start as soon as the quota allows.", None
    return told_by(params, _TOLD), None


def _back(connection: UUID, **told: str) -> Response:
    return RedirectResponse(f"/connections/{connection}?{urlencode(told)}", 303)
