"""What every error means to a browser or a program: one table, no echo of what was sent."""

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote
from uuid import UUID

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from enalysis.actions.consent import ConsentFailed
from enalysis.core import errors
from enalysis.core.errors import EnalysisError, Locked, LoginNeeded, QuotaSpent, Unavailable
from enalysis.store import bootstrap

_log = logging.getLogger(__name__)

RECONNECT = "Access token expired. Please refresh your connection."
_TYPE = "urn:enalysis:problem:"
_LONGEST_WAIT_S = 86400


class SignInNeeded(EnalysisError):
    """Nobody is signed in, and this is not for everybody."""


class SchedulerRefused(EnalysisError):
    """A scheduler's call without the secret in its header."""


class ForeignRequest(EnalysisError):
    """A writing request that no page of ours sent for this visitor."""


class Unfit(EnalysisError):
    """What was sent cannot be read as what was asked for; the message never repeats it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """How an error is told: status, the end of its type, a title, and what to do next."""

    status: int
    slug: str
    title: str
    advice: str = ""


_INTERNAL = Fault(
    500,
    "internal",
    "Something went wrong here",
    "Collecting goes on in the background. Try again; if it happens again, search the log for this number.",
)
_AWAY = Fault(
    503,
    "database",
    "The database did not answer",
    "Nothing is lost: what vendors keep is fetched once it is back. Try again in a minute.",
)
TABLE: dict[type[Exception], Fault] = {
    SignInNeeded: Fault(401, "sign-in", "Sign in first"),
    SchedulerRefused: Fault(401, "scheduler-secret", "The scheduler's secret is missing or wrong"),
    ForeignRequest: Fault(403, "foreign-request", "Refused for safety"),
    Unfit: Fault(422, "unfit", "That cannot be read", "Correct the form or the address and send it again."),
    errors.NotFound: Fault(404, "not-found", "Not found", "It may have been removed, or it belongs to somebody else."),
    errors.Refused: Fault(403, "refused", "Not possible"),
    ConsentFailed: Fault(409, "consent-failed", "The sign-in at the vendor came to nothing"),
    errors.LoginNeeded: Fault(401, "vendor-sign-in", "The vendor refused the credential"),
    errors.QuotaSpent: Fault(429, "vendor-quota", "The vendor's quota is used up"),
    errors.Unavailable: Fault(503, "vendor-unavailable", "The vendor does not answer"),
    errors.Forbidden: Fault(403, "vendor-forbidden", "The vendor does not allow this"),
    errors.AppFault: Fault(409, "vendor-app", "The vendor refuses the app"),
    errors.Locked: Fault(423, "vendor-locked", "The vendor locked the account for a while"),
    errors.WaitingForVendor: Fault(409, "vendor-approval", "The vendor has not approved the app yet"),
    errors.Retired: Fault(502, "vendor-retired", "The vendor switched this API off"),
    errors.BadPayload: Fault(502, "vendor-answer", "The vendor's answer cannot be read"),
    errors.VendorError: Fault(502, "vendor", "The vendor's service failed"),
}
# What an HTTP error that the framework itself raises is called; the rest are told by their standard phrase.
_HTTP_ADVICE = {
    404: "The address may be mistyped, or what was here has been removed.",
    405: "This address does not take that kind of request.",
    413: "At most 1 MiB may be sent at once.",
}
# Sentences for what is wrong with a field; pydantic's own repeat parts of what was sent.
_FIELD_WORDS = {
    "missing": "is missing",
    "json_invalid": "is not JSON",
    "uuid_parsing": "is no identifier",
    "date_from_datetime_parsing": "is no date like 2026-11-22",
    "date_parsing": "is no date like 2026-11-22",
    "int_parsing": "is no whole number",
    "string_type": "is no text",
    "dict_type": "is no object of names and texts",
    "string_too_long": "is too long",
    "too_long": "has too many entries",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
    "enum": "is none of the allowed words",
    "literal_error": "is none of the allowed words",
}
Pages = Callable[[Request, Fault, str, str | None], Response]


def fault_of(error: Exception) -> Fault:
    """Return how an error is told, by the nearest of its classes in the table; unknown ones are internal."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), _INTERNAL)


def wait_of(error: Exception, now: datetime) -> int | None:
    """Return after how many seconds another try may help, for Retry-After; None where nobody knows."""
    if isinstance(error, QuotaSpent | Locked) and error.until is not None:
        seconds = (error.until - now).total_seconds()
    elif isinstance(error, Unavailable) and error.retry_after_s is not None:
        seconds = error.retry_after_s
    else:
        return None
    return max(1, min(_LONGEST_WAIT_S, int(seconds) + 1))


def problem(fault: Fault, detail: str = "", **more: object) -> JSONResponse:
    """Return a problem+json answer (RFC 9457)."""
    body: dict[str, Any] = {"type": _TYPE + fault.slug, "title": fault.title, "status": fault.status}
    if detail:
        body["detail"] = detail
    return JSONResponse(body | more, fault.status, media_type="application/problem+json")


