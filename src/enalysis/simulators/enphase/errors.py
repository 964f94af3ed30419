"""How Enphase refuses: three envelopes for errors, and two forms of too many calls."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from enalysis.core.intervals import floor_time
from enalysis.simulators.accounts import Plan, Verdict, billing_month

_MINUTE_S = 60


class Refused(Exception):
    """A call that is not served: the HTTP status, and the body in the vendor's words."""

    def __init__(self, status: int, body: Mapping[str, object]) -> None:
        super().__init__(str(status))
        self.status = status
        self.body = dict(body)


def _plain(status: int, message: str, details: str) -> Refused:
    return Refused(status, {"message": message, "details": details, "code": status})


def _listed(status: int, reason: str) -> Refused:
    return Refused(status, {"reason": str(status), "message": [reason]})


def not_authorized() -> Refused:
    """No or a wrong credential, an app that is not approved, or an access control it lacks: all the same."""
    return _plain(401, "Not Authorized", "User is not authorized")


def mismatch() -> Refused:
    """The key and the token belong to different apps."""
    return _plain(401, "API Key -Client mismatch", "API Key and Client ID of the access token do not match")


def forbidden() -> Refused:
    """The system is somebody else's."""
    return _plain(403, "Forbidden", "Not authorized to access this resource")


def no_system(ref: str, *, readings: bool = False) -> Refused:
    """There is no such system; the endpoints of meter readings use another message for it."""
    # The detail is a hash as Ruby prints it.
    return _plain(404, "Not Authorized" if readings else "Not Found", f'System not found for {{:id=>"{ref}"}}')


def no_envoy() -> Refused:
    """There is no gateway of this serial number."""
    return _plain(404, "Not Found", "Envoy not found with this serial number")


def no_path() -> Refused:
    """There is no such endpoint; how the vendor words that is not known."""
    return _plain(404, "Not Found", "Resource not found")


def gone() -> Refused:
    """The vendor has switched this version of its API off; not documented for this one."""
    return _plain(410, "Gone", "This version of the API has been retired")


def unprocessable(reason: str) -> Refused:
    """The parameters make no sense together or to this endpoint."""
    return _plain(422, "Unprocessable Entity", reason)


def outside(asked: tuple[datetime, datetime], known: tuple[datetime, datetime]) -> Refused:
    """The range asked for is not one this system has, as all telemetry says it."""
    names = ("start_at", "end_at", "first_interval", "last_interval")
    told = ", ".join(f":{n}=>{int(at.timestamp())}" for n, at in zip(names, (*asked, *known), strict=True))
    return unprocessable(f"Invalid request because of 'Requested date range is invalid for this system. {{{told}}}'")


def method_not_allowed() -> Refused:
    """The endpoint exists, the method does not."""
    return _listed(405, "Method not allowed")


def not_implemented() -> Refused:
    """A method nobody knows."""
    return _listed(501, "Not Implemented")


def failing(*, metered: bool) -> Refused:
    """The vendor's own trouble, in the envelope of the metered endpoint or in that of the others."""
    if metered:
        return Refused(500, {"errorCode": 7, "errorMessages": ["Data is temporarily unavailable"]})
    return _plain(500, "Internal Server Error", "unable to fetch data")


def too_many(plan: Plan, verdict: Verdict, billed_from: datetime, now: datetime, *, told: bool) -> Refused:
    """The minute or the month is spent; `told`: the endpoint is one of those that say which, and until when."""
    refused = _plain(429, "Too Many Requests", f"Usage limit exceeded for plan {plan.label}")
    if told:
        start, limit = floor_time(now, _MINUTE_S), plan.per_minute
        end = start + timedelta(seconds=_MINUTE_S)
        if verdict is Verdict.MONTH:
            start, limit = billing_month(billed_from, now), plan.per_month
            end = billing_month(billed_from, start + timedelta(days=32))
        refused.body |= {
            "period": verdict.value,
            "period_start": int(start.timestamp()),
            "period_end": int(end.timestamp()),
            "limit": limit,
        }
    return refused
