"""Enphase's simulated cloud: its systems, its devices, and the shapes of its answers."""

import pytest

from tests.simulators.conftest import NOON
from tests.simulators.enphase_bench import Place

# -- systems


async def test_many_systems_come_in_pages(crowded: Place) -> None:
    seen: list[int] = []
    page = 0
    while True:
        page += 1
        body = await crowded.read("crowd", "systems", page=page, size=50)
        assert (body["total"], body["current_page"], body["size"]) == (112, page, 50)
        assert body["count"] == len(body["systems"])
        seen += [s["system_id"] for s in body["systems"]]
        if (page - 1) * 50 + body["count"] >= body["total"]:
            break
    assert page == 3
    assert len(set(seen)) == 112
    assert seen == sorted(seen)
    assert len((await crowded.read("crowd", "systems"))["systems"]) == 10
    backwards = await crowded.read("crowd", "systems", size=100, sort_by="-id")
    assert [s["system_id"] for s in backwards["systems"]] == seen[::-1][:100]
    assert (await crowded.read("crowd", "systems", page=4, size=50))["systems"] == []
    statuses = {s["status"] for s in backwards["systems"]}
    last = await crowded.read("crowd", "systems", size=100, page=2)
    assert statuses | {s["status"] for s in last["systems"]} == {"normal", "comm"}


async def test_a_system_looks_as_documented(enphase: Place) -> None:
    body = await enphase.read("portfolio", "systems")
    by_id = {s["system_id"]: s for s in body["systems"]}
    denver = by_id[enphase.view("denver").site_id]
    assert denver.keys() == {
        *("system_id", "name", "public_name", "timezone", "address", "connection_type", "status"),
        *("last_report_at", "last_energy_at", "operational_at", "attachment_type", "interconnect_date"),
        *("energy_lifetime", "energy_today", "system_size", "reference"),
    }
    assert denver["address"] == {
        "city": "Denver",
        "state": "CO",
        "country": "US",
        "postal_code": denver["address"]["postal_code"],
    }
    assert denver["timezone"] == "US/Mountain"
    assert {by_id[i][n] for i in by_id for n in ("energy_lifetime", "energy_today", "system_size")} == {-1}
    zones = {s["name"]: s["timezone"] for s in body["systems"]}
    assert zones["Hindmarsh Workshop"] == "Australia/Adelaide"
    links = {s["name"]: s["connection_type"] for s in body["systems"]}
    assert (links["Karen Greenhouse"], links["Setagaya 4"], links["Ridge House"]) == ("cellular", "Wi-Fi", "ethernet")
    assert {s["name"] for s in body["systems"] if s["status"] == "micro"} == {"Mānoa"}
    one = await enphase.read("portfolio", "systems/{denver}")
    assert one == denver | {"interconnect_date": "2025-01-20"}
    mine = (await enphase.read("household", "systems"))["systems"]
    assert all("reference" not in s for s in mine)


def test_ids_are_not_those_of_another_vendor(enphase: Place) -> None:
    ids = {view.site_id for view in enphase.cloud.views.values()}
    assert len(ids) == len(enphase.cloud.views)
    assert all(1_000_000 <= i < 10_000_000 for i in ids)
    assert enphase.cloud.ref("graz") == str(enphase.view("graz").site_id)
    with pytest.raises(KeyError):
        enphase.cloud.ref("nowhere")


async def test_devices_are_listed_by_kind(enphase: Place) -> None:
    denver = await enphase.read("portfolio", "systems/{denver}/devices")
    assert denver["devices"].keys() == {"micros", "meters", "gateways", "encharges"}
    assert denver["total_devices"] == sum(len(v) for v in denver["devices"].values()) == 24 + 2 + 1 + 1
    assert [(m["name"], m["config_type"]) for m in denver["devices"]["meters"]] == [
        ("production", "Production"),
        ("consumption", "Net"),
    ]
    serials = [m["serial_number"] for m in denver["devices"]["micros"]]
    assert len(set(serials)) == 24
    saopaulo = (await enphase.read("portfolio", "systems/{saopaulo}/devices"))["devices"]
    assert [m["config_type"] for m in saopaulo["meters"]] == ["Production", "Total"]
    bare = (await enphase.read("portfolio", "systems/{honolulu}/devices"))["devices"]
    assert bare.keys() == {"micros", "gateways"}
    assert [m["status"] for m in bare["micros"]].count("micro") == 1
    assert "cellular_modem" in (await enphase.read("portfolio", "systems/{nairobi}/devices"))["devices"]["gateways"][0]


