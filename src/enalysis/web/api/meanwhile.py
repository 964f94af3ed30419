"""/api/v1/connections/{id}/meanwhile: simulated sites while a connection waits for its vendor."""

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel

from enalysis.actions import meanwhile as actions
from enalysis.web.auth import RuntimeOf, SignedIn

router = APIRouter(prefix="/api/v1/connections/{connection}/meanwhile", tags=["connections"])


class Twin(BaseModel):
    """The identifier of the simulated connection."""

    id: UUID


@router.post("", status_code=201)
async def begin(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> Twin:
    """Give a connection that waits for its vendor a simulated twin, with sites of its own; it has one at most."""
    return Twin(id=await actions.begin(person.scope, runtime.db, runtime.vendors, connection, runtime.clock()))


@router.delete("", status_code=204)
async def end(runtime: RuntimeOf, person: SignedIn, connection: UUID) -> None:
    """Delete the simulated twin of a connection with its sites and readings; the connection waits on."""
    await actions.end(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())
