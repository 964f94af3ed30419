"""Connections: the list of them, and what the pages about one of them share."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from enalysis.connectors.base import Spec
from enalysis.core.errors import NotFound
from enalysis.queries import connections as connection_queries
from enalysis.runtime import Runtime
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.views import page

router = APIRouter(include_in_schema=False)


def connection_id(connection: str) -> UUID:
    """Read a connection's identifier; what is none is told like one that does not exist. Raises NotFound."""
    try:
        return UUID(connection)
    except ValueError:
        msg = "There is no such connection."
        raise NotFound(msg) from None


ConnectionID = Annotated[UUID, Depends(connection_id)]


def spec_of(runtime: Runtime, vendor: str) -> Spec:
    """Return a vendor's card. Raises NotFound."""
    spec = runtime.vendors.specs.get(vendor)
    if spec is None:
        msg = "There is no connector for such a vendor."
        raise NotFound(msg)
    return spec


def told_by(params: Mapping[str, str], words: Mapping[str, str]) -> str | None:
    """Return the sentence for what an address says was just done."""
    return next((text for name, text in words.items() if name in params), None)


@router.get("/connections")
async def show_connections(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Show every connection: what it does, what it costs, what it waits for."""
    rows = await connection_queries.connections(person.scope, runtime.db, runtime.vendors.specs, runtime.clock())
    words = {
        "added": "Connected. The sites behind it appear as they are found.",
        "removed": "Removed: the credential and what was collected with it are deleted. The sites stay.",
    }
    return page(request, "connections.html", rows=rows, told=told_by(request.query_params, words))
