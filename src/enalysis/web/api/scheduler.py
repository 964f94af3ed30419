"""/api/cron/collect: an external scheduler, who knows the secret, has what is due fetched now."""

import hmac
import logging
import secrets
from hashlib import sha256
from urllib.parse import unquote_plus
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from enalysis.actions import collect as actions
from enalysis.runtime import Runtime
from enalysis.store import bootstrap
from enalysis.web.auth import SCHEDULER_PATHS, RuntimeOf
from enalysis.web.errors import SchedulerRefused

_log = logging.getLogger(__name__)

router = APIRouter(tags=["scheduler"])
_COLLECT, _FORMER = SCHEDULER_PATHS
_REFUSAL = (
    "Send the header `Authorization: Bearer` with this server's CRON_SECRET. A secret in an address is refused,"
    " and so is every call while CRON_SECRET is unset, short or a sample."
)


class SourceResult(BaseModel):
    """How one connection fared; `error` says what went wrong or why nothing was asked, null where all is well."""

    source_id: UUID = Field(serialization_alias="sourceId")
    vendor: str
    status: actions.Status
    error: str | None


class Collected(BaseModel):
    """A result for every connection; `remaining` streams are due and were not come to."""

    results: list[SourceResult]
    remaining: int


# In the clouds some schedulers can only GET, so here a GET writes: one of two places (BAR F2).
@router.get(_FORMER, include_in_schema=False)
@router.post(_FORMER, include_in_schema=False)
@router.get(_COLLECT, include_in_schema=False)
@router.post(_COLLECT, response_model=Collected)
async def collect(runtime: RuntimeOf, request: Request) -> Response:
    """Fetch what is due over all organizations, inside every quota; at most about a minute. Safe to call twice."""
    _admit(runtime, request)
    try:
        done = await actions.collect(runtime.deps)
    except bootstrap.FAILED as error:
        incident = secrets.token_hex(4)
        _log.error("incident %s: %s at the start of a scheduler call", incident, type(error).__name__, exc_info=error)
        return JSONResponse({"error": "Failed to fetch energy data"}, 500)
    results = [
        SourceResult(source_id=each.connection, vendor=each.vendor, status=each.status, error=each.error)
        for each in done.results
    ]
    told = Collected(results=results, remaining=done.remaining)
    return JSONResponse(told.model_dump(mode="json", by_alias=True))


def _admit(runtime: Runtime, request: Request) -> None:
    """Let in who sends the secret in the header and nowhere else. Raises SchedulerRefused."""
    secret = runtime.settings.cron_secret
    headers = request.headers.getlist("authorization")
    kind, _, sent = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    # Both are hashed first, so that neither length nor beginning of the secret shows in the time it takes.
    right = secret is not None and hmac.compare_digest(_mark(sent.strip()), _mark(secret))
    in_address = secret is not None and secret in unquote_plus(request.url.query)
    if not right or kind.lower() != "bearer" or in_address:
        raise SchedulerRefused(_REFUSAL)


def _mark(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()
