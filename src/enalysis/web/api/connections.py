"""/api/v1/connections: list, test before saving and after, add, fetch now, pause, resume, remove."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from enalysis.actions import connections as actions
from enalysis.connectors.base import Check, Spec, Way
from enalysis.queries import connections as connection_queries
from enalysis.queries.behind import behind
from enalysis.queries.shapes import ConnectionDetail, ConnectionRow
from enalysis.runtime import Runtime
from enalysis.web import forms
from enalysis.web.api.apps import app_id
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.errors import Unfit, about

router = APIRouter(prefix="/api/v1/connections", tags=["connections"])

_Text = Annotated[str, StringConstraints(max_length=forms.LONGEST)]
_Short = Annotated[str, StringConstraints(max_length=120)]
_Fields = Annotated[dict[_Short, _Text], Field(max_length=20)]


class Credential(BaseModel):
    """A vendor's key, a way and a plan of its card (empty: the first), the app it goes through, and its fields."""

    model_config = ConfigDict(hide_input_in_errors=True)

    vendor: _Short
    way: _Short = ""
    app: _Short | None = None
    plan: _Short = ""
    fields: _Fields


class NewConnection(Credential):
    """A connection to save; it is tested again first."""

    name: _Short = ""


class Trial(BaseModel):
    """What to test: a saved connection, or a credential that is not saved."""

    model_config = ConfigDict(hide_input_in_errors=True)

    connection: UUID | None = None
    vendor: _Short = ""
    way: _Short = ""
    app: _Short | None = None
    plan: _Short = ""
    fields: _Fields | None = None


class Tested(BaseModel):
    """What a test found: W, Wh, the vendor's own status text; null where the vendor gives nothing."""

    success: Literal[True] = True
    vendor: str
    current_power_w: float | None
    energy_today_wh: float | None
    status: str | None
    last_update: datetime | None


class Added(BaseModel):
    """The identifier of a saved connection."""

    id: UUID


class Fetching(BaseModel):
    """How many fetches were queued, and how many calls of the quota they spend at most."""

    queued: int
    cost: int


@router.get("")
async def connections(runtime: RuntimeOf, person: SignedIn) -> tuple[ConnectionRow, ...]:
    """Return every connection: state, sign-in, quota, history, counts; never a secret."""
    return await connection_queries.connections(person.scope, runtime.db, runtime.vendors.specs, runtime.clock())


@router.post("/test")
async def test(request: Request, runtime: RuntimeOf, person: SignedIn, sent: Trial) -> Tested:
    """Prove a credential without saving it, or a saved connection; it spends calls of the vendor's quota."""
    if sent.connection is not None:
        return await _test_saved(request, runtime, person, sent.connection)
    if sent.fields is None or not sent.vendor:
        msg = "Send `connection`, or `vendor` and `fields`."
        raise Unfit(msg)
    credential = Credential(vendor=sent.vendor, way=sent.way, app=sent.app, plan=sent.plan, fields=sent.fields)
    spec, way = _way(runtime, credential)
    found = await actions.test(
        person.scope,
        runtime.db,
        runtime.vendors,
        vendor=spec.key,
        way=way.key,
        plan=forms.plan_of(way, sent.plan).key,
        fields=_fields(way, credential),
        app=await app_id(runtime, person, spec.key, sent.app),
        now=runtime.clock(),
    )
    return _tested(spec.key, found)


@router.post("", status_code=201)
async def add(runtime: RuntimeOf, person: SignedIn, sent: NewConnection, answer: Response) -> Added:
    """Test a credential, seal it and save it; the sites behind it are found in the background."""
    spec, way = _way(runtime, sent)
    made, _ = await actions.add(
        person.scope,
        runtime.db,
        runtime.vendors,
        vendor=spec.key,
        way=way.key,
        name=forms.line(sent.name),
        plan=forms.plan_of(way, sent.plan).key,
        fields=_fields(way, sent),
        app=await app_id(runtime, person, spec.key, sent.app),
        now=runtime.clock(),
    )
    answer.headers["Location"] = f"/api/v1/connections/{made}"
    return Added(id=made)


