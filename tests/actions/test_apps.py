"""Apps at vendors: added, the operator's among them, changed, and moved away from without losing a site."""

from collections.abc import Mapping
from uuid import UUID

import pytest

from enalysis.actions import apps, connections, renewals
from enalysis.actions.vendors import OperatorApp
from enalysis.core.errors import NotFound, Refused, VendorError
from enalysis.store import sites
from enalysis.store.pool import Database
from tests.actions.conftest import Clock
from tests.oauth_bench import Bench as Office
from tests.oauth_bench import opened
from tests.vendor import answer

OURS = {"client_id": "the-operators-id", "client_secret": "the-operators-secret", "api_key": "the-operators-key"}


async def add(office: Office, kind: str = "developer", **fields: str) -> UUID:
    """Add another app that the vendor knows."""
    given = {"client_id": "another-id", "client_secret": "another-secret", "api_key": "another-key", **fields}
    office.vendor.apps[given["client_id"]] = given["client_secret"]
    return await apps.add(
        office.scope,
        office.db,
        office.vendors,
        vendor="acme",
        kind=kind,
        name="",
        plan="free",
        fields=given,
        now=office.clock(),
    )


async def change(office: Office, fields: Mapping[str, str]) -> None:
    """Enter the app's keys anew."""
    await apps.change(office.scope, office.db, office.vendors, office.app, now=office.clock(), fields=fields)


async def test_the_operators_app_joins_when_it_is_first_used(db: Database, clock: Clock) -> None:
    offered = OperatorApp("developer", "free", OURS)
    async with opened(db, clock=clock, operator=offered) as office:
        office.vendor.apps[OURS["client_id"]] = OURS["client_secret"]
        before = await apps.list_choices(office.scope, db, office.vendors)
        assert [a.key for a in before if a.origin == "operator"] == ["operator"]
        made = await office.connect(app="operator")
        after = await apps.list_choices(office.scope, db, office.vendors)
        assert [a.key for a in after if a.origin == "operator"] == [str((await office.find(made)).app_id)]
        office.vendors.operator_apps.clear()
        with pytest.raises(Refused, match="no such app"):
            await connections.test_saved(office.scope, db, office.vendors, made, clock())


async def test_new_keys_of_an_app_serve_the_connections_that_go_through_it(office: Office, clock: Clock) -> None:
    made = await office.connect()
    office.vendor.apps[office.fields["client_id"]] = "rotated-by-the-vendor"
    clock.move(minutes=56)
    with pytest.raises(VendorError) as refused:
        await connections.refresh(office.scope, office.db, office.vendors, made, clock())
    assert refused.value.state == "app_misconfigured"
    await change(office, {**office.fields, "client_secret": "rotated-by-the-vendor"})
    await connections.refresh(office.scope, office.db, office.vendors, made, clock())
    assert await office.lives(made)


async def test_another_client_id_is_another_app(office: Office) -> None:
    with pytest.raises(Refused, match="another app"):
        await change(office, {**office.fields, "client_id": "another-id"})
    with pytest.raises(Refused, match="here already"):
        await add(office, client_id=office.fields["client_id"])


async def test_an_app_in_use_stays(office: Office) -> None:
    made = await office.connect()
    with pytest.raises(Refused):
        await apps.remove(office.scope, office.db, office.app)
    await connections.remove(office.scope, office.db, office.vendors, made, office.clock())
    await apps.remove(office.scope, office.db, office.app)
    with pytest.raises(NotFound):
        await apps.remove(office.scope, office.db, office.app)


async def test_moving_to_another_app_keeps_sites(office: Office) -> None:
    made = await office.connect("ada")
    await office.poll(made)
    async with office.db.org(office.scope) as conn:
        before = await sites.list_vendor_sites(office.scope, conn, made)
    other = await add(office)
    params = office.vendor.consent((await office.begin(app=str(other), connection=made)).address, "ada")
    assert (await office.finish(params)).connection == made
    assert (await office.find(made)).app_id == other
    async with office.db.org(office.scope) as conn:
        after = await sites.list_vendor_sites(office.scope, conn, made)
    assert [(s.ref, s.site_id) for s in after] == [(s.ref, s.site_id) for s in before]
    assert (await office.poll(made)).failed == []


async def test_a_suspended_app_takes_nobody_to_the_vendor(office: Office) -> None:
    await apps.change(office.scope, office.db, office.vendors, office.app, now=office.clock(), state="suspended")
    with pytest.raises(Refused, match="suspended"):
        await office.begin()


async def test_an_app_stays_while_the_vendor_has_yet_to_forget_a_sign_in_of_it(office: Office, clock: Clock) -> None:
    """Its keys are what a revocation proves itself by."""
    made = await office.connect()
    office.vendor.revoke_act = answer(b"", 503)
    await connections.remove(office.scope, office.db, office.vendors, made, clock())
    with pytest.raises(Refused, match="yet to forget"):
        await apps.remove(office.scope, office.db, office.app)
    office.vendor.revoke_act = None
    clock.move(minutes=11)
    await renewals.sweep(office.db, office.vendors, clock())
    await apps.remove(office.scope, office.db, office.app)
    assert await apps.list_choices(office.scope, office.db, office.vendors) == []
