"""Where a site roughly is when nobody told: the principal place of its time zone."""

import re
from functools import cache
from importlib.resources import files

from enalysis.core.daylight import Place
from enalysis.store.sites import Site

_POINT = re.compile(r"^([+-])(\d{2})(\d{2})(?:\d{2})?([+-])(\d{3})(\d{2})(?:\d{2})?$")


def place_of(site: Site) -> Place | None:
    """Return where the site is, `exact` where it says so itself, else the place its zone is named after."""
    if site.latitude is not None and site.longitude is not None:
        return Place(site.latitude, site.longitude)
    point = _zone_points().get(site.zone)
    return None if point is None else Place(*point, exact=False)


@cache
def _zone_points() -> dict[str, tuple[float, float]]:
    """Read the IANA database: zone.tab (country, ±DDMM[SS]±DDDMM[SS], zone), and the other names of its zones."""
    text = files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    points = {}
    for line in text.splitlines():
        columns = line.split("\t")
        found = None if line.startswith("#") else _POINT.match(columns[1])
        if found is not None:
            ns, lat, lat_min, ew, lon, lon_min = found.groups()
            latitude = (int(lat) + int(lat_min) / 60) * (1 if ns == "+" else -1)
            longitude = (int(lon) + int(lon_min) / 60) * (1 if ew == "+" else -1)
            points[columns[2]] = (latitude, longitude)
    for line in files("tzdata").joinpath("zoneinfo", "tzdata.zi").read_text(encoding="utf-8").splitlines():
        # Links, as in `L America/Denver US/Mountain`: some vendors go on using the former names.
        kind, _, names = line.partition(" ")
        target, _, alias = names.partition(" ")
        if kind == "L" and target in points:
            points.setdefault(alias, points[target])
    return points
