"""Tells probes in one word whether the process lives and can serve, and monitors a little more."""

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse, PlainTextResponse

from enalysis.runtime import Runtime
from enalysis.web.auth import RuntimeOf
from enalysis.web.formats import iso

router = APIRouter(include_in_schema=False)
# Probes give up after a few seconds themselves, and a probe that hangs tells nobody which check it was.
_PATIENCE_S = 2.0
_PROBED = ["GET", "HEAD"]
_OK = "ok"


@router.api_route("/live", methods=_PROBED)
async def live() -> Response:
    """Answer; nothing is asked, so that a database in trouble restarts no process."""
    return PlainTextResponse(_OK)


@router.api_route("/ready", methods=_PROBED)
async def ready(runtime: RuntimeOf) -> Response:
    """Answer ok when database, schema and key are; no details for strangers."""
    checks = await _checks(runtime)
    fine = all(state == _OK for state in checks.values())
    return PlainTextResponse(_OK if fine else "no", 200 if fine else 503)


@router.api_route("/api/health", methods=_PROBED)
async def health(runtime: RuntimeOf) -> Response:
    """Answer which check fails, never why in the words of an exception."""
    found = await _checks(runtime)
    checks = {name: _OK if state == _OK else "unavailable" for name, state in found.items()}
    checks = {"database": checks.pop("database"), "cache": "not configured", **checks}
    body: dict[str, object] = {"timestamp": iso(runtime.clock()), "checks": checks}
    broken = next((name for name, state in checks.items() if state == "unavailable"), None)
    if broken is None:
        return JSONResponse({"status": "healthy", **body})
    return JSONResponse({"status": "unhealthy", "error": f"{broken} unavailable", **body}, 500)


async def _checks(runtime: Runtime) -> Mapping[str, str]:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await runtime.ready()
    except TimeoutError:
        return {"database": "unavailable", "schema": "unknown", "key": "unknown"}
