"""The sandbox as one application: its vendors, its switches and who may turn them, faults on a real port."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx2
import pytest

from enalysis.simulators.faults import Call, Fault, FaultKind, Faults
from enalysis.simulators.registry import SIMULATORS
from enalysis.simulators.server import CONTROL_HEADER, Sandbox, create
from tests.simulators.clouds import key, view
from tests.simulators.conftest import NOON, SEED
from tests.simulators.ports import Clock, serving

TOKEN = "made-up-token"


@pytest.fixture
def sandbox(clock: Clock) -> Sandbox:
    return create(SEED, clock, control_token=TOKEN)


@pytest.fixture
async def control(sandbox: Sandbox) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=sandbox.app),
        base_url="http://sandbox/_sandbox",
        headers={CONTROL_HEADER: TOKEN},
    ) as client:
        yield client


@pytest.mark.parametrize("given", [{}, {CONTROL_HEADER: "wrong"}, {CONTROL_HEADER: ""}])
@pytest.mark.parametrize(("method", "path"), [("GET", "state"), ("GET", "faults"), ("POST", "faults")])
async def test_switches_need_the_token(sandbox: Sandbox, method: str, path: str, given: dict[str, str]) -> None:
    transport = httpx2.ASGITransport(app=sandbox.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://sandbox") as client:
        answer = await client.request(method, f"/_sandbox/{path}", headers=given, json={"kind": "down"})
    assert answer.status_code == 401
    assert "SANDBOX-" not in answer.text
    assert sandbox.faults.listed() == {}


async def test_without_a_token_there_are_no_switches(clock: Clock) -> None:
    transport = httpx2.ASGITransport(app=create(SEED, clock).app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://sandbox") as client:
        assert (await client.get("/_sandbox/state", headers={CONTROL_HEADER: ""})).status_code == 404
        assert (await client.get("/elsewhere/v2/sites")).status_code == 404


async def test_the_state_tells_accounts_figures_and_what_was_spent(
    sandbox: Sandbox, http: httpx2.AsyncClient, control: httpx2.AsyncClient
) -> None:
    await http.get("/sites", headers=key(sandbox, "household"))
    state = (await control.get("/state")).json()
    assert state["now"] == NOON.isoformat()
    accounts = {a["key"]: a for a in state["accounts"] if a["vendor"] == "solaredge"}
    assert accounts.keys() == {"household", "portfolio", "lapsed", "garden"}
    household = accounts["household"]
    assert (household["way"], household["app"], household["login"]) == ("fleet_key", {}, {})
    garden = accounts["garden"]
    assert (garden["way"], garden["credentials"], garden["app_state"]) == ("site_access", {}, "verified")
    assert garden["app"].keys() == {"client_id", "client_secret"}
    assert household["credentials"]["api_key"] == key(sandbox, "household")["X-API-Key"]
    assert household["served"] == {"sites": 1}
    assert (household["minute"], household["month"]) == (1, 1)
    assert household["sites"]["graz"] == str(view(sandbox, "graz").site_id)
    assert len(accounts["portfolio"]["sites"]) == 8
    figures = {f["what"]: f for f in state["figures"]}
    assert figures["Free: calls a month"] == {
        "vendor": "solaredge",
        "what": "Free: calls a month",
        "value": "2000",
        "documented": True,
    }
    assert not figures["Business: calls a month"]["documented"]
    assert [f.what for f in sandbox.describe()] == list(figures)


async def test_faults_are_set_listed_and_cleared(
    sandbox: Sandbox, http: httpx2.AsyncClient, control: httpx2.AsyncClient
) -> None:
    wanted = {"kind": "down", "vendor": "solaredge", "account": "household", "seconds": 90}
    number = (await control.post("/faults", json=wanted)).json()["number"]
    refused = await http.get("/sites", headers=key(sandbox, "household"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "90")
    assert (await http.get("/sites", headers=key(sandbox, "lapsed"))).status_code == 200
    other = (await control.post("/faults", json={"kind": "empty", "account": "lapsed"})).json()["number"]
    listed = (await control.get("/faults")).json()
    assert listed.keys() == {str(number), str(other)}
    assert listed[str(number)]["seconds"] == 90
    assert (await control.delete(f"/faults/{number}")).json().keys() == {str(other)}
    assert (await http.get("/sites", headers=key(sandbox, "household"))).status_code == 200
    assert (await control.delete("/faults")).json() == {}
    assert (await http.get("/sites", headers=key(sandbox, "lapsed"))).text != ""


@pytest.mark.parametrize("body", ["", "[]", '{"kind": "rain"}', '{"kind": "down", "colour": "red"}', "{}"])
async def test_what_is_no_fault_is_refused_with_what_there_is(
    sandbox: Sandbox, control: httpx2.AsyncClient, body: str
) -> None:
    answer = await control.post("/faults", content=body)
    assert answer.status_code == 422
    assert answer.json()["kinds"].keys() == {kind.value for kind in FaultKind}
    assert sandbox.faults.listed() == {}


def test_a_fault_hits_what_it_names_and_no_more_often() -> None:
    faults = Faults()
    faults.set(Fault(FaultKind.DOWN, account="a", site="1", endpoint="energy", times=2))
    hit, other = Call("v", "a", "1", "energy"), Call("v", "a", "2", "energy")
    assert faults.take(other) == {}
    assert faults.take(Call("v", "a", "1", "power")) == {}
    assert faults.take(Call("v", None, None, "energy")) == {}
    assert [bool(faults.take(hit)) for _ in range(4)] == [True, True, False, False]
    assert faults.listed() == {}


def test_the_same_seed_builds_the_same_sandbox(clock: Clock, sandbox: Sandbox) -> None:
    again = create(SEED, clock)
    assert again.accounts == sandbox.accounts
    assert again.vendors.keys() == SIMULATORS.keys()
    for name, vendor in again.vendors.items():
        for account in vendor.accounts.values():
            refs = [vendor.ref(site) for site in account.sites]
            assert refs == [sandbox.vendors[name].ref(site) for site in account.sites]


def test_another_plan_can_be_chosen_for_an_account(clock: Clock) -> None:
    accounts = create(SEED, clock, plans={"solaredge/portfolio": "free", "other/household": "none"}).accounts
    assert {a.key: a.plan.key for a in accounts if a.vendor == "solaredge"} == {
        "household": "free",
        "portfolio": "free",
        "lapsed": "free",
        "garden": "free",
    }


async def test_the_vendors_clock_may_be_wrong(sandbox: Sandbox, http: httpx2.AsyncClient, clock: Clock) -> None:
    headers = key(sandbox, "household")
    told = (await http.get("/sites", headers=headers)).headers["date"]
    assert parsedate_to_datetime(told) == clock().replace(microsecond=0)
    sandbox.faults.set(Fault(FaultKind.CLOCK_OFFSET, seconds=-7200))
    site = view(sandbox, "graz").site_id
    behind = await http.get(f"/sites/{site}/energy", headers=headers)
    assert parsedate_to_datetime(behind.headers["date"]) == NOON.replace(microsecond=0) - timedelta(hours=2)
    last = behind.json()["values"][-1]["timestamp"]
    assert datetime.fromisoformat(last).astimezone(UTC) == datetime(2026, 6, 2, 10, tzinfo=UTC)


async def test_answers_are_spoiled_on_a_real_port_and_whole_again_after(sandbox: Sandbox) -> None:
    headers, path = key(sandbox, "portfolio"), "/solaredge/v2/sites"
    async with serving(sandbox.app) as origin, httpx2.AsyncClient(base_url=origin, headers=headers) as client:
        whole = (await client.get(path)).content
        for kind, wanted in (
            (FaultKind.TRUNCATED, whole[: len(whole) * 2 // 3]),
            (FaultKind.EMPTY, b""),
            (FaultKind.DEEP, b"[" * 100_000 + b"]" * 100_000),
        ):
            number = sandbox.faults.set(Fault(kind))
            answer = await client.get(path)
            assert (answer.status_code, answer.content) == (200, wanted)
            sandbox.faults.clear(number)
        for kind in (FaultKind.HUGE, FaultKind.BOMB):
            number = sandbox.faults.set(Fault(kind))
            assert len((await client.get(path)).content) > 48_000_000
            sandbox.faults.clear(number)
        number = sandbox.faults.set(Fault(FaultKind.RESET))
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(path)
        sandbox.faults.clear(number)
        number = sandbox.faults.set(Fault(FaultKind.HTML_200))
        assert (await client.get(path)).headers["content-type"].startswith("text/html")
        sandbox.faults.clear(number)
        number = sandbox.faults.set(Fault(FaultKind.DRIP, seconds=0.0001))
        assert (await client.get(path)).content == whole
        sandbox.faults.clear(number)
        assert (await client.get(path)).content == whole
        # The server adds no clock of its own.
        assert len([1 for name, _ in (await client.get(path)).headers.raw if name.lower() == b"date"]) == 1


async def test_a_dripping_answer_ends_with_its_client(sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
    headers, path = key(sandbox, "portfolio"), "/solaredge/v2/sites"
    async with serving(sandbox.app) as origin:
        sandbox.faults.set(Fault(FaultKind.DRIP, seconds=30.0))
        async with httpx2.AsyncClient(base_url=origin, headers=headers, timeout=0.3) as client:
            with pytest.raises(httpx2.ReadTimeout):
                await client.get(path)
    # Leaving `serving` waits a second for the server; a task it has to cut off is logged as an error.
    assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []


async def test_measurements_become_nan_and_ids_stay(sandbox: Sandbox, http: httpx2.AsyncClient) -> None:
    site = view(sandbox, "graz").site_id
    sandbox.faults.set(Fault(FaultKind.NAN, endpoint="overview"))
    text = (await http.get(f"/sites/{site}/overview", headers=key(sandbox, "household"))).text
    assert f'"siteId": {site}' in text
    assert '"total": NaN' in text
    sandbox.faults.clear()
    sandbox.faults.set(Fault(FaultKind.HOLLOW))
    body = (await http.get(f"/sites/{site}/energy", headers=key(sandbox, "household"))).json()
    assert body["values"] == []
    assert body["unit"] == "WH"
