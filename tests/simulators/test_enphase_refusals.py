"""Enphase's simulated cloud: credentials, access controls, refusals, quotas and faults."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from enalysis.simulators import enphase as enphases
from enalysis.simulators.faults import Fault, FaultKind
from tests.simulators.conftest import NOON
from tests.simulators.enphase_bench import Place

UNAUTHORIZED = {"message": "Not Authorized", "details": "User is not authorized", "code": 401}
FORBIDDEN = {"message": "Forbidden", "details": "Not authorized to access this resource", "code": 403}
CONSUMPTION = (
    *("telemetry/consumption_meter", "telemetry/battery", "energy_import_telemetry", "energy_export_telemetry"),
    *("consumption_lifetime", "battery_lifetime", "energy_import_lifetime", "energy_export_lifetime"),
    *("consumption_meter_readings", "storage_meter_readings", "latest_telemetry"),
)
PRODUCTION = (
    *("telemetry/production_micro", "telemetry/production_meter", "rgm_stats", "energy_lifetime"),
    "production_meter_readings",
)


# -- credentials


async def test_both_credentials_are_needed_and_the_key_may_stand_in_the_query(enphase: Place) -> None:
    url, both = f"{enphase.root}/api/v4/systems", enphase.headers("household")
    token = {"Authorization": both["Authorization"]}
    for headers in ({}, token, {"key": both["key"]}, {**both, "key": "wrong"}, {**both, "Authorization": "Bearer x"}):
        answer = await enphase.client.get(url, headers=headers)
        assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)
    assert (await enphase.client.get(url, headers=token, params={"key": both["key"]})).status_code == 200


async def test_a_key_and_a_token_of_different_apps_do_not_match(enphase: Place) -> None:
    mixed = enphase.headers("household") | {"key": enphase.account("lapsed").app["api_key"]}
    answer = await enphase.client.get(f"{enphase.root}/api/v4/systems", headers=mixed)
    assert (answer.status_code, answer.json()) == (
        401,
        {
            "message": "API Key -Client mismatch",
            "details": "API Key and Client ID of the access token do not match",
            "code": 401,
        },
    )


@pytest.mark.parametrize("path", CONSUMPTION)
async def test_without_the_access_control_an_endpoint_is_not_authorized(enphase: Place, path: str) -> None:
    answer = await enphase.ask("slim", f"systems/{{garden}}/{path}")
    assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)


@pytest.mark.parametrize("path", PRODUCTION)
async def test_with_the_access_control_an_endpoint_answers(enphase: Place, path: str) -> None:
    assert (await enphase.ask("slim", f"systems/{{garden}}/{path}")).status_code == 200


async def test_devices_one_by_one_are_for_bigger_plans(enphase: Place) -> None:
    path = "devices/micros/telemetry"
    assert (await enphase.ask("household", f"systems/{{graz}}/{path}")).json() == UNAUTHORIZED
    known = await enphase.ask("expiring", f"systems/{{sacramento}}/{path}")
    assert (known.status_code, known.json()) == (501, {"reason": "501", "message": ["Not Implemented"]})


# -- refusals


@pytest.mark.parametrize("path", ["", "/summary", "/telemetry/production_micro", "/energy_lifetime"])
async def test_another_owners_system_is_forbidden_and_an_unknown_one_not_found(enphase: Place, path: str) -> None:
    foreign = await enphase.ask("household", f"systems/{{berlin}}{path}")
    assert (foreign.status_code, foreign.json()) == (403, FORBIDDEN)
    unknown = await enphase.ask("household", f"systems/1{path}")
    assert (unknown.status_code, unknown.json()) == (
        404,
        {"message": "Not Found", "details": 'System not found for {:id=>"1"}', "code": 404},
    )


async def test_other_things_that_are_not_there(enphase: Place) -> None:
    for name in ("production_meter_readings", "consumption_meter_readings", "storage_meter_readings"):
        body = (await enphase.ask("household", f"systems/1/{name}")).json()
        assert (body["message"], body["code"]) == ("Not Authorized", 404)
    envoy = await enphase.ask("household", "systems/retrieve_system_id", serial_num="202399999999")
    assert (envoy.status_code, envoy.json()["details"]) == (404, "Envoy not found with this serial number")
    berlin = enphase.view("berlin").hardware.envoy
    assert (await enphase.ask("household", "systems/retrieve_system_id", serial_num=berlin)).status_code == 403
    for path in ("systems/{graz}/nothing", "things"):
        assert (await enphase.ask("household", path)).status_code == 404
    assert (await enphase.client.get(f"{enphase.root}/api/v2/systems")).status_code == 401


async def test_methods_have_an_envelope_of_their_own(enphase: Place) -> None:
    url, headers = f"{enphase.root}/api/v4/systems", enphase.headers("household")
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = await enphase.client.request(method, url, headers=headers)
        assert (answer.status_code, answer.json()) == (405, {"reason": "405", "message": ["Method not allowed"]})
    odd = await enphase.client.request("BREW", url, headers=headers)
    assert (odd.status_code, odd.json()) == (501, {"reason": "501", "message": ["Not Implemented"]})


def at(**back: float) -> int:
    return int((NOON - timedelta(**back)).timestamp())


@pytest.mark.parametrize(
    ("path", "params", "reason"),
    [
        (
            "telemetry/production_micro",
            {"start_at": at(days=731)},
            "Requested date range is invalid for this system. {",
        ),
        ("telemetry/production_meter", {"start_at": at(days=-1)}, "'Requested date is in the future'"),
        ("telemetry/battery", {"start_at": "noon"}, "Failed to parse date noon"),
        ("telemetry/battery", {"start_date": "2026-02-30"}, "Failed to parse date 2026-02-30"),
        ("telemetry/battery", {"start_date": "20260201"}, "Failed to parse date 20260201"),
        ("telemetry/battery", {"granularity": "month"}, "Granularity"),
        ("energy_import_telemetry", {"start_at": at(days=731)}, "{:start_at=>"),
        ("rgm_stats", {"start_at": at(days=8), "end_at": at(days=0)}, "cannot be more than 7 days. {:start_at=> "),
        ("rgm_stats", {"start_at": at(days=1), "end_at": at(days=2)}, "Requested date range is invalid for this"),
        ("energy_lifetime", {"start_date": "2026-07-01"}, "Requested date is in the future"),
        ("energy_lifetime", {"start_date": "2026-05-02", "end_date": "2026-05-01"}, "Requested date range is invalid"),
        ("summary", {"summary_date": "2026-07-01"}, "Requested date is in the future"),
        ("summary", {"summary_date": "soon"}, "Failed to parse date soon"),
        ("production_meter_readings", {"end_at": "1e9"}, "Failed to parse date 1e9"),
    ],
)
async def test_what_cannot_be_processed_says_why(
    enphase: Place, path: str, params: Mapping[str, object], reason: str
) -> None:
    answer = await enphase.ask("household", f"systems/{{graz}}/{path}", **params)
    assert answer.status_code == 422
    body = answer.json()
    assert body.keys() == {"message", "details", "code"}
    assert (body["message"], body["code"]) == ("Unprocessable Entity", 422)
    assert reason in body["details"]


@pytest.mark.parametrize(
    ("path", "params", "reason"),
    [
        ("systems", {"size": 101}, "Invalid size"),
        ("systems", {"page": 0}, "Invalid page"),
        ("systems", {"sort_by": "name"}, "The sorting parameter is not supported"),
        ("systems/retrieve_system_id", {}, "Provide envoy serial number"),
        ("systems/inverters_summary_by_envoy_or_site", {}, "Envoy serial number or Site id mandatory"),
    ],
)
async def test_lists_say_why_too(enphase: Place, path: str, params: Mapping[str, object], reason: str) -> None:
    answer = await enphase.ask("household", path, **params)
    assert (answer.status_code, answer.json()["details"]) == (422, reason)


async def test_a_start_before_the_first_report_is_moved_there(enphase: Place) -> None:
    start = at(days=500)
    body = await enphase.read("household", "systems/{kathmandu}/telemetry/production_micro", start_at=start)
    assert body["start_at"] == int(enphase.view("kathmandu").operational_at.timestamp())
    lifetime = await enphase.read("household", "systems/{kathmandu}/energy_lifetime", start_date="2020-01-01")
    assert lifetime["start_date"] == "2025-09-02"
    assert "meter_start_date" not in lifetime


async def test_trouble_of_its_own_has_two_envelopes(enphase: Place) -> None:
    enphase.cloud.switches = enphases.Switches(failing=frozenset({"rgm_stats", "devices"}))
    metered = await enphase.ask("household", "systems/{graz}/rgm_stats")
    assert (metered.status_code, metered.json()) == (
        500,
        {"errorCode": 7, "errorMessages": ["Data is temporarily unavailable"]},
    )
    plain = await enphase.ask("household", "systems/{graz}/devices")
    assert (plain.status_code, plain.json()["details"]) == (500, "unable to fetch data")
    assert (await enphase.ask("household", "systems/{graz}/summary")).status_code == 200


# -- quotas


def with_period(plan: str, period: str, start: datetime, end: datetime, limit: int) -> dict[str, Any]:
    return {
        "message": "Too Many Requests",
        "details": f"Usage limit exceeded for plan {plan}",
        "code": 429,
        "period": period,
        "period_start": int(start.timestamp()),
        "period_end": int(end.timestamp()),
        "limit": limit,
    }


async def test_a_minute_is_that_of_the_clock_and_refused_in_two_forms(enphase: Place) -> None:
    for _ in range(10):
        assert (await enphase.ask("household", "systems/1")).status_code == 404
    minute = NOON.replace(second=0, microsecond=0)
    told = await enphase.ask("household", "systems/{graz}/telemetry/production_meter")
    assert (told.status_code, told.json()) == (
        429,
        with_period("Watt", "minute", minute, minute + timedelta(minutes=1), 10),
    )
    bare = await enphase.ask("household", "systems")
    assert (bare.status_code, bare.json().keys()) == (429, {"message", "details", "code"})
    assert "retry-after" not in bare.headers
    assert (await enphase.ask("lapsed", "systems")).status_code == 200
    enphase.clock.at = minute + timedelta(seconds=59)
    assert (await enphase.ask("household", "systems")).status_code == 429
    enphase.clock.forward(seconds=1)
    assert (await enphase.ask("household", "systems")).status_code == 200


async def test_a_month_is_that_of_the_calendar_in_utc(enphase: Place) -> None:
    tally = enphase.cloud.tallies["household"]
    enphase.clock.at = datetime(2026, 6, 1, tzinfo=UTC)
    for _ in range(1000):
        tally.spend("earlier", enphase.clock())
        enphase.clock.forward(seconds=10)
    enphase.clock.at = datetime(2026, 6, 30, 23, 59, 59, tzinfo=UTC)
    june, july = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    told = await enphase.ask("household", "systems/{graz}/energy_lifetime", start_date="2026-06-01")
    assert told.json() == with_period("Watt", "month", june, july, 1000)
    assert (await enphase.ask("household", "systems")).json().keys() == {"message", "details", "code"}
    enphase.clock.at = july
    assert (await enphase.ask("household", "systems")).status_code == 200
    assert tally.month(july) == 1


async def test_two_owners_share_the_calls_of_their_app(crowded: Place) -> None:
    assert crowded.cloud.tallies["first"] is crowded.cloud.tallies["second"]
    assert crowded.cloud.tallies["crowd"] is not crowded.cloud.tallies["first"]
    for n in range(10):
        assert (await crowded.ask(("first", "second")[n % 2], "systems")).status_code == 200
    assert [(await crowded.ask(key, "systems")).status_code for key in ("first", "second")] == [429, 429]
    assert crowded.cloud.tallies["first"].served == {"systems": 10}
    names = [(await crowded.read("crowd", "systems"))["total"], crowded.account("first").app_label]
    assert names == [112, "Enalysis sandbox (first)"]


async def test_tokens_cost_no_call(enphase: Place) -> None:
    grant = enphase.cloud.grant("household")
    for _ in range(12):
        answer = await enphase.token("household", grant_type="refresh_token", refresh_token=grant["refresh_token"])
        assert answer.status_code == 200
        grant = answer.json()
    assert enphase.cloud.tallies["household"].served.total() == 0


# -- faults


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FaultKind.DOWN, 503),
        (FaultKind.WRONG_KEY, 401),
        (FaultKind.FORBIDDEN, 403),
        (FaultKind.RETIRED, 410),
        (FaultKind.MINUTE_SPENT, 429),
        (FaultKind.QUOTA_SPENT, 429),
        (FaultKind.HTML_200, 200),
        (FaultKind.NAN, 200),
        (FaultKind.HOLLOW, 200),
    ],
)
async def test_faults_hit_one_account(enphase: Place, kind: FaultKind, status: int) -> None:
    path = "systems/{graz}/telemetry/production_meter"
    number = enphase.faults.set(Fault(kind, "enphase", "household"))
    answer = await enphase.ask("household", path)
    assert answer.status_code == status
    if kind is FaultKind.NAN:
        assert '"wh_del": NaN' in answer.text
        assert f'"system_id": {enphase.view("graz").site_id}' in answer.text
        assert "NaN" not in answer.text.partition('"intervals"')[0]
    if kind is FaultKind.HOLLOW:
        assert answer.json()["intervals"] == []
    if status == 429:
        assert answer.json()["period"] == {"minute_spent": "minute", "quota_spent": "month"}[kind]
    assert (await enphase.ask("lapsed", "systems")).status_code == 200
    enphase.faults.clear(number)
    assert (await enphase.ask("household", path)).status_code == 200


async def test_a_credential_that_is_refused_cannot_be_renewed(enphase: Place) -> None:
    grant = enphase.cloud.grant("lapsed")
    enphase.faults.set(Fault(FaultKind.WRONG_KEY, "enphase", "lapsed"))
    answer = await enphase.token("lapsed", grant_type="refresh_token", refresh_token=grant["refresh_token"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    mine = enphase.cloud.grant("household")["refresh_token"]
    fine = await enphase.token("household", grant_type="refresh_token", refresh_token=mine)
    assert fine.status_code == 200
    enphase.faults.set(Fault(FaultKind.DOWN, "enphase", endpoint="token"))
    assert (await enphase.token("household", grant_type="refresh_token")).status_code == 503


async def test_the_vendors_clock_may_be_wrong(enphase: Place) -> None:
    enphase.faults.set(Fault(FaultKind.CLOCK_OFFSET, seconds=-7200))
    answer = await enphase.ask("household", "systems/{graz}/telemetry/production_meter")
    assert parsedate_to_datetime(answer.headers["date"]) == NOON.replace(microsecond=0) - timedelta(hours=2)
    assert answer.json()["intervals"][-1]["end_at"] == int(NOON.replace(hour=10, minute=0, second=0).timestamp())
