"""Where a site roughly is when only its zone is known."""

from uuid import uuid4

import pytest

from enalysis.core.daylight import Place
from enalysis.queries.places import place_of
from enalysis.store.sites import Site


def site(zone: str, latitude: float | None = None, longitude: float | None = None) -> Site:
    return Site(uuid4(), "Here", None, zone, latitude, longitude, None)


def test_a_site_that_says_where_it_is_is_believed() -> None:
    assert place_of(site("Europe/Berlin", 47.0, 15.4)) == Place(47.0, 15.4)


@pytest.mark.parametrize(
    ("former", "now"),
    [("US/Mountain", "America/Denver"), ("Asia/Calcutta", "Asia/Kolkata"), ("Europe/Vienna", "Europe/Vienna")],
)
def test_a_zone_stands_for_its_principal_place_under_any_name(former: str, now: str) -> None:
    found = place_of(site(former))
    assert found == place_of(site(now))
    assert found is not None
    assert not found.exact


def test_a_zone_without_a_place_has_none() -> None:
    assert place_of(site("UTC")) is None
