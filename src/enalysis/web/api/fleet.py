"""GET /api/v1/fleet and /sites: totals and the list; and who the caller is."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from enalysis.queries import fleet as fleet_queries
from enalysis.queries.shapes import FleetPage, FleetRow, Health
from enalysis.web.auth import RuntimeOf, SignedIn, form_token
from enalysis.web.pages.fleet import Sort

router = APIRouter(prefix="/api/v1", tags=["fleet"])

MOST_PER_PAGE = 1000
_Search = Annotated[str, Query(max_length=80, description="Words in a site's name or address.")]
_Vendor = Annotated[str | None, Query(max_length=40, description="Key of a vendor.")]
_Page = Annotated[int, Query(ge=1, le=100_000)]
_PerPage = Annotated[int, Query(ge=1, le=MOST_PER_PAGE)]


class Me(BaseModel):
    """Who is asking, and the token that writing requests must carry in X-CSRF-Token."""

    name: str
    email: str
    organization: str
    role: str
    csrf_token: str


@router.get("/me")
async def me(request: Request, person: SignedIn) -> Me:
    """Tell who the session belongs to."""
    return Me(
        name=person.name,
        email=person.email,
        organization=person.organization,
        role=person.scope.role.value,
        csrf_token=form_token(request),
    )


@router.get("/fleet")
async def fleet(
    runtime: RuntimeOf,
    person: SignedIn,
    q: _Search = "",
    health: Health | None = None,
    vendor: _Vendor = None,
    sort: Sort = Sort.WORST,
    page: _Page = 1,
    per_page: _PerPage = 50,
) -> FleetPage:
    """Return the totals of all sites and one page of the list, worst first unless sorted otherwise."""
    return await fleet_queries.fleet(
        person.scope,
        runtime.db,
        runtime.clock(),
        search=q,
        health=health,
        vendor=vendor,
        sort=sort.value,
        page=page,
        per_page=per_page,
    )


@router.get("/sites")
async def sites(
    runtime: RuntimeOf, person: SignedIn, q: _Search = "", page: _Page = 1, per_page: _PerPage = 100
) -> tuple[FleetRow, ...]:
    """Return one page of the sites by name."""
    found = await fleet_queries.fleet(
        person.scope,
        runtime.db,
        runtime.clock(),
        search=q,
        sort=Sort.NAME.value,
        page=page,
        per_page=per_page,
    )
    return found.rows
