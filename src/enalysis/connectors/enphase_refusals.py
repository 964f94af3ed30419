"""What Enphase's refusals mean: several envelopes, fixed phrases, and none of the vendor's words repeated."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from enalysis.connectors.calls import Refusal
from enalysis.connectors.enphase_wire import VENDOR
from enalysis.core.errors import AppFault, BadPayload, Forbidden, LoginNeeded, QuotaSpent, VendorError
from enalysis.core.intervals import floor_time
from enalysis.core.quotas import QuotaWindow, calendar_window

E = TypeVar("E", bound=VendorError)

_CODE = re.compile(r"[0-9]{1,5}")
_MINUTE = timedelta(minutes=1)
# A window told by the vendor is believed this far ahead: the longest month, and a day for clocks.
_LONGEST = timedelta(days=32)
# Where we only conclude that a month is spent, we look once a day: a wrong guess must not blind a site for weeks.
_LOOK = timedelta(days=1)
# Said of a range in which the system has told nothing, not of one that is none.
_OUTSIDE = ("date range is invalid for this system", "date is in the future")
_TEXTS = ("message", "details", "reason", "errorMessages")


class OutOfRange(BadPayload):
    """The range asked for lies outside what the system has told: no reading, and no fault either."""


def explain(refusal: Refusal, *, again: bool = False) -> VendorError | None:
    """Name what a refusal means; None leaves it to the table that all vendors share.

    Args: again: the last word of the vendor, in an earlier minute, was a 429 that told no window either.
    """
    said = " | ".join(_texts(_body(refusal))).lower()
    system = f"system {refusal.subject}" if refusal.subject else "these systems"
    match refusal.status:
        case 401:
            return _unauthorized(refusal, said)
        case 403:
            return _error(Forbidden, refusal, f"Enphase does not let this sign-in read {system}.")
        case 404 if refusal.subject and said:
            return _error(Forbidden, refusal, f"Enphase knows no {system} that this sign-in may read.")
        case 405:
            text = f"Enphase does not allow this call for {system}: the app's plan may not include it."
            return _error(Forbidden, refusal, text)
        case 422 if any(phrase in said for phrase in _OUTSIDE):
            return _error(OutOfRange, refusal, "Enphase has nothing of this system in the range asked for.")
        case 400 | 422:
            return _error(BadPayload, refusal, "Enphase refused the range or another detail of the call.")
        case 429:
            return _spent(refusal, again=again)
    return None


def _unauthorized(refusal: Refusal, said: str) -> VendorError:
    """Tell an app whose keys do not belong together from a sign-in, an access control or a plan that is missing.

    The last three look alike in the answer; which it is shows in what else the same sign-in may read.
    """
    if "api key" in said:
        text = (
            "Enphase says that the app's API key is missing, or not of the same app as its client ID: copy all three"
            " keys from one app. Nobody needs to sign in again."
        )
        return _error(AppFault, refusal, text)
    text = (
        "Enphase did not accept the sign-in for this call: it was withdrawn, or the app lacks the access control,"
        " or its plan does not include the call."
    )
    return _error(LoginNeeded, refusal, text)


def told_limit(refusal: Refusal) -> tuple[QuotaWindow, int] | None:
    """Return the window that is spent and its limit, calls, where a 429 tells them."""
    body = _body(refusal)
    limit = body.get("limit")
    window = _window(body)
    if refusal.status != 429 or window is None or isinstance(limit, bool) or not isinstance(limit, int):  # noqa: PLR2004 - too many requests
        return None
    return (window, limit) if limit > 0 else None


def _spent(refusal: Refusal, *, again: bool) -> QuotaSpent:
    """Take the window from the answer, which 24 of 42 operations are documented to tell.

    Where it tells none, the minute is taken to be spent; where it says so again in a fresh minute, which our
    own ledger cannot have used up, the month.
    """
    body = _body(refusal)
    window, until = _window(body), _until(body, refusal.at)
    if window is None:
        window, until = (QuotaWindow.MONTH if again else QuotaWindow.MINUTE), None
    if window is QuotaWindow.MONTH:
        error = _error(QuotaSpent, refusal, "The calls of this month at Enphase are spent.")
        looked = min(calendar_window(QuotaWindow.MONTH, refusal.at).end, refusal.at + _LOOK)
        error.until = until or looked
    else:
        error = _error(QuotaSpent, refusal, "Enphase takes no more calls for the moment.")
        # Windows are whole minutes of the clock.
        error.until = until or floor_time(refusal.at, 60) + _MINUTE
    error.window = window.value
    return error


def _error(kind: type[E], refusal: Refusal, message: str) -> E:
    body = _body(refusal)
    # A number or the text of one, in three envelopes; anything else is not repeated.
    told = (str(body.get(name)) for name in ("code", "errorCode", "reason"))
    code = next((one for one in told if _CODE.fullmatch(one)), None)
    error = kind(message, vendor=VENDOR, operation=refusal.operation, status=refusal.status, code=code)
    if isinstance(error, Forbidden):
        error.subject = refusal.subject
    return error


def _body(refusal: Refusal) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(refusal.body, type=dict[str, object])
    except (ValueError, RecursionError):
        return {}


def _texts(body: Mapping[str, object]) -> Iterator[str]:
    """Yield the texts of any of the envelopes; each may be one text or a list of them."""
    for name in _TEXTS:
        value = body.get(name)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                yield one


def _window(body: Mapping[str, object]) -> QuotaWindow | None:
    period = body.get("period")
    return QuotaWindow(period) if isinstance(period, str) and period in set(QuotaWindow) else None


def _until(body: Mapping[str, object], at: datetime) -> datetime | None:
    """Return when the spent window ends, where the answer tells a time that can be believed."""
    told = body.get("period_end")
    if isinstance(told, bool) or not isinstance(told, int) or not 0 < told < 2**33:
        return None
    until = datetime.fromtimestamp(told, UTC)
    return until if at < until <= at + _LONGEST else None
