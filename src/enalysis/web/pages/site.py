"""A site's pages: now and the day, its devices, its meters, and the day as a file."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from enalysis.core.daylight import Place
from enalysis.core.errors import NotFound
from enalysis.queries import sites as site_queries
from enalysis.queries.places import place_of
from enalysis.queries.shapes import SiteDay, SiteHead
from enalysis.runtime import Runtime
from enalysis.store.sites import Site
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.charts import SERIES, Absence, absences, day_chart, quality_words, value_of
from enalysis.web.flow import flow
from enalysis.web.formats import iso
from enalysis.web.guards import SIMULATED
from enalysis.web.trees import tree
from enalysis.web.views import page

router = APIRouter(include_in_schema=False)
# Beyond these the calendar's own arithmetic ends, or the zones' rules.
EARLIEST, LATEST = date(1970, 1, 1), date(2199, 12, 31)
_NOTHING = "There is no such site."


def site_id(site: str) -> UUID:
    """Read a site's identifier; what is none is told like one that does not exist. Raises NotFound."""
    try:
        return UUID(site)
    except ValueError:
        raise NotFound(_NOTHING) from None


def asked_day(day: str = "") -> date | None:
    """Read the day of the address; None is today. Raises NotFound for what is no date of our times."""
    try:
        asked = date.fromisoformat(day) if day else None
    except ValueError:
        msg = "That is no date like 2026-11-22."
        raise NotFound(msg) from None
    if asked is not None and not EARLIEST <= asked <= LATEST:
        msg = f"There are no days before {EARLIEST.year} or after {LATEST.year}."
        raise NotFound(msg)
    return asked


SiteID = Annotated[UUID, Depends(site_id)]
AskedDay = Annotated[date | None, Depends(asked_day)]


@router.get("/sites/{site}")
async def show_site(request: Request, runtime: RuntimeOf, person: SignedIn, site: SiteID, day: AskedDay) -> Response:
    """Show how the site does now and one of its days."""
    now = runtime.clock()
    head = await site_queries.head(person.scope, runtime.db, site, now)
    shown = await site_queries.day(person.scope, runtime.db, site, day, now)
    return page(
        request,
        "site.html",
        site=head,
        labels=_labels(runtime),
        flow=flow(head.now, head.meters, now),
        shown=shown,
        chart=day_chart(shown, now, _place(head)),
        before=_neighbour(shown, -1),
        after=_neighbour(shown, 1),
    )


@router.get("/sites/{site}/devices")
async def show_devices(request: Request, runtime: RuntimeOf, person: SignedIn, site: SiteID) -> Response:
    """Show what hangs below what."""
    head = await site_queries.head(person.scope, runtime.db, site, runtime.clock())
    found = await site_queries.devices(person.scope, runtime.db, site)
    return page(request, "site_devices.html", site=head, labels=_labels(runtime), twigs=tree(found))


@router.get("/sites/{site}/meters")
async def show_meters(request: Request, runtime: RuntimeOf, person: SignedIn, site: SiteID) -> Response:
    """Show the measuring points and which device feeds which."""
    head = await site_queries.head(person.scope, runtime.db, site, runtime.clock())
    return page(request, "site_meters.html", site=head, labels=_labels(runtime))


@router.get("/sites/{site}/day.csv")
async def download_day(runtime: RuntimeOf, person: SignedIn, site: SiteID, day: AskedDay) -> Response:
    """Give one of the site's days as CSV: Wh and %, times in UTC, an empty field where nothing is known."""
    now = runtime.clock()
    head = await site_queries.head(person.scope, runtime.db, site, now)
    shown = await site_queries.day(person.scope, runtime.db, site, day, now)
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(_rows(shown, absences(shown, now, _place(head))))
    name = f"{'simulated-' if runtime.sandbox or head.sandbox else ''}{shown.day.isoformat()}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', **(SIMULATED if head.sandbox else {})}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _rows(shown: SiteDay, absent: Sequence[Absence]) -> Iterator[list[object]]:
    """Yield the day's lines; every word in them is ours, so that no spreadsheet finds a formula."""
    yield ["start_utc", "end_utc", *SERIES, "soc_pct", "residual_wh", "quality", "gap"]
    for quarter, absence in zip(shown.quarters, absent, strict=True):
        values = [value_of(quarter, name) for name in SERIES]
        yield [
            iso(quarter.start),
            iso(quarter.end),
            *values,
            quarter.soc_pct,
            quarter.residual_wh,
            quality_words(quarter.quality),
            absence.words,
        ]


def _neighbour(shown: SiteDay, step: int) -> date | None:
    other = shown.day + timedelta(days=step)
    first = shown.first_day or shown.last_day
    return other if first <= other <= shown.last_day else None


def _place(head: SiteHead) -> Place | None:
    return place_of(Site(head.id, head.name, head.address, head.zone, head.latitude, head.longitude, head.capacity_wp))


def _labels(runtime: Runtime) -> dict[str, str]:
    return {key: spec.label for key, spec in runtime.vendors.specs.items()}
