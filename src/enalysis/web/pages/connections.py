"""Connections: watch them, connect a vendor, fetch now, remove."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from enalysis.actions import connections as actions
from enalysis.connectors.base import Spec
from enalysis.core.errors import NotFound, Refused, VendorError
from enalysis.queries import connections as connection_queries
from enalysis.runtime import Runtime
from enalysis.web import forms
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.formats import age, count
from enalysis.web.views import page

router = APIRouter(include_in_schema=False)
_UNTOLD: Mapping[str, object] = {"lacking": {}, "error": None, "found": None, "called": None}


def connection_id(connection: str) -> UUID:
    """Read a connection's identifier; what is none is told like one that does not exist. Raises NotFound."""
    try:
        return UUID(connection)
    except ValueError:
        msg = "There is no such connection."
        raise NotFound(msg) from None


ConnectionID = Annotated[UUID, Depends(connection_id)]


@router.get("/connections")
async def show_connections(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Show every connection: what it does, what it costs, what it waits for."""
    rows = await connection_queries.connections(person.scope, runtime.db, runtime.vendors.specs, runtime.clock())
    done = {"added": "Connected. The sites behind it appear as they are found."}
    fetched = request.query_params.get("fetched", "")
    if fetched.isascii() and fetched.isdigit():
        done["fetched"] = f"{count(int(fetched[:6]), 'fetch', 'fetches')} will start as soon as the quota allows."
    done["removed"] = "Removed: the credential and what was collected with it are deleted. The sites stay."
    told = next((text for name, text in done.items() if name in request.query_params), None)
    return page(request, "connections.html", rows=rows, told=told)


@router.get("/connections/new")
async def choose(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Show the vendors to choose from, or the form of the one chosen."""
    del person
    vendor = request.query_params.get("vendor")
    if vendor is None:
        return page(request, "connect_vendor.html", cards=forms.cards(runtime.vendors.specs))
    return _form(request, _spec(runtime, vendor), request.query_params)


@router.post("/connections/new")
async def connect(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Test what was entered, or save it; saving tests again first."""
    sent = await forms.fields_of(request)
    spec = _spec(runtime, sent.get("vendor", ""))
    way = spec.way(sent.get("way"))
    given = forms.credential(way, sent)
    lacking = forms.missing(way, given)
    plan = forms.plan_of(way, sent.get("plan")).key
    testing = sent.get("do") == "test"
    if lacking:
        return _answer(request, spec, sent, testing, 422, lacking=lacking)
    now = runtime.clock()
    try:
        if testing:
            found = await actions.test(
                person.scope,
                runtime.db,
                runtime.vendors,
                vendor=spec.key,
                way=way.key,
                app=None,
                plan=plan,
                fields=given,
                now=now,
            )
            words = forms.check_words(found, age(found.last_update, now))
            return _answer(request, spec, sent, testing, 200, found=words, called=found.status)
        added, _ = await actions.add(
            person.scope,
            runtime.db,
            runtime.vendors,
            vendor=spec.key,
            way=way.key,
            name=forms.line(sent.get("name"))[:120],
            plan=plan,
            fields=given,
            now=now,
        )
    except (VendorError, Refused) as error:
        return _answer(request, spec, sent, testing, 422, error=error)
    return RedirectResponse(f"/connections?added=1#connection-{added}", 303)


@router.post("/connections/{connection}/fetch")
async def fetch_now(runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Make everything of a connection due now, inside its quota."""
    streams = await actions.poll_now(person.scope, runtime.db, connection, runtime.clock())
    return RedirectResponse(f"/connections?fetched={streams}#connection-{connection}", 303)


@router.get("/connections/{connection}/remove")
async def ask_remove(request: Request, runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Say what removing deletes and ask once."""
    row = await connection_queries.connection(
        person.scope, runtime.db, runtime.vendors.specs, connection, runtime.clock()
    )
    return page(request, "connection_remove.html", row=row)


@router.post("/connections/{connection}/remove")
async def remove(runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Delete the connection with its credential and what was collected with it."""
    await actions.remove(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())
    return RedirectResponse("/connections?removed=1", 303)


def _spec(runtime: Runtime, vendor: str) -> Spec:
    spec = runtime.vendors.specs.get(vendor)
    if spec is None:
        msg = "There is no connector for such a vendor."
        raise NotFound(msg)
    return spec


def _form(request: Request, spec: Spec, sent: Mapping[str, str], status: int = 200, **told: object) -> Response:
    """Draw the form; what was entered stands in it again, but never a secret."""
    way = spec.way(sent.get("way"))
    kept = {f.name: forms.line(sent.get(f"field-{f.name}")) for f in way.fields if not f.secret}
    return page(
        request,
        "connect.html",
        status,
        spec=spec,
        way=way,
        plans=forms.plans(way, sent.get("plan")),
        name=forms.line(sent.get("name")),
        kept=kept,
        **{**_UNTOLD, **told},
    )


def _answer(
    request: Request, spec: Spec, sent: Mapping[str, str], testing: bool, status: int, **told: object
) -> Response:
    """Answer a test with its result alone where the page's script asked: the form then keeps its secret."""
    if not (testing and request.headers.get("hx-request")):
        return _form(request, spec, sent, status, **told)
    # 200 whatever was found: the request to test was served, and htmx shows nothing of other answers.
    return page(request, "connect_result.html", 200, spec=spec, **{**_UNTOLD, **told})