@router.get("/{connection}")
async def connection(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> ConnectionRow:
    """Return one connection."""
    return await _row(runtime, person, connection)


@router.get("/{connection}/detail")
async def detail(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> ConnectionDetail:
    """Return a connection's sites, streams, and its newest 50 events and calls."""
    return await behind(person.scope, runtime.db, runtime.vendors.specs, connection)


@router.post("/{connection}/fetch")
async def fetch(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> Fetching:
    """Make everything of a connection due now, inside its quota; say what that costs at most."""
    row = await _row(runtime, person, connection)
    queued = await actions.poll_now(person.scope, runtime.db, connection, runtime.clock())
    costs = {s.name: s.cost for s in runtime.vendors.spec(row.vendor).streams}
    streams = (await behind(person.scope, runtime.db, runtime.vendors.specs, connection)).streams
    return Fetching(queued=queued, cost=sum(costs.get(s.name, 0) for s in streams if s.enabled))


@router.post("/{connection}/pause")
async def pause(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> ConnectionRow:
    """Ask the vendor nothing until it is resumed; the sign-in is kept alive."""
    await actions.pause(person.scope, runtime.db, connection, runtime.clock())
    return await _row(runtime, person, connection)


@router.post("/{connection}/resume")
async def resume(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> ConnectionRow:
    """Go on collecting where it was paused."""
    await actions.resume(person.scope, runtime.db, connection, runtime.clock())
    return await _row(runtime, person, connection)


@router.post("/{connection}/test")
async def test_one(request: Request, runtime: RuntimeOf, person: SignedIn, connection: UUID) -> Tested:
    """Ask the vendor whether a saved connection works."""
    return await _test_saved(request, runtime, person, connection)


@router.post("/{connection}/reconnect")
async def reconnect(
    request: Request, runtime: RuntimeOf, person: SignedIn, connection: UUID, sent: dict[_Short, _Text]
) -> ConnectionRow:
    """Give a connection its key or password anew; sites and history stay. The body holds the fields by name."""
    about(request, connection)
    row = await _row(runtime, person, connection)
    way = runtime.vendors.spec(row.vendor).way(row.way)
    given = {f.name: forms.secret(sent.get(f.name), way.auth) for f in way.fields}
    await actions.enter_again(person.scope, runtime.db, runtime.vendors, connection, given, runtime.clock())
    return await _row(runtime, person, connection)


@router.delete("/{connection}", status_code=204)
async def remove(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> None:
    """Delete a connection, its credential and what was collected with it; its sites stay."""
    await actions.remove(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())


async def _row(runtime: Runtime, person: SignedIn, connection: UUID) -> ConnectionRow:
    return await connection_queries.connection(
        person.scope, runtime.db, runtime.vendors.specs, connection, runtime.clock()
    )


async def _test_saved(request: Request, runtime: Runtime, person: SignedIn, connection: UUID) -> Tested:
    about(request, connection)
    row = await _row(runtime, person, connection)
    found = await actions.test_saved(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())
    return _tested(row.vendor, found)


def _tested(vendor: str, found: Check) -> Tested:
    return Tested(
        vendor=vendor,
        current_power_w=found.current_power_w,
        energy_today_wh=found.energy_today_wh,
        status=found.status,
        last_update=found.last_update,
    )


def _way(runtime: Runtime, sent: Credential) -> tuple[Spec, Way]:
    """Return the card and the way of it. Raises Unfit, without repeating what was sent."""
    spec = runtime.vendors.specs.get(sent.vendor)
    if spec is None:
        msg = f"`vendor` must be one of: {', '.join(sorted(runtime.vendors.specs))}."
        raise Unfit(msg)
    if sent.way and sent.way not in {w.key for w in spec.ways}:
        msg = f"`way` must be one of: {', '.join(w.key for w in spec.ways)}."
        raise Unfit(msg)
    return spec, spec.way(sent.way)


def _fields(way: Way, sent: Credential) -> dict[str, str]:
    clean = {f.name: forms.secret(sent.fields.get(f.name), way.auth) for f in way.fields}
    lacking = forms.missing(way.fields, clean)
    if lacking:
        msg = f"`fields` lacks: {', '.join(lacking)}."
        raise Unfit(msg)
    return clean
