"""The two buttons of a connection that waits for its vendor: simulated sites meanwhile, and no more of them."""

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from enalysis.actions import meanwhile as actions
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.pages.connections import ConnectionID

router = APIRouter(include_in_schema=False)


@router.post("/connections/{connection}/meanwhile")
async def begin(runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Give the connection a simulated twin and show it."""
    twin = await actions.begin(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())
    return RedirectResponse(f"/connections/{twin}", 303)


@router.post("/connections/{connection}/meanwhile/end")
async def end(runtime: RuntimeOf, person: SignedIn, connection: ConnectionID) -> Response:
    """Delete the simulated sites of the connection."""
    await actions.end(person.scope, runtime.db, runtime.vendors, connection, runtime.clock())
    return RedirectResponse("/connections", 303)
