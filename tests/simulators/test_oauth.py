"""OAuth at simulated vendors, over real HTTP: the consent page, its redirects, and the codes it gives."""

from collections.abc import Mapping

import pytest

from enalysis.simulators.oauth import challenge_of
from tests.simulators.enphase_bench import CALLBACK, Place, code_of, consent, exchange, link, ticket_of, told

VERIFIER = "made-up-verifier-of-forty-three-letters-or-more"

# -- consent


async def test_an_owner_allows_and_the_app_reads(enphase: Place) -> None:
    url, owner = link(enphase), enphase.account("household")
    page = await enphase.client.get(url)
    assert "sandbox" in page.text
    assert owner.app_label in page.text
    assert owner.login["username"] in page.text
    answer = await enphase.client.post(url, data={"ticket": ticket_of(page), "answer": "sign-in", **owner.login})
    for access in ("System Details", "Site Level Production", "Site Level Consumption"):
        assert access in answer.text
    back = await enphase.client.post(url, data={"ticket": ticket_of(answer), "answer": "allow"})
    assert back.headers["location"].startswith(f"{CALLBACK}?")
    assert told(back)["state"] == "made up & odd/state"
    assert len(told(back)["code"]) == 6
    tokens = (await exchange(enphase, told(back)["code"])).json()
    enphase.tokens["household"] = tokens["access_token"]
    assert (await enphase.read("household", "systems"))["total"] == 2


async def test_an_owner_denies_before_or_after_signing_in(enphase: Place) -> None:
    denied = await consent(enphase.client, link(enphase), enphase.account("household").login, "deny")
    assert told(denied) == {"error": "access_denied", "state": "made up & odd/state"}
    page = await enphase.client.get(link(enphase, state=None))
    answer = await enphase.client.post(link(enphase), data={"ticket": ticket_of(page), "answer": "deny"})
    assert told(answer) == {"error": "access_denied"}


async def test_a_page_is_answered_once_and_not_without_the_password(enphase: Place) -> None:
    url, login = link(enphase), enphase.account("household").login
    ticket = ticket_of(await enphase.client.get(url))
    wrong = {**login, "password": "guess"}
    for data in ({"answer": "allow"}, {"answer": "sign-in", **wrong}, {"answer": "allow", **wrong}):
        refused = await enphase.client.post(url, data={"ticket": ticket, **data})
        assert refused.status_code == 401
        assert "wrong" in refused.text
    signed = await enphase.client.post(url, data={"ticket": ticket, "answer": "sign-in", **login})
    assert signed.status_code == 200
    assert (await enphase.client.post(url, data={"ticket": ticket, "answer": "allow"})).status_code == 302
    assert (await enphase.client.post(url, data={"ticket": ticket, "answer": "allow"})).status_code == 400
    stale = ticket_of(await enphase.client.get(url))
    enphase.clock.forward(minutes=16)
    assert (await enphase.client.post(url, data={"ticket": stale, "answer": "deny"})).status_code == 400


async def test_an_owner_may_allow_another_app(enphase: Place) -> None:
    owner = enphase.account("lapsed")
    back = await consent(enphase.client, link(enphase, "household"), owner.login)
    tokens = (await exchange(enphase, told(back)["code"], "household")).json()
    enphase.tokens["household"] = tokens["access_token"]
    systems = (await enphase.read("household", "systems"))["systems"]
    assert [s["system_id"] for s in systems] == [enphase.view("porto").site_id]


