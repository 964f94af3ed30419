"""Renders templates with what every page needs: who is signed in, where we are, what time it is."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from enalysis.actions.accounts import Person
from enalysis.core.access import Role
from enalysis.queries import budget_words
from enalysis.web import auth, charts, flow, formats
from enalysis.web.assets import Assets
from enalysis.web.errors import Fault

_FOLDER = Path(__file__).parent / "templates"
_WRITERS = frozenset({Role.OWNER, Role.ADMIN})
# Two modest settings of htmx that a strict content security policy needs, and no page kept in the browser.
HTMX = (
    '{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,"selfRequestsOnly":true,'
    '"historyCacheSize":0,"refreshOnHistoryMiss":true,"timeout":60000}'
)


class Views:
    """The templates and the addresses of the assets they name."""

    def __init__(self, assets: Assets) -> None:
        self._env = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.globals.update(
            asset=assets.address,
            quantity=formats.quantity,
            scale_of=formats.scale_of,
            percent=formats.percent,
            spark=charts.spark,
            quality_words=charts.quality_words,
            series=charts.SERIES,
            colours=charts.COLOURS,
            count=formats.count,
            clock=formats.clock,
            htmx_config=HTMX,
            stale_after=flow.STALE,
        )
        self._env.filters.update(
            iso=formats.iso,
            moment=formats.moment,
            day=formats.calendar_day,
            weekday=formats.weekday,
            age=formats.age,
            until=formats.until,
            sentence=formats.sentence,
            pace=budget_words.span,
            calls=formats.digits,
            span=formats.span,
        )

    def text(self, request: Request, template: str, context: dict[str, object]) -> str:
        """Render a template to text."""
        state = request.app.state
        person: Person | None = getattr(request.state, "person", None)
        return self._env.get_template(template).render(
            {
                "person": person,
                "may_write": person is not None and person.scope.role in _WRITERS,
                "may_operate": person is not None and person.scope.role is not Role.VIEWER,
                "path": request.url.path,
                "now": state.runtime.clock(),
                "sandbox": state.runtime.sandbox,
                "may_simulate": state.runtime.vendors.may_simulate,
                "open_cookie": not state.address.sealed,
                "form_token": auth.form_token(request),
                **context,
            }
        )


def page(request: Request, template: str, status: int = 200, **context: object) -> Response:
    """Answer with a page; a visitor without a session also gets the cookie that binds the page's forms."""
    views: Views = request.app.state.views
    answer = HTMLResponse(views.text(request, template, context), status)
    auth.keep_seed(request, answer)
    return answer


def error_page(request: Request, fault: Fault, detail: str, incident: str | None) -> Response:
    """Answer an error with a page that says what happened, what still works and what to do."""
    return page(request, "error.html", fault.status, fault=fault, detail=detail, incident=incident)