def install(app: FastAPI, pages: Pages, clock: Callable[[], datetime]) -> None:
    """Teach the application to answer errors: problem+json under /api, a designed page elsewhere."""
    answers = _Answers(pages, clock)
    handlers: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {
        EnalysisError: answers.known,
        HTTPException: answers.http,
        RequestValidationError: answers.unfit,
        Exception: answers.crashed,
        **dict.fromkeys(bootstrap.AWAY, answers.away),
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


@dataclass(frozen=True, slots=True)
class _Answers:
    """The handlers, each for one family of errors."""

    pages: Pages
    clock: Callable[[], datetime]

    async def known(self, request: Request, error: Exception) -> Response:
        """Answer one of our own errors."""
        fault = fault_of(error)
        if fault is _INTERNAL:
            return self._by_number(request, error, fault)
        if isinstance(error, SignInNeeded) and not is_api(request):
            return _to_sign_in(request)
        answer = _api_answer(request, error, fault) if is_api(request) else self.pages(request, fault, str(error), None)
        wait = wait_of(error, self.clock())
        if wait is not None:
            answer.headers["Retry-After"] = str(wait)
        return answer

    async def http(self, request: Request, error: Exception) -> Response:
        """Answer what the framework refuses."""
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
        status = error.status_code
        fault = Fault(status, f"http-{status}", HTTPStatus(status).phrase, _HTTP_ADVICE.get(status, ""))
        answer = problem(fault, fault.advice) if is_api(request) else self.pages(request, fault, "", None)
        answer.headers.update(error.headers or {})
        return answer

    async def unfit(self, request: Request, error: Exception) -> Response:
        """Answer what does not fit the schema, by field and never with what was sent."""
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
        found = error.errors()
        if any(one["loc"][:1] == ("path",) for one in found):
            return await self.known(request, errors.NotFound("There is nothing at this address."))
        detail = "Something that was sent cannot be read."
        if not is_api(request):
            return self.pages(request, TABLE[Unfit], detail, None)
        told = [
            {"field": _field(one["loc"]), "problem": _FIELD_WORDS.get(one["type"], "is not valid")} for one in found
        ]
        return problem(TABLE[Unfit], detail, errors=told)

    async def away(self, request: Request, error: Exception) -> Response:
        """Answer while the database does not."""
        return self._by_number(request, error, _AWAY)

    async def crashed(self, request: Request, error: Exception) -> Response:
        """Answer our own mistakes."""
        return self._by_number(request, error, _INTERNAL)

    def _by_number(self, request: Request, error: Exception, fault: Fault) -> Response:
        """Tell a number only, and log the error under it."""
        incident = secrets.token_hex(4)
        where = getattr(request.scope.get("route"), "path", "no route")
        kind = type(error).__name__
        _log.error("incident %s: %s in %s %s", incident, kind, request.method, where, exc_info=error)
        if is_api(request):
            return problem(fault, incident=incident)
        return self.pages(request, fault, "", incident)


def is_api(request: Request) -> bool:
    """Tell whether a program asks: below /api, except where a person's browser goes to a vendor and back."""
    path = request.url.path
    if path.startswith("/api/oauth/") and "text/html" in request.headers.get("accept", ""):
        return False
    return path.startswith("/api/")


def about(request: Request, connection: UUID) -> None:
    """Note which connection a request is about, so that an error can lead to where it is mended."""
    request.state.connection = connection


def reconnect_link(vendor: str, connection: UUID | None) -> str:
    """Return where a person signs in at a vendor again."""
    return f"/connections/new?vendor={quote(vendor)}" if connection is None else f"/connections/{connection}/reconnect"


def _api_answer(request: Request, error: Exception, fault: Fault) -> JSONResponse:
    if isinstance(error, LoginNeeded):
        link = reconnect_link(error.vendor, getattr(request.state, "connection", None))
        return problem(fault, str(error), error=RECONNECT, vendor=error.vendor, link=link)
    if isinstance(error, SignInNeeded):
        return problem(fault, "Sign in, or send the session cookie.", link="/sign-in")
    if isinstance(error, SchedulerRefused):
        answer = problem(fault, str(error))
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer
    if isinstance(error, ConsentFailed):
        return problem(
            fault, str(error), why=error.why.value, vendor=error.vendor, link=reconnect_link(error.vendor, None)
        )
    return problem(fault, str(error))


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/api/")


def _to_sign_in(request: Request) -> Response:
    if request.headers.get("hx-request"):
        # htmx would follow a redirect and put the sign-in form where the fragment belongs.
        return Response(status_code=401, headers={"HX-Redirect": "/sign-in"})
    if request.url.path.startswith("/api/"):
        # What came back from a vendor must not be carried on in another address.
        return RedirectResponse("/sign-in", 303)
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    target = "/sign-in" if request.method != "GET" or path == "/" else f"/sign-in?next={quote(path, safe='')}"
    return RedirectResponse(target, 303)


def _field(loc: tuple[int | str, ...]) -> str:
    """Name a field by at most two steps of our own schema: what lies deeper is named by whoever sent it."""
    return ".".join(str(part) for part in loc[:2] if isinstance(part, str))
