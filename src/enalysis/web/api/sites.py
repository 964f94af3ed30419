"""GET /api/v1/sites/{id}: a site, its day by quarters, its devices."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from enalysis.queries import sites as site_queries
from enalysis.queries.shapes import DeviceRow, SiteDay, SiteHead
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.pages.site import EARLIEST, LATEST

router = APIRouter(prefix="/api/v1/sites", tags=["sites"])

_Day = Annotated[
    date | None,
    Query(alias="date", ge=EARLIEST, le=LATEST, description="A day of the site's own zone; today if left out."),
]


@router.get("/{site}")
async def head(runtime: RuntimeOf, person: SignedIn, site: UUID) -> SiteHead:
    """Return who the site is, how it does and its power now, W: grid + import, battery + discharge."""
    return await site_queries.head(person.scope, runtime.db, site, runtime.clock())


@router.get("/{site}/day")
async def day(
    runtime: RuntimeOf,
    person: SignedIn,
    site: UUID,
    asked: _Day = None,
) -> SiteDay:
    """Return every quarter of an hour of one of the site's days, Wh, null where nothing is known."""
    return await site_queries.day(person.scope, runtime.db, site, asked, runtime.clock())


@router.get("/{site}/devices")
async def devices(runtime: RuntimeOf, person: SignedIn, site: UUID) -> tuple[DeviceRow, ...]:
    """Return the site's devices with their newest values."""
    return await site_queries.devices(person.scope, runtime.db, site)
