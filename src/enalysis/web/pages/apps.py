"""Apps registered at vendors: listed, added step by step, changed, removed; their secrets only ever go in."""

from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from enalysis.actions import apps as actions
from enalysis.actions import consent
from enalysis.actions.accounts import Person
from enalysis.actions.apps import AppChoice
from enalysis.connectors.base import Spec
from enalysis.core.access import Role
from enalysis.core.errors import NotFound, Refused
from enalysis.queries import connections as connection_queries
from enalysis.runtime import Runtime
from enalysis.web import forms
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.pages.connections import spec_of, told_by
from enalysis.web.views import page

router = APIRouter(prefix="/apps", include_in_schema=False)
_TOLD = {"added": "The app is saved.", "changed": "Changed.", "removed": "Removed with its keys."}
_LONGEST_NAME = 120


@router.get("")
async def show_apps(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Show every app: how far its vendor has come with it, and what goes through it."""
    specs = runtime.vendors.specs
    rows = await connection_queries.connections(person.scope, runtime.db, specs, runtime.clock())
    apps = await actions.list_choices(person.scope, runtime.db, runtime.vendors)
    return page(
        request,
        "apps.html",
        apps=[(a, specs[a.vendor], actions.way_of(specs[a.vendor], a.kind)) for a in apps if a.vendor in specs],
        used=Counter(str(r.app) for r in rows if r.app is not None),
        told=told_by(request.query_params, _TOLD),
        can_add=any(s.app is not None for s in specs.values()),
    )


@router.get("/new")
async def new(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Show how to register an app at a vendor, and the form for its keys."""
    person.scope.allow(Role.ADMIN)
    vendor = request.query_params.get("vendor")
    if vendor is None:
        with_apps = [s for s in runtime.vendors.specs.values() if s.app is not None]
        if len(with_apps) != 1:
            return page(request, "app_vendor.html", specs=sorted(with_apps, key=lambda s: s.label.casefold()))
        vendor = with_apps[0].key
    return _form(request, runtime, spec_of(runtime, vendor), request.query_params)


@router.post("/new")
async def add(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Seal and save an app, and go on with the connection it was needed for."""
    sent = await forms.fields_of(request)
    person.scope.allow(Role.ADMIN)
    spec = spec_of(runtime, sent.get("vendor", ""))
    kind = sent.get("kind", "")
    card, way = actions.card_of(spec), actions.way_of(spec, kind)
    given = forms.app_keys(card.fields, sent)
    lacking = forms.missing(card.fields, given)
    if lacking:
        return _form(request, runtime, spec, sent, 422, error=" ".join(lacking.values()), lacking=lacking)
    try:
        added = await actions.add(
            person.scope,
            runtime.db,
            runtime.vendors,
            vendor=spec.key,
            kind=kind,
            name=forms.line(sent.get("name"))[:_LONGEST_NAME],
            plan=forms.plan_of(way, sent.get(f"plan-{kind}")).key,
            fields=given,
            now=runtime.clock(),
        )
    except Refused as error:
        return _form(request, runtime, spec, sent, 422, error=str(error))
    if sent.get("then") != "connect":
        return RedirectResponse("/apps?added=1", 303)
    back = {"vendor": spec.key, "way": way.key, "app": str(added)}
    again = forms.identifier(sent.get("connection"))
    return RedirectResponse(
        f"/connections/new?{urlencode(back if again is None else back | {'connection': str(again)})}", 303
    )


@router.get("/{app}")
async def show_app(request: Request, runtime: RuntimeOf, person: SignedIn, app: str) -> Response:
    """Show an app's plan, state and empty fields for other keys."""
    person.scope.allow(Role.ADMIN)
    return _change_form(request, runtime, await _app(runtime, person, app))


@router.post("/{app}")
async def change(request: Request, runtime: RuntimeOf, person: SignedIn, app: str) -> Response:
    """Change an app's plan, the state the vendor tells, or its keys."""
    sent = await forms.fields_of(request)
    person.scope.allow(Role.ADMIN)
    found = await _app(runtime, person, app)
    spec = spec_of(runtime, found.vendor)
    given = forms.app_keys(actions.card_of(spec).fields, sent)
    anew = any(given.values())
    try:
        await actions.change(
            person.scope,
            runtime.db,
            runtime.vendors,
            UUID(found.key),
            now=runtime.clock(),
            plan=forms.plan_of(actions.way_of(spec, found.kind), sent.get("plan")).key,
            state=sent.get("state") if sent.get("state") != found.state else None,
            fields=given if anew else None,
        )
    except Refused as error:
        return _change_form(request, runtime, found, 422, str(error))
    return RedirectResponse("/apps?changed=1", 303)


@router.get("/{app}/remove")
async def ask_remove(request: Request, runtime: RuntimeOf, person: SignedIn, app: str) -> Response:
    """Ask once before an app's keys are deleted."""
    person.scope.allow(Role.ADMIN)
    found = await _app(runtime, person, app)
    return page(request, "app_remove.html", app=found, spec=spec_of(runtime, found.vendor), error=None)


@router.post("/{app}/remove")
async def remove(request: Request, runtime: RuntimeOf, person: SignedIn, app: str) -> Response:
    """Delete an app and its keys."""
    person.scope.allow(Role.ADMIN)
    found = await _app(runtime, person, app)
    try:
        await actions.remove(person.scope, runtime.db, UUID(found.key))
    except Refused as error:
        spec = spec_of(runtime, found.vendor)
        return page(request, "app_remove.html", 422, app=found, spec=spec, error=str(error))
    return RedirectResponse("/apps?removed=1", 303)


async def _app(runtime: Runtime, person: Person, app: str) -> AppChoice:
    which = forms.identifier(app)
    if which is None:
        msg = "There is no such app."
        raise NotFound(msg)
    return await actions.choice(person.scope, runtime.db, which)


def _form(
    request: Request,
    runtime: Runtime,
    spec: Spec,
    sent: Mapping[str, str],
    status: int = 200,
    *,
    error: str | None = None,
    lacking: Mapping[str, str] | None = None,
) -> Response:
    """Draw the form to add an app; its keys never stand in it again."""
    card = actions.card_of(spec)
    redirect = consent.callback_address(runtime.settings.public_url.rstrip("/"), spec.key)
    kinds = [w for w in spec.ways if w.app is not None]
    kind = sent.get("kind")
    return page(
        request,
        "app_new.html",
        status,
        spec=spec,
        card=card,
        steps=[step.partition("{redirect}") for step in card.steps],
        redirect=redirect,
        kinds=[(w, forms.plans(w, sent.get(f"plan-{w.app.value}"))) for w in kinds if w.app is not None],
        kind=kind if kind in {w.app.value for w in kinds if w.app is not None} else None,
        then=sent.get("then") if sent.get("then") == "connect" else None,
        connection=forms.identifier(sent.get("connection")),
        name=forms.line(sent.get("name")),
        error=error,
        lacking=lacking or {},
    )


def _change_form(
    request: Request, runtime: Runtime, app: AppChoice, status: int = 200, error: str | None = None
) -> Response:
    spec = spec_of(runtime, app.vendor)
    way = actions.way_of(spec, app.kind)
    return page(
        request,
        "app_change.html",
        status,
        app=app,
        spec=spec,
        way=way,
        card=actions.card_of(spec),
        plans=forms.plans(way, app.plan),
        states=actions.STATES,
        error=error,
    )
