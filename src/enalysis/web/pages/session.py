"""Signing in and out."""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from enalysis.actions import accounts
from enalysis.core.errors import Refused
from enalysis.web.address import local_path
from enalysis.web.auth import RuntimeOf, Visitor, close_session, open_session, session_token
from enalysis.web.forms import fields_of, line
from enalysis.web.views import page

router = APIRouter(include_in_schema=False)
_WRONG = "E-mail address or password is wrong."


@router.get("/sign-in")
async def show_sign_in(request: Request, runtime: RuntimeOf, person: Visitor) -> Response:
    """Show the form; the first visitor of all goes to the setup instead."""
    if person is not None:
        return RedirectResponse("/", 303)
    if await accounts.setup_needed(runtime.db):
        return RedirectResponse("/setup", 303)
    target = local_path(request.query_params.get("next"))
    vendor = runtime.vendors.specs.get(request.query_params.get("again", ""))
    if vendor is None:
        return page(request, "sign_in.html", target=target, error=None, told=None)
    told = (
        f"You came back from {vendor.label}, and nobody is signed in here in this browser. Nothing was connected."
        f" Sign in, and start the sign-in at {vendor.label} from here again."
    )
    return page(request, "sign_in.html", target=f"/connections/new?vendor={vendor.key}", error=None, told=told)


@router.post("/sign-in")
async def sign_in(request: Request, runtime: RuntimeOf) -> Response:
    """Open a session; an unknown address and a wrong password are told alike."""
    sent = await fields_of(request)
    target = local_path(sent.get("next"))
    try:
        token = await accounts.sign_in(
            runtime.db,
            email=line(sent.get("email")),
            password=sent.get("password", ""),
            peer=request.client.host if request.client else "",
            now=runtime.clock(),
        )
    except Refused as refused:
        return page(request, "sign_in.html", 429, target=target, error=str(refused), told=None)
    if token is None:
        return page(request, "sign_in.html", 403, target=target, error=_WRONG, told=None)
    # Somebody else's session may still be in this browser: it ends here, not in 30 days.
    before = session_token(request)
    if before is not None:
        await accounts.sign_out(runtime.db, before)
    answer = RedirectResponse(target, 303)
    open_session(request, answer, token)
    return answer


@router.post("/sign-out")
async def sign_out(request: Request, runtime: RuntimeOf) -> Response:
    """End the session on the server and in the browser."""
    token = session_token(request)
    if token is not None:
        await accounts.sign_out(runtime.db, token)
    answer = RedirectResponse("/sign-in", 303)
    close_session(request, answer)
    return answer
