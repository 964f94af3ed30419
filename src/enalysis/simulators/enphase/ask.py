"""The questions Enphase's clients ask: pages, dates and stretches of time, and what is refused of them."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from starlette.datastructures import QueryParams

from enalysis.core.intervals import Window, day_window, floor_time, local_day
from enalysis.simulators.enphase.errors import outside, unprocessable
from enalysis.simulators.enphase.view import METER_S, View

# How long a stretch is, s. A day is 86 400 s, also where clocks change: the documentation promises at most
# 96 quarters. Whether the real cloud takes a civil day instead is not known.
GRANULARITIES = {"5mins": 300, "15mins": 900, "day": 86_400, "week": 7 * 86_400}
_LONGEST_METERED = timedelta(days=7)
_OLDEST = timedelta(days=2 * 365)
_DEFAULT_SIZE, _MOST = 10, 100
_FUTURE = "Requested date is in the future"


@dataclass(frozen=True, slots=True)
class Ask:
    """A stretch of telemetry; `dated` where it was asked for by date and is answered so."""

    window: Window
    granularity: str
    dated: bool


def telemetry(params: QueryParams, view: View, now: datetime, step_s: int) -> Ask:
    """Return the stretch asked for, ended at the last whole bucket before now. Raises Refused with 422."""
    granularity = params.get("granularity", "day")
    if granularity not in GRANULARITIES:
        raise unprocessable("Granularity is not supported")
    dated = "start_date" in params and "start_at" not in params
    if dated:
        start = midnight(parse_date(params["start_date"]), view)
    elif "start_at" in params:
        start = _epoch(params["start_at"])
    else:
        start = midnight(local_day(now, view.zone), view)
    if start > now:
        raise unprocessable(f"Invalid request because of '{_FUTURE}'")
    length = timedelta(seconds=GRANULARITIES[granularity])
    _check_age(view, start, start + length, now)
    start = max(start, view.operational_at)
    end = floor_time(min(now, start + length), step_s)
    return Ask(Window(start, max(start, end)), granularity, dated)


def metered(params: QueryParams, view: View, now: datetime) -> Window:
    """Return the stretch asked of the revenue-grade endpoint, rounded down to quarters. Raises Refused with 422."""
    start = (
        floor_time(_epoch(params["start_at"]), METER_S)
        if "start_at" in params
        else midnight(local_day(now, view.zone), view)
    )
    end = floor_time(_epoch(params["end_at"]), METER_S) if "end_at" in params else min(now, start + _LONGEST_METERED)
    if start > now:
        raise unprocessable(f"Invalid request because of '{_FUTURE}'")
    if end < start:
        raise unprocessable("Requested date range is invalid for this system")
    if end - start > _LONGEST_METERED:
        told = f"{{:start_at=> {int(start.timestamp())}, :end_at=> {int(end.timestamp())}}}"
        raise unprocessable(f"Requested date range in one API hit cannot be more than 7 days. {told}")
    _check_age(view, start, end, now)
    start = max(start, view.operational_at)
    return Window(start, max(start, floor_time(min(end, now), METER_S)))


def days(params: QueryParams, view: View, now: datetime) -> tuple[date, date]:
    """Return the first and the last day of a daily series; without an end it is yesterday.

    Raises: Refused: a date is no date, lies ahead, or the last comes before the first.
    """
    today = local_day(now, view.zone)
    first = max(parse_date(params["start_date"]) if "start_date" in params else date.min, view.world.site.installed)
    usual = today if first == today else today - timedelta(days=1)
    last = parse_date(params["end_date"]) if "end_date" in params else usual
    if first > today or last > today:
        raise unprocessable(_FUTURE)
    if "end_date" in params and last < first:
        raise unprocessable("Requested date range is invalid for this system")
    return first, last


def summary_date(params: QueryParams, view: View, now: datetime) -> date:
    """Return the day a summary is of, today without one. Raises Refused with 422."""
    today = local_day(now, view.zone)
    day = parse_date(params["summary_date"]) if "summary_date" in params else today
    if day > today:
        raise unprocessable(_FUTURE)
    if day < view.world.site.installed:
        raise unprocessable("Requested date range is invalid for this system")
    return day


def read_at(params: QueryParams, now: datetime) -> datetime:
    """Return the instant before which registers shall be read. Raises Refused with 422."""
    return min(now, _epoch(params["end_at"])) if "end_at" in params else now


def paging(params: QueryParams) -> tuple[int, int]:
    """Return page, from 1, and size, up to 100. Raises Refused with 422 for others."""
    found = []
    for name, default, most in (("page", 1, 10**6), ("size", _DEFAULT_SIZE, _MOST)):
        text = params.get(name, str(default))
        if re.fullmatch(r"[0-9]{1,7}", text) is None or not 1 <= int(text) <= most:
            raise unprocessable(f"Invalid {name}")
        found.append(int(text))
    return found[0], found[1]


def parse_date(text: str) -> date:
    """Return the day of YYYY-MM-DD. Raises Refused with 422."""
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise unprocessable(f"Failed to parse date {text}")


def midnight(day: date, view: View) -> datetime:
    """Return when a day of the site begins."""
    return day_window(day, view.zone).start


def _epoch(text: str) -> datetime:
    if re.fullmatch(r"[0-9]{1,11}", text) is None:
        raise unprocessable(f"Failed to parse date {text}")
    return datetime.fromtimestamp(int(text), UTC)


def _check_age(view: View, start: datetime, end: datetime, now: datetime) -> None:
    if start < now - _OLDEST:
        last = view.last_quarter(now)
        raise outside((start, end), (view.operational_at, last.end if last else view.operational_at))
