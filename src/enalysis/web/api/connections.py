"""/api/v1/connections: list, test before saving, add, remove."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from enalysis.actions import connections as actions
from enalysis.queries import connections as connection_queries
from enalysis.queries.shapes import ConnectionRow
from enalysis.runtime import Runtime
from enalysis.web import forms
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.errors import Unfit

router = APIRouter(prefix="/api/v1/connections", tags=["connections"])

_Text = Annotated[str, StringConstraints(max_length=forms.LONGEST)]
_Short = Annotated[str, StringConstraints(max_length=120)]


class Credential(BaseModel):
    """A vendor's key, a way and a plan of its card (empty: the first), and the way's fields by name."""

    model_config = ConfigDict(hide_input_in_errors=True)

    vendor: _Short
    way: _Short = ""
    plan: _Short = ""
    fields: Annotated[dict[_Short, _Text], Field(max_length=20)]


class NewConnection(Credential):
    """A connection to save; it is tested again first."""

    name: _Short = ""


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


@router.get("")
async def connections(runtime: RuntimeOf, person: SignedIn) -> tuple[ConnectionRow, ...]:
    """Return every connection: state, quota, history, counts; never a secret."""
    return await connection_queries.connections(person.scope, runtime.db, runtime.vendors.specs, runtime.clock())


@router.post("/test")
async def test(runtime: RuntimeOf, person: SignedIn, sent: Credential) -> Tested:
    """Prove a credential without saving it; it spends calls of the vendor's quota."""
    found = await actions.test(
        person.scope,
        runtime.db,
        runtime.vendors,
        vendor=sent.vendor,
        way=sent.way,
        app=None,
        plan=_plan(runtime, sent),
        fields=_fields(runtime, sent),
        now=runtime.clock(),
    )
    return Tested(
        vendor=sent.vendor,
        current_power_w=found.current_power_w,
        energy_today_wh=found.energy_today_wh,
        status=found.status,
        last_update=found.last_update,
    )


@router.post("", status_code=201)
async def add(runtime: RuntimeOf, person: SignedIn, sent: NewConnection, answer: Response) -> Added:
    """Test a credential, seal it and save it; the sites behind it are found in the background."""
    made, _ = await actions.add(
        person.scope,
        runtime.db,
        runtime.vendors,
        vendor=sent.vendor,
        way=sent.way,
        name=forms.line(sent.name),
        plan=_plan(runtime, sent),
        fields=_fields(runtime, sent),
        now=runtime.clock(),
    )
    answer.headers["Location"] = f"/api/v1/connections/{made}"
    return Added(id=made)


@router.get("/{connection}")
async def connection(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> ConnectionRow:
    """Return one connection."""
    return await connection_queries.connection(
        person.scope, runtime.db, runtime.vendors.specs, connection, runtime.clock()
    )


@router.delete("/{connection}", status_code=204)
async def remove(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> None:
    """Delete a connection, its credential and what was collected with it; its sites stay."""
    await actions.remove(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())


def _plan(runtime: Runtime, sent: Credential) -> str:
    """Return the plan's key. Raises Unfit, without repeating what was sent."""
    spec = runtime.vendors.specs.get(sent.vendor)
    if spec is None:
        msg = f"`vendor` must be one of: {', '.join(sorted(runtime.vendors.specs))}."
        raise Unfit(msg)
    return forms.plan_of(spec.way(sent.way), sent.plan).key


def _fields(runtime: Runtime, sent: Credential) -> dict[str, str]:
    way = runtime.vendors.specs[sent.vendor].way(sent.way)
    clean = {f.name: forms.secret(sent.fields.get(f.name), way.auth) for f in way.fields}
    lacking = forms.missing(way, clean)
    if lacking:
        msg = f"`fields` lacks: {', '.join(lacking)}."
        raise Unfit(msg)
    return clean
