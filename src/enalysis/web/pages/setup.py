"""The first run: whoever holds the one-time secret from the console makes the first organization."""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from enalysis.actions import accounts
from enalysis.core.errors import NotFound, Refused
from enalysis.web.auth import RuntimeOf, open_session
from enalysis.web.forms import fields_of, line
from enalysis.web.views import page

router = APIRouter(include_in_schema=False)
_KEPT = ("organization", "name", "email")
_CLOSED = "There is nothing at this address."


@router.get("/setup")
async def show_setup(request: Request, runtime: RuntimeOf) -> Response:
    """Show the form while nobody has set up; afterwards there is no such page."""
    if not await accounts.setup_needed(runtime.db):
        raise NotFound(_CLOSED)
    return page(request, "setup.html", given=dict.fromkeys(_KEPT, ""), error=None)


@router.post("/setup")
async def set_up(request: Request, runtime: RuntimeOf) -> Response:
    """Make the organization and its owner, and sign them in."""
    if not await accounts.setup_needed(runtime.db):
        raise NotFound(_CLOSED)
    sent = await fields_of(request)
    given = {name: line(sent.get(name)) for name in _KEPT}
    try:
        token = await accounts.set_up(
            runtime.db,
            runtime.keyring,
            secret="".join(line(sent.get("secret")).split()),
            password=sent.get("password", ""),
            now=runtime.clock(),
            **given,
        )
    except Refused as refused:
        return page(request, "setup.html", 422, given=given, error=str(refused))
    answer = RedirectResponse("/", 303)
    open_session(request, answer, token)
    return answer
