"""Budget: what every app and account may spend, has spent and will, and how fresh each site is for it."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from enalysis.queries.budget import budget
from enalysis.web.auth import RuntimeOf, SignedIn
from enalysis.web.views import page

router = APIRouter(include_in_schema=False)
# Sites shown of a connection, the stalest first; all of them are in the API.
_MOST = 50


@router.get("/budget")
async def show_budget(request: Request, runtime: RuntimeOf, person: SignedIn) -> Response:
    """Show the budget, a card for each app or account."""
    accounts = await budget(person.scope, runtime.db, runtime.vendors.specs, runtime.clock())
    return page(request, "budget.html", accounts=accounts, most=_MOST)
