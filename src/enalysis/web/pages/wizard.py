"""The wizard: a vendor, a way to prove that the data is yours, an app where one is needed, then the proof."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from enalysis.actions import apps as app_actions
from enalysis.actions import connections as actions
from enalysis.actions import consent
from enalysis.actions.accounts import Person
from enalysis.actions.apps import AppChoice
from enalysis.connectors.base import Auth, Spec, Way
from enalysis.core.access import Role
from enalysis.core.errors import NotFound, Refused, VendorError
from enalysis.queries.shapes import ConnectionRow
from enalysis.runtime import Runtime
from enalysis.web import forms
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.formats import age
from enalysis.web.pages.connection import row_of
from enalysis.web.pages.connections import ConnectionID, spec_of
from enalysis.web.views import page

router = APIRouter(include_in_schema=False)
_UNTOLD: Mapping[str, object] = {"lacking": {}, "error": None, "found": None, "called": None}
_LONGEST_SEARCH = 80
_LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Step:
    """Where in the wizard somebody is.

    Attributes:
        again: the connection that signs in again; None: a new one. app: the app it goes through.
    """

    spec: Spec
    way: Way
    again: ConnectionRow | None
    app: AppChoice | None

    @property
    def count(self) -> str:
        """Say which step the last one is: vendor, way and app each count where there is a choice of them."""
        last = 2 + (len(self.spec.ways) > 1) + (self.way.app is not None)
        return f"Step {last} of {last}"

    def address(self, **more: str) -> str:
        """Return the wizard's address for what is chosen so far."""
        asked = {"vendor": self.spec.key, "way": self.way.key}
        if self.again is not None:
            asked["connection"] = str(self.again.id)
        return f"/connections/new?{urlencode(asked | more)}"


