"""Every way into every vendor, through its own accounts of the sandbox; and what an app lacks shows as that."""

import pytest

from enalysis.connectors.base import Auth
from enalysis.connectors.registry import CONNECTORS
from enalysis.core.errors import AppFault, LoginNeeded, VendorError
from enalysis.core.intervals import Window
from enalysis.simulators.oauth import Ageing
from enalysis.simulators.server import Sandbox
from tests.contract.benches import Bench, told_numbers
from tests.contract.conftest import MakeBench
from tests.contract.test_contract import read
from tests.contract.test_faults import WINDOW, assert_no_secret
from tests.simulators.ports import Clock

# Accounts that are there to be refused.
REFUSED = {"pending"}
WAYS = [(vendor, way.key) for vendor, entry in CONNECTORS.items() for way in entry.spec.ways]
BY_TOKEN = [(v, w) for v, w in WAYS if CONNECTORS[v].spec.way(w).auth is not Auth.API_KEY]


def accounts_of(sandbox: Sandbox, vendor: str, way: str) -> list[str]:
    """Return the accounts of a vendor that come in by a way and are let in."""
    found = [a.key for a in sandbox.vendors[vendor].accounts.values() if a.way == way and a.key not in REFUSED]
    assert found, f"nobody in the sandbox comes to {vendor} by {way}"
    return found


async def refusal(bench: Bench, stream: str, site: str, window: Window | None = WINDOW) -> VendorError:
    """Return the error with which a stream is refused, once it is known to give nothing away."""
    with pytest.raises(VendorError) as caught:
        await bench.connector.fetch(stream, bench.ref(site), window, bench.clock())
    assert_no_secret(bench, str(caught.value), repr(vars(caught.value)))
    return caught.value


@pytest.mark.parametrize(("vendor", "way"), WAYS)
async def test_every_way_in_finds_and_reads_its_sites(
    bench: MakeBench, sandbox: Sandbox, vendor: str, way: str
) -> None:
    here = bench(accounts_of(sandbox, vendor, way)[0])
    found = await here.connector.discover(here.clock())
    assert {s.ref for s in found} == {here.ref(site) for site in here.account.sites}
    assert (await here.connector.check(here.clock())).sites == len(found)
    site = here.account.sites[0]
    numbers = await read(here, site, WINDOW)
    assert numbers == told_numbers(here.vendor.told(site, WINDOW, here.clock()))
    assert numbers
    assert (here.tokens is not None) is (here.way.oauth is not None)


@pytest.mark.parametrize(("vendor", "way"), BY_TOKEN)
async def test_a_token_that_ran_out_is_renewed_on_the_way(
    bench: MakeBench, sandbox: Sandbox, clock: Clock, vendor: str, way: str
) -> None:
    account = accounts_of(sandbox, vendor, way)[0]
    here = bench(account)
    site = here.account.sites[0]
    auth = here.vendor.auth
    assert auth is not None
    assert here.tokens is not None
    issued = len(here.tokens.issued)
    # The vendor lets it run out before its time, as it does when an owner changes the password.
    assert auth.age(account, Ageing.EXPIRE_ACCESS, clock()) == 1
    await here.inventory(site)
    assert len(here.tokens.issued) == issued + 2
    assert set(here.ledger.verdicts[1:]) == {"ok"}
    # Taken back for good: one more renewal, and the refusal stands.
    before = len(here.ledger.taken)
    auth.age(account, Ageing.REVOKE, clock())
    stream = here.streams(site)[0].name
    error = await refusal(here, stream, site)
    assert (type(error), error.status) == (LoginNeeded, 401)
    assert len(here.ledger.taken) == before + 1


async def test_what_an_app_may_not_read_is_refused_alone(sandbox: Sandbox, enphase: MakeBench) -> None:
    here = enphase("slim")
    assert "slim" in sandbox.vendors["enphase"].accounts
    site = here.account.sites[0]
    await here.inventory(site)
    names = {s.name for s in here.streams(site)}
    assert {"production", "import"} <= names
    before = list(here.tokens.issued) if here.tokens else []
    error = await refusal(here, "import", site)
    # It says nothing of the sign-in, which has just been good: nothing is renewed.
    assert (type(error), error.status) == (LoginNeeded, 401)
    assert here.tokens is not None
    assert here.tokens.issued == before
    assert (await here.connector.fetch("production", here.ref(site), WINDOW, here.clock())).intervals


async def test_an_app_that_waits_for_approval_is_refused_throughout(enphase: MakeBench) -> None:
    here = enphase("pending")
    with pytest.raises(LoginNeeded) as caught:
        await here.connector.check(here.clock())
    assert caught.value.status == 401


async def test_key_and_token_of_different_apps_are_the_apps_fault(sandbox: Sandbox, enphase: MakeBench) -> None:
    here = enphase("household")
    other = sandbox.vendors["enphase"].accounts["lapsed"]
    mixed = CONNECTORS["enphase"].build(here.http, {"api_key": other.app["api_key"]})
    with pytest.raises(AppFault) as caught:
        await mixed.check(here.clock())
    assert_no_secret(here, str(caught.value))
    assert here.tokens is not None
    # A renewal would change nothing about it.
    assert len(here.tokens.issued) == 2