@pytest.mark.parametrize(
    ("params", "status", "text"),
    [
        ({"redirect_uri": None}, 400, "A redirect_uri must be supplied."),
        ({"redirect_uri": ""}, 400, "A redirect_uri must be supplied."),
        ({"redirect_uri": "https://evil.example/"}, 400, "Invalid redirect"),
        ({"redirect_uri": "https://localhost.evil.example/"}, 400, "Invalid redirect"),
        ({"redirect_uri": "http://localhost@evil.example/"}, 400, "Invalid redirect"),
        ({"redirect_uri": "http://[broken"}, 400, "Invalid redirect"),
        ({"redirect_uri": "javascript:alert(1)//localhost"}, 400, "Invalid redirect"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": None}, 401, "invalid_client"),
    ],
)
async def test_a_link_that_is_wrong_redirects_nowhere(
    enphase: Place, params: Mapping[str, str | None], status: int, text: str
) -> None:
    page = await enphase.client.get(link(enphase, "household", **params))
    assert page.status_code == status
    assert "OAuth Error" in page.text
    assert text in page.text
    assert "location" not in page.headers


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": "x"}, "invalid_request"),
    ],
)
async def test_a_link_that_asks_for_the_impossible_tells_the_app(
    enphase: Place, params: Mapping[str, str | None], error: str
) -> None:
    answer = await enphase.client.get(link(enphase, "household", **params))
    assert told(answer) == {"error": error, "state": "made up & odd/state"}


async def test_the_page_runs_nothing_and_lets_its_form_go_to_the_app_only(enphase: Place) -> None:
    page = await enphase.client.get(link(enphase))
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self' http://localhost:3999"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "<script" not in page.text
    assert 'name="viewport"' in page.text
    assert page.headers["cache-control"] == "no-store"
    odd = await enphase.client.get(link(enphase, state="<script>alert(1)</script>", client_id="<b>"))
    assert "<b>" not in odd.text


async def test_the_page_that_shows_a_code(enphase: Place) -> None:
    own = f"{enphase.root}/oauth/redirect_uri"
    back = await consent(enphase.client, link(enphase, redirect_uri=own), enphase.account("household").login)
    page = await enphase.client.get(back.headers["location"])
    assert page.status_code == 200
    assert f"<code>{told(back)['code']}</code>" in page.text
    assert f"{own}?code={told(back)['code']}" in page.text
    odd = await enphase.client.get(f"{own}?code=<script>")
    assert "<script>" not in odd.text


# -- codes


async def test_a_code_works_once(enphase: Place) -> None:
    code = await code_of(enphase)
    assert (await exchange(enphase, code)).status_code == 200
    again = await exchange(enphase, code)
    assert again.status_code == 400
    assert again.json() == {
        "error": "invalid_grant",
        "error_description": f"Invalid authorization code: {code}",
    }


@pytest.mark.parametrize(("minutes", "status"), [(4.9, 200), (5, 400)])
async def test_a_code_lives_five_minutes(enphase: Place, minutes: float, status: int) -> None:
    code = await code_of(enphase)
    enphase.clock.forward(minutes=minutes)
    assert (await exchange(enphase, code)).status_code == status


async def test_a_code_is_bound_to_its_address_and_its_app(enphase: Place) -> None:
    other = f"{CALLBACK}/"
    code = await code_of(enphase)
    wrong = await enphase.token("household", grant_type="authorization_code", code=code, redirect_uri=other)
    assert wrong.json()["error"] == "invalid_grant"
    # A wrong try spends the code.
    assert (await exchange(enphase, code)).status_code == 400
    code = await code_of(enphase)
    missing = await enphase.token("household", grant_type="authorization_code", code=code)
    assert missing.json()["error"] == "invalid_grant"
    code = await code_of(enphase)
    assert (await exchange(enphase, code, "lapsed")).json()["error"] == "invalid_grant"
    assert (await exchange(enphase, code)).status_code == 200


@pytest.mark.parametrize(
    ("verifier", "status"), [(VERIFIER, 200), (VERIFIER + "x", 400), (None, 400), (challenge_of(VERIFIER), 400)]
)
async def test_a_challenge_wants_its_verifier(enphase: Place, verifier: str | None, status: int) -> None:
    code = await code_of(enphase, code_challenge=challenge_of(VERIFIER), code_challenge_method="S256")
    sent = {} if verifier is None else {"code_verifier": verifier}
    assert (await exchange(enphase, code, **sent)).status_code == status


def test_the_challenge_is_that_of_the_standard() -> None:
    # The example of RFC 7636, appendix B.
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == (
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )
