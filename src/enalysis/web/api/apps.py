"""/api/v1/apps: apps registered at vendors; their keys go in and never come out."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from enalysis.actions import apps as actions
from enalysis.actions.apps import AppChoice
from enalysis.connectors.base import AppCard
from enalysis.runtime import Runtime
from enalysis.web import forms
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.errors import Unfit

router = APIRouter(prefix="/api/v1/apps", tags=["apps"])

_Text = Annotated[str, StringConstraints(max_length=forms.LONGEST)]
_Short = Annotated[str, StringConstraints(max_length=120)]
_Keys = Annotated[dict[_Short, _Text], Field(max_length=20)]


class App(BaseModel):
    """An app as it may be seen: `id` is `operator` for the one from this server's settings.

    `first_ok_at` is when it first brought data, `mark` tells equal client IDs and nothing else.
    """

    id: str
    vendor: str
    name: str
    kind: str
    plan: str
    state: str
    state_since: datetime | None
    origin: str
    first_ok_at: datetime | None
    secret_set_at: datetime | None
    mark: str


class NewApp(BaseModel):
    """An app to save: its kind and plan are the card's, `fields` the card's app fields by name."""

    model_config = ConfigDict(hide_input_in_errors=True)

    vendor: _Short
    kind: _Short
    name: _Short = ""
    plan: _Short = ""
    state: _Short | None = None
    fields: _Keys


class AppChange(BaseModel):
    """What changes of an app; what is left out stays. `fields` are all its keys anew."""

    model_config = ConfigDict(hide_input_in_errors=True)

    plan: _Short | None = None
    state: _Short | None = None
    fields: _Keys | None = None


class Added(BaseModel):
    """The identifier of a saved app."""

    id: UUID


@router.get("")
async def apps(runtime: RuntimeOf, person: SignedIn) -> tuple[App, ...]:
    """Return every app, the operator's among them; never a secret."""
    found = await actions.list_choices(person.scope, runtime.db, runtime.vendors)
    return tuple(_shown(a) for a in found)


@router.post("", status_code=201)
async def add(runtime: RuntimeOf, person: SignedIn, sent: NewApp, answer: Response) -> Added:
    """Seal and save an app's keys; nothing is asked of the vendor."""
    spec = runtime.vendors.spec(sent.vendor)
    way = actions.way_of(spec, sent.kind)
    made = await actions.add(
        person.scope,
        runtime.db,
        runtime.vendors,
        vendor=sent.vendor,
        kind=sent.kind,
        name=forms.line(sent.name),
        plan=forms.plan_of(way, sent.plan).key,
        state=_state(sent.state),
        fields=_keys(actions.card_of(spec), sent.fields),
        now=runtime.clock(),
    )
    answer.headers["Location"] = f"/api/v1/apps/{made}"
    return Added(id=made)


@router.get("/{app}")
async def one(runtime: RuntimeOf, person: SignedIn, app: UUID) -> App:
    """Return one app."""
    return _shown(await actions.choice(person.scope, runtime.db, app))


@router.patch("/{app}")
async def change(runtime: RuntimeOf, person: SignedIn, app: UUID, sent: AppChange) -> App:
    """Change an app's plan, the state the vendor tells, or its keys; its connections go on."""
    found = await actions.choice(person.scope, runtime.db, app)
    spec = runtime.vendors.spec(found.vendor)
    await actions.change(
        person.scope,
        runtime.db,
        runtime.vendors,
        app,
        now=runtime.clock(),
        plan=None if sent.plan is None else forms.plan_of(actions.way_of(spec, found.kind), sent.plan).key,
        state=_state(sent.state),
        fields=None if sent.fields is None else _keys(actions.card_of(spec), sent.fields),
    )
    return _shown(await actions.choice(person.scope, runtime.db, app))


@router.delete("/{app}", status_code=204)
async def remove(runtime: RuntimeOf, person: SignedIn, app: UUID) -> None:
    """Delete an app and its keys; refused while connections go through it."""
    await actions.remove(person.scope, runtime.db, app)


async def app_id(runtime: Runtime, person: SignedIn, vendor: str, app: str | None) -> UUID | None:
    """Return the app that a connection names, `operator` among them. Raises NotFound."""
    if not app:
        return None
    return (await actions.take(person.scope, runtime.db, runtime.vendors, vendor, app, runtime.clock())).id


def _keys(card: AppCard, sent: dict[str, str]) -> dict[str, str]:
    given = {f.name: forms.line(sent.get(f.name)) for f in card.fields}
    lacking = forms.missing(card.fields, given)
    if lacking:
        msg = f"`fields` lacks: {', '.join(lacking)}."
        raise Unfit(msg)
    return given


def _state(state: str | None) -> str | None:
    if state is not None and state not in actions.STATES:
        msg = f"`state` must be one of: {', '.join(actions.STATES)}."
        raise Unfit(msg)
    return state


def _shown(app: AppChoice) -> App:
    return App(
        id=app.key,
        vendor=app.vendor,
        name=app.name,
        kind=app.kind,
        plan=app.plan,
        state=app.state,
        state_since=app.state_since,
        origin=app.origin,
        first_ok_at=app.first_ok_at,
        secret_set_at=app.sealed_at,
        mark=app.mark,
    )
