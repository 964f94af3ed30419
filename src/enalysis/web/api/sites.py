"""GET /api/v1/sites/{id}: a site, its day by quarters, its devices."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from enalysis.queries import sites as site_queries
from enalysis.queries.shapes import DeviceRow, SiteDay, SiteHead
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.guards import SIMULATED
from enalysis.web.pages.site import EARLIEST, LATEST

router = APIRouter(prefix="/api/v1/sites", tags=["sites"])

_Day = Annotated[
    date | None,
    Query(alias="date", ge=EARLIEST, le=LATEST, description="A day of the site's own zone; today if left out."),
]


@router.get("/{site}")
async def head(runtime: RuntimeOf, person: SignedIn, site: UUID, answer: Response) -> SiteHead:
    """Return who the site is, how it does and its power now, W: grid + import, battery + discharge."""
    found = await site_queries.head(person.scope, runtime.db, site, runtime.clock())
    _mark(answer, simulated=found.sandbox)
    return found


@router.get("/{site}/day")
async def day(
    runtime: RuntimeOf,
    person: SignedIn,
    site: UUID,
    answer: Response,
    asked: _Day = None,
) -> SiteDay:
    """Return every quarter of an hour of one of the site's days, Wh, null where nothing is known."""
    found = await site_queries.day(person.scope, runtime.db, site, asked, runtime.clock())
    _mark(answer, simulated=found.sandbox)
    return found


@router.get("/{site}/devices")
async def devices(runtime: RuntimeOf, person: SignedIn, site: UUID, answer: Response) -> tuple[DeviceRow, ...]:
    """Return the site's devices with their newest values."""
    found = await site_queries.devices(person.scope, runtime.db, site)
    _mark(answer, simulated=any(device.sandbox for device in found))
    return found


def _mark(answer: Response, *, simulated: bool) -> None:
    if simulated:
        answer.headers.update(SIMULATED)
