"""Puts the web application together over a runtime that somebody else opens and closes."""

from fastapi import Depends, FastAPI
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from enalysis.runtime import Runtime
from enalysis.web import errors, health
from enalysis.web.address import address_of
from enalysis.web.api import apps as api_apps
from enalysis.web.api import budget as api_budget
from enalysis.web.api import connections as api_connections
from enalysis.web.api import fleet as api_fleet
from enalysis.web.api import meanwhile as api_meanwhile
from enalysis.web.api import oauth as api_oauth
from enalysis.web.api import scheduler
from enalysis.web.api import sites as api_sites
from enalysis.web.assets import Assets
from enalysis.web.auth import SignedIn, refuse_foreign_writes
from enalysis.web.guards import BODY_LIMIT, Guard
from enalysis.web.pages import (
    apps,
    budget,
    connection,
    connections,
    consent,
    fleet,
    meanwhile,
    session,
    setup,
    site,
    wizard,
)
from enalysis.web.views import Views, error_page


class Application(FastAPI):
    """FastAPI with our guard outermost, so that its headers are on error answers too."""

    def build_middleware_stack(self) -> ASGIApp:
        """Wrap everything, the framework's own error handling included."""
        runtime: Runtime = self.state.runtime
        return Guard(super().build_middleware_stack(), self.state.address, sandbox=runtime.sandbox)


def create_app(runtime: Runtime) -> FastAPI:
    """Return the application; `runtime` must be open while it serves."""
    app = Application(
        title="Enalysis",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        max_body_size=BODY_LIMIT,
        dependencies=[Depends(refuse_foreign_writes)],
    )
    assets = Assets()
    app.state.runtime = runtime
    app.state.address = address_of(runtime.settings.public_url, runtime.settings.allowed_hosts)
    app.state.views = Views(assets)
    errors.install(app, error_page, runtime.clock)
    app.mount("/static", assets)
    for part in (
        health,
        api_fleet,
        api_sites,
        api_connections,
        api_budget,
        api_meanwhile,
        api_apps,
        api_oauth,
        scheduler,
    ):
        app.include_router(part.router)
    # The wizard first: `new` is no connection's identifier.
    for part in (setup, session, fleet, site, budget, connections, wizard, consent, meanwhile, connection, apps):
        app.include_router(part.router)

    @app.get("/api/v1/openapi.json", include_in_schema=False)
    async def openapi(person: SignedIn) -> Response:
        """Describe the API, to those who may use it."""
        del person
        return JSONResponse(app.openapi())

    return app
