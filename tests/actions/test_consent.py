"""A consent, from the click to the connection, over real HTTP and PostgreSQL; and every way it comes to nothing."""

import pytest

from enalysis.actions import consent
from enalysis.actions.consent import ConsentFailed, Failure
from enalysis.core.access import Role, Scope
from enalysis.core.errors import NotFound, Refused
from tests.actions.conftest import Clock, Office
from tests.bar.tenancy import superuser
from tests.databases import Base
from tests.oauth_bench import everything
from tests.vendor import answer


async def failure(office: Office, params: dict[str, str], **more: object) -> Failure:
    """Return why a consent came to nothing."""
    with pytest.raises(ConsentFailed) as failed:
        await office.finish(params, **more)
    return failed.value.why


async def test_a_consent_becomes_a_connection_that_collects(office: Office) -> None:
    started = await office.begin(name="Our roof")
    done = await office.finish(office.vendor.consent(started.address))
    assert (done.renewed, done.trouble) == (False, None)
    assert done.found is not None
    assert done.found.sites == 1
    await office.poll(done.connection)
    report = await office.poll(done.connection)
    assert (report.ok, report.failed) == (2, [])
    found = await office.find(done.connection)
    assert (found.state, found.name, found.way, found.app_id) == ("healthy", "Our roof", "owner", office.app)


async def test_each_state_works_once(office: Office) -> None:
    params = office.vendor.consent((await office.begin()).address)
    await office.finish(params)
    assert await failure(office, params) is Failure.REPLAYED


async def test_what_does_not_belong_to_a_consent_of_this_browser_is_refused(office: Office, clock: Clock) -> None:
    params = office.vendor.consent((await office.begin()).address)
    assert await failure(office, {**params, "state": "forged"}) is Failure.FOREIGN
    assert await failure(office, params, session="somebody else's") is Failure.FOREIGN
    assert await failure(office, {"code": params["code"]}) is Failure.NO_STATE
    assert await failure(office, params, public_url="https://evil.example") is Failure.FOREIGN
    clock.move(minutes=10)
    assert await failure(office, params) is Failure.TOO_LATE
    assert office.vendor.token_calls == 0


async def test_no_is_no(office: Office) -> None:
    params = office.vendor.consent((await office.begin()).address)
    assert await failure(office, {"state": params["state"], "error": "access_denied"}) is Failure.REFUSED


@pytest.mark.parametrize(
    ("said", "status", "why"),
    [("invalid_grant", 400, Failure.CODE), ("invalid_client", 401, Failure.APP), ("server_error", 500, Failure.VENDOR)],
)
async def test_what_the_token_endpoint_refuses_is_named(office: Office, said: str, status: int, why: Failure) -> None:
    office.vendor.token_act = lambda _: answer({"error": said}, status)
    assert await failure(office, office.vendor.consent((await office.begin()).address)) is why


async def test_the_same_account_twice_is_one_connection(office: Office) -> None:
    first, second, other = [await office.connect(uid) for uid in ("ada", "ada", "grace")]
    assert first == second != other
    kinds = [kind for kind, _ in await office.events(first)]
    assert (kinds.count("connected"), kinds.count("reconnected")) == (1, 1)
    assert await office.lives(first)


async def test_another_account_is_refused_where_a_connection_signs_in_anew(office: Office) -> None:
    made = await office.connect("ada")
    before = await office.kept(made)
    params = office.vendor.consent((await office.begin(connection=made)).address, "grace")
    with pytest.raises((Refused, ConsentFailed), match="another account"):
        await office.finish(params)
    assert await office.kept(made) == before
    again = office.vendor.consent((await office.begin(connection=made)).address, "ada")
    assert (await office.finish(again)).connection == made


async def test_a_code_is_pasted_where_no_callback_reaches_us(office: Office) -> None:
    started = await office.begin(pasted=True)
    params = office.vendor.consent(started.address)
    text = f"https://api.acme.example/oauth/code?code={params['code']}&state={params['state']}"
    done = await office.finish(consent.parse_pasted(text), pasted=True)
    assert started.pasted
    assert done.trouble is None


async def test_only_who_may_change_the_organization_connects(office: Office) -> None:
    low = Scope(office.scope.organization, None, Role.VIEWER)
    params = office.vendor.consent((await office.begin()).address)
    with pytest.raises(Refused):
        await office.finish(params, scope=low)
    with pytest.raises(NotFound):
        await office.begin(app="00000000-0000-0000-0000-000000000000")


async def test_nothing_of_a_consent_stands_in_the_database_in_clear(office: Office, base: Base) -> None:
    params = office.vendor.consent((await office.begin()).address)
    with superuser(base) as admin:
        before = [value for column in everything(admin).values() for value in column]
    await office.finish(params)
    with superuser(base) as admin:
        after = [value for column in everything(admin).values() for value in column]
    told = [*params.values(), *office.vendor.tokens, *office.vendor.verifiers, *office.fields.values()]
    hidden = [text.encode() for text in told if text != params["region"]]
    assert len(hidden) > 6
    assert not [text for text in hidden if any(text in value for value in (*before, *after))]