@router.get("/connections/new")
async def choose(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Show the vendors to choose from, or the next step for the one chosen."""
    person.scope.allow(Role.ADMIN)
    asked = request.query_params
    if "vendor" not in asked:
        search = forms.line(asked.get("q"))[:_LONGEST_SEARCH]
        cards = forms.cards(runtime.vendors.specs, search)
        return page(request, "connect_vendor.html", cards=cards, search=search, known=len(runtime.vendors.specs))
    spec = spec_of(runtime, asked["vendor"])
    if len(spec.ways) > 1 and asked.get("way") not in {w.key for w in spec.ways}:
        ways = [(way, forms.asks_words(spec, way)) for way in spec.ways]
        return page(request, "connect_way.html", spec=spec, ways=ways)
    return await _next(request, runtime, person, spec, asked)


@router.get("/connections/{connection}/move")
async def move(request: Request, runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Show the apps a connection may go on through."""
    person.scope.allow(Role.ADMIN)
    row = await row_of(runtime, person, connection)
    spec = spec_of(runtime, row.vendor)
    step = Step(spec, spec.way(row.way), row, None)
    found = await app_actions.list_choices(person.scope, runtime.db, runtime.vendors, spec.key)
    fit = [(a, app_actions.way_of(spec, a.kind)) for a in found if a.key != str(row.app)]
    return page(request, "connect_app.html", step=step, apps=fit, moving=True)


@router.post("/connections/new")
async def connect(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Test what was entered, or save it; saving tests again first."""
    sent = await forms.fields_of(request)
    person.scope.allow(Role.ADMIN)
    spec = spec_of(runtime, sent.get("vendor", ""))
    way = spec.way(sent.get("way"))
    if way.auth is Auth.OAUTH:
        # Nothing is typed in here for such a way.
        return RedirectResponse(f"/connections/new?{urlencode({'vendor': spec.key, 'way': way.key})}", 303)
    again = await _again(runtime, person, spec, sent)
    app = None if way.app is None else _chosen(await usable(runtime, person, spec, way), sent.get("app"))
    step = Step(spec, way, again, app)
    given = forms.credential(way, sent)
    lacking = forms.missing(way.fields, given)
    forms.plan_of(way, sent.get("plan"))
    if lacking:
        return _answer(request, step, sent, 422, lacking=lacking)
    try:
        if sent.get("do") == "test":
            return await _test(request, runtime, person, step, sent, given)
        return await _save(runtime, person, step, sent, given)
    except (VendorError, Refused) as error:
        return _answer(request, step, sent, 422, error=error)


async def usable(runtime: Runtime, person: Person, spec: Spec, way: Way) -> list[AppChoice]:
    """Return the apps a way may go through now, those the vendor suspended left out."""
    found = await app_actions.list_choices(person.scope, runtime.db, runtime.vendors, spec.key)
    return [a for a in found if way.app is not None and a.kind == way.app.value and a.state != "suspended"]


async def _next(request: Request, runtime: Runtime, person: Person, spec: Spec, asked: Mapping[str, str]) -> Response:
    """Show the step after the way: the choice of an app, the vendor's consent, or the form."""
    way = spec.way(asked.get("way"))
    again = await _again(runtime, person, spec, asked)
    if way.app is None:
        return _form(request, Step(spec, way, again, None), asked)
    found = await usable(runtime, person, spec, way)
    if not found:
        back = {"vendor": spec.key, "kind": way.app.value, "then": "connect"}
        if again is not None:
            back["connection"] = str(again.id)
        return RedirectResponse(f"/apps/new?{urlencode(back)}", 303)
    if not asked.get("app") and len(found) > 1:
        step = Step(spec, way, again, None)
        return page(request, "connect_app.html", step=step, apps=[(a, way) for a in found], moving=False)
    step = Step(spec, way, again, _chosen(found, asked.get("app")))
    if way.auth is Auth.LOGIN:
        return _form(request, step, asked)
    assert way.oauth is not None  # noqa: S101 - a way to consent has its card
    address = consent.callback_address(runtime.settings.public_url.rstrip("/"), spec.key)
    return page(
        request,
        "connect_consent.html",
        step=step,
        several=len(found) > 1,
        redirect=address,
        pastes=way.oauth.shows_code_at is not None,
    )


async def _test(
    request: Request, runtime: Runtime, person: Person, step: Step, sent: Mapping[str, str], given: Mapping[str, str]
) -> Response:
    now = runtime.clock()
    found = await actions.test(
        person.scope,
        runtime.db,
        runtime.vendors,
        vendor=step.spec.key,
        way=step.way.key,
        app=await _app_id(runtime, person, step),
        plan=_plan(step, sent),
        fields=given,
        now=now,
    )
    words = forms.check_words(found, age(found.last_update, now))
    return _answer(request, step, sent, 200, found=words, called=found.status)


async def _save(
    runtime: Runtime, person: Person, step: Step, sent: Mapping[str, str], given: Mapping[str, str]
) -> Response:
    now = runtime.clock()
    app = await _app_id(runtime, person, step)
    if step.again is not None:
        await actions.enter_again(person.scope, runtime.db, runtime.vendors, step.again.id, given, now, app)
        return RedirectResponse(f"/connections/{step.again.id}?again=1", 303)
    added, _ = await actions.add(
        person.scope,
        runtime.db,
        runtime.vendors,
        vendor=step.spec.key,
        way=step.way.key,
        name=forms.line(sent.get("name"))[:_LONGEST_NAME],
        plan=_plan(step, sent),
        fields=given,
        now=now,
        app=app,
    )
    return RedirectResponse(f"/connections/{added}?connected=1", 303)


async def _app_id(runtime: Runtime, person: Person, step: Step) -> UUID | None:
    if step.app is None:
        return None
    found = await app_actions.take(
        person.scope, runtime.db, runtime.vendors, step.spec.key, step.app.key, runtime.clock()
    )
    return found.id


def _plan(step: Step, sent: Mapping[str, str]) -> str:
    return step.app.plan if step.app is not None else forms.plan_of(step.way, sent.get("plan")).key


async def _again(runtime: Runtime, person: Person, spec: Spec, asked: Mapping[str, str]) -> ConnectionRow | None:
    """Return the connection that signs in again, if one is named. Raises NotFound."""
    which = forms.identifier(asked.get("connection"))
    row = None if which is None else await row_of(runtime, person, which)
    if row is not None and row.vendor != spec.key:
        msg = "There is no such connection."
        raise NotFound(msg)
    return row


def _chosen(found: list[AppChoice], key: str | None) -> AppChoice:
    """Return the app that was chosen, or the only one. Raises NotFound."""
    app = found[0] if not key and len(found) == 1 else next((a for a in found if a.key == key), None)
    if app is None:
        msg = "There is no such app, or it cannot be used this way."
        raise NotFound(msg)
    return app


def _form(request: Request, step: Step, sent: Mapping[str, str], status: int = 200, **told: object) -> Response:
    """Draw the form; what was entered stands in it again, but never a secret."""
    kept = {f.name: forms.line(sent.get(f"field-{f.name}")) for f in step.way.fields if not f.secret}
    return page(
        request,
        "connect.html",
        status,
        step=step,
        plans=forms.plans(step.way, sent.get("plan")),
        name=forms.line(sent.get("name")),
        kept=kept,
        **{**_UNTOLD, **told},
    )


def _answer(request: Request, step: Step, sent: Mapping[str, str], status: int, **told: object) -> Response:
    """Answer a test with its result alone where the page's script asked: the form then keeps its secret."""
    if sent.get("do") != "test" or not request.headers.get("hx-request"):
        return _form(request, step, sent, status, **told)
    # 200 whatever was found: the request to test was served, and htmx shows nothing of other answers.
    return page(request, "connect_result.html", 200, **{**_UNTOLD, **told})