async def test_a_dead_microinverter_is_missing_for_ever(enphase: Place) -> None:
    path = "systems/{honolulu}/telemetry/production_micro"
    body = await enphase.read("portfolio", path, start_at=int(NOON.timestamp()) - 20 * 86_400)
    assert {i["devices_reporting"] for i in body["intervals"]} == {body["total_devices"] - 1}


async def test_a_site_without_the_meter_has_empty_lists_and_no_error(enphase: Place) -> None:
    for path in ("telemetry/production_meter", "telemetry/consumption_meter", "telemetry/battery", "rgm_stats"):
        body = await enphase.read("household", f"systems/{{kathmandu}}/{path}")
        assert (body["total_devices"], body["intervals"]) == (0, [])
    for site, account in (("kathmandu", "household"), ("saopaulo", "portfolio")):
        for path in ("energy_import_telemetry", "energy_export_telemetry"):
            body = await enphase.read(account, f"systems/{{{site}}}/{path}")
            assert (body["total_devices"], body["intervals"]) == (0, [])
    load = await enphase.read("portfolio", "systems/{saopaulo}/telemetry/consumption_meter", start_date="2026-06-01")
    assert len(load["intervals"]) == 96
    for path, field in (("battery_lifetime", "charge"), ("energy_import_lifetime", "import")):
        body = await enphase.read("household", f"systems/{{kathmandu}}/{path}")
        assert (body[field], body["start_date"]) == ([], None)


async def test_state_of_charge_is_a_number_in_intervals_and_a_text_in_sum(enphase: Place) -> None:
    body = await enphase.read("household", "systems/{graz}/telemetry/battery")
    last = body["intervals"][-1]
    assert last.keys() == {"end_at", "charge", "discharge", "soc"}
    assert body["last_reported_aggregate_soc"] == f"{last['soc']['percent']}%"
    assert last["charge"].keys() == {"enwh", "devices_reporting"}


async def test_the_latest_telemetry_has_channels_and_no_invented_fields(enphase: Place) -> None:
    body = await enphase.read("household", "systems/{graz}/latest_telemetry")
    assert body.keys() == {"system_id", "items", "devices"}
    assert body["devices"].keys() == {"meters", "encharges"}
    for meter in body["devices"]["meters"]:
        assert meter.keys() == {"id", "name", "channel", "last_report_at", "power"}
        assert (meter["power"] is None) == (meter["last_report_at"] is None) == (meter["channel"] == 3)
    assert {m["name"] for m in body["devices"]["meters"]} == {"production", "consumption"}
    assert (await enphase.read("household", "systems/{kathmandu}/latest_telemetry"))["devices"] == {"meters": []}


async def test_microinverters_are_summed_up_in_pages_of_a_bare_list(enphase: Place) -> None:
    path = "systems/inverters_summary_by_envoy_or_site"
    (first,) = await enphase.read("household", path, site_id=enphase.cloud.ref("graz"))
    (second,) = await enphase.read("household", path, envoy_serial_number=enphase.view("graz").hardware.envoy, page=2)
    assert (len(first["micro_inverters"]), len(second["micro_inverters"])) == (10, 10)
    both = first["micro_inverters"] + second["micro_inverters"]
    assert len({m["serial_number"] for m in both}) == 20
    total = sum(m["energy"]["value"] for m in both)
    summary = await enphase.read("household", "systems/{graz}/summary")
    assert total == pytest.approx(summary["energy_lifetime"] + summary["energy_today"], rel=0.02)
    assert {type(m["power_produced"]) for m in both} == {dict, int}
    system = await enphase.read(
        "household", "systems/retrieve_system_id", serial_num=enphase.view("graz").hardware.envoy
    )
    assert system == {"system_id": enphase.view("graz").site_id}
