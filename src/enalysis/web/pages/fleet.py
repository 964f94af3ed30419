"""The fleet page: what all sites do, and the one that needs somebody first."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from enalysis.actions import accounts
from enalysis.queries import connections as connection_queries
from enalysis.queries import fleet as fleet_queries
from enalysis.queries.shapes import Health
from enalysis.web.auth import RuntimeOf, Visitor
from enalysis.web.errors import SignInNeeded
from enalysis.web.views import page

router = APIRouter(include_in_schema=False)


class Sort(StrEnum):
    """The orders of the list."""

    WORST = "worst"
    NAME = "name"
    POWER = "power"
    TODAY = "today"
    LAST = "last"


SORTS = {
    Sort.WORST: "Worst first",
    Sort.NAME: "Name",
    Sort.POWER: "Power now",
    Sort.TODAY: "Energy today",
    Sort.LAST: "Last data",
}
_LONGEST_SEARCH = 80
_LAST_PAGE = 100_000
PER_PAGE = 50


@dataclass(frozen=True, slots=True)
class Filters:
    """What the address asks for; anything it cannot mean is left out, so that an old link still opens."""

    search: str
    health: Health | None
    vendor: str | None
    sort: Sort
    page: int

    @property
    def narrowed(self) -> bool:
        """Tell whether fewer than all sites are asked for."""
        return bool(self.search or self.health or self.vendor)

    def address(self, page: int = 1) -> str:
        """Return the address that shows the same at a page; defaults are left out."""
        parts = {
            "q": self.search,
            "health": self.health.value if self.health else "",
            "vendor": self.vendor or "",
            "sort": "" if self.sort is Sort.WORST else self.sort.value,
            "page": str(page) if page > 1 else "",
        }
        asked = urlencode({name: value for name, value in parts.items() if value})
        return f"/?{asked}" if asked else "/"


def filters_of(params: Mapping[str, str], vendors: Mapping[str, object]) -> Filters:
    """Read the filters of an address."""
    search = " ".join("".join(c for c in params.get("q", "") if c.isprintable()).split())[:_LONGEST_SEARCH]
    health, vendor = params.get("health", ""), params.get("vendor", "")
    sort, number = params.get("sort", ""), params.get("page", "")
    return Filters(
        search,
        Health(health) if health in set(Health) else None,
        vendor if vendor in vendors else None,
        Sort(sort) if sort in set(Sort) else Sort.WORST,
        min(int(number), _LAST_PAGE) if number.isascii() and number.isdigit() and int(number) else 1,
    )


@router.get("/")
async def show_fleet(request: Request, runtime: RuntimeOf, person: Visitor) -> Response:
    """Show the fleet; before there is anybody, the way to the setup."""
    if person is None:
        if await accounts.setup_needed(runtime.db):
            return RedirectResponse("/setup", 303)
        raise SignInNeeded
    now = runtime.clock()
    filters = filters_of(request.query_params, runtime.vendors.specs)
    found = await fleet_queries.fleet(
        person.scope,
        runtime.db,
        now,
        search=filters.search,
        health=filters.health,
        vendor=filters.vendor,
        sort=filters.sort.value,
        page=filters.page,
        per_page=PER_PAGE,
    )
    if filters.page > found.pages:
        return RedirectResponse(filters.address(found.pages), 303)
    waiting = 0
    if found.totals.sites == 0:
        waiting = len(await connection_queries.connections(person.scope, runtime.db, runtime.vendors.specs, now))
    return page(
        request,
        "fleet.html",
        fleet=found,
        filters=filters,
        sorts=SORTS,
        labels={key: spec.label for key, spec in runtime.vendors.specs.items()},
        connected=waiting,
    )
