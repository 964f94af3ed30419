"""SolarEdge's answers become sites, devices and energies: one test for each trap of its API."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from enalysis.connectors.base import Batch
from enalysis.connectors.solaredge_series import (
    Told,
    gather,
    parse_energy,
    parse_meters,
    parse_power,
    parse_time,
)
from enalysis.connectors.solaredge_wire import (
    DeviceBody,
    MetersBody,
    OverviewBody,
    SeriesBody,
    SiteBody,
    SitesBody,
    parse_devices,
    parse_overview,
    parse_site,
    parse_sites,
)
from enalysis.core.errors import BadPayload
from enalysis.core.intervals import Window
from enalysis.core.metrics import Metric, Quality
from enalysis.core.sites import DeviceKind, MeterKind

T = TypeVar("T")

# Every trap of the API found in its documents, recordings and clients, and the test that falls into it.
TRAPS = {
    "keys of V1 are refused": "test_a_refused_key_says_what_to_do",
    "the key belongs in a header, never in the address": "test_the_key_goes_in_a_header_only",
    "lists of sites are paged from 1, a short page ends them": "test_sites_are_paged_until_a_short_page",
    "a page that repeats for ever": "test_pages_that_repeat_end_with_an_error",
    "location is an object, a text or null": "test_sites_of_every_kind_of_location",
    "the date of installation may be rubbish": "test_sites_of_every_kind_of_location",
    "peak power is in kW": "test_sites_of_every_kind_of_location",
    "one rubbish field of a site spoils nothing else": "test_a_rubbish_field_of_a_site_is_not_told",
    "a site may come wrapped": "test_a_site_alone_tells_its_zone",
    "a zone may be unknown or hostile": "test_a_zone_that_is_none_is_not_told",
    "devices are a bare list, of types we do not know too": "test_devices_make_a_tree",
    "without `types` only inverters are listed": "test_inventory_spends_three_calls",
    "a meter's kind shows in its series only": "test_devices_make_a_tree",
    "the overview is of today, not lifetime": "test_the_overview_is_todays_energy",
    "without meters the overview is full of nulls": "test_the_overview_is_todays_energy",
    "periods end in nanoseconds": "test_stamps",
    "night is null, not 0": "test_nulls_are_gaps_and_zeros_are_zeros",
    "the open bucket is null": "test_nulls_are_gaps_and_zeros_are_zeros",
    "there is no power of now": "test_power_now_is_the_newest_that_is_not_null",
    "a bucket may be published late": "test_answered_ends_where_the_vendor_has_told",
    "nothing listed is not null": "test_an_answer_that_lists_nothing_answers_nothing",
    "ranges end at 12 hours": "test_a_long_window_is_asked_for_in_pieces",
    "the range asked for may be ignored": "test_buckets_outside_the_window_are_passed_over",
    "naive stamps would be local time": "test_ranges_are_asked_for_in_utc",
    "the repeated hour of autumn": "test_the_repeated_hour_is_told_apart_by_its_offsets",
    "units differ within one body": "test_each_series_has_its_own_unit",
    "an unknown unit": "test_an_unknown_unit_sets_its_series_aside",
    "a charge in something else than percent": "test_an_unknown_unit_sets_its_series_aside",
    "another resolution than asked for": "test_another_resolution_is_refused",
    "maps by serial number; only the series a device has": "test_meters",
    "batteries: charge and discharge are two series": "test_storage",
    "power where energy is missing": "test_power_fills_in_where_energy_is_missing",
    "one bad value among good ones": "test_bad_values_are_set_aside_one_by_one",
    "naive, crooked, repeated and unsorted stamps": "test_bad_stamps_are_set_aside_one_by_one",
    "required keys missing": "test_a_body_without_its_keys_is_refused",
    "remaining calls of the minute stand in every answer, 404 included": "test_remaining_calls_are_believed",
    "429: the minute or the month": "test_spent_quotas",
    "403 means three things": "test_a_forbidden_site_names_itself",
    "410 is for good": "test_refusals_are_named",
    "a site's reference goes into a path": "test_a_reference_that_is_no_number_is_never_sent",
}

PAYLOADS = Path(__file__).parent / "payloads" / "solaredge"
SITE = "4101001"
NOW = datetime(2026, 6, 2, 9, 7, 30, tzinfo=UTC)
MIDNIGHT = datetime(2026, 6, 1, 22, tzinfo=UTC)
MORNING = Window(MIDNIGHT, datetime(2026, 6, 2, 9, tzinfo=UTC))
HOUR = Window(datetime(2026, 6, 2, 8, tzinfo=UTC), datetime(2026, 6, 2, 9, tzinfo=UTC))
GRID, PRODUCTION, HOUSE = f"meter:{SITE}:600112233", f"meter:{SITE}:600112244", f"meter:{SITE}:600112255"
STEP = timedelta(minutes=15)
LATER = NOW + timedelta(days=1)


def load(name: str, into: type[T]) -> T:
    """Return a composed body, decoded as strictly as the client does."""
    return msgspec.json.decode((PAYLOADS / name).read_bytes(), type=into, strict=True)


def decode(body: object, into: type[T]) -> T:
    """Return a body made here; text is JSON as it stands."""
    return msgspec.json.decode(body if isinstance(body, str) else json.dumps(body), type=into, strict=True)


def energy(points: str, unit: str = '"WH"', resolution: str = "QUARTER_HOUR") -> SeriesBody:
    """Return an answer of /energy about the morning, with these points as JSON."""
    period = '{"from": "2026-06-02T00:00:00+02:00", "to": "2026-06-02T11:07:30+02:00"}'
    return decode(
        f'{{"period": {period}, "unit": {unit}, "resolution": "{resolution}", "values": [{points}]}}',
        SeriesBody,
    )


def point(clock: str, value: str) -> str:
    """Return one bucket of 2 June, local time, with a value as JSON."""
    return f'{{"timestamp": "2026-06-02T{clock}:00+02:00", "value": {value}}}'


def by_time(told: Told, device: str, metric: Metric) -> list[float | None]:
    """Return a metric of a device for the four buckets of HOUR."""
    return [told.values.get((device, at), {}).get(metric) for at in HOUR.slots(900)]


def batch(body: SeriesBody, asked: Window = MORNING, now: datetime = NOW) -> Batch:
    """Return what a fetch with this one answer brings."""
    return gather([parse_energy(body, SITE, asked)], asked, now)


def test_every_trap_has_its_test() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_solaredge*.py"))
    assert set(TRAPS.values()) - set(re.findall(r"def (test_\w+)\(", text)) == set()


def test_every_payload_has_its_source() -> None:
    told = set(re.findall(r"[\w.]+\.json", (PAYLOADS / "README.md").read_text(encoding="utf-8")))
    assert told == {path.name for path in PAYLOADS.glob("*.json")}


def test_sites_of_every_kind_of_location() -> None:
    mill, dairy, boat = parse_sites(load("sites.json", SitesBody))
    assert (mill.ref, mill.name, mill.address) == (SITE, "Mill Lane 4", "Mill Lane 4, 8010, Graz, Austria")
    assert (mill.capacity_wp, mill.installed_on, mill.active) == (6400.0, date(2023, 5, 11), True)
    assert (dairy.address, dairy.capacity_wp, dairy.installed_on) == ("Old Dairy, Leoben", 8200.0, None)
    assert dairy.active is False
    assert (boat.address, boat.capacity_wp, boat.installed_on, boat.active) == (None, None, None, True)
    assert {site.zone for site in (mill, dairy, boat)} == {None}


@pytest.mark.parametrize("peak", ["-1", "0", "1e400", "true", '"6.4"', "[]", "1e12", "null"])
def test_a_rubbish_field_of_a_site_is_not_told(peak: str) -> None:
    body = decode(f'{{"siteId": 7, "peakPower": {peak}, "name": 5, "location": [], "note": {{}}}}', SiteBody)
    site = parse_site(body)
    assert (site.ref, site.name, site.capacity_wp, site.address) == ("7", "Site 7", None, None)


def test_control_characters_do_not_get_through() -> None:
    site = parse_site(decode({"siteId": 7, "name": " A\r\n\x1b[31mB\x00 " + "x" * 500}, SiteBody))
    assert site.name == ("A[31mB " + "x" * 500)[:200]


@pytest.mark.parametrize("name", ["site.json", "site_wrapped.json"])
def test_a_site_alone_tells_its_zone(name: str) -> None:
    site = parse_site(load(name, SiteBody))
    assert (site.ref, site.zone, site.address) == (SITE, "Europe/Vienna", "Graz, Austria")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "../../etc/passwd", "", "x" * 9000, 5, None, ["UTC"]])
def test_a_zone_that_is_none_is_not_told(zone: object) -> None:
    assert parse_site(decode({"siteId": 7, "location": {"timezone": zone}}, SiteBody)).zone is None


@pytest.mark.parametrize("body", [{"siteId": 0}, {"siteId": -4}, {"name": "x"}, {"site": {"name": "x"}}])
def test_a_site_without_an_id_is_refused(body: object) -> None:
    with pytest.raises(BadPayload, match="without an id"):
        parse_site(decode(body, SiteBody))


def test_devices_make_a_tree() -> None:
    meters = load("meters.json", MetersBody).meters
    devices = {d.ref: d for d in parse_devices(load("devices.json", list[DeviceBody]), SITE, meters)}
    total, inverter, battery = f"site:{SITE}", f"inverter:{SITE}:7E0A11C2-9B", f"battery:{SITE}:BATT-77"
    assert list(devices) == [total, inverter, GRID, PRODUCTION, HOUSE, battery]
    assert {d.parent for d in devices.values()} == {None, total}
    assert devices[total].kind is DeviceKind.SITE_TOTAL
    assert devices[inverter].model == "SE6000H-RW000BNN4"
    assert (devices[inverter].serial, devices[inverter].firmware) == ("7E0A11C2-9B", "4.25.13")
    assert (devices[battery].model, devices[battery].active) == ("RESU10H", False)
    assert {ref: set(d.feeds) for ref, d in devices.items()} == {
        total: {MeterKind.PV},
        inverter: set(),
        GRID: {MeterKind.GRID},
        # The site's total is the pv of the site; a production meter on top of it would count it twice.
        PRODUCTION: set(),
        HOUSE: {MeterKind.LOAD},
        battery: {MeterKind.BATTERY},
    }


def test_devices_without_a_serial_or_listed_twice_are_left_out() -> None:
    bodies = decode(
        [
            {"type": "METER"},
            {"type": "METER", "serialNumber": 5},
            *[{"type": "METER", "serialNumber": "A"}] * 2,
        ],
        list[DeviceBody],
    )
    found = parse_devices(bodies, SITE, {"B": ("importPower",)})
    assert [d.ref for d in found] == [f"site:{SITE}", f"meter:{SITE}:A", f"meter:{SITE}:B"]
    assert found[2].feeds == {MeterKind.GRID}


def test_the_overview_is_todays_energy() -> None:
    assert parse_overview(load("overview.json", OverviewBody), SITE) == pytest.approx(18420.0)
    assert parse_overview(load("overview_without_meters.json", OverviewBody), "4101003") == 26290.0


@pytest.mark.parametrize(("total", "unit"), [("null", "WH"), ("-1", "WH"), ("1e400", "WH"), ("5", "JOULE")])
def test_an_overview_without_a_number_tells_nothing(total: str, unit: str) -> None:
    body = decode(f'{{"siteId": 7, "production": {{"total": {total}, "unit": "{unit}"}}}}', OverviewBody)
    assert parse_overview(body, "7") is None


def test_an_overview_of_another_site_is_refused() -> None:
    with pytest.raises(BadPayload, match="another site"):
        parse_overview(load("overview.json", OverviewBody), "4101002")


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("2026-06-02T11:07:41.016061916+02:00", datetime(2026, 6, 2, 9, 7, 41, 16061, tzinfo=UTC)),
        ("2026-06-02T11:07:41.5+02:00", datetime(2026, 6, 2, 9, 7, 41, 500000, tzinfo=UTC)),
        ("2026-06-02T09:00:00Z", datetime(2026, 6, 2, 9, tzinfo=UTC)),
        ("2026-06-02T14:45:00+05:45", datetime(2026, 6, 2, 9, tzinfo=UTC)),
        ("2026-06-02T11:00+0200", datetime(2026, 6, 2, 9, tzinfo=UTC)),
    ],
)
def test_stamps(stamp: str, at: datetime) -> None:
    assert parse_time(stamp) == at


@pytest.mark.parametrize(
    ("stamp", "why"),
    [
        ("2026-06-02T09:00:00", "without a zone"),
        ("2026-13-02T09:00:00Z", "no such time"),
        ("2026-06-02T09:00:00+29:00", "no such time"),
        ("0001-01-01T00:00:00+14:00", "no such time"),
        ("2026-06-02 09:00:00Z", "not an ISO"),
        ("٢٠٢٦-06-02T09:00:00Z", "not an ISO"),
        ("2026-06-02T09:00:00.1234567890Z", "not an ISO"),
        ("yesterday", "not an ISO"),
        ("", "not an ISO"),
    ],
)
def test_stamps_that_are_none(stamp: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_time(stamp)


def test_nulls_are_gaps_and_zeros_are_zeros() -> None:
    found = batch(load("energy.json", SeriesBody))
    assert [i.start for i in found.intervals] == list(Window(MIDNIGHT + 22 * STEP, MORNING.end).slots(900))
    assert [i.values for i in found.intervals[:2]] == [{Metric.PV_WH: 0.0}] * 2
    assert sum(i.values[Metric.PV_WH] for i in found.intervals) == 12566.0
    assert {(i.device, i.duration_s, i.quality) for i in found.intervals} == {(f"site:{SITE}", 900, Quality.MEASURED)}
    assert (found.rejected, found.answered) == ((), MORNING)


def test_power_now_is_the_newest_that_is_not_null() -> None:
    # 11:00 local is open and null, so the newest mean is that of 10:45, in kW; its age shows.
    assert parse_power(load("power.json", SeriesBody), SITE, NOW) == (3800.0, MORNING.end)
    later = NOW + timedelta(hours=3)
    assert parse_power(load("power.json", SeriesBody), SITE, later) == (3800.0, MORNING.end)
    assert parse_power(energy(point("10:45", "null"), unit='"W"'), SITE, NOW) is None
    assert parse_power(load("power.json", SeriesBody), SITE, NOW + timedelta(days=2)) is None


def test_answered_ends_where_the_vendor_has_told() -> None:
    late = ", ".join([point("08:45", "10"), point("09:00", "20"), point("09:15", "null"), point("10:45", "null")])
    told_until = datetime(2026, 6, 2, 7, 15, tzinfo=UTC)
    assert batch(energy(late)).answered == Window(MIDNIGHT, told_until)
    # Two hours later a null is the vendor's word.
    assert batch(energy(late), now=NOW + timedelta(hours=2)).answered == MORNING
    # At night there is nothing but nulls: they are believed when they are two hours old.
    night = energy(", ".join(point(f"0{h}:00", "null") for h in range(6)))
    assert batch(night).answered == Window(MIDNIGHT, datetime(2026, 6, 2, 7, tzinfo=UTC))


def test_the_slowest_device_sets_where_the_answer_ends() -> None:
    told = parse_meters(load("meters.json", MetersBody), SITE, HOUR)
    # The production meter has not told 10:45 yet, though the other two have.
    assert gather([told], HOUR, NOW).answered == Window(HOUR.start, HOUR.end - STEP)
    assert len(told.values) == 3 * 4 - 1


def test_an_answer_that_lists_nothing_answers_nothing() -> None:
    assert batch(energy("")).answered is None
    hollow = '{"resolution": "QUARTER_HOUR", "meters": {"A": {"importEnergy": {"unit": "WH", "values": []}}}}'
    assert gather([parse_meters(decode(hollow, MetersBody), SITE, HOUR)], HOUR, NOW).answered is None


def test_what_is_answered_has_no_hole() -> None:
    first, second, third = (Window(HOUR.start + n * STEP, HOUR.start + (n + 1) * STEP) for n in range(3))
    assert gather([Told(covered=first), Told(), Told(covered=third)], HOUR, LATER).answered == first
    assert gather([Told(), Told(covered=second), Told(covered=third)], HOUR, LATER).answered == Window(
        second.start, third.end
    )
    assert gather([Told(covered=first), Told(covered=third)], HOUR, LATER).answered == first


def test_buckets_outside_the_window_are_passed_over() -> None:
    found = batch(load("energy.json", SeriesBody), HOUR)
    assert [i.start for i in found.intervals] == list(HOUR.slots(900))
    assert (found.rejected, found.answered) == ((), HOUR)
    yesterday = Window(HOUR.start - timedelta(days=1), HOUR.end - timedelta(days=1))
    assert batch(load("energy.json", SeriesBody), yesterday) == Batch()


def test_an_open_bucket_is_never_stored() -> None:
    wide = Window(HOUR.start, HOUR.end + STEP)
    found = batch(energy(point("10:45", "5") + "," + point("11:00", "3")), wide, NOW + STEP)
    # The vendor's own period ends at 11:07:30: what it says of 11:00 is not whole, whatever our clock says.
    assert [i.start for i in found.intervals] == [HOUR.end - STEP]
    assert found.answered == HOUR


@pytest.mark.parametrize(
    ("end", "answered"),
    [
        ("10:30:00Z", HOUR.end),
        ("09:00:00Z", HOUR.end),
        ("08:59:59.999999999Z", HOUR.end),
        ("08:59:59Z", HOUR.end),
        ("08:59:00Z", HOUR.end - STEP),
    ],
)
def test_a_period_answers_the_buckets_that_end_in_it(end: str, answered: datetime) -> None:
    body = energy(", ".join(point(f"10:{m:02}", "5") for m in (0, 15, 30, 45)))
    body.period.end = f"2026-06-02T{end}"
    found = batch(body, HOUR)
    assert found.answered == Window(HOUR.start, answered)
    assert max(i.end for i in found.intervals) == answered


@pytest.mark.parametrize("period", ['{"from": "x", "to": "y"}', '{"from": "2026-06-02T09:00:00Z", "to": "2026"}'])
def test_a_period_that_is_none_is_refused(period: str) -> None:
    body = f'{{"period": {period}, "unit": "WH", "resolution": "QUARTER_HOUR", "values": []}}'
    with pytest.raises(BadPayload, match="no range of time"):
        parse_energy(decode(body, SeriesBody), SITE, HOUR)


def test_the_repeated_hour_is_told_apart_by_its_offsets() -> None:
    start = datetime(2026, 10, 24, 23, 30, tzinfo=UTC)
    asked = Window(start, start + 14 * STEP)
    found = gather([parse_meters(load("meters_autumn.json", MetersBody), SITE, asked)], asked, asked.end)
    assert [i.start for i in found.intervals] == list(asked.slots(900))
    assert [i.values[Metric.GRID_IMPORT_WH] for i in found.intervals] == [100.0 + n for n in range(14)]
    assert (found.rejected, found.answered) == ((), asked)
