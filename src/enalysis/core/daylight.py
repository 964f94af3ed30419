"""When the sun is up at a place, exact to about a third of a degree: enough to let a poll sleep at night."""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from enalysis.core.intervals import Window

_J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
_STEP = timedelta(minutes=10)
# A poll after dusk belongs to the day before; and a plan looks two days ahead.
_PAST, _AHEAD = timedelta(hours=24), timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class Place:
    """A point on earth in degrees, north and east positive; `exact` is False where only the zone is known."""

    latitude: float
    longitude: float
    exact: bool = True


def sun_elevation_deg(at: datetime, place: Place) -> float:
    """Return the sun's elevation above the horizon in degrees, without refraction.

    Source: Astronomical Almanac, low precision formulas for the sun, good to 0.01 degrees of longitude
    between 1950 and 2050.
    """
    days = (at - _J2000).total_seconds() / 86400.0
    mean_longitude = math.radians((280.460 + 0.9856474 * days) % 360)
    anomaly = math.radians((357.528 + 0.9856003 * days) % 360)
    ecliptic = mean_longitude + math.radians(1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly))
    tilt = math.radians(23.439 - 0.0000004 * days)
    declination = math.asin(math.sin(tilt) * math.sin(ecliptic))
    ascension = math.atan2(math.cos(tilt) * math.sin(ecliptic), math.cos(ecliptic))
    sidereal_deg = (18.697374558 + 24.06570982441908 * days) * 15 + place.longitude
    hour_angle = math.radians(sidereal_deg % 360) - ascension
    latitude = math.radians(place.latitude)
    height = math.sin(latitude) * math.sin(declination)
    height += math.cos(latitude) * math.cos(declination) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, height))))


def daylight(window: Window, place: Place | None, margin_s: float = 1800) -> list[Window]:
    """Return the parts of the window in which pv may produce, widened by `margin_s` on both sides.

    A place known only by its zone widens by an hour more; an unknown place is always possible daylight.
    """
    if place is None:
        return [window]
    margin = timedelta(seconds=margin_s if place.exact else margin_s + 3600)
    at, found = window.start - margin, list[Window]()
    while at < window.end + margin:
        if sun_elevation_deg(at, place) > -1.0:
            _join(found, Window(at - margin, at + _STEP + margin))
        at += _STEP
    return [part for w in found if (part := w.meet(window)) is not None]


@lru_cache(maxsize=20_000)
def lit_around(place: Place, hour: datetime) -> tuple[Window, ...]:
    """Return the daylight from a day ago, for the poll after dusk, to two days ahead, once per place and hour."""
    told = Window(hour - _PAST, hour + _AHEAD)
    found = list[Window]()
    day = told.start.date()
    while datetime.combine(day, time(), tzinfo=UTC) < told.end:
        for part in _lit_on(place, day):
            _join(found, part)
        day += timedelta(days=1)
    return tuple(met for w in found if (met := w.meet(told)) is not None)


@lru_cache(maxsize=50_000)
def _lit_on(place: Place, day: date) -> tuple[Window, ...]:
    """Return the daylight of a day of UTC: the sun is computed once for it, not once for every hour of it."""
    start = datetime.combine(day, time(), tzinfo=UTC)
    return tuple(daylight(Window(start, start + timedelta(days=1)), place))


def _join(found: list[Window], window: Window) -> None:
    if found and window.start <= found[-1].end:
        found[-1] = Window(found[-1].start, max(found[-1].end, window.end))
    else:
        found.append(window)
