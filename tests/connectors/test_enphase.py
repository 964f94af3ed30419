"""Enphase's systems, summaries and devices: one test for each trap of its API, the list of them included."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from enalysis.connectors.enphase import SPEC
from enalysis.connectors.enphase_wire import (
    DevicesBody,
    SummaryBody,
    SystemBody,
    SystemsBody,
    TelemetryBody,
    parse_devices,
    parse_summary,
    parse_system,
    parse_systems,
)
from enalysis.core.errors import BadPayload
from enalysis.core.sites import DeviceKind, MeterKind

T = TypeVar("T")

PAYLOADS = Path(__file__).parent / "payloads" / "enphase"
SITE = "5203841"
NOW = datetime(2026, 6, 15, 18, 37, tzinfo=UTC)
TOTAL, GATEWAY = f"system:{SITE}", f"gateway:{SITE}:202300000007"
PRODUCTION, CONSUMPTION = f"meter:{SITE}:202300000007EIM1", f"meter:{SITE}:202300000007EIM2"

# Every trap of the API found in its documents, recordings and clients, and the test that falls into it.
TRAPS = {
    "key and token are two credentials of one app": "test_key_and_token_go_in_headers",
    "the key may stand in the address, and then in every log": "test_key_and_token_go_in_headers",
    "key and token of different apps": "test_refusals_are_named",
    "a 401 after a renewal is no matter of age": "test_a_token_is_renewed_once_and_the_refusal_stands",
    "three envelopes of errors": "test_refusals_are_named",
    "details may be a list, code a text": "test_refusals_are_named",
    "404 of readings says Not Authorized": "test_refusals_are_named",
    "405 for a call that the plan lacks": "test_refusals_are_named",
    "422 for a range in which nothing was told": "test_a_range_without_readings_is_no_error",
    "429 with its window": "test_spent_quotas",
    "429 without its window": "test_two_bare_429s_in_different_minutes_are_the_month",
    "no Retry-After": "test_spent_quotas",
    "the texts of errors may hold anything": "test_neither_key_nor_token_comes_back_in_an_error",
    "months are those of the calendar": "test_the_card",
    "quotas are the app's": "test_the_card",
    "systems are paged without links": "test_systems_are_paged_by_their_total",
    "pages may be smaller than asked for": "test_systems_are_paged_by_their_total",
    "energies and size of the list are -1": "test_systems",
    "zones are legacy aliases, or null": "test_systems",
    "a status other than normal is no silence": "test_systems",
    "interconnect_date is a number, a text or null": "test_systems",
    "one rubbish field of a system spoils nothing else": "test_a_rubbish_field_of_a_system_is_not_told",
    "ids go into paths": "test_a_reference_that_is_no_number_is_never_sent",
    "lifetime energy leaves out today": "test_check_spends_two_calls",
    "power sticks after sunset": "test_power_is_told_for_an_hour",
    "size is 0 in a summary of the past": "test_a_summary_without_numbers_tells_nothing",
    "families of devices come and go": "test_devices_make_a_tree",
    "ids of devices repeat or are empty": "test_devices_make_a_tree",
    "a disabled meter is listed": "test_a_meter_that_is_off_measures_nothing",
    "a clamp that is installed but dead": "test_a_meter_that_is_off_measures_nothing",
    "Net and Total meters": "test_streams_fit_what_a_system_has",
    "consumption of a Net system leaves the battery out": "test_streams_fit_what_a_system_has",
    "active may be a text": "test_devices_that_are_off",
    "granularity is the length of the range": "test_ranges_are_asked_for_by_start_and_length",
    "end_at is not documented for telemetry": "test_ranges_are_asked_for_by_start_and_length",
    "a start in odd seconds defeats the cache": "test_ranges_are_asked_for_by_start_and_length",
    "more is told than asked for": "test_buckets_outside_the_window_are_passed_over",
    "end_at is the end of a bucket": "test_each_endpoint_has_its_own_names",
    "micros are told in 5 minutes, the rest in 15": "test_each_endpoint_has_its_own_names",
    "wh_del, enwh, wh_imported, wh_exported": "test_each_endpoint_has_its_own_names",
    "import and export come as lists in a list, or flat, or empty": "test_lists_in_lists_and_flat_ones",
    "total_devices of import and export is 0": "test_each_endpoint_has_its_own_names",
    "no meta from meter and battery": "test_each_endpoint_has_its_own_names",
    "import or export may fail for good with 500": "test_refusals_are_named",
    "no consumption meter: an empty list": "test_an_empty_list_answers_nothing",
    "after midnight the list is empty": "test_an_empty_list_answers_nothing",
    "zeros at night are measured, unless nobody measured": "test_a_sum_over_no_devices_is_no_reading",
    "mean power where energy is missing": "test_power_fills_in_where_energy_is_missing",
    "devices that come late": "test_what_may_still_grow_is_kept_and_asked_for_again",
    "one device dead for good": "test_what_may_still_grow_is_kept_and_asked_for_again",
    "meta tells of now, not of the range": "test_meta_settles_nights_only_when_they_are_old",
    "each side of a battery has its own count": "test_each_side_of_a_battery_stands_alone",
    "charge as a fraction, null or text": "test_each_side_of_a_battery_stands_alone",
    "days of 23 and 25 hours": "test_days_on_which_clocks_change",
    "zones of half an hour": "test_days_on_which_clocks_change",
    "channels are floats, the third is null": "test_metered_channels",
    "curr_w is a moment, not a mean": "test_metered_channels",
    "a system's value without its channels'": "test_metered_channels",
    "daily series carry no dates": "test_lifetimes",
    "zeros at the end of daily series are no sun": "test_lifetimes",
    "daily series without a start": "test_lifetimes",
    "new fields": "test_unknown_fields_are_passed_over",
    "an answer about another system": "test_an_answer_about_another_system_is_refused",
    "one bad value among good ones": "test_bad_values_are_set_aside_one_by_one",
    "required keys missing": "test_a_body_without_its_keys_is_refused",
}


def decode(body: object, into: type[T]) -> T:
    """Return a body as the client decodes it; text and bytes are taken as JSON, anything else is written as it."""
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    return msgspec.json.decode(raw, type=into, strict=True)


def load(name: str, into: type[T]) -> T:
    """Return a composed body as the client decodes it."""
    return decode((PAYLOADS / name).read_bytes(), into)


def plain(name: str) -> Any:  # noqa: ANN401 - what JSON holds
    """Return a composed body as plain lists and dicts, to be changed."""
    return msgspec.json.decode((PAYLOADS / name).read_bytes())


def epoch(at: datetime) -> int:
    """Return seconds since 1970."""
    return int(at.timestamp())


def test_every_trap_has_its_test() -> None:
    told = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_enphase*.py"))
    defined = set(re.findall(r"def (test_\w+)\(", told))
    assert set(TRAPS.values()) - defined == set()


def test_every_payload_tells_its_source() -> None:
    told = set(re.findall(r"[\w.]+\.json", (PAYLOADS / "README.md").read_text(encoding="utf-8")))
    assert told == {path.name for path in PAYLOADS.glob("*.json")}


def test_systems() -> None:
    orchard, mill, quay = parse_systems(load("systems.json", SystemsBody))
    assert (orchard.ref, orchard.name, orchard.zone) == (SITE, "Orchard Row", "US/Mountain")
    assert orchard.address == "Longmont, 80501, CO, US"
    # 06:00 UTC on the 11th is midnight there; -1 is no size.
    assert (orchard.installed_on, orchard.capacity_wp, orchard.active) == (date(2023, 4, 11), None, True)
    assert (mill.zone, mill.installed_on, mill.address, mill.active) == (None, None, "Leoben, 8700, AT", True)
    # 14:05 UTC on the 17th is past midnight in Sydney.
    assert (quay.zone, quay.installed_on, quay.active) == ("Australia/Sydney", date(2024, 6, 18), False)
    assert parse_system(load("system.json", SystemBody), 7300.0).capacity_wp == 7300.0


@pytest.mark.parametrize("rubbish", ["null", "-5", "1.5", "true", '"x"', "[]", "{}", "99999999999999999999"])
def test_a_rubbish_field_of_a_system_is_not_told(rubbish: str) -> None:
    names = ("operational_at", "timezone", "address", "status", "name")
    body = decode(f'{{"system_id": 7, {", ".join(f"{n!r}: {rubbish}" for n in names)}}}'.replace("'", '"'), SystemBody)
    site = parse_system(body)
    assert (site.ref, site.zone, site.address, site.installed_on) == ("7", None, None, None)
    assert site.name in {"System 7", "x"}
    assert site.active


@pytest.mark.parametrize("body", [{"system_id": 0}, {"system_id": -4}])
def test_a_system_without_an_id_is_refused(body: object) -> None:
    with pytest.raises(BadPayload, match="without an id"):
        parse_system(decode(body, SystemBody))


@pytest.mark.parametrize(
    ("into", "body"),
    [
        (SystemBody, {"name": "x"}),
        (SystemBody, {"system_id": "5203841"}),
        (SystemBody, {"system_id": None}),
        (SystemsBody, {"total": 3}),
        (SystemsBody, {"systems": {}}),
        (SystemsBody, []),
        (SummaryBody, {"size_w": 5}),
        (DevicesBody, {"system_id": 5203841}),
        (DevicesBody, {"system_id": 5203841, "devices": []}),
        (TelemetryBody, {"system_id": 5203841}),
        (TelemetryBody, {"system_id": 5203841, "intervals": None}),
        (TelemetryBody, {"system_id": 5203841, "intervals": [5]}),
        (TelemetryBody, {"system_id": 5203841, "intervals": [{"enwh": 5}]}),
        (TelemetryBody, {"system_id": 5203841, "intervals": [[[]]]}),
    ],
)
def test_a_body_without_its_keys_is_refused(into: type[object], body: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode(body, into)


def test_unknown_fields_are_passed_over() -> None:
    known = plain("systems.json")
    known["next_big_thing"] = [1, {"a": None}]
    known["systems"][0]["carbon"] = {"x": 1}
    assert parse_systems(decode(known, SystemsBody)) == parse_systems(load("systems.json", SystemsBody))
    devices = plain("devices.json")
    devices["devices"]["iq_air"] = "soon"
    devices["devices"]["micros"][0]["mood"] = []
    assert parse_devices(decode(devices, DevicesBody), SITE) == parse_devices(load("devices.json", DevicesBody), SITE)


@pytest.mark.parametrize(
    ("age", "power_w"),
    [(timedelta(0), 6012.0), (timedelta(hours=1), 6012.0), (timedelta(hours=1, seconds=1), None), (None, None)],
)
def test_power_is_told_for_an_hour(age: timedelta | None, power_w: float | None) -> None:
    body = plain("summary.json")
    body["last_interval_end_at"] = None if age is None else epoch(NOW - age)
    assert parse_summary(decode(body, SummaryBody), SITE, NOW).power_w == power_w


@pytest.mark.parametrize("rubbish", ["null", "-1", "1e400", '"5"', "true", "[]"])
def test_a_summary_without_numbers_tells_nothing(rubbish: str) -> None:
    names = ("size_w", "current_power", "energy_today", "last_report_at")
    told = ", ".join(f'"{name}": {rubbish}' for name in names)
    body = f'{{"system_id": {SITE}, "last_interval_end_at": {epoch(NOW)}, {told}}}'
    found = parse_summary(decode(body, SummaryBody), SITE, NOW)
    assert (found.size_wp, found.power_w, found.energy_today_wh, found.reported_at) == (None, None, None, None)
    past = decode({"system_id": int(SITE), "size_w": 0, "energy_today": 0}, SummaryBody)
    # Of a day in the past the size is 0, which no system has; an energy of 0 is measured.
    assert (parse_summary(past, SITE, NOW).size_wp, parse_summary(past, SITE, NOW).energy_today_wh) == (None, 0.0)


def test_devices_make_a_tree() -> None:
    devices = {d.ref: d for d in parse_devices(load("devices.json", DevicesBody), SITE)}
    micros = [f"inverter:{SITE}:542300000001", f"inverter:{SITE}:542300000002"]
    batteries = [f"battery:{SITE}:{n}" for n in ("492300000001", "911300000001", "911300000002")]
    # Relays, controllers, chargers and heat pumps are left out; two batteries with one id are two.
    assert list(devices) == [TOTAL, GATEWAY, PRODUCTION, CONSUMPTION, *micros, *batteries]
    assert {d.parent for ref, d in devices.items() if ref in {*micros, *batteries}} == {GATEWAY}
    assert {devices[ref].parent for ref in (GATEWAY, PRODUCTION, CONSUMPTION)} == {TOTAL}
    assert devices[GATEWAY].kind is DeviceKind.GATEWAY
    assert devices[GATEWAY].firmware == "D8.2.4345 (a1b2c3)"
    assert (devices[micros[0]].model, devices[micros[0]].serial) == ("IQ7+", "542300000001")
    assert {ref: set(d.feeds) for ref, d in devices.items() if d.feeds} == {
        TOTAL: {MeterKind.PV, MeterKind.GRID, MeterKind.BATTERY},
        PRODUCTION: {MeterKind.PV},
        CONSUMPTION: {MeterKind.GRID},
    }


def test_with_two_gateways_nobody_knows_who_speaks_through_which() -> None:
    body = plain("devices.json")
    body["devices"]["gateways"].append({**body["devices"]["gateways"][0], "serial_number": "202300000008"})
    devices = parse_devices(decode(body, DevicesBody), SITE)
    assert {d.parent for d in devices} == {None, TOTAL}


@pytest.mark.parametrize("family", ["text", None, 5, {}, [5], [{"serial_number": 5}], [{"serial_number": " "}], [{}]])
def test_a_family_that_is_rubbish_is_none(family: object) -> None:
    body = {"system_id": int(SITE), "devices": dict.fromkeys(["micros", "meters", "gateways", "encharges"], family)}
    (total,) = parse_devices(decode(body, DevicesBody), SITE)
    assert (total.ref, total.feeds) == (TOTAL, frozenset({MeterKind.PV}))


@pytest.mark.parametrize(
    ("active", "on"), [(True, True), ("true", True), (None, True), ([], True), (False, False), ("false", False)]
)
def test_devices_that_are_off(active: object, *, on: bool) -> None:
    body = plain("devices.json")
    for item in (body["devices"]["micros"][0], body["devices"]["meters"][0]):
        item["active"] = active
    devices = {d.ref: d for d in parse_devices(decode(body, DevicesBody), SITE)}
    assert devices[f"inverter:{SITE}:542300000001"].active is on
    assert (devices[PRODUCTION].feeds == {MeterKind.PV}) is on


@pytest.mark.parametrize(
    ("change", "measures"),
    [
        ({}, True),
        ({"state": "disabled", "status": "disabled", "last_report_at": None}, False),
        ({"state": "Enabled", "status": "meter_issue"}, True),
        # A clamp that never reported, or has not for a week while its gateway does.
        ({"last_report_at": None}, False),
        ({"last_report_at": epoch(NOW) - 6 * 86400}, True),
        ({"last_report_at": epoch(NOW) - 8 * 86400}, False),
        ({"last_report_at": "yesterday"}, False),
        ({"config_type": "Storage"}, False),
        ({"config_type": None}, False),
        ({"state": None}, False),
    ],
)
def test_a_meter_that_is_off_measures_nothing(change: dict[str, object], *, measures: bool) -> None:
    body = plain("devices.json")
    body["devices"]["meters"][0] |= change
    devices = parse_devices(decode(body, DevicesBody), SITE)
    assert (next(d for d in devices if d.ref == PRODUCTION).feeds == {MeterKind.PV}) is measures
    assert SPEC.stream("production").fits(devices) is measures
    assert SPEC.stream("micros").fits(devices) is not measures


@pytest.mark.parametrize(
    ("name", "streams"),
    [
        ("devices.json", {"production", "import", "export", "battery"}),
        ("devices_plain.json", {"micros", "consumption"}),
    ],
)
def test_streams_fit_what_a_system_has(name: str, streams: set[str]) -> None:
    devices = parse_devices(load(name, DevicesBody), SITE)
    series = [s for s in SPEC.streams if s.step_s is not None]
    assert {s.name for s in series if s.fits(devices)} == streams
    # Before the devices are known none does.
    assert not any(s.fits(()) for s in series)


@pytest.mark.parametrize("other", [5203842, 0, -5203841])
def test_an_answer_about_another_system_is_refused(other: int) -> None:
    with pytest.raises(BadPayload, match="another system"):
        parse_summary(decode({"system_id": other}, SummaryBody), SITE, NOW)
    with pytest.raises(BadPayload, match="another system"):
        parse_devices(decode({"system_id": other, "devices": {}}, DevicesBody), SITE)
